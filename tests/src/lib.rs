//! Shared helpers of the tests.

pub mod ca;
pub mod program;
pub mod readme;
