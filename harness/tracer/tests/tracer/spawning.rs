//! Starting programs: what they find, and what is said when they do not start.

use std::{
    fs,
    io::{ErrorKind, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use nix::sys::wait::{WaitStatus, waitpid};
use process_roulette_tracer::{Event, SpawnError, Status, Step, spawn_untraced};

use crate::world::{Folder, command, guest, run, tracer};

fn fails(command: &process_roulette_tracer::Command) -> SpawnError {
    let mut tracer = tracer();
    let traced = tracer.spawn(command).unwrap_err();
    assert!(matches!(tracer.wait(None), Ok(Event::Empty)), "nothing is left");
    let untraced = spawn_untraced(command).unwrap_err();
    assert_eq!(traced.to_string(), untraced.to_string());
    traced
}

#[test]
fn an_error_names_the_program_and_the_step() {
    let mut unknown = command(["no-such-program"]);
    // Not the caller's, which may have folders that this user may not search.
    unknown.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
    let error = fails(&unknown);
    assert_eq!((error.step, error.source.kind()), (Step::Execute, ErrorKind::NotFound));
    assert_eq!(error.program, "no-such-program");

    let mut nowhere = guest(["nothing"]);
    nowhere.cwd = PathBuf::from("/no/such/directory");
    assert_eq!(fails(&nowhere).step, Step::WorkingDirectory);

    assert_eq!(fails(&command(Vec::<String>::new())).step, Step::Prepare);
    assert_eq!(fails(&command(["sh", "a\0b"])).step, Step::Prepare);

    let folder = Folder::new();
    fs::write(folder.path("plain"), "text").unwrap();
    let error = fails(&command([folder.path("plain")]));
    assert_eq!((error.step, error.source.kind()), (Step::Execute, ErrorKind::PermissionDenied));
}

#[test]
fn a_program_is_found_as_execvp_finds_it() {
    let folder = Folder::new();
    for (directory, mode) in [("a", 0o644), ("b", 0o755)] {
        fs::create_dir(folder.path(directory)).unwrap();
        let file = folder.path(&format!("{directory}/program"));
        fs::write(&file, "#!/bin/sh\nexit 6\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = command(["program"]);
    let path = format!("/no/such:{}:{}", folder.path("a"), folder.path("b"));
    command.env = vec![("PATH".into(), path.into())];
    assert_eq!(run(&command), Status::Exited(6));
    command.program = Some("/bin/true".into());
    assert_eq!(run(&command), Status::Exited(0));
}

#[test]
fn a_program_begins_with_a_clean_slate() {
    for what in ["open-files", "signals"] {
        assert_eq!(run(&guest([what])), Status::Exited(0), "{what}");
        let pid = spawn_untraced(&guest([what])).unwrap();
        assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, 0)), "{what}");
    }
}

#[test]
fn streams_environment_directory_and_mask_are_as_asked_for() {
    let folder = Folder::new();
    let (mut out, stdout) = std::io::pipe().unwrap();
    let (mut err, stderr) = std::io::pipe().unwrap();
    let stdin = fs::File::open("/dev/null").unwrap();
    let mut command = command(["sh", "-c", "pwd; echo $A; umask; cat; echo oops >&2"]);
    command.env.push(("A".into(), "b c".into()));
    command.cwd = PathBuf::from(folder.path(""));
    command.umask = Some(0o027);
    (command.stdin, command.stdout, command.stderr) =
        (Some(stdin.into()), Some(stdout.into()), Some(stderr.into()));
    assert_eq!(run(&command), Status::Exited(0));
    drop(command);
    let (mut said, mut complained) = (String::new(), String::new());
    out.read_to_string(&mut said).unwrap();
    err.read_to_string(&mut complained).unwrap();
    let cwd = fs::canonicalize(folder.path("")).unwrap();
    assert_eq!(said, format!("{}\nb c\n0027\n", cwd.display()));
    assert_eq!(complained, "oops\n");
}

#[test]
fn a_session_of_its_own_is_the_default() {
    for (new_session, expected) in [(true, true), (false, false)] {
        let mut tracer = tracer();
        let mut command = guest(["for-ever", "0"]);
        command.new_session = new_session;
        let pid = tracer.spawn(&command).unwrap();
        assert_eq!(nix::unistd::getsid(Some(pid)).unwrap() == pid, expected);
        assert_eq!(nix::unistd::getpgid(Some(pid)).unwrap() == pid, expected);
    }
}
