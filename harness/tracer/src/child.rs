//! What the new process does between `fork` and `execve`. Its parent may have had threads, whose
//! locks it now has in whatever state they were: so only system calls here, no allocation, no
//! panic, nothing that could take a lock.

use std::{os::fd::RawFd, ptr};

use crate::{command::Prepared, error::Step};

/// How far it did not get.
pub(crate) struct Failed(pub(crate) Step, pub(crate) i32);

/// What is written to the parent for it: the step, and the error number.
pub(crate) const REPORT: usize = 5;

pub(crate) fn errno() -> i32 {
    // SAFETY: the C library's own pointer to this thread's errno.
    unsafe { *libc::__errno_location() }
}

/// Fails with the step if the call returned -1.
pub(crate) fn check(result: i64, step: Step) -> Result<i64, Failed> {
    if result == -1 { Err(Failed(step, errno())) } else { Ok(result) }
}

/// Becomes the program, or tells why not and exits.
pub(crate) fn run(
    prepared: &Prepared,
    filter: Option<&[libc::sock_filter]>,
    parent: RawFd,
    parents: RawFd,
) -> ! {
    let Err(failed) = become_it(prepared, filter, parent, parents);
    report(parent, &failed);
    exit(127)
}

/// Tells the parent.
pub(crate) fn report(parent: RawFd, failed: &Failed) {
    let [a, b, c, d] = failed.1.to_ne_bytes();
    let bytes: [u8; REPORT] = [failed.0 as u8, a, b, c, d];
    // SAFETY: the buffer has that length. If the parent is gone, nobody is to be told.
    unsafe { libc::write(parent, bytes.as_ptr().cast(), bytes.len()) };
}

pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: ends the process without running anything of the parent's.
    unsafe { libc::_exit(code) }
}

fn become_it(
    prepared: &Prepared,
    filter: Option<&[libc::sock_filter]>,
    parent: RawFd,
    parents: RawFd,
) -> Result<std::convert::Infallible, Failed> {
    // SAFETY: closes the parent's end in this process: or its death would never be noticed here.
    unsafe { libc::close(parents) };
    if filter.is_some() {
        await_tracer(parent)?;
    }
    if let Some(namespace) = prepared.mount_namespace {
        // SAFETY: a descriptor and a flag.
        check(unsafe { libc::setns(namespace, libc::CLONE_NEWNS) }.into(), Step::MountNamespace)?;
    }
    if prepared.new_session {
        // SAFETY: no arguments.
        check(unsafe { libc::setsid() }.into(), Step::Session)?;
    }
    for (stream, target) in prepared.streams.into_iter().zip(0..) {
        // SAFETY: two descriptors; the source is above 2, so dup2 clears its close-on-exec flag.
        check(unsafe { libc::dup2(stream, target) }.into(), Step::Redirect)?;
    }
    // SAFETY: three numbers. All else is closed by the execve, also what a careless library of
    // the parent's would have leaked. A kernel that does not know the flag (before 5.11) leaves
    // it to the descriptors' own flags.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    // SAFETY: a NUL-terminated string.
    check(unsafe { libc::chdir(prepared.cwd.as_ptr()) }.into(), Step::WorkingDirectory)?;
    if let Some(mask) = prepared.umask {
        // SAFETY: a number; cannot fail.
        unsafe { libc::umask(mask) };
    }
    reset_signals();
    if let Some(cgroup) = prepared.cgroup {
        enter(cgroup)?;
    }
    if let Some(filter) = filter {
        install(filter)?;
    }
    execute(prepared)
}

/// As late as can be, so that what is accounted is the program's own. A `0` stands for the writer
/// itself, whichever PID namespace it is in (cgroups(7)).
fn enter(cgroup: RawFd) -> Result<(), Failed> {
    // SAFETY: one byte from a literal.
    check(unsafe { libc::write(cgroup, c"0".as_ptr().cast(), 1) } as i64, Step::Cgroup).map(drop)
}

fn await_tracer(parent: RawFd) -> Result<(), Failed> {
    let mut byte = 0_u8;
    loop {
        // SAFETY: one byte into one byte.
        match unsafe { libc::read(parent, (&raw mut byte).cast(), 1) } {
            1 => return Ok(()),
            -1 if errno() == libc::EINTR => {}
            // The parent is gone.
            _ => return Err(Failed(Step::Seize, libc::EPIPE)),
        }
    }
}

/// An ignored signal stays so through `execve`, and Rust programs ignore SIGPIPE.
fn reset_signals() {
    // The kernel's own call and structure (handler, flags, restorer, mask: rt_sigaction(2)), all
    // zero: the default. The C library's refuses the two signals that it keeps for its threads,
    // and a parent may have left them ignored as well.
    let action = [0_u64; 4];
    for signal in 1..=64 {
        // SAFETY: the structure is as large as the kernel reads and outlives the call. SIGKILL and
        // SIGSTOP are refused, as they should be.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                action.as_ptr(),
                ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    // SAFETY: sigemptyset initialises the set before it is used.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
    }
}

/// Without `NO_NEW_PRIVS` where the kernel allows it (`CAP_SYS_ADMIN`): the subject's own setuid
/// programs are to work as they do without us.
fn install(filter: &[libc::sock_filter]) -> Result<(), Failed> {
    let program = libc::sock_fprog {
        // Its length is bounded by the table of calls.
        #[expect(clippy::cast_possible_truncation, reason = "the kernel takes at most 4,096 instructions")]
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    let set = || {
        // SAFETY: the program is valid for the call; the kernel copies it.
        unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                // No speculation barriers: this is no sandbox.
                libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                &raw const program,
            )
        }
    };
    match check(set(), Step::Filter) {
        Err(Failed(_, libc::EACCES)) => {
            // SAFETY: numbers only.
            check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into(), Step::Filter)?;
            check(set(), Step::Filter).map(drop)
        }
        other => other.map(drop),
    }
}

/// As execvp(3): the first that can be executed; "permission denied" is remembered.
fn execute(prepared: &Prepared) -> Result<std::convert::Infallible, Failed> {
    let mut error = libc::ENOENT;
    for candidate in &prepared.candidates {
        // SAFETY: NUL-terminated strings and NULL-terminated arrays of such.
        unsafe { libc::execve(candidate.as_ptr(), prepared.argv(), prepared.env()) };
        match errno() {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => error = libc::EACCES,
            other => {
                error = other;
                break;
            }
        }
    }
    Err(Failed(Step::Execute, error))
}
