//! Where a fault takes hold of a request: the gate is asked at two instants of each.

use std::time::Duration;

use super::Request;

/// Which instant of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instant {
    /// It has arrived and has not been passed on: the CA has not acted.
    Arrived,
    /// The CA has acted; its answer has not been passed back.
    Answered,
}

/// What the front is to do with a request.
#[derive(Debug)]
pub enum Decision {
    /// Go on.
    Pass,
    /// Wait for the sender's decision; a dropped sender means [`Decision::Pass`].
    Hold(tokio::sync::oneshot::Receiver<Decision>),
    /// Wait this long, then go on.
    Delay(Duration),
    /// Answer this instead.
    Answer {
        /// HTTP status.
        status: u16,
        /// Header fields.
        headers: Vec<(String, String)>,
        /// Body.
        body: Vec<u8>,
    },
    /// Close the connection without an answer.
    Cut,
    /// Go on, but the order in the answer is still in `processing` (RFC 8555 section 7.1.6), and
    /// has no certificate yet. Only where the CA has answered.
    Processing,
}

/// Decides about requests. Called on the front's own thread: must not block.
pub trait Gate: Send + Sync {
    /// What to do with `request` at this instant.
    fn at(&self, request: &Request, instant: Instant) -> Decision;
}
