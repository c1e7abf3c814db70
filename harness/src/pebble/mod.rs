//! Where Pebble comes from: four sources, tried in order, behind one trait.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::event::PebbleRecord;

/// The programs of the test CA, found and able to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programs {
    /// `pebble`.
    pub pebble: PathBuf,
    /// `pebble-challtestsrv`.
    pub challtestsrv: PathBuf,
    /// What to say of it in reports.
    pub record: PebbleRecord,
}
