//! ends

use super::{End, Evidence, Invariant, Opinion};
use crate::verdict::Phase;

/// A run that hangs keeps its lock, and the scheduler from starting another.
pub(super) struct Ends;

impl Invariant for Ends {
    fn name(&self) -> &'static str {
        "ends"
    }
    fn promise(&self) -> &'static str {
        "every run ends within its deadline"
    }
    fn judge(&self, evidence: &Evidence<'_>) -> Option<Opinion> {
        if evidence.phase == Phase::Always {
            return None;
        }
        Some(match evidence.run()?.end? {
            End::Deadline => {
                Opinion::violated(format!("still running after {} s", evidence.run()?.wall_ms / 1000))
            }
            End::Exited(_) | End::Killed(_) => Opinion::held(),
        })
    }
}
