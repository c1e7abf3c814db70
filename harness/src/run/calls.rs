//! Calls of shims, on their way from the control socket to the runner.

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use process_roulette_tracer as tracer;

use crate::{limits, world::control};

/// Calls of shims to the world's control socket, taken up by whichever runner is at work.
#[derive(Debug)]
pub struct Calls {
    pub(super) calls: mpsc::Receiver<(control::Request, mpsc::Sender<control::Response>)>,
    waker: Arc<Mutex<Option<tracer::Waker>>>,
}

impl Calls {
    /// The handler for [`control::Control::listen`], and where its calls arrive.
    pub fn new() -> (impl Fn(control::Request) -> control::Response + Send + 'static, Calls) {
        let (sender, calls) = mpsc::channel();
        let waker: Arc<Mutex<Option<tracer::Waker>>> = Arc::default();
        let slot = waker.clone();
        let handler = move |request| {
            let (answer, answered) = mpsc::channel();
            let gone = || "no run is under way".to_owned();
            sender.send((request, answer)).map_err(|_| gone())?;
            match slot.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
                Some(waker) => waker.wake(),
                None => return Err(gone()),
            }
            answered
                .recv_timeout(limits::CONTROL)
                .map_err(|_| "the harness did not answer in time".to_owned())?
        };
        (handler, Calls { calls, waker })
    }

    /// From now on this is who is woken by calls; what nobody took up is dropped.
    pub(super) fn wake(&self, waker: Option<tracer::Waker>) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = waker;
        while self.calls.try_recv().is_ok() {}
    }
}
