//! The first process of a PID namespace: killing it kills everything in there.

use std::{
    ffi::CString,
    io,
    io::Read as _,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    path::PathBuf,
    ptr,
};

use nix::unistd::Pid;

use crate::{
    Command, Tracer,
    child::{self, Failed, REPORT, check},
    error::{Error, SpawnError, Step},
    spawn,
};

/// How the namespace's init is made.
#[derive(Debug, Clone, Default)]
pub struct InitOptions {
    /// Namespaces to make besides the PID namespace, as flags of clone(2), such as
    /// `libc::CLONE_NEWNS | libc::CLONE_NEWUTS`. With `CLONE_NEWNS` its mounts are made private
    /// first, so that nothing done there comes back.
    pub flags: i32,
    /// Where to mount the namespace's own `proc` file system, if anywhere: `/proc` mostly. It is
    /// mounted in the mount namespace that the init is in, so either `flags` or the caller should
    /// have made a new one.
    pub proc_mount: Option<PathBuf>,
}

/// The init of a PID namespace. It does nothing: orphans are reaped by the kernel, since it
/// ignores `SIGCHLD`. It dies with the process that made it, however that ends. Dropped, it is
/// killed, and everything in the namespace with it.
#[derive(Debug)]
pub struct Init {
    pid: Pid,
    pidfd: OwnedFd,
    /// Its end of file ends the init.
    _lifeline: UnixStream,
    /// Children of this process in the namespace, to be waited for.
    spawned: Vec<Pid>,
    dead: bool,
}

