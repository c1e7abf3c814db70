//! Promises that are judged. Each invariant is one small file with one implementation of
//! [`Invariant`] and one line in [`all`].

use std::path::PathBuf;

use crate::{
    artifact::ArtifactState,
    event::FaultRecord,
    scenario::Scenario,
    target::Served,
    verdict::{Phase, Verdict},
};

/// A promise.
pub trait Invariant: Sync {
    /// Its name in scenarios and reports: `pair-intact`.
    fn name(&self) -> &'static str;
    /// What it promises, in one sentence.
    fn promise(&self) -> &'static str;
    /// Why it is not asked of this scenario at all, if it is not (no lock is declared).
    fn not_asked(&self, scenario: &Scenario) -> Option<String> {
        let _ = scenario;
        None
    }
    /// Judges one phase of one experiment. `None`: nothing to say in this phase.
    fn judge(&self, evidence: &Evidence<'_>) -> Option<Opinion>;
}

/// What an invariant thinks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opinion {
    /// The judgement.
    pub verdict: Verdict,
    /// What was seen; see [`crate::verdict::Judgement::detail`].
    pub detail: String,
}

impl Opinion {
    /// The promise was kept.
    pub fn held() -> Self {
        Opinion { verdict: Verdict::Held, detail: String::new() }
    }
    /// The promise was broken.
    pub fn violated(detail: impl Into<String>) -> Self {
        Opinion { verdict: Verdict::Violated, detail: detail.into() }
    }
    /// It could not be seen.
    pub fn inconclusive(detail: impl Into<String>) -> Self {
        Opinion { verdict: Verdict::Inconclusive, detail: detail.into() }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It exited with this status.
    Exited(i32),
    /// A signal with this number ended it.
    Killed(i32),
    /// It was still running at its deadline and was killed by the harness.
    Deadline,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Exited(status) => write!(f, "exit {status}"),
            End::Killed(number) => match nix::sys::signal::Signal::try_from(*number) {
                Ok(signal) => f.write_str(signal.as_str()),
                Err(_) => write!(f, "signal {number}"),
            },
            End::Deadline => f.write_str("still running at its deadline"),
        }
    }
}

/// A process that was left when its run was over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivor {
    /// Its lineage, such as `renew.sh > watch.sh`.
    pub process: String,
    /// Whether the scenario's lock could not be taken while it ran, and so was still held.
    /// `None`: no lock is declared, or its kind cannot be taken by another.
    pub locked: Option<bool>,
}

/// One run of the subject: faulted, recovery or idle.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    /// How the leader ended. `None` only before the run.
    pub end: Option<End>,
    /// Faults that were delivered and proven in it.
    pub faults: Vec<FaultRecord>,
    /// SIGHUPs (reloads) that reached the server from this run.
    pub reloads: u32,
    /// New orders the CA accepted.
    pub orders: u64,
    /// Certificates the CA issued.
    pub certificates: u64,
    /// Durable effects, log writes left out, as `op path`.
    pub changes: Vec<String>,
    /// Files with a private key in them that were readable by others at some effect, with the
    /// mode and the point: `/etc/ssl/key.pem (0644) after cp: write`.
    pub exposed_keys: Vec<String>,
    /// At an effect: key and certificate did not match as a reader would have seen them. Only
    /// where `always` was asked for.
    pub torn_moments: Vec<String>,
    /// At an effect: no valid certificate was served. Looked at in the census only.
    pub dark_moments: Vec<String>,
    /// Processes still running when the leader had ended and the grace was over.
    pub survivors: Vec<Survivor>,
    /// Durable effects of two runs that were inside the state-changing part together.
    pub overlaps: Vec<String>,
    /// Standard output and error, the last part.
    pub output: String,
    /// Milliseconds on the wall.
    pub wall_ms: u64,
    /// CPU milliseconds of its whole tree.
    pub cpu_ms: u64,
}

/// Whether the next run can take the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockState {
    /// No lock is declared.
    Undeclared,
    /// It was taken, and let go again.
    Free,
    /// It could not be taken; who holds it, as far as is known.
    Held(String),
    /// A file or directory that is the lock is still there (kinds that cannot be tested by
    /// taking them).
    Present,
    /// It could not be tried.
    Unknown(String),
}

/// What a judge may look at: the world as it is at the end of one phase, and what led there.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The scenario, placeholders resolved.
    pub scenario: &'a Scenario,
    /// Which phase.
    pub phase: Phase,
    /// The artifacts as they were when the experiment began.
    pub artifacts_before: &'a [ArtifactState],
    /// The artifacts now, in the scenario's order.
    pub artifacts: &'a [ArtifactState],
    /// What the server serves now.
    pub served: &'a Result<Served, String>,
    /// The lock now.
    pub lock: &'a LockState,
    /// Runs so far: the faulted one, then the recovery, then the idle one.
    pub runs: &'a [Run],
    /// SHA-256 fingerprints of every certificate seen at the first artifact's path since the
    /// experiment began, the old one first.
    pub installed: &'a [String],
    /// Paths that are in the world now, were not when the experiment began, and are not there
    /// after a clean run either, with what they are.
    pub litter: &'a [Litter],
}

impl Evidence<'_> {
    /// The run this phase is about.
    pub fn run(&self) -> Option<&Run> {
        self.runs.last()
    }
}

/// A path that a clean run would not have left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Litter {
    /// Where.
    pub path: PathBuf,
    /// Whether it is (or looks like) a key, a certificate, a temporary file.
    pub what: String,
}

/// x
pub fn all() -> &'static [&'static dyn Invariant] { &[] }
/// x
pub fn judge_phase(_e: &Evidence<'_>, _j: &[crate::verdict::Judgement]) -> Vec<crate::verdict::Judgement> { Vec::new() }
