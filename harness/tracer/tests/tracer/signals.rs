//! Signals and stops: who dies before an effect, who after, and who not at all.

use process_roulette_tracer::{Event, Pid, Signal, Status, Stop, Stopped, signal_process, signal_task};

use crate::world::{Folder, Story, command, drive, guest, next, resume, run, tracer, writes};

/// Often enough to meet the races there could be.
const TIMES: usize = 50;

const KILLED: Status = Status::Signalled { signal: libc::SIGKILL, core: false };
const TERMINATED: Status = Status::Signalled { signal: libc::SIGTERM, core: false };

/// How often the write of "main" was stopped at, and how often that was `again`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    first: usize,
    again: usize,
}

/// Runs the `term` guest; at the write of "main" for the first time, `act`.
fn at_the_write(how: &str, folder: &Folder, mut act: impl FnMut(Stopped)) -> (Story, Pid, Seen) {
    let mut tracer = tracer();
    let pid = tracer.spawn(&guest(["term", how, &folder.path("f")])).unwrap();
    let mut seen = Seen::default();
    let story = drive(&mut tracer, |stopped| {
        if !writes(&stopped, "main\n") {
            return resume(stopped);
        }
        if stopped.syscall().unwrap().again {
            seen.again += 1;
            resume(stopped);
        } else {
            seen.first += 1;
            act(stopped);
        }
    });
    (story, pid, seen)
}

fn terminate(stopped: &Stopped) {
    assert!(signal_process(stopped.pid(), Signal::SIGTERM).unwrap());
}

#[test]
fn a_kill_at_the_stop_comes_before_the_effect() {
    for _ in 0..TIMES {
        let folder = Folder::new();
        let (story, pid, _) = at_the_write("default", &folder, |stopped| {
            assert!(signal_process(stopped.pid(), Signal::SIGKILL).unwrap());
            resume(stopped);
        });
        assert_eq!((story.status(pid), folder.read("f")), (KILLED, String::new()));
    }
}

#[test]
fn a_deadly_signal_at_the_stop_comes_after_the_effect_unless_it_is_postponed() {
    for _ in 0..TIMES {
        let folder = Folder::new();
        let (story, pid, _) = at_the_write("default", &folder, |stopped| {
            terminate(&stopped);
            resume(stopped);
        });
        assert_eq!((story.status(pid), folder.read("f").as_str()), (TERMINATED, "main\n"));

        let folder = Folder::new();
        let (story, pid, seen) = at_the_write("default", &folder, |stopped| {
            terminate(&stopped);
            stopped.postpone().unwrap();
        });
        assert_eq!((story.status(pid), folder.read("f").as_str()), (TERMINATED, ""));
        assert_eq!(seen, Seen { first: 1, again: 0 });
    }
}

#[test]
fn a_postponed_call_runs_once_after_the_handler() {
    for _ in 0..TIMES {
        let folder = Folder::new();
        let (story, pid, seen) = at_the_write("handled", &folder, |stopped| {
            terminate(&stopped);
            stopped.postpone().unwrap();
        });
        assert_eq!((story.status(pid), folder.read("f").as_str()), (Status::Exited(0), "handled\nmain\n"));
        assert_eq!(seen, Seen { first: 1, again: 1 });
    }
}

#[test]
fn a_postponed_call_runs_once_if_the_signal_is_ignored_blocked_or_missing() {
    for _ in 0..TIMES {
        for (how, status) in [("ignored", Status::Exited(0)), ("blocked", TERMINATED)] {
            let folder = Folder::new();
            let (story, pid, seen) = at_the_write(how, &folder, |stopped| {
                terminate(&stopped);
                stopped.postpone().unwrap();
            });
            assert_eq!((story.status(pid), folder.read("f").as_str()), (status, "main\n"), "{how}");
            assert_eq!(seen, Seen { first: 1, again: 1 }, "{how}");
        }
        let folder = Folder::new();
        let (story, pid, seen) = at_the_write("default", &folder, |stopped| stopped.postpone().unwrap());
        assert_eq!((story.status(pid), folder.read("f").as_str()), (Status::Exited(0), "main\n"));
        assert_eq!(seen, Seen { first: 1, again: 1 });
    }
}

#[test]
fn a_kill_after_a_postponed_call_comes_before_it() {
    for _ in 0..TIMES {
        let folder = Folder::new();
        let (story, pid, _) = at_the_write("handled", &folder, |stopped| {
            let pid = stopped.pid();
            stopped.postpone().unwrap();
            signal_process(pid, Signal::SIGKILL).unwrap();
        });
        // Killed before or after: but never half.
        assert_eq!(story.status(pid), KILLED);
        assert!(["", "main\n"].contains(&folder.read("f").as_str()));
    }
}

