//! always-serving

use super::{
    Evidence, Invariant, Opinion,
    evidence::{now, short},
};
use crate::verdict::Phase;

/// Renewal is maintenance of a running service: it must not be noticed.
pub(super) struct AlwaysServing;

impl Invariant for AlwaysServing {
    fn name(&self) -> &'static str {
        "always-serving"
    }
    fn promise(&self) -> &'static str {
        "at every moment a TLS handshake succeeds with a valid certificate"
    }
    fn judge(&self, evidence: &Evidence<'_>) -> Option<Opinion> {
        if evidence.phase == Phase::Always {
            let dark = &evidence.run()?.dark_moments;
            let (first, rest) = dark.split_first()?;
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            return Some(Opinion::violated(format!("{first}{more}")));
        }
        let served = match evidence.served {
            Ok(served) => served,
            Err(why) => return Some(Opinion::violated(format!("no TLS handshake: {why}"))),
        };
        let fingerprint = short(&served.fingerprint);
        if served.not_after <= now() {
            return Some(Opinion::violated(format!("the certificate served, {fingerprint}, has expired")));
        }
        let domain = evidence.scenario.artifacts.first().and_then(|artifact| artifact.domains.first())?;
        if !served.names.iter().any(|name| covers(name, domain)) {
            return Some(Opinion::violated(format!(
                "the certificate served, {fingerprint}, is not for {domain} but for {}",
                served.names.join(", ")
            )));
        }
        Some(Opinion::held())
    }
}

/// Whether a name in a certificate stands for a domain (RFC 6125 section 6.4): `*` is one label.
fn covers(name: &str, domain: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let domain = domain.to_ascii_lowercase();
    name == domain
        || name
            .strip_prefix("*.")
            .is_some_and(|parent| domain.split_once('.').is_some_and(|(_, above)| above == parent))
}
