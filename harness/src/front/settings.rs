//! Every knob of Pebble and pebble-challtestsrv, set explicitly: their randomness must not become
//! our noise. `docs/pebble.md` has the table.

use std::{net::SocketAddr, path::Path};

use serde_json::json;

use super::CaSpec;

/// Seconds a certificate is valid: 90 days, as production's.
const VALIDITY_S: u64 = 7_776_000;

/// Pebble's environment. `PEBBLE_VA_ALWAYS_VALID` is never set: it skips validation.
pub(super) const PEBBLE_ENVIRONMENT: [(&str, &str); 6] = [
    // No random sleep before a validation.
    ("PEBBLE_VA_NOSLEEP", "1"),
    // No nonce is refused at random (5 % by default); faults do that where they want it.
    ("PEBBLE_WFE_NONCEREJECT", "0"),
    // New authorizations for each order, so that each run meets a challenge. Pebble still re-uses
    // 1 in 100 at this setting; the front tells, and such a run is made again.
    ("PEBBLE_AUTHZREUSE", "0"),
    ("PEBBLE_WFE_ORDERS_PER_PAGE", "100"),
    ("PEBBLE_CHAIN_LENGTH", "1"),
    ("PEBBLE_ALTERNATE_ROOTS", "0"),
];

/// Pebble's configuration file. Unknown keys are ignored by Pebble, so that one file does for all
/// versions.
pub(super) fn pebble_config(
    spec: &CaSpec,
    listen: SocketAddr,
    management: SocketAddr,
    certificate: &Path,
    key: &Path,
) -> String {
    json!({ "pebble": {
        "listenAddress": listen.to_string(),
        "managementListenAddress": management.to_string(),
        "certificate": certificate,
        "privateKey": key,
        "httpPort": spec.http_port,
        "tlsPort": spec.tls_port,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": false,
        "domainBlocklist": [],
        // Up to 2.6.
        "certificateValidityPeriod": VALIDITY_S,
        // From 2.7. One only: Pebble picks one at random for an order that names none.
        "profiles": { "default": { "description": "as production's default", "validityPeriod": VALIDITY_S } },
        // From 2.9: signs and starts faster than with RSA.
        "keyAlgorithm": "ecdsa",
        // No Retry-After: Pebble writes it in one of two forms, at random. Clients poll as they
        // do by themselves.
        "retryAfter": { "authz": 0, "order": 0 },
    }})
    .to_string()
}

/// Arguments of pebble-challtestsrv as a DNS server and nothing else. `help` is what its `-h`
/// prints: the DNS flag has changed its name (`-dns01` in 2.4, `-dnsserver` in 2.10).
pub(super) fn challtestsrv_arguments(
    help: &str,
    spec: &CaSpec,
    dns: SocketAddr,
    management: SocketAddr,
) -> Vec<String> {
    let has = |flag: &str| help.lines().any(|line| line.split_whitespace().next() == Some(flag));
    let dns_flag = if has("-dnsserver") { "-dnsserver" } else { "-dns01" };
    let (ipv4, ipv6) = match spec.subject {
        std::net::IpAddr::V4(address) => (address.to_string(), String::new()),
        std::net::IpAddr::V6(address) => (String::new(), address.to_string()),
    };
    let mut arguments = vec![
        (dns_flag, dns.to_string()),
        ("-management", management.to_string()),
        ("-defaultIPv4", ipv4),
        ("-defaultIPv6", ipv6),
        ("-http01", String::new()),
        ("-https01", String::new()),
        ("-tlsalpn01", String::new()),
    ];
    if has("-doh") {
        arguments.push(("-doh", String::new()));
    }
    arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}
