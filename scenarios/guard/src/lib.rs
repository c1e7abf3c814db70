//! The guard: a certificate renewal pipeline that survives being killed at any point.
//!
//! One scheduled run takes a lock that the kernel releases, looks whether the certificate is due, obtains a new one over ACME
//! (RFC 8555, HTTP-01), puts key and certificate in place with a single rename of a single symlink, and reloads the server until
//! the certificate that is *served* is the one on disk. Nothing is remembered between runs except what lies on disk in whole
//! files, so a run that is killed anywhere is mended by the next one.
//!
//! `docs/guard.md` is the user's guide: configuration, exit codes, what is promised and what is not.
#![forbid(unsafe_code)]

mod account;
mod acme;
mod backoff;
mod bound;
mod certificate;
mod challenge;
mod cli;
mod config;
mod error;
mod files;
mod http;
mod limits;
mod lock;
mod obtain;
mod reload;
mod run;
mod served;
mod status;
mod store;

pub use certificate::{Fingerprint, Leaf};
pub use cli::main;
pub use config::Config;
pub use error::{Error, exit};