#[test]
fn a_signal_that_is_sent_at_a_stop_is_never_lost() {
    for _ in 0..TIMES {
        let folder = Folder::new();
        let (story, pid, _) = at_the_write("handled", &folder, |stopped| {
            assert!(signal_task(stopped.pid(), stopped.tid(), Signal::SIGTERM).unwrap());
            resume(stopped);
        });
        assert_eq!((story.status(pid), folder.read("f").as_str()), (Status::Exited(0), "main\nhandled\n"));
    }
}

#[test]
fn a_signal_on_its_way_is_stopped_at_with_its_sender_and_can_be_suppressed() {
    for suppress in [false, true] {
        let mut tracer = tracer();
        let pid = tracer.spawn(&command(["sh", "-c", "kill -TERM $$; exit 4"])).unwrap();
        let mut senders = Vec::new();
        let story = drive(&mut tracer, |stopped| match *stopped.stop() {
            Stop::Signal { signal } => {
                senders.push((signal, stopped.sender().unwrap().pid));
                if suppress { stopped.suppress().unwrap() } else { resume(stopped) }
            }
            _ => resume(stopped),
        });
        assert_eq!(senders, [(libc::SIGTERM, pid)]);
        assert_eq!(story.status(pid), if suppress { Status::Exited(4) } else { TERMINATED });
    }
}

#[test]
fn a_call_that_a_signal_interrupts_and_the_kernel_restarts_is_not_another_one() {
    use std::fs::File;

    use nix::fcntl::{Flock, FlockArg};

    for _ in 0..TIMES {
        let folder = Folder::new();
        let lock = Flock::lock(File::create(folder.path("f")).unwrap(), FlockArg::LockExclusive).unwrap();
        let mut tracer = tracer();
        let pid = tracer.spawn(&guest(["lock", &folder.path("f")])).unwrap();
        let (mut first, mut again) = (0, 0);
        let mut lock = Some(lock);
        let story = drive(&mut tracer, |stopped| {
            let Some(syscall) = stopped.syscall() else { return resume(stopped) };
            // LOCK_EX; the lock is given back at the end.
            if syscall.call.name() != "flock" || syscall.args[1] != 2 {
                return resume(stopped);
            }
            if syscall.again {
                again += 1;
                lock = None;
                resume(stopped);
            } else {
                first += 1;
                let pid = stopped.pid();
                resume(stopped);
                // It is let go before, so it may already block; either way it is one lock.
                wait_until_blocked(pid);
                signal_process(pid, Signal::SIGUSR1).unwrap();
            }
        });
        assert_eq!(story.status(pid), Status::Exited(0));
        assert_eq!((first, again), (1, 1));
    }
}

/// Waits until the kernel says that it sleeps in its call.
fn wait_until_blocked(pid: Pid) {
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        if stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S')) {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn stopping_and_continuing_works_as_without_a_tracer() {
    for _ in 0..TIMES {
        assert_eq!(run(&guest(["job-control"])), Status::Exited(0));
    }
}

#[test]
fn a_stopped_process_waits_for_its_continuation_and_can_be_killed() {
    for kill in [false, true] {
        let folder = Folder::new();
        let mut tracer = tracer();
        let pid = tracer
            .spawn(&command(["sh", "-c", "kill -STOP $$; echo on > \"$0\"", &folder.path("f")]))
            .unwrap();
        // Its own signal is delivered, and then nothing happens.
        let mut delivered = false;
        while !delivered {
            if let Event::Stopped(stopped) = next(&mut tracer) {
                delivered = matches!(stopped.stop(), Stop::Signal { signal: libc::SIGSTOP });
                resume(stopped);
            }
        }
        let soon = std::time::Instant::now() + std::time::Duration::from_millis(100);
        assert!(matches!(tracer.wait(Some(soon)), Ok(Event::TimedOut)));
        assert_eq!(folder.read("f"), "");
        signal_process(pid, if kill { Signal::SIGKILL } else { Signal::SIGCONT }).unwrap();
        let status = drive(&mut tracer, resume).status(pid);
        assert_eq!(status, if kill { KILLED } else { Status::Exited(0) });
        assert_eq!(folder.read("f"), if kill { "" } else { "on\n" });
    }
}

#[test]
fn urgent_signals_pass_through() {
    let mut tracer = tracer();
    let pid = tracer.spawn(&guest(["urgent"])).unwrap();
    let story = drive(&mut tracer, |stopped| {
        assert!(!matches!(stopped.stop(), Stop::Signal { .. }));
        resume(stopped);
    });
    assert_eq!(story.status(pid), Status::Exited(0));
}

#[test]
fn waiting_for_children_and_being_interrupted_are_as_without_a_tracer() {
    for _ in 0..5 {
        assert_eq!(run(&guest(["waiting"])), Status::Exited(0));
    }
}
