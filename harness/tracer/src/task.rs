//! What is known of each traced task.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    time::Duration,
};

use nix::unistd::Pid;

use crate::{Call, clock::Clock, event::Syscall};

/// A traced task (thread).
#[derive(Debug)]
pub(crate) struct Task {
    /// Its process.
    pub(crate) tgid: Pid,
    /// The number of its last stop: tells a [`crate::Stopped`] that is out of date, since an
    /// `execve` gives the leader's id to another thread.
    pub(crate) stop: u64,
    /// The call whose end is awaited.
    pub(crate) returning: Option<Syscall>,
    /// The question for the time whose answer is awaited, to be shifted; or the request for memory,
    /// to see whether it is granted.
    pub(crate) asking: Option<(Call, [u64; 6])>,
    /// The last call it was stopped at.
    pub(crate) last: Option<Syscall>,
    /// A call that did not run and will be made again.
    pub(crate) postponed: Option<Syscall>,
    /// Whether, of a process whose leader this is, another thread was killed.
    pub(crate) lost_thread: bool,
}

impl Task {
    pub(crate) fn new(tgid: Pid) -> Task {
        Task { tgid, stop: 0, returning: None, asking: None, last: None, postponed: None, lost_thread: false }
    }
}

/// A task that was seen before its maker's notice of it.
#[derive(Debug)]
pub(crate) enum Early {
    /// It is in its first stop, with this signal, and held there.
    Stopped(i32),
    /// It is gone already.
    Ended(i32, Duration),
}

/// Shared between the tracer and what it hands out. One thread's only.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    pub(crate) tasks: RefCell<HashMap<Pid, Task>>,
    pub(crate) early: RefCell<HashMap<Pid, Early>>,
    pub(crate) clock: Clock,
    pub(crate) memory_watched: Cell<bool>,
    stops: Cell<u64>,
}

impl Tasks {
    /// Numbers a stop, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.stops.set(self.stops.get() + 1);
        self.stops.get()
    }

    /// How many tasks of a process are known.
    pub(crate) fn of_process(&self, tgid: Pid) -> usize {
        self.tasks.borrow().values().filter(|task| task.tgid == tgid).count()
    }
}
