//! recovers

use super::{End, Evidence, Invariant, Opinion};
use crate::verdict::Phase;

/// The point of a scheduler: whatever happened, the next run mends it.
pub(super) struct Recovers;

impl Invariant for Recovers {
    fn name(&self) -> &'static str {
        "recovers"
    }
    fn promise(&self) -> &'static str {
        "the next scheduled run ends with a valid certificate that is not due, and exit code 0, with nobody's help"
    }
    fn judge(&self, evidence: &Evidence<'_>) -> Option<Opinion> {
        if evidence.phase != Phase::Recovery {
            return None;
        }
        let mut findings = evidence.disk();
        match evidence.run()?.end? {
            End::Exited(0) => {}
            end => findings.wrong.insert(0, format!("the next run ended with {end}")),
        }
        Some(findings.opinion())
    }
}
