//! The runner's gate at the ACME front: requests that make the CA act are effects too.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use process_roulette_tracer::Waker;
use tokio::sync::oneshot;

use crate::{
    effect::Class,
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
    /// Whether it makes the CA act.
    pub class: Class,
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
    /// Numbers of requests whose answer is not passed back.
    cut: Vec<u64>,
    /// Whether orders stay in `processing` once they are finalized.
    orders_stay: bool,
    /// Whether one has.
    order_stayed: bool,
}

impl RequestGate {
    /// A gate that lets everything pass until [`RequestGate::begin`].
    pub fn new(waker: Waker) -> (Arc<RequestGate>, mpsc::Receiver<Arrival>) {
        let (arrivals, receiver) = mpsc::channel();
        let state = GateState {
            arrivals,
            counts: HashMap::new(),
            all: false,
            wanted: Vec::new(),
            cut: Vec::new(),
            orders_stay: false,
            order_stayed: false,
        };
        (Arc::new(RequestGate { state: Mutex::new(state), waker }), receiver)
    }

    /// A run begins.
    pub fn begin(&self, assignment: &Assignment<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.counts.clear();
        (state.orders_stay, state.order_stayed) = (false, false);
        state.all = assignment.detail != Detail::Plain;
        state.wanted =
            assignment.faults.iter().map(|fault| (fault.point.op.clone(), fault.point.occurrence)).collect();
    }

    /// The CA acts on this request, and its answer is lost.
    pub fn cut_answer(&self, number: u64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).cut.push(number);
    }

    /// From now on until the run is over, orders stay in `processing` once they are finalized.
    pub fn keep_processing(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).orders_stay = true;
    }

    /// Whether a client was told that a finalized order is in `processing`.
    pub fn kept_processing(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).order_stayed
    }

    /// The run is over.
    pub fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.all = false;
        state.orders_stay = false;
        state.wanted.clear();
    }
}

impl Gate for RequestGate {
    fn at(&self, request: &Request, instant: Instant) -> Decision {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stays = state.orders_stay && matches!(request.step, Step::Order | Step::Finalize);
        let Some((op, class)) = named(request.step) else {
            return if stays && instant == Instant::Answered { Decision::Processing } else { Decision::Pass };
        };
        let count = state.counts.entry(request.step).or_insert(0);
        if instant == Instant::Answered {
            // One that the CA refused (a bad nonce) made it do nothing: the next try is the one
            // that counts.
            if request.status.is_some_and(|status| status >= 400) {
                *count = count.saturating_sub(1);
            }
            if let Some(cut) = state.cut.iter().position(|number| *number == request.number) {
                state.cut.swap_remove(cut);
                return Decision::Cut;
            }
            if stays {
                state.order_stayed |= request.status.is_some_and(|status| status < 400);
                return Decision::Processing;
            }
            return Decision::Pass;
        }
        *count += 1;
        let occurrence = *count;
        if !state.all && !state.wanted.iter().any(|(wanted, n)| wanted == op && *n == occurrence) {
            return Decision::Pass;
        }
        let (reply, decision) = oneshot::channel();
        let arrival = Arrival { request: request.clone(), op, class, occurrence, reply };
        if state.arrivals.send(arrival).is_err() {
            return Decision::Pass;
        }
        drop(state);
        self.waker.wake();
        Decision::Hold(decision)
    }
}

/// The operation's name for steps that are effects. Polling is none: it changes nothing, and how
/// often it comes differs from run to run.
fn named(step: Step) -> Option<(&'static str, Class)> {
    Some(match step {
        Step::Directory => ("directory", Class::Query),
        Step::NewNonce => ("newNonce", Class::Query),
        Step::NewAccount => ("newAccount", Class::Request),
        Step::NewOrder => ("newOrder", Class::Request),
        Step::Challenge => ("challenge", Class::Request),
        Step::Finalize => ("finalize", Class::Request),
        Step::Certificate => ("certificate", Class::Request),
        Step::KeyChange => ("keyChange", Class::Request),
        Step::RevokeCert => ("revokeCert", Class::Request),
        _ => return None,
    })
}
