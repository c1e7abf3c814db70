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
            // A file stays readable from one effect to the next: the first tells it.
            let mut told: Vec<&str> = Vec::new();
            let mut first = Vec::new();
            for exposed in &evidence.run()?.exposed_keys {
                let path = exposed.split_once(" (").map_or(exposed.as_str(), |(path, _)| path);
                if !told.contains(&path) {
                    told.push(path);
                    first.push(exposed.as_str());
                }
            }
            return Some(if first.is_empty() {
                Opinion::held()
            } else {
                Opinion::violated(format!("readable by others: {}", first.join("; ")))
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
