//! What [`crate::Tracer::wait`] reports.

use std::time::Duration;

use nix::unistd::Pid;

use crate::{Call, Stopped};

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// A task stopped, and stays so until the value is consumed.
    Stopped(Stopped),
    /// A task made another one. Only a notice: the maker already runs on. It always comes
    /// before the first event of the child, so before its first effect.
    ///
    /// Should the maker be killed at this very instant, `parent` is a good guess; if a better
    /// one turns up the event comes again.
    Forked {
        /// The process that made it (its thread-group id).
        parent: Pid,
        /// The new task's id; that of the process unless it is a thread.
        child: Pid,
        /// Whether it is a thread of `parent`.
        thread: bool,
    },
    /// A task is gone.
    Ended(Ended),
    /// [`crate::Waker::wake`] was called.
    Woken,
    /// The deadline has passed.
    TimedOut,
    /// There is no tracee left.
    Empty,
}

/// A task that is gone, and reaped. Of two that end at about the same time, the kernel may report
/// either first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its process (thread-group id).
    pub pid: Pid,
    /// Itself.
    pub tid: Pid,
    /// Whether it was the process's leader. The kernel reports the leader last, so the whole
    /// process is gone then.
    pub leader: bool,
    /// How.
    pub status: Status,
    /// User and system time of the whole process, and of those of its children that it waited
    /// for. Zero for a thread that is not the leader.
    pub cpu: Duration,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It exited with this code.
    Exited(i32),
    /// A signal killed it.
    Signalled {
        /// The signal's number.
        signal: i32,
        /// Whether it left a core dump.
        core: bool,
    },
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Status::Exited(code) => write!(f, "exit {code}"),
            Status::Signalled { signal, .. } => f.write_str(&crate::signal::name(signal)),
        }
    }
}

/// Why a task stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It is about to make a system call, which has not run.
    Syscall(Syscall),
    /// A system call has run, after [`Stopped::resume_and_stop_after`]. An `execve` that
    /// succeeds stops as [`Stop::Executed`] instead.
    Returned {
        /// The call.
        syscall: Syscall,
        /// What it gives to the program: a negative error number if it failed. From -516 to
        /// -512 a signal interrupted it: the kernel may run it again, and then it stops as
        /// [`Stop::Syscall`] with `again` set.
        result: i64,
    },
    /// The kernel has refused it memory, and it has not been told yet. Only while that is watched:
    /// [`crate::Tracer::watch_memory`].
    Refused {
        /// What it asked by.
        call: Call,
    },
    /// It runs another program now; its first instruction has not run.
    Executed {
        /// The id of the thread that called `execve`. Unless it was the leader it has taken
        /// over the leader's id since, and every other thread is gone.
        former: Pid,
    },
    /// A signal is about to be delivered to it; [`Stopped::resume`] does deliver it,
    /// [`Stopped::suppress`] does not. `SIGCHLD`, `SIGURG` and `SIGWINCH` are passed through
    /// without a stop.
    Signal {
        /// The signal's number.
        signal: i32,
    },
}

/// A system call, at its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Syscall {
    /// Which.
    pub call: Call,
    /// Its number.
    pub number: u64,
    /// Its arguments.
    pub args: [u64; 6],
    /// Whether this very call was stopped at before and did not run: it was postponed, or a
    /// signal interrupted it and the kernel runs it again. Not to be counted twice.
    pub again: bool,
    pub(crate) at: At,
}

/// Where in the program a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    /// The address after the system call's instruction.
    pub(crate) instruction: u64,
    /// The stack pointer.
    pub(crate) stack: u64,
}
