//! at-most-one-reload

use std::collections::BTreeSet;

use super::{Evidence, Invariant, Opinion};
use crate::verdict::Phase;

/// Reloads cost: workers are doubled, connections are dropped. Judged from the recovery on, over
/// all runs so far: only then is it known how many certificates there were.
pub(super) struct AtMostOneReload;

impl Invariant for AtMostOneReload {
    fn name(&self) -> &'static str {
        "at-most-one-reload"
    }
    fn promise(&self) -> &'static str {
        "the server is reloaded at most once per new certificate"
    }
    fn judge(&self, evidence: &Evidence<'_>) -> Option<Opinion> {
        if !matches!(evidence.phase, Phase::Recovery | Phase::Idle) {
            return None;
        }
        let last = evidence.run()?;
        if evidence.phase == Phase::Idle && last.reloads > 0 && last.certificates == 0 {
            return Some(Opinion::violated(format!(
                "{} by a run that had nothing to do",
                times(last.reloads, "reload")
            )));
        }
        let first: BTreeSet<&String> = evidence.installed.iter().collect();
        let others = evidence.artifacts.iter().zip(evidence.artifacts_before).skip(1);
        let changed = others.filter(|(now, before)| now.fingerprint != before.fingerprint).count();
        let new = u32::try_from(first.len().saturating_sub(1) + changed).unwrap_or(u32::MAX);
        let reloads: u32 = evidence.runs.iter().map(|run| run.reloads).sum();
        Some(if reloads > new {
            Opinion::violated(format!("{} for {}", times(reloads, "reload"), times(new, "new certificate")))
        } else {
            Opinion::held()
        })
    }
}

pub(super) fn times(count: u32, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
