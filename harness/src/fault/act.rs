//! What the runner can do at a point: the few verbs that all faults are made of.

use std::time::Duration;

/// What is done at a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Signals, the first at the point and others later.
    Signals {
        /// In order.
        volleys: Vec<Volley>,
        /// Whether the machine boots again when the run is over: `/run` and `/tmp` are empty, and
        /// the server has been started anew.
        reboot: bool,
    },
    /// A second run is started while this one is held.
    SecondRun {
        /// Whether all of this run is stopped (SIGSTOP), not only the task at the point.
        stopped: bool,
    },
    /// The syscall fails without having run.
    Refuse {
        /// The error number.
        errno: i32,
        /// Whether every later one of its kind fails, too, until the run is over.
        from_here_on: bool,
    },
    /// The write is cut to half its length.
    ShortWrite,
    /// Something happens between the CA and the subject.
    Ca(CaAct),
    /// The world's server is killed; it is started again when the run is over.
    KillServer,
}

/// What happens to a request to the CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaAct {
    /// This is answered, and the CA never hears of the request.
    Answer {
        /// HTTP status.
        status: u16,
        /// The problem type (RFC 8555 section 6.7), without its prefix; empty for a body that is
        /// no JSON.
        problem: &'static str,
        /// Value of Retry-After, if there is one.
        retry_after: Option<&'static str>,
    },
    /// The connection is closed before the CA has acted.
    CutBefore,
    /// The connection is closed after the CA has acted.
    CutAfter,
    /// The answer comes late.
    Delay(Duration),
}

/// Signals sent at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volley {
    /// When.
    pub when: When,
    /// The signal's number.
    pub signal: i32,
    /// To whom.
    pub to: Recipients,
}

/// When signals are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At the point.
    AtPoint,
    /// As soon as the leader is gone, or after this long.
    LeaderGone(Duration),
    /// After this long, if anybody is left.
    After(Duration),
}

/// Who gets signals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipients {
    /// The process at the point.
    Process,
    /// The top command only.
    Leader,
    /// The leader's process group.
    Group,
    /// Every process of the run.
    Tree,
    /// Every process whose command line contains this text (a literal, not an expression).
    Matching(String),
}