/// Makes a PID namespace and its init, and returns when that is ready.
///
/// # Errors
///
/// `EPERM` at [`Step::Fork`]: no `CAP_SYS_ADMIN` in the user namespace. Nothing is left of the
/// attempt.
pub fn spawn_init(options: &InitOptions) -> Result<Init, SpawnError> {
    let failed = |step, source| SpawnError { program: "init".into(), step, source };
    let proc_mount = match &options.proc_mount {
        Some(path) => Some(CString::new(path.as_os_str().as_bytes()).map_err(|_| {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the path has a NUL byte in it");
            failed(Step::Prepare, source)
        })?),
        None => None,
    };
    let (ours, theirs) = UnixStream::pair().map_err(|source| failed(Step::Open, source))?;
    let mut pidfd: RawFd = -1;
    let flags = options.flags | libc::CLONE_NEWPID | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: like fork, since no memory is shared (no CLONE_VM in any sensible flags; it is
    // masked out): the child gets a copy of this stack, and keeps to system calls.
    let pid = unsafe {
        // x86-64 and aarch64 order the last two arguments differently, but both are null.
        libc::syscall(
            libc::SYS_clone,
            libc::c_long::from(flags & !(libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND)),
            ptr::null_mut::<libc::c_void>(),
            &raw mut pidfd,
            0,
            0,
        )
    };
    match pid {
        -1 => return Err(failed(Step::Fork, io::Error::last_os_error())),
        0 => be_init(options.flags, proc_mount.as_deref(), theirs.as_raw_fd()),
        _ => {}
    }
    drop(theirs);
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id has 32 bits"));
    // SAFETY: CLONE_PIDFD has just made it (close-on-exec), and nobody else has it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let mut init = Init { pid, pidfd, _lifeline: ours, spawned: Vec::new(), dead: false };

    let mut report = [0; REPORT];
    if let Err(source) = (&init._lifeline).read_exact(&mut report) {
        return Err(failed(Step::Vanished, source));
    }
    let [step, errno @ ..] = report;
    match i32::from_ne_bytes(errno) {
        0 => Ok(init),
        errno => {
            let source = io::Error::from_raw_os_error(errno);
            init.end();
            Err(failed(Step::from_byte(step), source))
        }
    }
}

impl Init {
    /// Its process id as the caller sees it.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Its pidfd: what [`Command::pid_namespace`] takes.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Starts a command in the namespace without tracing it, and waits for its end in
    /// [`Init::kill`]. The command's own [`Command::pid_namespace`] is overruled.
    ///
    /// # Errors
    ///
    /// As of [`spawn::spawn_untraced`].
    pub fn spawn(&mut self, command: Command) -> Result<Pid, SpawnError> {
        let mut command = command;
        let namespace = self.pidfd.try_clone().map_err(|source| command.error(Step::Open, source))?;
        command.pid_namespace = Some(namespace);
        let pid = spawn::spawn_untraced(&command)?;
        self.spawned.push(pid);
        Ok(pid)
    }

    /// Kills the namespace and waits until nothing of it is left.
    ///
    /// The kernel lets an init go only when all in its namespace has been waited for. So a tracee
    /// in there has to be: with the thread's [`Tracer`] given, its tracees are all killed first
    /// ([`Tracer::kill_all`]).
    ///
    /// # Errors
    ///
    /// Those of [`Tracer::kill_all`].
    pub fn kill(mut self, tracer: Option<&mut Tracer>) -> Result<(), Error> {
        self.signal();
        let killed = tracer.map_or(Ok(()), |tracer| tracer.kill_all().map(drop));
        self.end();
        killed
    }

    fn signal(&self) {
        // Gone already is as good; and its id is ours until it is waited for.
        let _ = nix::sys::signal::kill(self.pid, nix::sys::signal::Signal::SIGKILL);
    }

    fn end(&mut self) {
        if std::mem::replace(&mut self.dead, true) {
            return;
        }
        self.signal();
        for pid in self.spawned.drain(..) {
            // Somebody else may have waited for it.
            let _ = spawn::reap(pid);
        }
        let _ = spawn::reap(self.pid);
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the init does. The rules of [`child`] hold.
fn be_init(flags: i32, proc_mount: Option<&std::ffi::CStr>, lifeline: RawFd) -> ! {
    let ready = prepare(flags, proc_mount, lifeline);
    let failed = ready.err().unwrap_or(Failed(Step::Vanished, 0));
    child::report(3, &failed);
    if failed.1 != 0 {
        child::exit(1);
    }
    let mut byte = 0_u8;
    loop {
        // SAFETY: one byte into one byte. Nothing is ever sent: this ends when the other end is
        // closed, be it by the death of its holder.
        let read = unsafe { libc::read(3, (&raw mut byte).cast(), 1) };
        if read == 0 || (read == -1 && child::errno() != libc::EINTR) {
            child::exit(0);
        }
    }
}

fn prepare(flags: i32, proc_mount: Option<&std::ffi::CStr>, lifeline: RawFd) -> Result<(), Failed> {
    // SAFETY: system calls on numbers and on strings and structures that are valid. None that
    // fails here matters, but dup2, which is checked.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut());
        let mut ignore: libc::sigaction = std::mem::zeroed();
        ignore.sa_sigaction = libc::SIG_IGN;
        libc::sigaction(libc::SIGCHLD, &raw const ignore, ptr::null_mut());
        libc::prctl(libc::PR_SET_NAME, c"init".as_ptr());
        libc::setsid();
        // Holds no directory busy, and no file, socket or pipe of the caller's open.
        libc::chdir(c"/".as_ptr());
        if lifeline != 3 {
            check(libc::dup2(lifeline, 3).into(), Step::Open)?;
        }
        libc::syscall(libc::SYS_close_range, 4, u32::MAX, 0);
        libc::syscall(libc::SYS_close_range, 0, 2, 0);
    }
    if flags & libc::CLONE_NEWNS != 0 {
        let private = libc::MS_REC | libc::MS_PRIVATE;
        // SAFETY: valid strings, and null where mount(2) ignores the argument.
        let made = unsafe { libc::mount(c"none".as_ptr(), c"/".as_ptr(), ptr::null(), private, ptr::null()) };
        check(made.into(), Step::MountNamespace)?;
    }
    if let Some(path) = proc_mount {
        let options = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        let name = c"proc".as_ptr();
        // SAFETY: valid strings, and no data.
        let mounted = unsafe { libc::mount(name, path.as_ptr(), name, options, ptr::null()) };
        check(mounted.into(), Step::MountProc)?;
    }
    Ok(())
}
