//! The guard's tests: the real binary against a real Pebble.

mod interruption;
mod reloading;
mod renewal;
mod world;
