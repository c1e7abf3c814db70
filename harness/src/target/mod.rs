//! The server that uses the certificate, and the probe that asks what it serves.

use std::{net::SocketAddr, path::PathBuf};

use process_roulette_tracer as tracer;

use crate::world::{Stage, WorldError};

/// What a server answered to one TLS handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// SHA-256 of the leaf's DER, lower-case hex.
    pub fingerprint: String,
    /// DNS names in the leaf.
    pub names: Vec<String>,
    /// End of the leaf's validity, seconds since the epoch.
    pub not_after: i64,
}

/// Asks `address` for the certificate it serves for `name`: one whole handshake, the key proven,
/// the chain not judged. The error is a fragment such as `connection refused`.
pub fn served(address: SocketAddr, name: &str) -> Result<Served, String> {
    let _ = (address, name);
    unreachable!()
}

/// How the world's server is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// Where it serves TLS.
    pub tls: SocketAddr,
    /// Where it serves the webroots over HTTP, if it does.
    pub http: Option<SocketAddr>,
    /// Folders tried in order for HTTP.
    pub webroots: Vec<String>,
    /// Certificate path as the subject names it.
    pub certificate: String,
    /// Key path as the subject names it.
    pub key: String,
    /// Where it writes its process id (as the subject's namespace numbers it).
    pub pid_file: String,
}

/// The world's server, running on a stage.
#[derive(Debug)]
pub struct Server {
    _private: (),
}

impl Server {
    /// Starts it on the stage and waits until it is ready: listening, and serving the pair if
    /// there is one on disk.
    pub fn start(stage: &dyn Stage, spec: &ServerSpec) -> Result<Server, WorldError> {
        let _ = (stage, spec);
        unreachable!()
    }
    /// Its process id as the caller sees it.
    pub fn pid(&self) -> i32 {
        unreachable!()
    }
    /// Waits until it has acted on every SIGHUP that reached it so far.
    pub fn settle(&mut self) -> Result<(), WorldError> {
        unreachable!()
    }
}

/// Names a command for [`Stage::command`] that runs this very program as `name`.
pub fn this_program(name: &str) -> tracer::Command {
    let _ = (name, PathBuf::new());
    unreachable!()
}
