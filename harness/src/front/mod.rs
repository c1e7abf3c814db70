//! The CA's host: Pebble, pebble-challtestsrv and, before them, the ACME front: a TLS reverse
//! proxy that names each request's protocol step, counts issuance and holds or answers requests
//! where a fault wants it.
//!
//! Everything runs on one thread of its own, the CA's thread, which is in the CA's network
//! namespace if there is one: every socket made on it and every program started by it is there
//! too. `docs/pebble.md` tells what is set and why.

mod ca;
mod certificates;
mod child;
mod dns;
mod gate;
mod lifeline;
mod proxy;
mod request;
mod settings;
mod spec;
mod step;
mod upstream;

pub use ca::{Ca, CaError};
pub use gate::{Decision, Gate, Instant};
pub use lifeline::{LIFELINE, lifeline_main, offer_lifeline};
pub use request::{Issuance, Request, issuance};
pub use spec::CaSpec;
pub use step::Step;
