//! Shared helpers of the tests.

pub mod ca;
pub mod home;
pub mod program;
pub mod readme;
pub mod sweep;
