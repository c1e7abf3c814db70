//! honest-exit

use super::{End, Evidence, Invariant, Opinion, Run, evidence::now};
use crate::{
    fault::{self, Act},
    verdict::Phase,
};

/// Monitoring looks at exit codes. Only the disturbed run is judged: a later one may well have
/// found the lock held, or believe what an earlier one noted.
pub(super) struct HonestExit;

impl Invariant for HonestExit {
    fn name(&self) -> &'static str {
        "honest-exit"
    }
    fn promise(&self) -> &'static str {
        "a run that failed or was killed does not report success"
    }
    fn judge(&self, evidence: &Evidence<'_>) -> Option<Opinion> {
        if evidence.phase != Phase::Aftermath {
            return None;
        }
        if evidence.run()?.end? != End::Exited(0) {
            return Some(Opinion::held());
        }
        let run = evidence.run()?;
        let mut findings = evidence.disk_at(now().saturating_sub(behind(run)));
        findings.wrong.extend(evidence.stale());
        let mut opinion = findings.opinion();
        if !opinion.detail.is_empty() {
            opinion.detail.insert_str(0, "exit 0, but ");
        }
        Some(opinion)
    }
}

/// How many seconds behind the clock was that this run was told the time by: by that one, nothing
/// may have been due.
fn behind(run: &Run) -> i64 {
    let steps = run.faults.iter().filter_map(fault::act);
    let behind = steps.map(|act| if let Act::StepClock { seconds } = act { -seconds } else { 0 });
    behind.max().unwrap_or(0).max(0)
}
