//! A tiny process that deletes a bare world's folder, or a command's control groups, and kills what
//! is left of their processes when the harness is gone, however it went: nothing else outlives a
//! SIGKILL.

use std::{
    ffi::OsStr,
    fs, io,
    io::Read,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::Instant,
};

use nix::{
    sys::signal::{SigSet, Signal, kill},
    unistd::{Pid, setsid},
};

use super::cgroup;
use crate::limits;

/// The hidden subcommand: `roulette __janitor FOLDER VARIABLE=VALUE` for a world's folder,
/// `roulette __janitor cgroup FOLDER [OPENED]` for control groups.
pub const JANITOR: &str = "__janitor";

/// What stands before control groups in its arguments.
const CGROUP: &str = "cgroup";

/// A running janitor. Dropped, it cleans up and is waited for.
#[derive(Debug)]
pub struct Janitor {
    child: Child,
    /// Its end of file is the janitor's sign to start.
    lifeline: Option<io::PipeWriter>,
}

impl Janitor {
    /// Starts the janitor for `folder`. `mark`: the environment variable, as `NAME=VALUE`, by
    /// which it knows the world's processes.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(folder: &Path, mark: &str) -> io::Result<Self> {
        Janitor::told([folder.as_os_str(), mark.as_ref()])
    }

    /// The same for the folder of a command's control groups. `opened`: a group that hands down
    /// controllers because of them, and is to be closed again.
    ///
    /// # Errors
    /// It could not be started.
    pub fn of_cgroup(folder: &Path, opened: Option<&Path>) -> io::Result<Self> {
        Janitor::told([CGROUP.as_ref(), folder.as_os_str()].into_iter().chain(opened.map(Path::as_os_str)))
    }

    fn told(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> io::Result<Self> {
        let (theirs, ours) = io::pipe()?;
        let child = Command::new("/proc/self/exe")
            .arg0("roulette")
            .arg(JANITOR)
            .args(arguments)
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { child, lifeline: Some(ours) })
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        if let Err(error) = self.child.wait() {
            tracing::warn!("the janitor was not waited for: {error}");
        }
    }
}

/// Waits for the end of file on standard input, then kills every process that is marked, or in the
/// groups, and deletes the folder.
pub fn main(args: &[String]) -> ExitCode {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match *words {
        [CGROUP, folder] => at_the_end(|| cgroup::sweep(folder.as_ref(), None)),
        [CGROUP, folder, opened] => at_the_end(|| cgroup::sweep(folder.as_ref(), Some(opened.as_ref()))),
        [folder, mark] => at_the_end(|| delete(folder.as_ref(), mark)),
        _ => {
            eprintln!("`{JANITOR}` is for the harness itself: {JANITOR} FOLDER VARIABLE=VALUE");
            ExitCode::from(2)
        }
    }
}

fn at_the_end(work: impl FnOnce() -> bool) -> ExitCode {
    // It has to outlive what ends the worker: a signal to the group, a closed terminal.
    let _ = setsid();
    let _ = SigSet::all().thread_block();
    // Nothing is ever sent: this returns at the end of file.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    if work() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn delete(folder: &Path, mark: &str) -> bool {
    let deadline = Instant::now() + limits::STAGE_CLEAR;
    while Instant::now() < deadline && kill_marked(mark) > 0 {
        std::thread::yield_now();
    }
    match fs::remove_dir_all(folder) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Kills every process whose environment has `mark`, and says how many there were. (A subject
/// that cleared its environment is a tracee, and has died with the worker.)
fn kill_marked(mark: &str) -> usize {
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let own = std::process::id();
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| u32::try_from(*pid) != Ok(own))
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
            })
        })
        .filter(|pid| kill(Pid::from_raw(*pid), Signal::SIGKILL).is_ok())
        .count()
}
