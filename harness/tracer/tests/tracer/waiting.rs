//! The wait: woken, timed out, and blind to other children.

use std::{
    process, thread,
    time::{Duration, Instant},
};

use nix::sys::wait::{WaitStatus, waitpid};
use process_roulette_tracer::{Error, Event, Options, Status, Tracer, spawn_untraced};

use crate::world::{drive, guest, next, resume, tracer};

#[test]
fn with_no_tracee_there_is_nothing_to_wait_for() {
    assert!(matches!(tracer().wait(None), Ok(Event::Empty)));
}

/// A tracer with a tracee that does nothing any more.
fn quiet() -> Tracer {
    let mut tracer = tracer();
    tracer.spawn(&guest(["for-ever", "0"])).unwrap();
    loop {
        match tracer.wait(Some(Instant::now() + Duration::from_millis(50))).unwrap() {
            Event::Stopped(stopped) => resume(stopped),
            Event::TimedOut => return tracer,
            _ => {}
        }
    }
}

#[test]
fn a_deadline_ends_the_wait_and_not_before() {
    let mut tracer = quiet();
    for milliseconds in [0, 1, 5, 30, 3, 0, 20] {
        let deadline = Instant::now() + Duration::from_millis(milliseconds);
        assert!(matches!(tracer.wait(Some(deadline)), Ok(Event::TimedOut)));
        assert!(Instant::now() >= deadline);
    }
    // An earlier deadline after a later one that did not come to pass, and the other way round.
    let waker = tracer.waker();
    waker.wake();
    assert!(matches!(tracer.wait(Some(Instant::now() + Duration::from_secs(60))), Ok(Event::Woken)));
    let deadline = Instant::now() + Duration::from_millis(20);
    assert!(matches!(tracer.wait(Some(deadline)), Ok(Event::TimedOut)));
    assert!(Instant::now() >= deadline);
}

#[test]
fn a_wake_is_never_lost_whenever_it_comes() {
    let mut tracer = quiet();
    let waker = tracer.waker();
    // Before the wait, and several count as one.
    waker.wake();
    waker.wake();
    assert!(matches!(tracer.wait(None), Ok(Event::Woken)));
    let soon = Instant::now() + Duration::from_millis(5);
    assert!(matches!(tracer.wait(Some(soon)), Ok(Event::TimedOut)));
    // While it waits, with and without a deadline, at every distance from its beginning.
    let (send, receive) = std::sync::mpsc::channel::<u64>();
    let other = thread::spawn(move || {
        for delay in receive {
            let until = Instant::now() + Duration::from_nanos(delay);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            waker.wake();
        }
    });
    for round in 0..2000 {
        send.send(round * 53 % 20_000).unwrap();
        let deadline = (round % 2 == 0).then(|| Instant::now() + Duration::from_secs(60));
        assert!(matches!(tracer.wait(deadline), Ok(Event::Woken)));
    }
    drop(send);
    other.join().unwrap();
}

#[test]
fn a_waker_may_outlive_its_tracer() {
    let waker = quiet().waker();
    waker.wake();
    let mut second = quiet();
    second.waker().wake();
    assert!(matches!(second.wait(None), Ok(Event::Woken)));
    drop(waker);
}

#[test]
fn other_children_of_the_thread_are_left_to_those_who_started_them() {
    let mut tracer = tracer();
    let mut child = process::Command::new("sh").args(["-c", "exit 9"]).spawn().unwrap();
    let untraced = spawn_untraced(&guest(["pid"])).unwrap();
    let pid = tracer.spawn(&guest(["forks", "50"])).unwrap();
    let story = drive(&mut tracer, resume);
    assert_eq!(story.status(pid), Status::Exited(0));
    assert_eq!(story.ends.len(), 51);
    assert_eq!(child.wait().unwrap().code(), Some(9));
    assert!(matches!(waitpid(untraced, None), Ok(WaitStatus::Exited(..))));
}

#[test]
fn a_thread_has_one_tracer_at_a_time() {
    let first = tracer();
    assert!(matches!(Tracer::new(Options::default()), Err(Error::SecondTracer)));
    drop(first);
    drop(tracer());
}

#[test]
fn tracers_of_several_threads_do_not_meddle() {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let mut tracer = tracer();
                    let pid = tracer.spawn(&guest(["forks", "20"])).unwrap();
                    let story = drive(&mut tracer, resume);
                    assert_eq!((story.status(pid), story.ends.len()), (Status::Exited(0), 21));
                }
            });
        }
    });
}

#[test]
fn a_dropped_tracer_kills_what_it_traced() {
    let mut tracer = tracer();
    let pid = tracer.spawn(&guest(["for-ever", "3"])).unwrap();
    for _ in 0..3 {
        if let Event::Stopped(stopped) = next(&mut tracer) {
            resume(stopped);
        }
    }
    drop(tracer);
    assert!(nix::sys::signal::kill(pid, None).is_err());
}
