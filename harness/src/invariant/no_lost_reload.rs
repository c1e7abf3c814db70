//! no-lost-reload

use super::{Evidence, Invariant, Opinion};
use crate::verdict::Phase;

/// The commonest silent failure: renewed on disk, and the old one is served until it expires.
pub(super) struct NoLostReload;

impl Invariant for NoLostReload {
    fn name(&self) -> &'static str {
        "no-lost-reload"
    }
    fn promise(&self) -> &'static str {
        "after recovery the server serves the newest certificate on disk"
    }
    fn judge(&self, evidence: &Evidence<'_>) -> Option<Opinion> {
        if !matches!(evidence.phase, Phase::Recovery | Phase::Idle) {
            return None;
        }
        let newest = evidence.artifacts.first()?;
        if let Err(why) = evidence.served {
            return Some(Opinion::inconclusive(format!("the server could not be asked: {why}")));
        }
        if newest.fingerprint.is_empty() {
            return Some(Opinion::inconclusive(format!("{} cannot be compared", newest.certificate_path)));
        }
        Some(match evidence.stale() {
            Some(what) => Opinion::violated(what),
            None => Opinion::held(),
        })
    }
}
