//! What is done to a subject, at a point. Each fault family is one file.

pub mod kill;

/// Every fault family that `--faults` takes.
pub const FAMILIES: [&str; 1] = ["kill"];
