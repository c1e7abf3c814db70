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
    /// In which run of the experiment.
    #[serde(default, skip_serializing_if = "InRun::is_first")]
    pub run: InRun,
    /// Where.
    pub point: Point,
    /// How long after the point, in milliseconds; absent: at the point itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
}

/// In which run of an experiment a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InRun {
    /// In the one that the scheduler started first. What it leaves over, because an earlier fault
    /// ended it, strikes the next one.
    #[default]
    First,
    /// In the one that an earlier fault started beside the first.
    Second,
    /// In the next scheduled one.
    Next,
}

impl InRun {
    fn is_first(&self) -> bool {
        *self == InRun::First
    }
}

impl FaultRecord {
    /// A fault at a point of the first run.
    pub fn new(fault: &str, scope: Option<&str>, point: Point) -> FaultRecord {
        FaultRecord {
            fault: fault.to_owned(),
            scope: scope.map(str::to_owned),
            run: InRun::First,
            point,
            after_ms: None,
        }
    }
}

impl std::fmt::Display for FaultRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.fault)?;
        match self.scope.as_deref() {
            Some(scope) if self.fault.starts_with("sig") => write!(f, " to the {scope}")?,
            Some(mode) if self.fault.starts_with("systemd-") => write!(f, " (KillMode={mode})")?,
            Some(setting) => write!(f, " ({setting})")?,
            None => {}
        }
        match self.run {
            InRun::First => {}
            InRun::Second => f.write_str(" in the second run")?,
            InRun::Next => f.write_str(" in the next run")?,
        }
        match self.after_ms {
            Some(ms) if self.point.op == START => write!(f, ", {ms} ms after the start"),
            Some(ms) => write!(f, ", {ms} ms after {}", self.point),
            None => write!(f, ", {}", self.point),
        }
    }
}

/// The operation of the instant at which a run is started: only times are counted from it.
pub const START: &str = "start";

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
    /// Whether that is because a run gave no occasion for a fault: it did not come to its point, or to what
    /// it acts on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_occasion: bool,
    /// Why nothing came of its fault, if nothing did: it is set aside, and shown as not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spared: Option<String>,
    /// What came of a memory limit; for faults that set one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryRecord>,
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
    /// Milliseconds of each run on the wall.
    #[serde(default)]
    pub runs_ms: Vec<u64>,
    /// Where its runs came to after the fault, if that was asked for. Not in reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub followed: Option<Box<Followed>>,
}

impl ExperimentRecord {
    /// An experiment of which nothing is known but what was to be done.
    pub fn new(id: &str, faults: Vec<FaultRecord>, verdict: Verdict) -> ExperimentRecord {
        ExperimentRecord {
            id: id.to_owned(),
            faults,
            verdict,
            violations: Vec::new(),
            judgements: Vec::new(),
            inconclusive: None,
            no_occasion: false,
            spared: None,
            memory: None,
            exits: Vec::new(),
            aftermath: Vec::new(),
            recovery_output: String::new(),
            wall_ms: 0,
            cpu_ms: 0,
            runs_ms: Vec::new(),
            followed: None,
        }
    }
}

/// Points that the runs of an experiment came to after its fault: where they can be killed, too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// Of the faulted run itself.
    pub same: Vec<Point>,
    /// Of the run that was started beside it.
    pub second: Vec<Point>,
    /// Of the next scheduled run.
    pub next: Vec<Point>,
}

/// What came of a memory limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryRecord {
    /// The limit that was in force last, in bytes; `None`: none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The address space that each process could have, in bytes, where that was limited instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_space: Option<u64>,
    /// The most that was in use, in bytes, the page cache included; `None` where the kernel does
    /// not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<u64>,
    /// Whom the kernel killed, in order.
    pub kills: Vec<Shortage>,
    /// Whom it refused memory, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Shortage>,
    /// Programs whose address space was not limited: those of Go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<String>,
}

/// A process that was killed, or refused memory, for want of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    /// Its lineage.
    pub process: String,
    /// The last effect that the run had come to; `None`: it had come to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Point>,
    /// The next one that it came to, if it came to any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Point>,
}

