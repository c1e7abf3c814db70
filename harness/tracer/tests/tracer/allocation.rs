//! Requests for memory that the kernel refuses, seen before the program hears of it.

use process_roulette_tracer::{Status, Stop};

use crate::world::{command, drive, resume, tracer};

/// How the command ended, and how often memory was refused.
fn refusals(script: &str, watched: bool) -> (Status, usize) {
    let mut tracer = tracer();
    tracer.watch_memory(watched);
    let pid = tracer.spawn(&command(["sh", "-c", script])).expect("it starts");
    let mut refused = 0;
    let story = drive(&mut tracer, |stopped| {
        refused += usize::from(matches!(stopped.stop(), Stop::Refused { .. }));
        resume(stopped);
    });
    (story.status(pid), refused)
}

/// Grows for ever: not beyond its limit.
const GROWS: &str = "ulimit -v 65536; exec tail /dev/zero 2>/dev/null";

#[test]
fn whoever_is_refused_memory_is_seen_and_goes_on_to_be_told() {
    for _ in 0..50 {
        let (status, refused) = refusals(GROWS, true);
        assert_eq!(status, Status::Exited(1));
        assert!(refused > 0);
    }
}

#[test]
fn nobody_is_seen_who_has_enough_or_is_not_watched() {
    for _ in 0..50 {
        assert_eq!(refusals("tail -c 1 /dev/null", true), (Status::Exited(0), 0));
    }
    assert_eq!(refusals(GROWS, false), (Status::Exited(1), 0));
}
