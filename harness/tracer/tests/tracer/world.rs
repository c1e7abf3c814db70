//! What the tests share: a folder, a tracer, and a loop with a deadline.

use std::{
    ffi::OsString,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use process_roulette_tracer::{Call, Command, Ended, Event, Options, Pid, Status, Stop, Stopped, Tracer};
use tempfile::TempDir;

/// Far more than anything here takes: only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn guest<const N: usize>(arguments: [&str; N]) -> Command {
    command([env!("CARGO_BIN_EXE_tracer-guest")].into_iter().chain(arguments))
}

pub(crate) fn command(argv: impl IntoIterator<Item = impl Into<OsString>>) -> Command {
    let mut command = Command::new(argv);
    command.env = std::env::vars_os().collect();
    command
}

pub(crate) fn tracer() -> Tracer {
    Tracer::new(Options::default()).expect("a thread has one tracer")
}

pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Empty if it is not there.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) ends: Vec<Ended>,
    /// Maker, made, whether a thread.
    pub(crate) births: Vec<(Pid, Pid, bool)>,
}

impl Story {
    pub(crate) fn status(&self, pid: Pid) -> Status {
        self.ends.iter().find(|ended| ended.pid == pid && ended.leader).expect("it ended").status
    }
}

pub(crate) fn next(tracer: &mut Tracer) -> Event {
    let event = tracer.wait(Some(Instant::now() + PATIENCE)).expect("waiting works");
    assert!(!matches!(event, Event::TimedOut), "nothing happened; left: {:?}", tracer.live());
    event
}

/// Runs until no tracee is left. Every stop goes to `on_stop`.
pub(crate) fn drive(tracer: &mut Tracer, mut on_stop: impl FnMut(Stopped)) -> Story {
    let mut story = Story::default();
    loop {
        match next(tracer) {
            Event::Stopped(stopped) => on_stop(stopped),
            Event::Forked { parent, child, thread } => story.births.push((parent, child, thread)),
            Event::Ended(ended) => story.ends.push(ended),
            Event::Empty => return story,
            Event::Woken | Event::TimedOut => {}
        }
    }
}

/// Runs a command with every stop resumed.
pub(crate) fn run(command: &Command) -> Status {
    let mut tracer = tracer();
    let pid = tracer.spawn(command).expect("it starts");
    drive(&mut tracer, resume).status(pid)
}

pub(crate) fn resume(stopped: Stopped) {
    stopped.resume().expect("it resumes");
}

/// Whether this is the entry of a call that writes this text.
pub(crate) fn writes(stopped: &Stopped, text: &str) -> bool {
    matches!(stopped.stop(), Stop::Syscall(syscall) if syscall.call == Call::Write
        && stopped.read_bytes(syscall.args[1], text.len()).is_ok_and(|bytes| bytes == text.as_bytes()))
}

/// Where a path of a call's argument leads.
pub(crate) fn path_argument(stopped: &Stopped, index: usize) -> Option<PathBuf> {
    let syscall = stopped.syscall()?;
    stopped.read_string(syscall.args[index]).ok().map(PathBuf::from)
}
