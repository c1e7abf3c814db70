//! key-private

use super::{Evidence, Findings, Invariant, Opinion};
use crate::verdict::Phase;

/// A key that others could read once is lost, however short the moment. Groups may read: a server
/// that is not root needs it (Debian's `ssl-cert`).
pub(super) struct KeyPrivate;

impl Invariant for KeyPrivate {
    fn name(&self) -> &'static str {
        "key-private"
    }
    fn promise(&self) -> &'static str {
        "no private key is ever readable by others, not even for one effect"
    }
    fn judge(&self, evidence: &Evidence<'_>) -> Option<Opinion> {
        if evidence.phase == Phase::Always {
            return Some(match evidence.run()?.exposed_keys.as_slice() {
                [] => Opinion::held(),
                some => Opinion::violated(format!("readable by others: {}", some.join("; "))),
            });
        }
        let mut findings = Findings::default();
        for state in evidence.artifacts {
            let path = &state.key_path;
            match (state.key_exposed, state.key_mode) {
                (Some(true), mode) => {
                    findings.wrong.push(format!("{path} is readable by others ({:04o})", mode.unwrap_or(0)));
                }
                (None, Some(_)) => findings.unknown.push(format!("who can read {path} cannot be seen")),
                // A key that is not there cannot be read.
                (Some(false), _) | (None, None) => {}
            }
        }
        Some(findings.opinion())
    }
}
