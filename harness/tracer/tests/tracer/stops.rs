//! Effects: what is stopped at, and what can be done there.

use std::{fs, path::Path};

use process_roulette_tracer::{Call, Error, Status, Stop, Tracer};

use crate::world::{Folder, command, drive, guest, path_argument, resume, run, tracer, writes};

#[test]
fn a_program_runs_to_its_end_and_its_status_is_told() {
    assert_eq!(run(&guest(["nothing"])), Status::Exited(0));
    assert_eq!(run(&command(["sh", "-c", "exit 7"])), Status::Exited(7));
    assert_eq!(run(&command(["sh", "-c", "kill -KILL $$"])), Status::Signalled { signal: 9, core: false });
}

#[test]
fn effects_are_stopped_at_and_reading_is_not() {
    let folder = Folder::new();
    fs::write(folder.path("read"), "text").unwrap();
    let script = r#"cd "$0"; cat read; : > made; mkdir d; mv made d/moved; ln -s x l; rm l; rmdir d 2>&1"#;
    let mut tracer = tracer();
    tracer.spawn(&command(["sh", "-c", script, &folder.path("")])).unwrap();
    let mut calls = Vec::new();
    let mut paths = Vec::new();
    drive(&mut tracer, |stopped| {
        if let Some(syscall) = stopped.syscall() {
            calls.push(syscall.call);
            if matches!(syscall.call, Call::Openat | Call::Open) {
                paths.push(path_argument(&stopped, usize::from(syscall.call == Call::Openat)).unwrap());
            }
        }
        resume(stopped);
    });
    assert_eq!(paths, [Path::new("made")], "only what is opened for writing");
    for (what, expected) in [
        ("mkdir", &[Call::Mkdir, Call::Mkdirat][..]),
        ("rename", &[Call::Rename, Call::Renameat, Call::Renameat2]),
        ("symlink", &[Call::Symlink, Call::Symlinkat]),
        ("unlink", &[Call::Unlink, Call::Unlinkat]),
        ("exec", &[Call::Execve]),
        ("exit", &[Call::ExitGroup]),
    ] {
        assert!(calls.iter().any(|call| expected.contains(call)), "{what} is not in {calls:?}");
    }
}

#[test]
fn an_effect_has_not_happened_at_its_stop_and_has_after_it() {
    let folder = Folder::new();
    let mut tracer = tracer();
    let pid = tracer.spawn(&guest(["append", &folder.path("f"), "one", "two"])).unwrap();
    let mut returned = Vec::new();
    let story = drive(&mut tracer, |stopped| match *stopped.stop() {
        Stop::Syscall(_) if writes(&stopped, "one") => {
            assert_eq!(folder.read("f"), "");
            stopped.resume_and_stop_after().unwrap();
        }
        Stop::Returned { syscall, result } => {
            assert_eq!(folder.read("f"), "one");
            returned.push((syscall.call, result));
            resume(stopped);
        }
        _ => resume(stopped),
    });
    assert_eq!(returned, [(Call::Write, 3)]);
    assert_eq!(story.status(pid), Status::Exited(0));
    assert_eq!(folder.read("f"), "onetwo");
}

#[test]
fn a_refused_call_does_not_run_and_the_program_sees_the_error() {
    for errno in [libc::ENOSPC, libc::EDQUOT, libc::EROFS, libc::EIO] {
        let folder = Folder::new();
        let mut tracer = tracer();
        let pid = tracer.spawn(&guest(["append", &folder.path("f"), "one"])).unwrap();
        let story = drive(&mut tracer, |stopped| {
            if writes(&stopped, "one") { stopped.refuse(errno).unwrap() } else { resume(stopped) }
        });
        assert_eq!(story.status(pid), Status::Exited(errno));
        assert_eq!(folder.read("f"), "");
    }
}

#[test]
fn a_call_can_be_answered_and_its_arguments_changed() {
    let folder = Folder::new();
    let mut tracer = tracer();
    let pid = tracer.spawn(&guest(["write-once", &folder.path("f"), "123456"])).unwrap();
    let story = drive(&mut tracer, |mut stopped| {
        if writes(&stopped, "123456") {
            stopped.set_argument(2, 4).unwrap();
        }
        resume(stopped);
    });
    assert_eq!((story.status(pid), folder.read("f")), (Status::Exited(4), "1234".to_owned()));

    let pid = tracer.spawn(&guest(["write-once", &folder.path("f"), "123456"])).unwrap();
    let story = drive(&mut tracer, |stopped| {
        if writes(&stopped, "123456") { stopped.answer(6).unwrap() } else { resume(stopped) }
    });
    assert_eq!((story.status(pid), folder.read("f")), (Status::Exited(6), "1234".to_owned()));
}

