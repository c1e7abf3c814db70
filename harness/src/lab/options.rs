//! What a lab is asked to do, and why it could not.

use std::{
    fmt,
    path::PathBuf,
    str::FromStr,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    event::{EffectRecord, ExperimentRecord, WorldKind},
    fault::Family,
    limits,
    scenario::Scenario,
};

/// What a run is asked to do.
#[derive(Debug, Clone)]
pub struct LabOptions {
    /// The scenario, placeholders not yet resolved.
    pub scenario: Scenario,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Worlds at work at once; `None`: the lab chooses.
    pub jobs: Option<u32>,
    /// Only this part of the experiments; `None`: all of them.
    pub shard: Option<Shard>,
    /// Only these of the scenario's fault families; `None`: all of them.
    pub faults: Option<Vec<Family>>,
    /// Whether to end at the first violation that is not expected.
    pub fail_fast: bool,
    /// Invariants (and `diverged`) that may be inconclusive without making the run so.
    pub allow_inconclusive: Vec<String>,
    /// The Pebble asked for by name; `None`: look for one.
    pub pebble: Option<PathBuf>,
    /// Which kind of world.
    pub world: WorldChoice,
    /// At most this many experiments, the first of the plan; the rest is counted as not tried.
    pub max_experiments: Option<u64>,
    /// Set when the run is to end early and tell what was found so far.
    pub interrupt: Arc<AtomicBool>,
}

impl LabOptions {
    /// Worlds at work at once.
    pub(super) fn jobs(&self) -> u32 {
        self.jobs.unwrap_or(super::cores() * limits::JOBS_PER_CORE).max(1)
    }
}

/// Which kind of world a run may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum WorldChoice {
    /// Private where the machine grants namespaces, else bare where the scenario can
    #[default]
    Auto,
    /// Namespaces: the subject sees its own host
    Private,
    /// A folder and loopback, for machines that grant no namespaces
    Bare,
}

impl WorldChoice {
    /// The kind that was asked for; `None`: whichever can be had.
    pub fn kind(self) -> Option<WorldKind> {
        match self {
            WorldChoice::Auto => None,
            WorldChoice::Private => Some(WorldKind::Private),
            WorldChoice::Bare => Some(WorldKind::Bare),
        }
    }
}

/// One of several equal parts of a run's experiments, such as `2/5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which one, from 1.
    pub index: u32,
    /// Of how many.
    pub of: u32,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shard = text.split_once('/').and_then(|(index, of)| {
            let shard = Shard { index: index.parse().ok()?, of: of.parse().ok()? };
            (1..=shard.of).contains(&shard.index).then_some(shard)
        });
        shard.ok_or_else(|| format!("`{text}` is no shard: write I/N with I from 1 to N, such as 2/5"))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// What `spin` is asked to do.
#[derive(Debug, Clone)]
pub struct SpinOptions {
    /// As for a sweep.
    pub lab: LabOptions,
    /// For how long; `None`: until `count` is reached.
    pub time: Option<Duration>,
    /// How many experiments; `None`: until `time` is over.
    pub count: Option<u64>,
    /// When faults may strike.
    pub when: When,
    /// Faults in one experiment, at most; at least 1.
    pub most_faults: u8,
    /// Whether what is found is saved beside the scenario.
    pub save: bool,
}

/// When drawn faults strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum When {
    /// At points, and kills at any time, too
    #[default]
    Both,
    /// At points alone: the instants that make a difference
    Points,
    /// Kills at random times alone: the classic roulette
    Times,
}

/// What `replay` is asked to do.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// As for a sweep.
    pub lab: LabOptions,
    /// The experiment's id.
    pub experiment: String,
    /// The experiment as it was recorded; `None`: it is to be found in the scenario's own plan.
    pub record: Option<ExperimentRecord>,
    /// The effects of the clean run that it was recorded with, to tell a subject that has changed
    /// since; empty where they are not known.
    pub effects: Vec<EffectRecord>,
}

/// Why a run could not be made or could not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LabError {
    /// What kind of reason, which decides the exit code.
    pub kind: LabErrorKind,
    /// What was tried, on what, what went wrong, what to do.
    pub message: String,
}

/// The kinds of [`LabError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabErrorKind {
    /// The user asked for something that cannot be.
    Usage,
    /// The machine lacks something.
    Machine,
    /// The user ended it before anything was found.
    Interrupted,
    /// The subject fails without any fault.
    Baseline,
    /// The harness did something wrong.
    Bug,
}

/// Something a machine grants or does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// Its name, as `--require` takes it.
    pub name: String,
    /// Whether it is there.
    pub available: bool,
    /// What was found.
    pub detail: String,
    /// What to do to get it, when it is not there.
    pub remedy: Option<String>,
}
