//! Where and how the CA's host is started.

use std::{net::IpAddr, os::fd::OwnedFd, path::PathBuf};

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