#[test]
fn a_stop_that_is_dropped_resumes() {
    let mut tracer = tracer();
    let pid = tracer.spawn(&guest(["nothing"])).unwrap();
    assert_eq!(drive(&mut tracer, drop).status(pid), Status::Exited(0));
}

#[test]
fn one_task_can_be_held_while_others_run_to_their_end() {
    let folder = Folder::new();
    let mut tracer = tracer();
    let first = tracer.spawn(&guest(["append", &folder.path("f"), "first"])).unwrap();
    let mut held = None;
    while held.is_none() {
        if let process_roulette_tracer::Event::Stopped(stopped) = crate::world::next(&mut tracer) {
            if writes(&stopped, "first") { held = Some(stopped) } else { resume(stopped) }
        }
    }
    let second = tracer.spawn(&guest(["append", &folder.path("f"), "second"])).unwrap();
    let mut second_ended = false;
    while !second_ended {
        match crate::world::next(&mut tracer) {
            process_roulette_tracer::Event::Stopped(stopped) => resume(stopped),
            process_roulette_tracer::Event::Ended(ended) => second_ended = ended.pid == second,
            _ => {}
        }
    }
    assert_eq!(folder.read("f"), "second");
    held.unwrap().resume().unwrap();
    assert_eq!(drive(&mut tracer, resume).status(first), Status::Exited(0));
    assert_eq!(folder.read("f"), "secondfirst");
}

#[test]
fn what_belongs_to_a_call_is_refused_at_another_stop() {
    let mut tracer = tracer();
    tracer.spawn(&guest(["nothing"])).unwrap();
    let mut refused = 0;
    drive(&mut tracer, |stopped| {
        if matches!(stopped.stop(), Stop::Executed { .. }) {
            assert!(matches!(stopped.postpone(), Err(Error::NotASyscall { .. })));
            refused += 1;
        } else {
            resume(stopped);
        }
    });
    assert_eq!(refused, 1);
}

#[test]
fn addresses_are_stopped_at_when_asked_for() {
    let script = "exec 3<>/dev/tcp/127.0.0.1/9";
    for connect in [false, true] {
        let mut tracer = Tracer::new(process_roulette_tracer::Options { connect }).unwrap();
        tracer.spawn(&command(["bash", "-c", script])).unwrap();
        let mut seen = 0;
        drive(&mut tracer, |stopped| match stopped.syscall() {
            Some(syscall) if syscall.call == Call::Connect => {
                let address = stopped.read_bytes(syscall.args[1], 8).unwrap();
                // A C library may ask a local daemon (AF_UNIX) who the user is.
                if address[..2] != 2_u16.to_ne_bytes() {
                    return resume(stopped);
                }
                assert_eq!(address[2..8], [0, 9, 127, 0, 0, 1]);
                seen += 1;
                stopped.refuse(libc::ENETUNREACH).unwrap();
            }
            _ => resume(stopped),
        });
        assert_eq!(seen, usize::from(connect));
    }
}

#[test]
fn locks_are_stopped_at() {
    let folder = Folder::new();
    let script = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); fcntl.flock(f, fcntl.LOCK_EX)";
    let mut tracer = tracer();
    let Ok(pid) = tracer.spawn(&command(["/usr/bin/python3", "-c", script, &folder.path("f")])) else {
        eprintln!("NOT TRIED: /usr/bin/python3 is not installed");
        return;
    };
    let mut locks = Vec::new();
    let story = drive(&mut tracer, |stopped| {
        if let Some(syscall) = stopped.syscall()
            && matches!(syscall.call, Call::Fcntl | Call::Flock)
        {
            locks.push(syscall.call);
        }
        resume(stopped);
    });
    assert_eq!(story.status(pid), Status::Exited(0));
    assert_eq!(locks, [Call::Fcntl, Call::Flock]);
}
