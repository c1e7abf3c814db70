//! The guard's tests: the real binary against a real Pebble.

mod configuration;
mod interruption;
mod patience;
mod reloading;
mod renewal;
mod world;
