//! The built-in server, as the harness holds it.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::{Pid, pipe2},
};

use process_roulette_tracer as tracer;

use super::control::{SERVE, Settled};
use crate::{
    limits,
    world::{Stage, WorldError},
};

/// How the world's server is set up. Paths are as the subject names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// The file to execute: this very program, see [`this_program`].
    pub program: PathBuf,
    /// Where it serves TLS.
    pub tls: SocketAddr,
    /// Where it serves the webroots over HTTP, if it does.
    pub http: Option<SocketAddr>,
    /// Folders tried in order for HTTP.
    pub webroots: Vec<String>,
    /// Certificate path.
    pub certificate: String,
    /// Key path.
    pub key: String,
    /// Where it writes its process id (as its own namespace numbers it) while it runs.
    pub pid_file: String,
    /// Where its process id stays written while it is stopped too. With it, the process is its
    /// own service manager: SIGTERM closes its sockets and removes `pid_file` but the process
    /// stays, and SIGUSR2 starts it again as a fresh start would, reading its pair anew. That is
    /// what a shim for `systemctl stop` and `start` needs: a server that the subject started
    /// would be one of the subject's processes. Without it SIGTERM ends the process.
    pub unit_file: Option<String>,
    /// Starts without a usable pair too, and closes every TLS connection until a reload finds
    /// one: for the time before the first certificate.
    pub allow_missing: bool,
}

impl ServerSpec {
    /// The command line, program name first.
    pub fn argv(&self) -> Vec<String> {
        let mut argv: Vec<String> = ["roulette", SERVE].map(str::to_owned).into();
        let mut option = |name: &str, value: &str| argv.extend([name.to_owned(), value.to_owned()]);
        option("--tls", &self.tls.to_string());
        if let Some(http) = self.http {
            option("--http", &http.to_string());
        }
        for webroot in &self.webroots {
            option("--webroot", webroot);
        }
        option("--certificate", &self.certificate);
        option("--key", &self.key);
        option("--pid-file", &self.pid_file);
        if let Some(unit_file) = &self.unit_file {
            option("--unit-file", unit_file);
        }
        if self.allow_missing {
            argv.push("--allow-missing".to_owned());
        }
        argv
    }
}

/// The file to execute for running this very program under another root: `/proc/self/exe`.
///
/// A child that has just been forked from us is still this program, and the link is followed to
/// the file itself, not to its name; so it works after `pivot_root`, in a new PID namespace with
/// its own `/proc`, and after the binary has been replaced. It does need a `/proc` that belongs
/// to the child's PID namespace.
pub fn this_program() -> PathBuf {
    "/proc/self/exe".into()
}

/// The world's server, running on a stage. Dropping it kills it and waits for its end. Drop it before
/// the stage is cleared: the end of a PID namespace waits until its dead have been waited for.
#[derive(Debug)]
pub struct Server {
    pid: Pid,
    requests: File,
    answers: File,
    /// Answer text that is not a whole line yet.
    heard: Vec<u8>,
    state: Settled,
}

impl Server {
    /// Starts it on the stage and waits until it is ready: listening, and serving the pair if
    /// there is one on disk.
    pub fn start(stage: &dyn Stage, spec: &ServerSpec) -> Result<Server, WorldError> {
        Server::start_as(stage.command(&spec.argv()), spec)
    }

    /// The same from a command that says where and as whom; its program and streams are set here.
    pub fn start_as(mut command: tracer::Command, spec: &ServerSpec) -> Result<Server, WorldError> {
        let failed = |source: io::Error| WorldError {
            tried: "failed to start the built-in TLS server".to_owned(),
            source,
            remedy: None,
        };
        let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(|errno| failed(errno.into()));
        let ((stdin, requests), (answers, stdout)) = (pipe()?, pipe()?);
        command.program = Some(spec.program.clone());
        (command.stdin, command.stdout) = (Some(stdin), Some(stdout));
        let pid = tracer::spawn_untraced(&command).map_err(|error| failed(io::Error::other(error)))?;
        // Our copies of its ends: without them gone, its end would not be noticed.
        drop(command);
        Server::attach(pid, requests, answers)
    }

    /// Takes over a server that was just started with [`ServerSpec::argv`]: its process id as
    /// the caller sees it, the writing end of its standard input and the reading end of its
    /// standard output. Waits until it is ready: listening, and serving the pair if there is one
    /// on disk.
    pub fn attach(pid: Pid, stdin: OwnedFd, stdout: OwnedFd) -> Result<Server, WorldError> {
        let mut server = Server {
            pid,
            requests: File::from(stdin),
            answers: File::from(stdout),
            heard: Vec::new(),
            state: Settled::default(),
        };
        let answer = server.hear(limits::SERVER_START).and_then(|line| match line.split_once(' ') {
            Some(("ready", state)) => state.parse().map_err(io::Error::other),
            Some(("failed", why)) => Err(io::Error::other(why.to_owned())),
            _ => Err(io::Error::other(format!("it said `{line}`"))),
        });
        server.state = answer.map_err(|source| WorldError {
            tried: "failed to start the built-in TLS server".to_owned(),
            source,
            remedy: None,
        })?;
        Ok(server)
    }

    /// Its process id as the caller sees it.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// What it had done when it was last asked.
    pub fn state(&self) -> &Settled {
        &self.state
    }

    /// Waits until it has acted on every SIGHUP that reached it so far.
    pub fn settle(&mut self) -> Result<&Settled, WorldError> {
        self.tell(b"settle\n")
    }

    /// From now on it refuses every reload and keeps what it has, as a server does whose
    /// configuration somebody has broken; or it takes them again.
    pub fn refuse_reloads(&mut self, refuse: bool) -> Result<&Settled, WorldError> {
        self.tell(if refuse { b"refuse\n" } else { b"accept\n" })
    }

    fn tell(&mut self, what: &[u8]) -> Result<&Settled, WorldError> {
        let ask = |server: &mut Server| -> io::Result<Settled> {
            server.requests.write_all(what)?;
            let line = server.hear(limits::RELOAD_SETTLE)?;
            let state =
                line.strip_prefix("settled ").ok_or_else(|| io::Error::other(format!("it said `{line}`")))?;
            state.parse().map_err(io::Error::other)
        };
        match ask(self) {
            Ok(state) => {
                self.state = state;
                Ok(&self.state)
            }
            Err(source) => Err(WorldError {
                tried: format!("failed to let the TLS server (process {}) act on its signals", self.pid),
                source,
                remedy: None,
            }),
        }
    }

    /// Whether the process is there and not dead. A stopped server ([`ServerSpec::unit_file`])
    /// is alive.
    pub fn is_alive(&self) -> bool {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(self.pid), look) {
            Ok(WaitStatus::StillAlive) => true,
            // Somebody else's child: an init of the stage started it.
            Err(Errno::ECHILD) => kill(self.pid, None).is_ok(),
            _ => false,
        }
    }

    /// Its next line.
    fn hear(&mut self, patience: Duration) -> io::Result<String> {
        let until = Instant::now() + patience;
        loop {
            if let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(line.trim_ascii()).into_owned());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let waited = format!("it gave no answer within {} s", patience.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, waited));
            }
            // Rounded up, so that the last wait is not a busy one.
            let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.answers.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(errno) => return Err(errno.into()),
            }
            let mut buffer = [0; 512];
            match self.answers.read(&mut buffer) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has ended")),
                Ok(read) => self.heard.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Reaped meanwhile means dead, and then the number may be another's.
        if self.is_alive() {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
        let _ = waitpid(self.pid, None);
    }
}
