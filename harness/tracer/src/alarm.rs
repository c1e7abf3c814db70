//! Waiting for tracees without polling, and yet being woken by a deadline or another thread.
//!
//! The wait is one blocking `wait4`. What can end it early is a signal without effect, sent by a
//! POSIX timer to the waiting thread alone. It is blocked except around the wait, so nothing else
//! the thread does is ever interrupted. A signal that comes between the unblocking and the wait
//! would be lost; so the timer goes on ticking until the waiting thread has noticed.

use std::{
    cell::Cell,
    io,
    mem::MaybeUninit,
    ptr,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    error::Error,
    sys::{self, Waited},
};

/// How often the timer repeats itself after it has gone off: only matters when a tick falls
/// into the few instructions before the wait.
const TICK: Duration = Duration::from_millis(1);

/// Makes [`crate::Tracer::wait`] return [`crate::Event::Woken`], from any thread; also when it is
/// called before the wait begins. Several wakes before one wait count as one.
#[derive(Debug, Clone)]
pub struct Waker(Arc<Timer>);

impl Waker {
    /// Wakes the tracer.
    pub fn wake(&self) {
        // In this order: see `Alarm::set`.
        self.0.woken.store(true, Ordering::SeqCst);
        self.0.set(Duration::from_nanos(1));
    }
}

#[derive(Debug)]
struct Timer {
    id: libc::timer_t,
    woken: AtomicBool,
}

// SAFETY: the id is a handle, not memory of ours; the kernel's timers may be used from any
// thread of the process.
unsafe impl Send for Timer {}
// SAFETY: as above; the kernel serialises what threads do to one timer.
unsafe impl Sync for Timer {}

impl Timer {
    fn new() -> io::Result<Timer> {
        // SAFETY: zeroed is a valid sigevent.
        let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal();
        event.sigev_notify_thread_id = sys::gettid();
        let mut id = MaybeUninit::uninit();
        // SAFETY: both pointers are to valid memory of the right type.
        if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, id.as_mut_ptr()) } == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: timer_create succeeded, so it wrote the id.
        Ok(Timer { id: unsafe { id.assume_init() }, woken: AtomicBool::new(false) })
    }

    /// Goes off after this time and then every tick. Zero: never.
    fn set(&self, after: Duration) {
        let spec = |duration: Duration| libc::timespec {
            tv_sec: libc::time_t::try_from(duration.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: duration.subsec_nanos().into(),
        };
        let value = libc::itimerspec { it_interval: spec(TICK), it_value: spec(after) };
        // SAFETY: the timer lives as long as self; the new value is valid, the old not asked for.
        unsafe { libc::timer_settime(self.id, 0, &raw const value, ptr::null_mut()) };
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the id is of a timer of ours that is deleted once.
        unsafe { libc::timer_delete(self.id) };
    }
}

/// The signal: one of the last real-time ones, which nobody else is known to use.
fn signal() -> i32 {
    libc::SIGRTMAX() - 5
}

extern "C" fn nothing(_: i32) {}

fn install_handler() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: zeroed is a valid sigaction. No SA_RESTART: the wait is to be interrupted.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        // SAFETY: the action is valid and its handler does nothing, which is safe in a handler.
        unsafe { libc::sigaction(signal(), &raw const action, ptr::null_mut()) };
    });
}

/// What ended a wait.
pub(crate) enum Outcome {
    Task(Waited),
    Woken,
    TimedOut,
    Empty,
}

/// The waiting thread's side.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: Arc<Timer>,
    /// When the timer is known to go off, if it is known to.
    armed: Cell<Option<Instant>>,
    set: libc::sigset_t,
}

impl Alarm {
    pub(crate) fn new() -> Result<Alarm, Error> {
        install_handler();
        let timer = Timer::new().map_err(|source| Error::system("making the tracer's timer", source))?;
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the set, and the signal is a valid one.
        let set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), signal());
            set.assume_init()
        };
        let alarm = Alarm { timer: Arc::new(timer), armed: Cell::new(None), set };
        alarm.mask(libc::SIG_BLOCK);
        Ok(alarm)
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.timer))
    }

    /// Waits for a tracee of this thread, and for nothing else: a child that is no tracee is left
    /// to whoever started it. With `__WCLONE` the kernel considers children that do not report
    /// with `SIGCHLD`, which ordinary ones do, and all tracees.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Result<Outcome, Error> {
        if deadline.is_some_and(|deadline| self.armed.get().is_none_or(|armed| armed > deadline)) {
            self.set(deadline);
        }
        loop {
            if self.timer.woken.swap(false, Ordering::SeqCst) {
                self.set(None);
                return Ok(Outcome::Woken);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.set(None);
                return Ok(Outcome::TimedOut);
            }
            self.mask(libc::SIG_UNBLOCK);
            let waited = sys::wait4(-1, libc::__WCLONE | libc::__WNOTHREAD);
            self.mask(libc::SIG_BLOCK);
            match waited {
                Ok(Some(waited)) => return Ok(Outcome::Task(waited)),
                Ok(None) => {}
                Err(error) => match error.raw_os_error() {
                    // The timer's tick: stop it, unless it has to go on for the deadline. A wake
                    // sets its flag before the timer, and here the timer is set before the flag
                    // is looked at: whichever comes first, none is lost.
                    Some(libc::EINTR) => self.set(deadline),
                    Some(libc::ECHILD) => return Ok(Outcome::Empty),
                    _ => return Err(Error::system("waiting for a tracee", error)),
                },
            }
        }
    }

    fn set(&self, deadline: Option<Instant>) {
        self.armed.set(deadline);
        self.timer.set(deadline.map_or(Duration::ZERO, |deadline| {
            deadline.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1))
        }));
    }

    fn mask(&self, how: i32) {
        // SAFETY: the set is initialised; the old mask is not asked for.
        unsafe { libc::pthread_sigmask(how, &raw const self.set, ptr::null_mut()) };
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.timer.set(Duration::ZERO);
        self.mask(libc::SIG_UNBLOCK);
    }
}
