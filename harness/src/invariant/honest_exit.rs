//! honest-exit

use super::{End, Evidence, Invariant, Opinion};
use crate::verdict::Phase;

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
        let mut findings = evidence.disk();
        findings.wrong.extend(evidence.stale());
        let mut opinion = findings.opinion();
        if !opinion.detail.is_empty() {
            opinion.detail.insert_str(0, "exit 0, but ");
        }
        Some(opinion)
    }
}
