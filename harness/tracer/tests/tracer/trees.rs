//! Whole process trees: lineage, threads, execs, and that nothing is left.

use std::collections::{BTreeSet, HashSet};

use process_roulette_tracer::{Event, Pid, Signal, Status, Stop, signal_process};

use crate::world::{Folder, command, drive, guest, next, resume, tracer};

#[test]
fn a_thousand_quick_forks_are_all_followed() {
    let mut tracer = tracer();
    let pid = tracer.spawn(&guest(["forks", "1000"])).unwrap();
    let story = drive(&mut tracer, resume);
    assert_eq!(story.status(pid), Status::Exited(0));
    assert_eq!(story.births.len(), 1000);
    assert!(story.births.iter().all(|birth| birth.0 == pid && !birth.2));
    assert_eq!(story.ends.len(), 1001);
}

#[test]
fn a_task_is_announced_before_anything_it_does() {
    let mut tracer = tracer();
    let pid = tracer
        .spawn(&command(["bash", "-c", "for i in $(seq 50); do (echo $i | cat) & done; wait"]))
        .unwrap();
    let mut known = HashSet::from([pid]);
    loop {
        match next(&mut tracer) {
            Event::Forked { parent, child, .. } => {
                assert!(known.contains(&parent), "{parent} makes {child}");
                known.insert(child);
            }
            Event::Stopped(stopped) => {
                assert!(known.contains(&stopped.tid()));
                resume(stopped);
            }
            Event::Ended(ended) => assert!(known.contains(&ended.tid)),
            Event::Empty => break,
            _ => {}
        }
    }
    assert!(known.len() > 100);
}

/// Children that end while their maker's notice of them still waits, on a machine that has too much to do.
#[test]
fn nobody_is_announced_who_has_ended_already() {
    let busy: Vec<_> = (0..6)
        .map(|_| {
            std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("a shell")
        })
        .collect();
    let script =
        "for i in $(seq 40); do (true; (true)) & (exec true) & true | (exec cat) | (true) & done; wait";
    let mut ghosts = Vec::new();
    for _ in 0..10 {
        let mut tracer = tracer();
        tracer.spawn(&command(["bash", "-c", script])).expect("it starts");
        let mut alive = BTreeSet::new();
        loop {
            match next(&mut tracer) {
                Event::Stopped(stopped) => resume(stopped),
                Event::Forked { child, thread: false, .. } => drop(alive.insert(child)),
                Event::Ended(ended) if ended.leader => drop(alive.remove(&ended.pid)),
                Event::Empty => break,
                _ => {}
            }
        }
        ghosts.extend(alive);
    }
    for mut shell in busy {
        shell.kill().expect("it is there");
        shell.wait().expect("it is mine");
    }
    assert_eq!(ghosts, Vec::<Pid>::new());
}

#[test]
fn a_storm_of_threads_is_followed() {
    for _ in 0..5 {
        let mut tracer = tracer();
        let pid = tracer.spawn(&guest(["threads", "50"])).unwrap();
        let mut writes = 0;
        let story = drive(&mut tracer, |stopped| {
            assert_eq!(stopped.pid(), pid);
            writes += usize::from(stopped.syscall().is_some_and(|syscall| syscall.call.name() == "write"));
            resume(stopped);
        });
        assert_eq!(story.status(pid), Status::Exited(0));
        assert_eq!(story.births.iter().filter(|birth| birth.2 && birth.0 == pid).count(), 100);
        assert_eq!(writes, 100);
        assert_eq!(story.ends.last().map(|ended| ended.leader), Some(true), "the leader is told last");
    }
}

#[test]
fn a_process_that_is_killed_takes_all_its_threads_along() {
    for _ in 0..20 {
        let mut tracer = tracer();
        let pid = tracer.spawn(&guest(["threads", "20"])).unwrap();
        let mut writes = 0;
        let story = drive(&mut tracer, |stopped| {
            writes += usize::from(stopped.syscall().is_some_and(|syscall| syscall.call.name() == "write"));
            if writes == 15 {
                signal_process(pid, Signal::SIGKILL).unwrap();
            }
            resume(stopped);
        });
        assert_eq!(story.status(pid), Status::Signalled { signal: libc::SIGKILL, core: false });
    }
}

#[test]
fn a_thread_that_executes_a_program_becomes_the_leader() {
    for _ in 0..20 {
        let mut tracer = tracer();
        let pid = tracer.spawn(&guest(["exec-from-thread", "/bin/sh", "-c", "exit 5"])).unwrap();
        let mut formers = Vec::new();
        let story = drive(&mut tracer, |stopped| {
            if let Stop::Executed { former } = *stopped.stop() {
                assert_eq!((stopped.tid(), stopped.pid()), (pid, pid));
                formers.push(former);
            }
            resume(stopped);
        });
        assert_eq!(story.status(pid), Status::Exited(5));
        let thread = story.births.iter().find(|birth| birth.2).expect("a thread").1;
        assert_eq!(formers, [pid, thread]);
    }
}

