//! What to start.

use std::{
    ffi::{CString, OsStr, OsString},
    io,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
    ptr,
};

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};

use crate::error::{SpawnError, Step};

/// Where programs are looked for if the command's environment has no `PATH` (execvp(3)).
const PATH_DEFAULT: &str = "/bin:/usr/bin";

/// A program to start. It begins with default signal dispositions, no blocked signals, and no
/// open files but the three standard ones.
#[derive(Debug)]
pub struct Command {
    /// The program and its arguments. Unless it contains a slash, the program is looked up in
    /// the `PATH` of `env`, in the world that the command starts in.
    pub argv: Vec<OsString>,
    /// The program's file, if it is another one than `argv[0]` says. Never looked up in `PATH`.
    pub program: Option<PathBuf>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory.
    pub cwd: PathBuf,
    /// Standard input. `None`: /dev/null.
    pub stdin: Option<OwnedFd>,
    /// Standard output. `None`: /dev/null.
    pub stdout: Option<OwnedFd>,
    /// Standard error. `None`: /dev/null.
    pub stderr: Option<OwnedFd>,
    /// The PID namespace to be born in: a pidfd of its init (or of any process in it), or a file
    /// descriptor of `/proc/PID/ns/pid`. It is entered on a short-lived thread, so the calling
    /// thread stays as it is.
    pub pid_namespace: Option<OwnedFd>,
    /// The mount namespace to be in, in the same two forms.
    pub mount_namespace: Option<OwnedFd>,
    /// The control group to be in: its `cgroup.procs` (of either version), open for writing. All
    /// that the program uses and starts is accounted there.
    pub cgroup: Option<OwnedFd>,
    /// Whether it gets a session and process group of its own (setsid(2)).
    pub new_session: bool,
    /// Its file mode creation mask. `None`: the caller's.
    pub umask: Option<u32>,
}

impl Command {
    /// The command with these arguments, an empty environment, `/` as its working directory, a
    /// session of its own and everything else `None`.
    pub fn new(argv: impl IntoIterator<Item = impl Into<OsString>>) -> Command {
        Command {
            argv: argv.into_iter().map(Into::into).collect(),
            program: None,
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            stdin: None,
            stdout: None,
            stderr: None,
            pid_namespace: None,
            mount_namespace: None,
            cgroup: None,
            new_session: true,
            umask: None,
        }
    }

    pub(crate) fn error(&self, step: Step, source: io::Error) -> SpawnError {
        let program = self.program.as_ref().map(|program| program.as_os_str().to_owned());
        let program = program.or_else(|| self.argv.first().cloned()).unwrap_or_default();
        SpawnError { program, step, source }
    }
}

/// Everything that the child needs, made before the fork: after it the child may not allocate.
pub(crate) struct Prepared {
    /// Files to try in turn.
    pub(crate) candidates: Vec<CString>,
    argv: Strings,
    env: Strings,
    pub(crate) cwd: CString,
    pub(crate) streams: [RawFd; 3],
    pub(crate) mount_namespace: Option<RawFd>,
    pub(crate) cgroup: Option<RawFd>,
    pub(crate) new_session: bool,
    pub(crate) umask: Option<u32>,
    /// Keeps the copies that `streams` names open.
    _open: Vec<OwnedFd>,
}

impl Prepared {
    pub(crate) fn new(command: &Command) -> Result<Prepared, SpawnError> {
        let prepare = |source| command.error(Step::Prepare, source);
        let open = |source: nix::Error| command.error(Step::Open, source.into());
        let Some(name) = command.argv.first() else {
            return Err(prepare(io::Error::new(
                io::ErrorKind::InvalidInput,
                "there are no arguments, not even a program",
            )));
        };
        let candidates = match &command.program {
            Some(program) => vec![string(program).map_err(prepare)?],
            None => candidates(name, &command.env).map_err(prepare)?,
        };
        let env = command.env.iter().map(|(key, value)| {
            let mut pair = key.clone();
            pair.push("=");
            pair.push(value);
            pair
        });
        let (argv, env) =
            (Strings::new(command.argv.iter()).map_err(prepare)?, Strings::new(env).map_err(prepare)?);
        let cwd = string(&command.cwd).map_err(prepare)?;

        let mut kept = Vec::new();
        let mut streams = [0; 3];
        for (stream, given) in streams.iter_mut().zip([&command.stdin, &command.stdout, &command.stderr]) {
            let fd = match given {
                // Not below 3, where the next redirection would overwrite it.
                Some(fd) if fd.as_raw_fd() < 3 => own(fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(3)).map_err(open)?),
                Some(fd) => {
                    *stream = fd.as_raw_fd();
                    continue;
                }
                None => {
                    let null = open_null().map_err(open)?;
                    if null.as_raw_fd() < 3 {
                        own(fcntl(&null, FcntlArg::F_DUPFD_CLOEXEC(3)).map_err(open)?)
                    } else {
                        null
                    }
                }
            };
            *stream = fd.as_raw_fd();
            kept.push(fd);
        }
        Ok(Prepared {
            candidates,
            argv,
            env,
            cwd,
            streams,
            mount_namespace: command.mount_namespace.as_ref().map(AsRawFd::as_raw_fd),
            cgroup: command.cgroup.as_ref().map(AsRawFd::as_raw_fd),
            new_session: command.new_session,
            umask: command.umask,
            _open: kept,
        })
    }

    /// As execve(2) takes it.
    pub(crate) fn argv(&self) -> *const *const libc::c_char {
        self.argv.pointers.as_ptr()
    }

    /// As execve(2) takes it.
    pub(crate) fn env(&self) -> *const *const libc::c_char {
        self.env.pointers.as_ptr()
    }
}

/// A NULL-terminated array of strings. The pointers point into the strings' own memory, which
/// does not move with this.
struct Strings {
    pointers: Vec<*const libc::c_char>,
    _strings: Vec<CString>,
}

// SAFETY: the pointers are to memory that this owns and never changes.
unsafe impl Sync for Strings {}

impl Strings {
    fn new(strings: impl Iterator<Item = impl AsRef<OsStr>>) -> io::Result<Strings> {
        let strings = strings.map(string).collect::<io::Result<Vec<_>>>()?;
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Ok(Strings { pointers, _strings: strings })
    }
}

fn string(text: impl AsRef<OsStr>) -> io::Result<CString> {
    let text = text.as_ref();
    CString::new(text.as_bytes()).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{} has a NUL byte in it", text.display()))
    })
}

fn candidates(name: &OsStr, env: &[(OsString, OsString)]) -> io::Result<Vec<CString>> {
    if name.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the program's name is empty"));
    }
    if name.as_bytes().contains(&b'/') {
        return Ok(vec![string(name)?]);
    }
    let path = env.iter().rev().find(|(key, _)| key == "PATH").map(|(_, value)| value.as_os_str());
    std::env::split_paths(path.unwrap_or(OsStr::new(PATH_DEFAULT)))
        .map(|directory| {
            string(if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory }.join(name))
        })
        .collect()
}

fn open_null() -> nix::Result<OwnedFd> {
    open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())
}

fn own(fd: RawFd) -> OwnedFd {
    use std::os::fd::FromRawFd as _;
    // SAFETY: F_DUPFD_CLOEXEC has just made it, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
