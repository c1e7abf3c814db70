//! one-at-a-time

use super::{Evidence, Invariant, Opinion};
use crate::{
    fault::{self, Family},
    verdict::Phase,
};

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
        let run = evidence.run()?;
        match evidence.phase {
            Phase::Always => Some(match run.overlaps.as_slice() {
                [] => Opinion::held(),
                // Brackets: which acts they were is no part of the cause.
                [only] => Opinion::violated(format!("two runs were at work together ({only})")),
                [first, more @ ..] => Opinion::violated(format!(
                    "two runs were at work together ({first}; and {} more effects)",
                    more.len()
                )),
            }),
            Phase::Aftermath if undisturbed(evidence) && run.certificates > 1 => Some(Opinion::violated(
                format!("both runs renewed the certificate ({} were issued)", run.certificates),
            )),
            _ => None,
        }
    }
}

/// Whether nothing happened but that a second run was started: then there is one certificate to
/// renew, whatever the order in which the two come to it.
fn undisturbed(evidence: &Evidence<'_>) -> bool {
    let mut faults = evidence.runs.iter().flat_map(|run| &run.faults).peekable();
    faults.peek().is_some()
        && faults.all(|record| matches!(fault::family(record), Some(Family::Collide | Family::Pause)))
}
