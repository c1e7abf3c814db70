//! The one stream of events that every reporter consumes, and nothing else. It is also the
//! stored log of a run (`events.jsonl`, one event a line), so that `roulette report` can render
//! a run again later.

use serde::{Deserialize, Serialize};

use crate::{
    point::Point,
    verdict::{Judgement, Phase, Verdict},
};

/// Which kind of world a run was in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorldKind {
    /// Namespaces: the subject sees its own host.
    Private,
    /// A folder and loopback, for machines that grant no namespaces.
    Bare,
}

impl std::fmt::Display for WorldKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            WorldKind::Private => "private",
            WorldKind::Bare => "bare",
        })
    }
}

/// Where Pebble came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PebbleRecord {
    /// Version as far as it can be told, such as `2.10.0`; `unknown` otherwise.
    pub version: String,
    /// `option`, `path`, `container` or `package`.
    pub source: String,
}

/// One effect of the census.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectRecord {
    /// The point before it.
    pub point: Point,
    /// The process lineage.
    pub process: String,
    /// The operation.
    pub op: String,
    /// The real path in the world or other object; empty where there is none.
    pub path: String,
    /// Whether a state outside the process changed (a control effect is an exec or an exit).
    pub durable: bool,
    /// How many of the subject's processes were alive.
    pub processes: u32,
}

/// One fault of an experiment, at its point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// The fault's name, such as `sigkill`.
    pub fault: String,
    /// To whom (`process`, `leader`, `group` or `tree`), or another setting of the fault's, such as
    /// a `KillMode=` or how long a disk error lasts; for faults that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Where.
    pub point: Point,
}

impl std::fmt::Display for FaultRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.scope.as_deref() {
            Some(scope @ ("process" | "leader" | "group" | "tree")) => {
                write!(f, "{} to the {scope}, {}", self.fault, self.point)
            }
            Some(setting) => write!(f, "{} ({setting}), {}", self.fault, self.point),
            None => write!(f, "{}, {}", self.fault, self.point),
        }
    }
}

/// A violated judgement as the JSON report shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The invariant's name.
    pub invariant: String,
    /// When it was judged.
    pub phase: Phase,
    /// What was seen.
    pub detail: String,
    /// The invariant whose violation explains this one, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained_by: Option<String>,
}

/// What one experiment came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentRecord {
    /// Stable over runs of an unchanged scenario: derived from its faults and points.
    pub id: String,
    /// What was done, in order.
    pub faults: Vec<FaultRecord>,
    /// The worst of its judgements.
    pub verdict: Verdict,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// Every judgement, also the held ones.
    pub judgements: Vec<Judgement>,
    /// Why it could not be judged at all (*diverged*: the point was not reached; the fault
    /// could not be proven), if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inconclusive: Option<String>,
    /// Exit of the faulted run, the recovery and the idle run, such as `exit 0` or `SIGKILL`.
    pub exits: Vec<String>,
    /// Names of the artifact, lock and state files after the faulted run, with what each was.
    pub aftermath: Vec<String>,
    /// The end of what the recovery run printed.
    pub recovery_output: String,
    /// Milliseconds on the wall.
    pub wall_ms: u64,
    /// CPU milliseconds of the subject's own runs.
    pub cpu_ms: u64,
}

/// Something a sweep did not try, and why: nothing is skipped silently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// What, such as `sigterm to the leader` or `no-lost-reload`.
    pub what: String,
    /// How many experiments or judgements.
    pub count: u64,
    /// Why, as a fragment that fits after "because".
    pub why: String,
}

/// Counts of one invariant over all experiments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvariantCount {
    /// The invariant's name.
    pub name: String,
    /// Experiments in which it held in every phase.
    pub held: u64,
    /// Experiments in which it was violated (and not explained by another).
    pub violated: u64,
    /// Experiments in which it could not be judged.
    pub inconclusive: u64,
}

/// Violated experiments that share an invariant and a cause, told once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Short and stable, such as `certbot-flock.3fa9c1`.
    pub id: String,
    /// The invariant that was broken.
    pub invariant: String,
    /// One line a person understands, such as `killed between two renames: …`.
    pub title: String,
    /// What was seen, from the smallest reproduction.
    pub detail: String,
    /// Ids of the experiments, the smallest reproduction first.
    pub experiments: Vec<String>,
    /// The command line that shows it again.
    pub replay: String,
    /// The reason given by the scenario's matching `[[expect]]`, if it is a known finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
}

/// How many points there are and how many were covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Points of the census.
    pub points: u64,
    /// Points at which at least one fault was delivered and proven, or that are proven to be the
    /// same instant as one that was.
    pub covered: u64,
}

/// What a whole run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The worst over all, known findings (`[[expect]]`) set aside.
    pub verdict: Verdict,
    /// Seconds on the wall.
    pub wall_s: f64,
    /// Points and covered points.
    pub coverage: Coverage,
    /// Experiments run.
    pub experiments: u64,
    /// One line an invariant, in the order of the documentation.
    pub invariants: Vec<InvariantCount>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// `[[expect]]` entries that nothing matched: stale, to be removed.
    pub stale_expectations: Vec<String>,
    /// What was not tried.
    pub skipped: Vec<Skipped>,
    /// The subject's own CPU time over cores x wall, 0 to 1.
    pub cpu_efficiency: f64,
    /// Whether the run was cut short (Ctrl-C, `--fail-fast`), and by what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<String>,
}

/// Everything that happens in a run, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A scenario's run begins.
    Started {
        /// Version of this event log and of the JSON report.
        schema: u32,
        /// The scenario's name.
        scenario: String,
        /// The scenario's purpose.
        purpose: String,
        /// Path of the scenario file as it was given.
        file: String,
        /// The seed.
        seed: u64,
        /// Which kind of world.
        world: WorldKind,
        /// Worlds at work at once.
        jobs: u32,
        /// `process-roulette` and its version.
        version: String,
    },
    /// Pebble was found.
    Pebble(PebbleRecord),
    /// What the run is at, for a person who waits: `building 8 worlds`.
    Step {
        /// A fragment without a full stop.
        what: String,
    },
    /// The clean run is done.
    Census {
        /// What it did, in order.
        effects: Vec<EffectRecord>,
        /// Why coverage is only partial (an `io_uring` was set up), if it is.
        partial: Option<String>,
        /// Milliseconds the run took.
        wall_ms: u64,
    },
    /// The experiments are known.
    Plan {
        /// How many will be run.
        experiments: u64,
        /// Over how many points.
        points: u64,
        /// Experiments that are proven to be the same as one in the plan, and so not run twice.
        same: u64,
        /// What will not be tried.
        skipped: Vec<Skipped>,
    },
    /// One experiment is over.
    Experiment(Box<ExperimentRecord>),
    /// A remark for a person, such as a neighbour that was slow.
    Note {
        /// One line.
        text: String,
    },
    /// The scenario's run could not go on (the baseline failed, a world could not be built), and
    /// nothing follows.
    Failed {
        /// What was tried, what went wrong and what to do.
        message: String,
    },
    /// The scenario's run is over.
    Ended(Box<Summary>),
}
