//! Traced runs of the subject on a stage: names every effect, strikes with a fault at its point,
//! and keeps what judges need to know.

mod calls;
mod observe;
mod output;
mod progress;
mod runner;
mod strike;

use std::{collections::HashSet, sync::Arc};

use process_roulette_tracer as tracer;

use crate::{
    effect::Effect,
    event::FaultRecord,
    invariant::{End, Run},
    point::Point,
    role::Roles,
    world::WorldError,
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
}

/// What a clean run is known to do; faulted runs are held against it.
#[derive(Debug, Default)]
pub struct Known {
    /// Points that a clean run comes to with the lock held: coming to one of them without the
    /// lock, after a fault, is running unlocked.
    pub locked_points: HashSet<Point>,
    /// `op role` of what a clean run does in its state-changing part: no second run may do any
    /// of it while a first one is there.
    pub exclusive: HashSet<String>,
    /// Lineages that a clean run leaves running: not waited for.
    pub left_running: Vec<String>,
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
    /// Faults whose point was not reached, or that could not be proven, with the reason.
    pub not_delivered: Vec<String>,
    /// Faults that another one of the same experiment left without a run: they wait for the next.
    pub left_over: Vec<FaultRecord>,
    /// Why some of what the subject did was not seen, if that is so.
    pub unseen: Option<&'static str>,
    /// Addresses outside that it tried to reach (told in a bare world only, where they are
    /// refused by the tracer).
    pub refused: Vec<String>,
    /// The certificate at the first artifact's path when the second run was done; empty if there
    /// was none.
    pub between: String,
    /// The run that was started while this one was held, if one was.
    pub second: Option<Box<Outcome>>,
    /// What it was doing when its deadline came.
    pub stuck: Option<String>,
    /// Which of the names it made are random.
    pub roles: Roles,
}
