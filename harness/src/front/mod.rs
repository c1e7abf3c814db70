//! The CA's host: Pebble, pebble-challtestsrv and, before them, the ACME front: a TLS reverse
//! proxy that names each request's protocol step, counts issuance and holds or answers requests
//! where a fault wants it.

use std::{net::IpAddr, os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::pebble::Programs;

/// Where and how the CA's host is started.
#[derive(Debug)]
pub struct CaSpec {
    /// The programs.
    pub programs: Programs,
    /// Network namespace of the CA's host; `None`: the caller's.
    pub namespace: Option<OwnedFd>,
    /// Address everything listens on.
    pub address: IpAddr,
    /// Port of the front; 0: an ephemeral one.
    pub front_port: u16,
    /// Port of the DNS server; 0: an ephemeral one.
    pub dns_port: u16,
    /// Host names under which the front answers; the first one is in its directory URL.
    pub names: Vec<String>,
    /// Address every name of the world resolves to: the subject's host.
    pub subject: IpAddr,
    /// Where HTTP-01 is validated on the subject's host.
    pub http_port: u16,
    /// Where TLS-ALPN-01 is validated on the subject's host.
    pub tls_port: u16,
    /// A folder for its files; the caller deletes it.
    pub scratch: PathBuf,
}

/// What a request is in the protocol (RFC 8555 section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are RFC 8555's")]
pub enum Step {
    Directory,
    NewNonce,
    NewAccount,
    Account,
    NewOrder,
    Order,
    Authorization,
    Challenge,
    Finalize,
    Certificate,
    KeyChange,
    RevokeCert,
    RenewalInfo,
    Other,
}

/// One request to the CA, as the front saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Counts requests since the CA started, from 1.
    pub number: u64,
    /// Its protocol step.
    pub step: Step,
    /// Address and port of the client, by which the process can be found.
    pub client: std::net::SocketAddr,
    /// HTTP status of the answer; `None` while there is none.
    pub status: Option<u16>,
}

/// Which instant of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instant {
    /// It has arrived and has not been passed on: the CA has not acted.
    Arrived,
    /// The CA has acted; its answer has not been passed back.
    Answered,
}

/// What the front is to do with a request.
#[derive(Debug)]
pub enum Decision {
    /// Go on.
    Pass,
    /// Wait for the sender's decision; a dropped sender means [`Decision::Pass`].
    Hold(tokio::sync::oneshot::Receiver<Decision>),
    /// Wait this long, then go on.
    Delay(Duration),
    /// Answer this instead.
    Answer {
        /// HTTP status.
        status: u16,
        /// Header fields.
        headers: Vec<(String, String)>,
        /// Body.
        body: Vec<u8>,
    },
    /// Close the connection without an answer.
    Cut,
}

/// Decides about requests. Called on the front's own thread: must not block.
pub trait Gate: Send + Sync {
    /// What to do with `request` at this instant.
    fn at(&self, request: &Request, instant: Instant) -> Decision;
}

/// The CA's host, running. Dropping it ends Pebble, pebble-challtestsrv and the front.
#[derive(Debug)]
pub struct Ca {
    _private: (),
}

/// A CA that did not start or went away: what was tried, what it printed, what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CaError(pub String);

impl Ca {
    /// Starts everything and waits until the directory answers through the front.
    pub fn start(spec: CaSpec) -> Result<Ca, CaError> {
        let _ = spec;
        unimplemented!()
    }
    /// The directory URL clients are pointed at.
    pub fn directory_url(&self) -> &str {
        unimplemented!()
    }
    /// Address and port of the front.
    pub fn front(&self) -> std::net::SocketAddr {
        unimplemented!()
    }
    /// Address and port of the DNS server.
    pub fn dns(&self) -> std::net::SocketAddr {
        unimplemented!()
    }
    /// PEM of the roots clients must trust: the front's own and the one Pebble issues under.
    pub fn roots_pem(&self) -> &str {
        unimplemented!()
    }
    /// Replaces the gate that decides about requests; `None`: everything passes.
    pub fn set_gate(&self, gate: Option<Arc<dyn Gate>>) {
        let _ = gate;
        unimplemented!()
    }
    /// Takes the requests that were completed (or cut) since the last call, in order.
    pub fn take_requests(&self) -> Vec<Request> {
        unimplemented!()
    }
}
