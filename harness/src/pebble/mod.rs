//! Where Pebble comes from: four sources, tried in order, behind one trait. `docs/pebble.md`
//! tells about each.

mod cache;
mod container;
#[cfg(feature = "containers")]
mod engine;
mod find;
mod option;
mod package;
mod path;
mod programs;

pub use find::{PebbleError, find};
pub use programs::Programs;