/// How many kills or refusals are told one by one: of a process that is started again and again they
/// are all the same.
const SHORTAGES_TOLD: usize = 3;

impl std::fmt::Display for MemoryRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told = |f: &mut std::fmt::Formatter<'_>, shortages: &[Shortage]| {
            for (index, shortage) in shortages.iter().take(SHORTAGES_TOLD).enumerate() {
                write!(f, "{}{shortage}", if index == 0 { "" } else { ", then " })?;
            }
            match shortages.len().saturating_sub(SHORTAGES_TOLD) {
                0 => Ok(()),
                more => write!(f, ", and {more} more"),
            }
        };
        if let Some(bytes) = self.address_space {
            write!(f, "address space {} a process: the kernel refused ", mib(bytes))?;
            if self.refusals.is_empty() {
                return f.write_str("nobody memory");
            }
            f.write_str("memory to ")?;
            return told(f, &self.refusals);
        }
        let limit =
            self.limit.map_or_else(|| "no memory limit".to_owned(), |l| format!("memory limit {}", mib(l)));
        write!(f, "{limit}")?;
        if let Some(peak) = self.peak {
            write!(f, ", peak {}", mib(peak))?;
        }
        if self.kills.is_empty() {
            return f.write_str(": the kernel killed nobody");
        }
        f.write_str(": the kernel killed ")?;
        told(f, &self.kills)
    }
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.process)?;
        // A point is the instant before its effect.
        let effect = |point: &Point| format!("`{point}`").replacen("`before ", "`", 1);
        match (&self.after, &self.before) {
            (Some(after), Some(before)) => write!(f, " between {} and {}", effect(after), effect(before)),
            (Some(after), None) => write!(f, " after {}", effect(after)),
            (None, Some(before)) => write!(f, " before {}", effect(before)),
            (None, None) => f.write_str(" before it had done anything"),
        }
    }
}

/// Bytes for a person.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oom_kill_is_told_with_limit_peak_victim_and_place() {
        let point = |text: &str| Some(text.parse().unwrap());
        let kill = Shortage {
            process: "renew.sh > awk".into(),
            after: point("before renew.sh > mv: rename /a #2"),
            before: point("before renew.sh: exit"),
        };
        let early = Shortage { process: "renew.sh".into(), after: None, before: None };
        let memory = |kills| MemoryRecord {
            limit: Some(9 << 19),
            peak: Some(4 << 20),
            kills,
            ..MemoryRecord::default()
        };
        assert_eq!(
            memory(vec![kill]).to_string(),
            "memory limit 4.5 MiB, peak 4.0 MiB: the kernel killed renew.sh > awk between \
             `renew.sh > mv: rename /a #2` and `renew.sh: exit`"
        );
        let many = memory(vec![early; 5]).to_string();
        assert!(many.ends_with("then renew.sh before it had done anything, and 2 more"), "{many}");
        assert!(memory(vec![]).to_string().ends_with("the kernel killed nobody"));
        let refused = Shortage { process: "awk".into(), after: None, before: None };
        let refused = MemoryRecord {
            address_space: Some(30 << 20),
            refusals: vec![refused],
            ..MemoryRecord::default()
        };
        assert_eq!(
            refused.to_string(),
            "address space 30.0 MiB a process: the kernel refused memory to awk before it had done anything"
        );
    }

    #[test]
    fn a_fault_is_told_with_what_its_setting_means() {
        let told = |fault: &str, scope: &str| {
            let point = Point {
                side: crate::point::Side::Before,
                process: "renew.sh".into(),
                op: "exit".into(),
                role: String::new(),
                occurrence: 1,
            };
            let record = FaultRecord::new(fault, Some(scope), point);
            record.to_string().split(',').next().unwrap_or_default().to_owned()
        };
        assert_eq!(told("sigterm", "process"), "sigterm to the process");
        assert_eq!(told("systemd-stop", "process"), "systemd-stop (KillMode=process)");
        assert_eq!(told("pkill-f", "tree"), "pkill-f (tree)");
        assert_eq!(told("clock-back", "90d"), "clock-back (90d)");
    }
}
