//! Traced runs of the subject on a stage: names every effect, strikes with a fault at its point,
//! and keeps what judges need to know.

mod address_space;
mod calls;
mod clock;
mod hold;
mod inside;
mod memory;
mod observe;
mod output;
mod pending;
mod progress;
mod runner;
mod strike;

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use process_roulette_tracer as tracer;

use crate::{
    effect::Effect,
    event::{FaultRecord, MemoryRecord},
    fault::{self, Act},
    invariant::{End, Run},
    point::Point,
    role::Roles,
    world::{WorldError, cgroup::Group},
};

pub use calls::Calls;
pub use runner::Runner;

/// What can go wrong with a run that is not the subject's doing.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The tracer failed.
    #[error("failed to trace the subject: {0}")]
    Tracer(#[from] tracer::Error),
    /// The command could not be started.
    #[error("failed to start `{command}`: {source}")]
    Spawn {
        /// The command line.
        command: String,
        /// Which step failed and why.
        source: tracer::SpawnError,
    },
    /// The world failed.
    #[error(transparent)]
    World(#[from] WorldError),
    /// Something else of the system's.
    #[error("failed to {tried}: {source}")]
    Io {
        /// What was tried, on what.
        tried: String,
        /// What went wrong.
        source: std::io::Error,
    },
}

/// How closely a run is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Effects are named as they come, which is all that faults need.
    Plain,
    /// The same, and whether each of them succeeded, and requests to the CA: for further faults.
    Followed,
    /// Each effect is also looked at afterwards: did it succeed, was the lock held, is a key
    /// exposed, is a certificate served.
    Census,
}

/// One effect as a run came to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What it is.
    pub effect: Effect,
    /// The instant before it.
    pub point: Point,
    /// The acting process, by the tracer's process id.
    pub pid: i32,
    /// Whether it was the leader's own.
    pub by_leader: bool,
    /// Live processes of the run.
    pub processes: u32,
    /// Whether it failed and so changed nothing; known in a census only.
    pub failed: bool,
    /// Whether somebody had the lock; known in a census only.
    pub locked: Option<bool>,
    /// Whether SIGTERM would end the acting process at once.
    pub default_sigterm: bool,
    /// How often the run had asked for the time of day until then; known while the clock is watched.
    pub time_asked: u64,
    /// Whether it did later; known in a census only, and when the run is over.
    pub time_asked_later: bool,
}

impl Seen {
    /// Whether a kill before it differs from one before the effect after it.
    pub fn tells_kills_apart(&self) -> bool {
        self.effect.class.decides() && !self.failed || self.by_leader && self.effect.op == "exit"
    }
}

/// What is told while a run goes on, for a narrated replay.
#[derive(Debug)]
pub enum Told<'a> {
    /// An effect is about to happen.
    Effect(&'a Seen),
    /// An effect has happened (after `Effect`; census detail only), with an error number if it
    /// failed.
    Done(&'a Seen),
    /// A fault was struck.
    Fault(&'a FaultRecord),
    /// The state of key, certificate, lock and served certificate after that.
    State(&'a [String]),
    /// A process ended.
    Ended(String, End),
    /// The kernel killed a process for want of memory.
    OutOfMemory(String),
    /// The kernel refused a process memory.
    Refused(String),
}

/// What a clean run is known to do; faulted runs are held against it.
#[derive(Debug, Default)]
pub struct Known {
    /// Points that a clean run comes to with the lock held: coming to one of them without the
    /// lock, after a fault, is running unlocked.
    pub locked_points: HashSet<Point>,
    /// `op role` of what a clean run does in its state-changing part, with the stretches of it (a
    /// bit each) that have it: no second run may do any of it while a first one is in the same
    /// stretch.
    pub exclusive: HashMap<String, u64>,
    /// Lineages that a clean run leaves running: not waited for.
    pub left_running: Vec<String>,
    /// How long an undisturbed run takes.
    pub takes: Duration,
}

/// One run to be made.
pub struct Assignment<'a> {
    /// The command.
    pub command: &'a [String],
    /// Faults to strike with, each once.
    pub faults: &'a [FaultRecord],
    /// How closely to watch.
    pub detail: Detail,
    /// What a clean run does.
    pub known: Arc<Known>,
    /// The control group that it is put into, if it is.
    pub group: Option<Rc<Group>>,
    /// Whether it is ended as soon as the kernel has killed one of its processes for want of
    /// memory.
    pub until_killed: bool,
}

impl<'a> Assignment<'a> {
    /// The command undisturbed, in no control group.
    pub fn new(command: &'a [String], detail: Detail, known: &Arc<Known>) -> Assignment<'a> {
        Assignment { command, faults: &[], detail, known: known.clone(), group: None, until_killed: false }
    }
}

/// Who is told what happens in a run, if anybody.
pub type Listener<'t> = Option<&'t mut dyn FnMut(Told<'_>)>;

/// What a run came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What judges look at.
    pub run: Run,
    /// Every effect, in order.
    pub seen: Vec<Seen>,
    /// How many effects it had come to when it was first struck.
    pub struck_at: Option<usize>,
    /// Faults that could not be struck with, or could not be proven, with the reason.
    pub not_delivered: Vec<String>,
    /// Faults that the run gave no occasion for: it did not come to their point, or to what they act on.
    pub no_occasion: Vec<String>,
    /// Why nothing came of a fault, which is nobody's fault.
    pub spared: Option<String>,
    /// What came of its control group.
    pub memory: Option<MemoryRecord>,
    /// Faults that another one of the same experiment left without a run: they wait for the next.
    pub left_over: Vec<FaultRecord>,
    /// Whether the CA re-used an authorization at random, so that the run met no challenge.
    pub reused_authorization: bool,
    /// Why some of what the subject did was not seen, if that is so.
    pub unseen: Option<&'static str>,
    /// Addresses outside that it tried to reach (told in a bare world only, where they are
    /// refused by the tracer).
    pub refused: Vec<String>,
    /// The certificate at the first artifact's path when the second run was done; empty if there
    /// was none.
    pub between: String,
    /// The runs that were started beside this one.
    pub others: Vec<Outcome>,
    /// What came of faults, where that is worth telling.
    pub notes: Vec<String>,
    /// What it was doing when its deadline came.
    pub stuck: Option<String>,
    /// Which of the names it made are random.
    pub roles: Roles,
}

impl Outcome {
    /// A fault that does this was struck, and nothing came of it.
    fn not_proven(&mut self, act: &Act, why: &str) {
        let is_it = |fault: &FaultRecord| fault::act(fault).as_ref() == Some(act);
        if let Some(place) = self.run.faults.iter().position(is_it) {
            let fault = self.run.faults.remove(place);
            self.no_occasion.push(format!("not proven to have arrived: {fault} ({why})"));
        }
    }

    /// The points that it came to after it was struck (or all of them) at which a kill would make
    /// a difference.
    pub fn points(&self) -> Vec<Point> {
        let after = self.seen.iter().skip(self.struck_at.unwrap_or(0));
        after.filter(|seen| seen.tells_kills_apart()).map(|seen| seen.point.clone()).collect()
    }
}
