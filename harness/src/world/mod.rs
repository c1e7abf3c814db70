//! The private host(s) a subject runs in: filesystem, network, ACME server, TLS server.

pub mod bare;
pub mod cgroup;
pub mod check;
pub mod control;
mod device;
mod furnish;
mod isolate;
pub mod janitor;
mod layers;
mod network;
pub mod private;
mod processes;
mod scenery;
pub mod shell;
pub mod shim;
mod tree;

pub use check::{Capability, Chosen, State, capabilities, choose};

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use process_roulette_tracer as tracer;

use crate::{
    event::WorldKind,
    front::Ca,
    pebble::Programs,
    scenario::{Placeholders, Scenario},
};

/// A world: built once, used for many experiments, one after the other.
pub trait World {
    /// Which kind it is.
    fn kind(&self) -> WorldKind;
    /// What the placeholders of scenario files stand for here.
    fn placeholders(&self) -> &Placeholders;
    /// The CA of this world.
    fn ca(&self) -> Arc<Ca>;
    /// The name that its shims ask under ([`control::Control::listen`]).
    fn control_name(&self) -> &str;
    /// Sets the stage for one experiment: a fresh filesystem that holds exactly `from` (`None`:
    /// the host's with the scenario's files added), no process. While the stage is up, the
    /// calling thread sees the filesystem the subject sees: `std::fs` on the subject's absolute
    /// paths is what judges look with.
    fn stage(&mut self, from: Option<&Snapshot>) -> Result<Box<dyn Stage + '_>, WorldError>;
}

/// The filesystem and processes of one experiment. Dropping it kills every process and drops
/// every mount.
pub trait Stage {
    /// A command as it would be started on this stage: environment, working directory,
    /// namespaces. The caller may still change its output descriptors and environment.
    fn command(&self, argv: &[String]) -> tracer::Command;
    /// Live processes on the stage: process id as the caller sees it (not as the subject does)
    /// and command line; without the stage's own init.
    fn processes(&self) -> std::io::Result<BTreeMap<i32, String>>;
    /// Every path (as the subject names it) that differs from what the stage's filesystem
    /// started from, sorted. For a stage without a snapshot: from the host.
    fn touched(&self) -> Result<Vec<PathBuf>, WorldError>;
    /// Keeps the filesystem as it is now, for later stages of this world.
    fn snapshot(&mut self) -> Result<Snapshot, WorldError>;
    /// Makes the stage's disk full: it has the size of what is on it. Returns how many blocks are free
    /// nevertheless. What is in memory on a host (`/run`, `/dev/shm`) stays as it is.
    fn fill(&mut self) -> Result<u64, WorldError> {
        Err(WorldError {
            tried: "failed to fill the disk of a stage".to_owned(),
            source: std::io::ErrorKind::Unsupported.into(),
            remedy: Some("only a private world has a disk of its own".to_owned()),
        })
    }
    /// Gives the stage's disk its usual room again.
    fn give_room(&mut self) -> Result<(), WorldError> {
        Ok(())
    }
    /// Kills every process on the stage, waits until none is left, and makes it able to start
    /// processes again. The filesystem stays as it is.
    fn clear(&mut self) -> Result<(), WorldError>;
}

/// A kept filesystem of a world. Lives in the world's own scratch space and dies with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Where its tree is, for the world that made it.
    pub(crate) tree: PathBuf,
}

/// What a world could not do. Says what was tried, on what, what went wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{tried}: {source}{}", remedy.as_deref().map(|r| format!("; {r}")).unwrap_or_default())]
pub struct WorldError {
    /// What was tried, on what: `failed to mount an overlay on /etc`.
    pub tried: String,
    /// What went wrong.
    #[source]
    pub source: std::io::Error,
    /// What to do about it, if that is known.
    pub remedy: Option<String>,
}

/// Builds a world of `kind` for a scenario, in a worker process that is made for it. `roots`:
/// PEM of what it trusts besides its CA's roots and the host's.
///
/// # Errors
/// The part that could not be built.
pub fn build(
    kind: WorldKind,
    scenario: &Scenario,
    programs: &Programs,
    roots: &str,
) -> Result<Box<dyn World>, WorldError> {
    match kind {
        WorldKind::Private => Ok(Box::new(private::PrivateWorld::build(scenario, programs, roots)?)),
        WorldKind::Bare => Ok(Box::new(bare::BareWorld::build(scenario, programs, roots)?)),
    }
}

/// The harness is gone: nothing of the world may be left. In a private world the worker is
/// process 1 of its PID namespace, and the kernel ends everything with it, mounts and network
/// included. A bare world has its janitor.
pub fn abandon() -> ! {
    std::process::exit(1)
}
