//! Scenario files: strict TOML that names a subject, its world, the faults to try and the
//! invariants to hold.

mod model;

pub use model::*;
