//! The server that uses the certificate, and the probe that asks what it serves.

mod control;
mod http;
mod pair;
mod probe;
mod serve;
mod server;

pub use control::{SERVE, Settled};
pub use probe::{Served, served};
pub use serve::serve_main;
pub use server::{Server, ServerSpec, this_program};