#[test]
fn an_exec_is_told_before_its_first_effect() {
    let mut tracer = tracer();
    tracer.spawn(&command(["bash", "-c", "exec /bin/echo hello"])).unwrap();
    let mut programs = Vec::new();
    drive(&mut tracer, |stopped| {
        match stopped.stop() {
            Stop::Executed { .. } => {
                programs.push(std::fs::read_link(format!("/proc/{}/exe", stopped.pid())).unwrap());
            }
            Stop::Syscall(syscall) if syscall.call.name() == "write" => assert_eq!(programs.len(), 2),
            _ => {}
        }
        resume(stopped);
    });
    assert_eq!(programs.len(), 2);
}

#[test]
fn programs_started_with_vfork_and_posix_spawn_are_followed() {
    let folder = Folder::new();
    let mut tracer = tracer();
    let pid = tracer.spawn(&guest(["spawn", &folder.path("f")])).unwrap();
    let mut executed = 0;
    let story = drive(&mut tracer, |stopped| {
        executed += usize::from(matches!(stopped.stop(), Stop::Executed { .. }));
        resume(stopped);
    });
    assert_eq!(story.status(pid), Status::Exited(0));
    assert_eq!((executed, folder.read("f").as_str()), (3, "child\n"));
}

#[test]
fn an_orphan_is_followed_after_its_parent() {
    let folder = Folder::new();
    let mut tracer = tracer();
    let pid = tracer.spawn(&guest(["orphan", &folder.path("f")])).unwrap();
    let story = drive(&mut tracer, resume);
    assert_eq!(story.ends.len(), 2);
    assert_eq!(story.status(pid), Status::Exited(0));
    assert_eq!(folder.read("f"), "orphan\n");
}

#[test]
fn python_and_its_children_and_threads_are_followed() {
    let script = "
import subprocess, sys, threading
out = []
threads = [threading.Thread(target=lambda: out.append(subprocess.run(['sh', '-c', 'exit 3']).returncode)) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
sys.exit(0 if out == [3] * 8 else 1)
";
    let mut tracer = tracer();
    let Ok(pid) = tracer.spawn(&command(["/usr/bin/python3", "-c", script])) else {
        eprintln!("NOT TRIED: /usr/bin/python3 is not installed");
        return;
    };
    let story = drive(&mut tracer, resume);
    assert_eq!(story.status(pid), Status::Exited(0));
    assert_eq!(story.births.iter().filter(|birth| birth.2).count(), 8);
}

#[test]
fn the_cpu_time_of_a_process_includes_the_children_it_waited_for() {
    let script = "sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'; exit 0";
    let mut tracer = tracer();
    let pid = tracer.spawn(&command(["sh", "-c", script])).unwrap();
    let story = drive(&mut tracer, resume);
    let cpu = |wanted: &dyn Fn(Pid) -> bool| story.ends.iter().find(|ended| wanted(ended.pid)).unwrap().cpu;
    assert!(!cpu(&|other| other != pid).is_zero());
    assert!(cpu(&|other| other == pid) >= cpu(&|other| other != pid));
}

#[test]
fn kill_all_leaves_nothing() {
    for guest in [guest(["for-ever", "20"]), guest(["multiply"]), guest(["threads", "50"])] {
        for stops in [1, 5, 40, 100] {
            let mut tracer = tracer();
            tracer.spawn(&guest).unwrap();
            let mut held = Vec::new();
            for count in 0..stops {
                let soon = std::time::Instant::now() + std::time::Duration::from_millis(200);
                match tracer.wait(Some(soon)).unwrap() {
                    // Some stay held meanwhile.
                    Event::Stopped(stopped) if count % 7 == 3 => held.push(stopped),
                    Event::Stopped(stopped) => resume(stopped),
                    Event::Empty | Event::TimedOut => break,
                    _ => {}
                }
            }
            let live = tracer.live();
            let ends = tracer.kill_all().unwrap();
            assert!(tracer.live().is_empty());
            for pid in live {
                assert!(ends.iter().any(|ended| ended.pid == pid), "{pid} is not told to have ended");
                assert!(!is_alive(pid), "{pid} lives");
            }
            assert!(matches!(next(&mut tracer), Event::Empty));
            drop(held);
            // And it is as good as new.
            let pid = tracer.spawn(&crate::world::guest(["nothing"])).unwrap();
            assert_eq!(drive(&mut tracer, resume).status(pid), Status::Exited(0));
        }
    }
}

/// An orphan that is dead may not have been noticed by its new parent, which is none of ours.
fn is_alive(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

#[test]
fn a_tracer_that_vanishes_takes_its_tracees_along() {
    let pid = std::thread::spawn(|| {
        let mut tracer = tracer();
        let pid = tracer.spawn(&guest(["for-ever", "0"])).unwrap();
        // As when the harness is killed: nothing of the tracer's own runs.
        std::mem::forget(tracer);
        pid
    })
    .join()
    .unwrap();
    let status = nix::sys::wait::waitpid(pid, None).unwrap();
    assert_eq!(status, nix::sys::wait::WaitStatus::Signaled(pid, Signal::SIGKILL, false));
}

#[test]
fn an_effect_without_a_tracer_is_no_such_call() {
    assert_eq!(crate::world::run(&guest(["untraced-child"])), Status::Exited(libc::ENOSYS));
}
