//! pair-intact

use super::{Evidence, Findings, Invariant, Opinion};
use crate::verdict::Phase;

/// A torn pair: the server refuses it, and no later run may ever notice.
pub(super) struct PairIntact;

impl Invariant for PairIntact {
    fn name(&self) -> &'static str {
        "pair-intact"
    }
    fn promise(&self) -> &'static str {
        "the private key matches the certificate at the paths the server reads, at rest and after recovery"
    }
    fn judge(&self, evidence: &Evidence<'_>) -> Option<Opinion> {
        if evidence.phase == Phase::Always {
            let torn = &evidence.run()?.torn_moments;
            return (!torn.is_empty()).then(|| Opinion::violated(torn.join("; ")));
        }
        let mut findings = Findings::default();
        for state in evidence.artifacts {
            findings.pair(state);
            if !state.is_whole() {
                findings.unknown.push(format!("there is no whole pair in {}", state.certificate_path));
            }
        }
        Some(findings.opinion())
    }
}
