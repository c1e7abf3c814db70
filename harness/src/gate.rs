//! The runner's gate at the ACME front: requests that make the CA act are effects too.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use process_roulette_tracer::Waker;
use tokio::sync::oneshot;

use crate::{
    front::{Decision, Gate, Instant, Request, Step},
    run::{Assignment, Detail},
};

/// A request that waits at the front for the runner's decision.
#[derive(Debug)]
pub struct Arrival {
    /// The request.
    pub request: Request,
    /// Its step's name as an operation.
    pub op: &'static str,
    /// The how-manyth of its step in this run, from 1.
    pub occurrence: u32,
    /// Where the decision goes.
    pub reply: oneshot::Sender<Decision>,
}

/// Holds requests that are effects: all of them in a census, else those at which a fault waits.
#[derive(Debug)]
pub struct RequestGate {
    state: Mutex<GateState>,
    waker: Waker,
}

#[derive(Debug)]
struct GateState {
    arrivals: mpsc::Sender<Arrival>,
    counts: HashMap<Step, u32>,
    all: bool,
    wanted: Vec<(String, u32)>,
}

impl RequestGate {
    /// A gate that lets everything pass until [`RequestGate::begin`].
    pub fn new(waker: Waker) -> (Arc<RequestGate>, mpsc::Receiver<Arrival>) {
        let (arrivals, receiver) = mpsc::channel();
        let state = GateState { arrivals, counts: HashMap::new(), all: false, wanted: Vec::new() };
        (Arc::new(RequestGate { state: Mutex::new(state), waker }), receiver)
    }

    /// A run begins.
    pub fn begin(&self, assignment: &Assignment<'_, '_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.counts.clear();
        state.all = assignment.detail == Detail::Census;
        state.wanted =
            assignment.faults.iter().map(|fault| (fault.point.op.clone(), fault.point.occurrence)).collect();
    }

    /// The run is over.
    pub fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.all = false;
        state.wanted.clear();
    }
}

impl Gate for RequestGate {
    fn at(&self, request: &Request, instant: Instant) -> Decision {
        let Some(op) = acting(request.step) else { return Decision::Pass };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let count = state.counts.entry(request.step).or_insert(0);
        if instant == Instant::Answered {
            // One that the CA refused (a bad nonce) made it do nothing: the next try is the one
            // that counts.
            if request.status.is_some_and(|status| status >= 400) {
                *count = count.saturating_sub(1);
            }
            return Decision::Pass;
        }
        *count += 1;
        let occurrence = *count;
        if !state.all && !state.wanted.iter().any(|(wanted, n)| wanted == op && *n == occurrence) {
            return Decision::Pass;
        }
        let (reply, decision) = oneshot::channel();
        let arrival = Arrival { request: request.clone(), op, occurrence, reply };
        if state.arrivals.send(arrival).is_err() {
            return Decision::Pass;
        }
        drop(state);
        self.waker.wake();
        Decision::Hold(decision)
    }
}

/// The operation's name for steps that make the CA act. Polling, nonces and the directory change
/// nothing, and how often they come differs from run to run.
fn acting(step: Step) -> Option<&'static str> {
    Some(match step {
        Step::NewAccount => "newAccount",
        Step::NewOrder => "newOrder",
        Step::Challenge => "challenge",
        Step::Finalize => "finalize",
        Step::Certificate => "certificate",
        Step::KeyChange => "keyChange",
        Step::RevokeCert => "revokeCert",
        _ => return None,
    })
}
