//! The init of a PID namespace.

use std::path::PathBuf;

use nix::sys::wait::{WaitStatus, waitpid};
use process_roulette_tracer::{Call, Command, Init, InitOptions, Status, Step, spawn_init, spawn_untraced};

use crate::world::{Folder, command, drive, guest, next, resume, tracer};

/// `None`, said loudly: this machine grants no PID namespace to this user.
fn init(options: &InitOptions) -> Option<Init> {
    match spawn_init(options) {
        Ok(init) => Some(init),
        Err(error) if error.step == Step::Fork => {
            eprintln!("NOT TRIED: {error}. It takes CAP_SYS_ADMIN.");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn within(init: &Init, mut command: Command) -> Command {
    command.pid_namespace = Some(init.pidfd().try_clone_to_owned().unwrap());
    command
}

fn gone(pid: process_roulette_tracer::Pid) -> bool {
    nix::sys::signal::kill(pid, None) == Err(nix::Error::ESRCH)
}

#[test]
fn an_init_is_process_1_of_its_namespace_and_others_are_born_into_it() {
    let Some(init) = init(&InitOptions::default()) else { return };
    let mut tracer = tracer();
    for number in 2..5 {
        let pid = tracer.spawn(&within(&init, guest(["pid"]))).unwrap();
        assert_eq!(drive(&mut tracer, resume).status(pid), Status::Exited(number));
    }
    // This thread's own children are born outside, as before.
    let pid = tracer.spawn(&command(["sh", "-c", "exit $(( $$ < 10 ))"])).unwrap();
    assert_eq!(drive(&mut tracer, resume).status(pid), Status::Exited(0));
    let pid = init.pid();
    init.kill(Some(&mut tracer)).unwrap();
    assert!(gone(pid));
}

#[test]
fn killing_the_init_kills_traced_and_untraced_and_their_children() {
    for with_tracer in [true, false] {
        let Some(mut init) = init(&InitOptions::default()) else { return };
        let mut tracer = tracer();
        let server = init.spawn(guest(["for-ever", "2"])).unwrap();
        let mut all = vec![init.pid(), server];
        if with_tracer {
            tracer.spawn(&within(&init, guest(["for-ever", "5"]))).unwrap();
            while all.len() < 7 {
                match next(&mut tracer) {
                    process_roulette_tracer::Event::Stopped(stopped) => resume(stopped),
                    process_roulette_tracer::Event::Forked { child, .. } => all.push(child),
                    _ => {}
                }
            }
            init.kill(Some(&mut tracer)).unwrap();
        } else {
            drop(init);
        }
        for pid in all {
            assert!(gone(pid), "{pid} lives");
        }
    }
}

#[test]
fn an_orphan_in_the_namespace_is_reaped_and_a_child_is_left_to_its_parent() {
    let folder = Folder::new();
    let Some(mut init) = init(&InitOptions::default()) else { return };
    let mut tracer = tracer();
    tracer.spawn(&within(&init, guest(["orphan", &folder.path("f")]))).unwrap();
    let story = drive(&mut tracer, resume);
    assert_eq!((story.ends.len(), folder.read("f").as_str()), (2, "orphan\n"));
    assert!(story.ends.iter().all(|ended| gone(ended.pid)), "no zombie is left with the init");

    // Non-orphans: the parent's wait gives their status.
    let pid = tracer.spawn(&within(&init, guest(["spawn", &folder.path("g")]))).unwrap();
    assert_eq!(drive(&mut tracer, resume).status(pid), Status::Exited(0));
    let pid = spawn_untraced(&within(&init, guest(["spawn", &folder.path("g")]))).unwrap();
    assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, 0)));
    init.spawn(guest(["nothing"])).unwrap();
    init.kill(Some(&mut tracer)).unwrap();
}

#[test]
fn the_namespace_can_have_its_own_proc() {
    let options = InitOptions { flags: libc::CLONE_NEWNS, proc_mount: Some(PathBuf::from("/proc")) };
    let init = match spawn_init(&options) {
        Ok(init) => init,
        Err(error) => {
            // A container that hides parts of its own /proc does not allow another one.
            assert!(matches!(error.step, Step::Fork | Step::MountProc), "{error}");
            eprintln!("NOT TRIED: {error}");
            return;
        }
    };
    let mut command = within(
        &init,
        command(["sh", "-c", "test -d /proc/1 && read name < /proc/1/comm && test $name = init"]),
    );
    command.mount_namespace = Some(init.pidfd().try_clone_to_owned().unwrap());
    let mut tracer = tracer();
    let pid = tracer.spawn(&command).unwrap();
    assert_eq!(drive(&mut tracer, resume).status(pid), Status::Exited(0));
    init.kill(Some(&mut tracer)).unwrap();
    assert_eq!(
        std::fs::read_link("/proc/self").unwrap().to_str(),
        Some(&*std::process::id().to_string()),
        "unchanged here"
    );
}

#[test]
fn a_mount_that_fails_is_named() {
    let options =
        InitOptions { flags: libc::CLONE_NEWNS, proc_mount: Some(PathBuf::from("/no/such/folder")) };
    let error = spawn_init(&options).unwrap_err();
    assert!(matches!(error.step, Step::Fork | Step::MountProc), "{error}");
}

#[test]
fn a_kill_inside_the_namespace_is_an_effect_with_the_ids_seen_there() {
    let Some(init) = init(&InitOptions::default()) else { return };
    let mut tracer = tracer();
    tracer.spawn(&within(&init, command(["sh", "-c", "kill -TERM $$"]))).unwrap();
    let mut victims = Vec::new();
    drive(&mut tracer, |stopped| {
        if let Some(syscall) = stopped.syscall()
            && syscall.call == Call::Kill
        {
            victims.push(syscall.args[0]);
        }
        resume(stopped);
    });
    assert_eq!(victims, [2]);
    init.kill(Some(&mut tracer)).unwrap();
}
