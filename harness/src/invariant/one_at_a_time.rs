//! one-at-a-time

use super::{Evidence, Invariant, Opinion};
use crate::verdict::Phase;

/// Two runs that write the same files mangle them, however careful each one is.
pub(super) struct OneAtATime;

impl Invariant for OneAtATime {
    fn name(&self) -> &'static str {
        "one-at-a-time"
    }
    fn promise(&self) -> &'static str {
        "no two runs are ever inside the state-changing part together; the second leaves cleanly and changes nothing"
    }
    fn judge(&self, evidence: &Evidence<'_>) -> Option<Opinion> {
        let overlaps = match evidence.phase {
            Phase::Always => &evidence.run()?.overlaps,
            _ => return None,
        };
        Some(match overlaps.as_slice() {
            [] => Opinion::held(),
            some => Opinion::violated(format!("two runs at once: {}", some.join("; "))),
        })
    }
}
