//! The guard's tests: the real binary against a real Pebble.

mod renewal;
mod world;
