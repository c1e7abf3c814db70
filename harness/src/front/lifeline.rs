//! Programs of the CA's host must not outlive the harness, also when it is killed with SIGKILL.
//!
//! The kernel can see to that (`PR_SET_PDEATHSIG`), but only at the wish of the child itself. So
//! the harness starts itself again, sets the wish and becomes the program. The signal comes when
//! the *thread* that started the child ends; that is the CA's thread, which lives as long as its
//! `Ca`. (In a private world the PID namespace sees to the same once more.)

use std::{
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
    sync::atomic::{AtomicBool, Ordering},
};

use nix::sys::{prctl, signal::Signal};

/// The hidden subcommand: `roulette __lifeline PARENT PROGRAM ARGUMENT...`.
pub const LIFELINE: &str = "__lifeline";

/// The command of this project, which has the hidden subcommand.
const ROULETTE: &str = "roulette";

static OFFERED: AtomicBool = AtomicBool::new(false);

/// Says that this program (not `roulette`, which need not say so) hands `__lifeline` to
/// [`lifeline_main`]. Programs that don't start the CA's programs without a lifeline: they then
/// end only when the `Ca` is dropped.
pub fn offer_lifeline() {
    OFFERED.store(true, Ordering::Relaxed);
}

/// `__lifeline`: what comes after that word is the parent's process id, the program and its
/// arguments. Becomes the program; returns only when it cannot.
pub fn lifeline_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let parent = arguments.next().and_then(|p| p.to_str()?.parse::<i32>().ok());
    let (Some(parent), Some(program)) = (parent, arguments.next()) else {
        eprintln!("`{LIFELINE}` is for the harness itself: {LIFELINE} PARENT PROGRAM [ARGUMENT...]");
        return ExitCode::from(2);
    };
    if let Err(error) = prctl::set_pdeathsig(Signal::SIGKILL) {
        eprintln!("failed to tie `{}` to its parent: {error}", program.display());
        return ExitCode::from(126);
    }
    // The parent may have died before the wish was set; a parent in another PID namespace is 0.
    let now = nix::unistd::getppid().as_raw();
    if now != parent && now != 0 {
        return ExitCode::from(126);
    }
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("failed to run {}: {error}", program.display());
    ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
}

/// A command for `program` that dies with the calling thread, where this program offers that.
pub(super) fn command(program: &Path) -> Command {
    if !offered() {
        return Command::new(program);
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg(LIFELINE).arg(std::process::id().to_string()).arg(program);
    command
}

fn offered() -> bool {
    OFFERED.load(Ordering::Relaxed)
        || std::env::current_exe().is_ok_and(|exe| exe.file_name() == Some(OsStr::new(ROULETTE)))
}
