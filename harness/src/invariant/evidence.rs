//! What judges may look at.

use std::{
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use super::Opinion;
use crate::{
    artifact::{ArtifactState, FileState},
    event::FaultRecord,
    scenario::Scenario,
    target::Served,
    verdict::Phase,
};

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
    pub orders: u32,
    /// Certificates the CA issued.
    pub certificates: u32,
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
    /// Durable effects and requests to the CA after the fault, at which the scenario's lock was not
    /// held by the run (it could have been taken by another), as `op path`.
    pub unlocked: Vec<String>,
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
#[derive(Debug, Clone, Copy)]
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

    /// Whether the subject's job is done, as far as it can be seen on disk: every artifact whole,
    /// matching and not due.
    pub fn disk(&self) -> Findings {
        self.disk_at(now())
    }

    /// The same by a clock that says `now`, in seconds since the epoch.
    pub fn disk_at(&self, now: i64) -> Findings {
        let mut findings = Findings::default();
        for state in self.artifacts {
            findings.files(state);
            findings.pair(state);
            let days = state.days_left(now);
            if state.certificate == FileState::Whole && days < i64::from(self.scenario.limits.renewed_days) {
                findings.wrong.push(format!("{} is still due: {days} days left", state.certificate_path));
            }
        }
        findings
    }

    /// The server does not serve the certificate that is at the first artifact's path: the
    /// fingerprints. `None`: it does, or one of the two is not to be had.
    pub fn stale(&self) -> Option<String> {
        let newest = self.artifacts.first().filter(|state| !state.fingerprint.is_empty())?;
        let served = self.served.as_ref().ok()?;
        (served.fingerprint != newest.fingerprint).then(|| {
            format!(
                "{} is {} on disk, and {} is served",
                newest.certificate_path,
                short(&newest.fingerprint),
                short(&served.fingerprint)
            )
        })
    }
}

/// What several artifacts came to: what is wrong, and what could not be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// What breaks the promise.
    pub wrong: Vec<String>,
    /// What could not be looked at.
    pub unknown: Vec<String>,
}

impl Findings {
    /// The opinion that follows: anything wrong is worse than anything unknown.
    pub fn opinion(&self) -> Opinion {
        if !self.wrong.is_empty() {
            Opinion::violated(self.wrong.join("; "))
        } else if !self.unknown.is_empty() {
            Opinion::inconclusive(self.unknown.join("; "))
        } else {
            Opinion::held()
        }
    }

    /// Both files of an artifact are to be there and whole.
    pub(super) fn files(&mut self, state: &ArtifactState) {
        let mut seen = None;
        for (path, file) in [(&state.certificate_path, &state.certificate), (&state.key_path, &state.key)] {
            // One file for both is told once.
            if seen.replace((path, file)) == Some((path, file)) {
                continue;
            }
            match file {
                FileState::Whole => {}
                FileState::Missing(why) => self.wrong.push(format!("{path} is missing ({why})")),
                FileState::Broken(why) => self.wrong.push(format!("{path} is not whole: {why}")),
                FileState::Unreadable(why) => self.unknown.push(format!("{path} cannot be looked at: {why}")),
            }
        }
    }

    /// The key is to be the certificate's. Says nothing where a file is not whole.
    pub(super) fn pair(&mut self, state: &ArtifactState) {
        match (state.matches, &state.unjudged) {
            (Some(false), _) => self.wrong.push(format!(
                "the key in {} is not the one of the certificate in {} ({})",
                state.key_path,
                state.certificate_path,
                short(&state.fingerprint)
            )),
            (None, Some(why)) => self.unknown.push(format!("{} cannot be compared: {why}", state.key_path)),
            _ => {}
        }
    }
}

/// Enough of a fingerprint to tell certificates apart by eye.
pub(super) fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}

/// Seconds since the epoch.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A path that a clean run would not have left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Litter {
    /// Where.
    pub path: PathBuf,
    /// Whether it is (or looks like) a key, a certificate, a temporary file.
    pub what: String,
}
