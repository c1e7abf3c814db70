//! Where Pebble comes from: four sources, tried in order, behind one trait. `docs/pebble.md`
//! tells about each.

mod find;
mod option;
mod path;
mod programs;

pub use find::{PebbleError, find};
pub use programs::Programs;
