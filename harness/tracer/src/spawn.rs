//! Starting programs, traced and not.

use std::{
    io,
    io::{Read as _, Write as _},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::net::UnixStream,
    },
    thread,
};

use nix::{
    sched::{CloneFlags, setns},
    unistd::Pid,
};

use crate::{
    child::{self, REPORT},
    command::{Command, Prepared},
    error::{SpawnError, Step},
    sys,
};

/// Starts a command without tracing it: for the servers of a world. It returns when the program
/// has been loaded.
///
/// The process is a child of the caller, who must wait for it; also before [`crate::Init::kill`]
/// if it was born in that PID namespace, unless it was started by [`crate::Init::spawn`].
///
/// # Errors
///
/// The step that failed; nothing is left of the attempt.
pub fn spawn_untraced(command: &Command) -> Result<Pid, SpawnError> {
    let (ours, pid) = fork(command, None)?;
    // The other end is closed by the execve.
    match read_report(&ours) {
        None => Ok(pid),
        Some((step, source)) => {
            let _ = reap(pid);
            Err(command.error(step, source))
        }
    }
}

/// Starts a command that is traced by this thread, up to its `PTRACE_EVENT_EXEC`.
pub(crate) fn spawn_traced(command: &Command, filter: &[libc::sock_filter]) -> Result<Pid, SpawnError> {
    let (mut ours, pid) = fork(command, Some(filter))?;
    let give_up = |step, source| {
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        let _ = reap(pid);
        Err(command.error(step, source))
    };
    if let Err(source) = sys::seize(pid) {
        return give_up(Step::Seize, source);
    }
    if let Err(source) = ours.write_all(&[1]) {
        return give_up(Step::Seize, source);
    }
    // Its calls are stopped at from the filter on: execve itself, and what it says if that fails.
    loop {
        let status = match sys::wait4(pid.as_raw(), libc::__WALL) {
            Ok(Some(waited)) => waited.status,
            Ok(None) => continue,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return give_up(Step::Vanished, source),
        };
        if !libc::WIFSTOPPED(status) {
            let (step, source) = read_report(&ours).unwrap_or_else(|| {
                (Step::Vanished, io::Error::other(format!("it ended with wait status {status:#x}")))
            });
            return Err(command.error(step, source));
        }
        let request = libc::PTRACE_CONT as i32;
        // If it is gone, the next wait says so.
        let _ = match (status >> 16, libc::WSTOPSIG(status)) {
            (libc::PTRACE_EVENT_EXEC, _) => return Ok(pid),
            (0, signal) => sys::go(request, pid, signal),
            (sys::EVENT_STOP, libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU) => {
                sys::go(sys::LISTEN, pid, 0)
            }
            _ => sys::go(request, pid, 0),
        };
    }
}

fn fork(command: &Command, filter: Option<&[libc::sock_filter]>) -> Result<(UnixStream, Pid), SpawnError> {
    let prepared = Prepared::new(command)?;
    let (ours, theirs) = UnixStream::pair().map_err(|source| command.error(Step::Open, source))?;
    let pid = match &command.pid_namespace {
        None => fork_here(&prepared, filter, &ours, &theirs),
        Some(namespace) => fork_in(namespace.as_fd(), &prepared, filter, &ours, &theirs),
    };
    let pid = pid.map_err(|(step, source)| command.error(step, source))?;
    Ok((ours, pid))
}

fn fork_here(
    prepared: &Prepared,
    filter: Option<&[libc::sock_filter]>,
    ours: &UnixStream,
    theirs: &UnixStream,
) -> Result<Pid, (Step, io::Error)> {
    let (ours, theirs) = (ours.as_raw_fd(), theirs.as_raw_fd());
    // SAFETY: the child runs `child::run` only, which keeps to what is allowed after a fork of a
    // process with threads.
    match unsafe { libc::fork() } {
        -1 => Err((Step::Fork, io::Error::last_os_error())),
        0 => child::run(prepared, filter, theirs, ours),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// `setns` changes where the children of the calling thread are born, and an ordinary user could
/// not take it back: so a thread is spent on it. The child belongs to the whole process, as far
/// as waiting goes.
fn fork_in(
    namespace: BorrowedFd<'_>,
    prepared: &Prepared,
    filter: Option<&[libc::sock_filter]>,
    ours: &UnixStream,
    theirs: &UnixStream,
) -> Result<Pid, (Step, io::Error)> {
    thread::scope(|scope| {
        let work = || {
            setns(namespace, CloneFlags::CLONE_NEWPID)
                .map_err(|error| (Step::PidNamespace, io::Error::from(error)))?;
            fork_here(prepared, filter, ours, theirs)
        };
        match thread::Builder::new().name("fork".to_owned()).spawn_scoped(scope, work) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(source) => Err((Step::Fork, source)),
        }
    })
}

/// What the child could not do. `None`: it became the program, or died without a word.
fn read_report(mut from: &UnixStream) -> Option<(Step, io::Error)> {
    let mut report = [0; REPORT];
    from.read_exact(&mut report).ok()?;
    let [step, errno @ ..] = report;
    Some((Step::from_byte(step), io::Error::from_raw_os_error(i32::from_ne_bytes(errno))))
}

/// Waits for a child of this process to end.
pub(crate) fn reap(pid: Pid) -> io::Result<()> {
    loop {
        match sys::wait4(pid.as_raw(), libc::__WALL) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Some(waited)) if libc::WIFSTOPPED(waited.status) => {}
            Ok(None) => {}
            Err(error) => return Err(error),
            Ok(Some(_)) => return Ok(()),
        }
    }
}
