//! What can go wrong in a run, and the exit code that tells it to the scheduler.

use std::io;
use std::path::{Path, PathBuf};

/// Exit codes of every command, as documented in `docs/guard.md`.
pub mod exit {
    /// Done, or nothing to do.
    pub const OK: u8 = 0;
    /// Failed; nothing is harmed and the next run tries again. For `due`: not due. For `status`: renewal is due.
    pub const FAILED: u8 = 1;
    /// The command line or the configuration is wrong.
    pub const USAGE: u8 = 2;
    /// The certificate on disk is whole, but the server does not serve it yet; the next run tries again.
    pub const RELOAD_OWED: u8 = 3;
    /// Another run holds the lock; this one changed nothing (`EX_TEMPFAIL` of sysexits.h).
    pub const HELD: u8 = 75;
}

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration or the flags do not make sense. The text names file, line and key where there are any.
    #[error("{0}")]
    Config(String),
    /// Another run holds the lock.
    #[error("another run holds the lock {}; nothing was changed", path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
    },
    /// A file or directory could not be read, written, renamed or removed.
    #[error("failed to {what} {}: {source}", path.display())]
    File {
        /// What was tried, as in "failed to …".
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something on disk is not what the guard makes, and it does not dare to touch it.
    #[error("{} {what}", path.display())]
    Foreign {
        /// What is wrong with it, and what to do.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
    },
    /// No certificate was obtained, after every retry.
    #[error("failed to obtain a certificate: {0}")]
    Obtain(String),
    /// The certificate is in place, but the server does not serve it.
    #[error("the certificate is in place, but the reload is still owed: {0}")]
    ReloadOwed(String),
}

impl Error {
    /// The exit code that tells this to the scheduler.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => exit::USAGE,
            Self::Held { .. } => exit::HELD,
            Self::ReloadOwed(_) => exit::RELOAD_OWED,
            Self::File { .. } | Self::Foreign { .. } | Self::Obtain(_) => exit::FAILED,
        }
    }

    /// For `map_err`: what was tried on which path.
    pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }
}
