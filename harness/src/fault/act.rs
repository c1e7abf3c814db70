//! What the runner can do at a point: the few verbs that all faults are made of.

use std::time::Duration;

/// What is done at a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Signals, the first at the point and others later.
    Signals {
        /// In order.
        volleys: Vec<Volley>,
        /// What lies between this run and the next.
        between: Between,
    },
    /// A second run is started while this one is held.
    SecondRun {
        /// Whether all of this run is stopped (SIGSTOP), not only the task at the point.
        stopped: bool,
    },
    /// More runs are started beside this one, each after its time.
    MoreRuns {
        /// In percent of the time that an undisturbed run takes, sorted.
        shares: Vec<u32>,
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
    /// The disk is full until the run is over: what the run frees, somebody else takes.
    FillDisk,
    /// Something happens between the CA and the subject.
    Ca(CaAct),
    /// The run's memory is limited from its start.
    LimitMemory {
        /// To this much.
        bytes: u64,
        /// Whether a kill of one process is a kill of all.
        all: bool,
    },
    /// The address space of each of the run's processes is limited from its start.
    LimitAddressSpace {
        /// To this much.
        bytes: u64,
    },
    /// The run's memory is limited to what it cannot do without now.
    LowerMemory {
        /// Whether a kill of one process is a kill of all.
        all: bool,
    },
    /// The world's server is killed; it is started again when the run is over.
    KillServer,
    /// The world's server refuses every reload and restart until the run is over.
    RefuseReloads,
    /// The child whose start is the point is held right after it, for this long. Then it goes on;
    /// or, if signals are to follow, it never does by itself.
    HoldStart {
        /// How long.
        time: Duration,
        /// What ends the waiting. Empty: it goes on.
        volleys: Vec<Volley>,
    },
    /// The subject is told another time until the run is over.
    StepClock {
        /// How much later than it is; earlier, if negative.
        seconds: i64,
    },
}

/// What lies between the run that got signals and the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Between {
    /// Time only.
    Nothing,
    /// The next run is in a new pod: every process is gone, and `/run` and `/tmp` are empty. The
    /// server is in a pod of its own.
    NewPod,
    /// The machine boots again: the same, and the server has been started anew.
    Boot,
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
    /// The CA acts, and the order stays in `processing` (RFC 8555 section 7.1.6) as long as the
    /// run lasts; so does every other one that it finalizes.
    Processing,
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
