//! bounded-issuance

use super::{Evidence, Invariant, Opinion, at_most_one_reload::times};
use crate::verdict::Phase;

/// Rate limits are part of production: who burns them cannot renew when it matters.
pub(super) struct BoundedIssuance;

impl Invariant for BoundedIssuance {
    fn name(&self) -> &'static str {
        "bounded-issuance"
    }
    fn promise(&self) -> &'static str {
        "at most so many new orders and certificates per incident as the scenario allows, and none when nothing is due"
    }
    fn judge(&self, evidence: &Evidence<'_>) -> Option<Opinion> {
        let last = evidence.run()?;
        if evidence.phase == Phase::Always {
            return None;
        }
        if evidence.phase == Phase::Idle && (last.orders > 0 || last.certificates > 0) {
            return Some(Opinion::violated(format!(
                "{} and {} by a run that had nothing to do",
                times(last.orders, "order"),
                times(last.certificates, "certificate")
            )));
        }
        let limits = &evidence.scenario.limits;
        let orders: u32 = evidence.runs.iter().map(|run| run.orders).sum();
        let certificates: u32 = evidence.runs.iter().map(|run| run.certificates).sum();
        // Each further disturbed run may have spent one of each for nothing.
        let disturbed = evidence.runs.iter().filter(|run| !run.faults.is_empty()).count();
        let further = u32::try_from(disturbed.saturating_sub(1)).unwrap_or(u32::MAX);
        let allowed = (limits.orders.saturating_add(further), limits.certificates.saturating_add(further));
        Some(if orders > allowed.0 || certificates > allowed.1 {
            Opinion::violated(format!(
                "{} and {}, where {} and {} are allowed",
                times(orders, "order"),
                times(certificates, "certificate"),
                allowed.0,
                allowed.1
            ))
        } else {
            Opinion::held()
        })
    }
}
