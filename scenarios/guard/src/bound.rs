//! A child that dies with the guard.
//!
//! The reload command runs without the lock (see `lock`), so it must never be left running after a killed guard. The kernel does
//! that: `PR_SET_PDEATHSIG`. It has to be set in the child, and doing it between fork and exec would take `unsafe`; so the guard
//! starts itself, sets it, and executes the command in its place: the setting survives execve(2) (except into set-user-ID
//! programs, see `man 2const PR_SET_PDEATHSIG`). Children of the command's own are not covered.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};

/// First argument that makes this binary a launcher. Not a command for people.
const LAUNCHER: &str = "__bound-to-parent";

/// A command that the kernel kills when the calling thread ends. Must be spawned from the main thread.
pub fn command(argv: &[String]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    // The `roulette` binary looks at argv[0] to know that it is the guard.
    command.arg0("guard").arg(LAUNCHER).arg(getpid().to_string()).args(argv);
    command
}

/// If this process was started as the launcher: become the command. Comes back only on failure or when not the launcher.
pub fn become_command(args: &[OsString]) -> Option<ExitCode> {
    let [_, launcher, parent, program, rest @ ..] = args else { return None };
    if launcher != LAUNCHER {
        return None;
    }
    Some(launch(parent, program, rest))
}

fn launch(parent: &OsStr, program: &OsStr, rest: &[OsString]) -> ExitCode {
    let Some(parent) = parent.to_str().and_then(|p| p.parse().ok()).map(Pid::from_raw) else {
        eprintln!("guard: {LAUNCHER} is internal");
        return ExitCode::from(crate::exit::USAGE);
    };
    if let Err(errno) = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL) {
        eprintln!("guard: failed to bind {} to the guard's life: {errno}", program.display());
        return ExitCode::from(126);
    }
    if getppid() != parent {
        // The guard died before the binding was made: the command must not start.
        return ExitCode::from(126);
    }
    let error = Command::new(program).args(rest).exec();
    eprintln!("guard: failed to start {}: {error}", program.display());
    ExitCode::from(127)
}
