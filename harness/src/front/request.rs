//! What the front remembers of each request, and what it counts from that.

use serde::{Deserialize, Serialize};

use super::Step;

/// One request to the CA, as the front saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Counts requests since the CA started, from 1.
    pub number: u64,
    /// Its protocol step.
    pub step: Step,
    /// Address and port of the client, by which the process can be found.
    pub client: std::net::SocketAddr,
    /// HTTP status of the CA's answer, also where the client was then given another or none, or
    /// of the answer that a fault gave without asking the CA. `None` while there is none, and for
    /// a request that was cut before the CA acted.
    pub status: Option<u16>,
}

/// What requests came to at the CA.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuance {
    /// Orders made: newOrder answered 201 (RFC 8555 section 7.4).
    pub orders: u32,
    /// Certificates issued: finalize answered 200. Pebble issues for every CSR it accepts.
    pub certificates: u32,
}

/// Counts orders and certificates.
pub fn issuance(requests: &[Request]) -> Issuance {
    let count =
        |step, status| requests.iter().filter(|r| r.step == step && r.status == Some(status)).count() as u32;
    Issuance { orders: count(Step::NewOrder, 201), certificates: count(Step::Finalize, 200) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_orders_made_and_certificates_issued_count() {
        let request = |step, status| Request { number: 1, step, client: ([127, 0, 0, 1], 1).into(), status };
        let requests = [
            request(Step::NewOrder, Some(201)),
            request(Step::NewOrder, Some(429)),
            request(Step::NewOrder, None),
            request(Step::Order, Some(200)),
            request(Step::Finalize, Some(200)),
            request(Step::Finalize, Some(403)),
            request(Step::Certificate, Some(200)),
        ];
        assert_eq!(issuance(&requests), Issuance { orders: 1, certificates: 1 });
    }
}
