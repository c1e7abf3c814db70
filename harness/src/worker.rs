//! A worker: one process with one world, told what to do over its standard input and answering
//! on its standard output, one JSON object a line each way.
//!
//! A process of its own, because namespaces are easiest entered by a process that has just
//! started, and because one that dies takes nothing with it.

use std::{
    io::{BufRead, ErrorKind, Write},
    path::PathBuf,
    process::ExitCode,
    sync::mpsc,
};

use serde::{Deserialize, Serialize};

use crate::{
    artifact::AgeingCa,
    census::Census,
    event::{ExperimentRecord, WorldKind},
    experiment::{Narrated, SetupError, Workbench},
    narration,
    pebble::Programs,
    plan::Planned,
    procfs::Proc,
    run::Calls,
    scenario::Scenario,
    world::{
        self, World, WorldError,
        cgroup::{Groups, Place},
        control::Control,
    },
};

/// What a worker is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Build the world and prepare the subject. The first order, once.
    Build(Box<Build>),
    /// Make the census.
    Census {
        /// Faults whose limits of memory are looked for: those under which a run goes short.
        bisect: Vec<String>,
    },
    /// Take over a census that another worker made.
    Adopt(Box<Census>),
    /// Make an experiment.
    Experiment(Planned),
    /// Make an experiment once, telling what happens.
    Replay(Planned),
}

/// What a world is built from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Build {
    /// The scenario, placeholders unresolved.
    pub scenario: Scenario,
    /// The programs of the CA.
    pub programs: Programs,
    /// Which kind of world.
    pub world: WorldKind,
    /// Where control groups are made, where that is asked for.
    pub cgroups: Option<Place>,
}

/// What a worker answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The world stands and the subject is prepared.
    Built,
    /// The census.
    Census(Box<Census>),
    /// An experiment is over.
    Experiment(Box<ExperimentRecord>),
    /// A line of a narrated replay.
    Told(String),
    /// It could not be done.
    Failed(Failure),
}

/// Why a worker could not do what it was told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// Whose fault it is.
    pub kind: FailureKind,
    /// What was tried, on what, what went wrong, what to do.
    pub message: String,
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The subject does not do its work even undisturbed.
    Baseline,
    /// This machine lacks something.
    Machine,
    /// The harness is at fault.
    Bug,
}

impl From<WorldError> for Failure {
    fn from(error: WorldError) -> Self {
        Failure { kind: FailureKind::Machine, message: error.to_string() }
    }
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        let kind = match &error {
            SetupError::Baseline(_) => FailureKind::Baseline,
            SetupError::Run(crate::run::RunError::World(_) | crate::run::RunError::Spawn { .. }) => {
                FailureKind::Machine
            }
            SetupError::Run(_) => FailureKind::Bug,
        };
        let mut message = error.to_string();
        if let SetupError::Run(crate::run::RunError::Spawn { source, .. }) = &error {
            message.push_str(match source.source.kind() {
                ErrorKind::NotFound => "; is it installed, and the path right (or the `#!` line's)?",
                ErrorKind::PermissionDenied => "; is it executable?",
                _ if source.source.raw_os_error() == Some(nix::libc::ENOEXEC) => {
                    "; a script's first line must name its interpreter, such as `#!/bin/sh`"
                }
                _ => "",
            });
        }
        Failure { kind, message }
    }
}

/// The argument that makes the `roulette` command a worker.
pub const ARGUMENT: &str = "__worker";

/// Runs a worker to its end. `private`: in namespaces of its own, which are entered first;
/// otherwise in a session of its own.
pub fn main(private: bool) -> ExitCode {
    // The private one enters the namespaces, and returns only in the process that is inside.
    let isolated = if private { world::private::isolate() } else { world::bare::isolate() };
    if let Err(error) = isolated {
        say(&Answer::Failed(error.into()));
        return ExitCode::FAILURE;
    }
    let orders = orders();
    match serve(&orders) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&Answer::Failed(failure));
            ExitCode::FAILURE
        }
    }
}

/// Reads orders on a thread of its own, so that the end of the harness is noticed in the middle
/// of an experiment too.
fn orders() -> mpsc::Receiver<Order> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            match serde_json::from_str(&line) {
                Ok(order) => {
                    if sender.send(order).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    say(&Answer::Failed(Failure {
                        kind: FailureKind::Bug,
                        message: format!("not an order: {error}"),
                    }));
                    break;
                }
            }
        }
        world::abandon();
    });
    receiver
}

fn serve(orders: &mpsc::Receiver<Order>) -> Result<(), Failure> {
    let bug = |message: &str| Failure { kind: FailureKind::Bug, message: message.to_owned() };
    let Ok(Order::Build(build)) = orders.recv() else { return Ok(()) };
    let proc = Proc::open().map_err(|error| bug(&format!("failed to open /proc: {error}")))?;
    // Before the world hides the host's files.
    let groups = build.cgroups.as_ref().map(Place::open).transpose();
    let groups: Option<Groups> =
        groups.map_err(|error| bug(&format!("failed to open the control groups: {error}")))?;
    let ageing = AgeingCa::new().map_err(|error| bug(&error.to_string()))?;
    let (handler, calls) = Calls::new();
    let mut world = world::build(build.world, &build.scenario, &build.programs, &ageing.root_pem())?;
    let _control = Control::listen(world.control_name(), handler)
        .map_err(|error| bug(&format!("failed to listen for the world's shims: {error}")))?;
    let mut bench =
        Workbench::prepare(world.as_mut() as &mut dyn World, &build.scenario, calls, proc, &ageing, groups)?;
    say(&Answer::Built);
    let mut census: Option<Census> = None;
    while let Ok(order) = orders.recv() {
        match order {
            Order::Build(_) => return Err(bug("told to build a second world")),
            Order::Census { bisect } => {
                let made = bench.census(&bisect)?;
                say(&Answer::Census(Box::new(made.clone())));
                census = Some(made);
            }
            Order::Adopt(adopted) => census = Some(*adopted),
            Order::Experiment(planned) => {
                let census = census.as_ref().ok_or_else(|| bug("told to experiment without a census"))?;
                let record = bench.experiment(census, &planned)?;
                say(&Answer::Experiment(Box::new(record)));
            }
            Order::Replay(planned) => {
                let census = census.as_ref().ok_or_else(|| bug("told to replay without a census"))?;
                let mut narrator = narration::Narrator::default();
                let mut told = |what: Narrated<'_>| {
                    for line in narrator.tell(&what) {
                        say(&Answer::Told(line));
                    }
                };
                let record = bench.attempt(census, &planned, Some(&mut told))?;
                say(&Answer::Experiment(Box::new(record)));
            }
        }
    }
    Ok(())
}

/// Says something to the harness; one that is gone does not listen, and ends us soon.
fn say(answer: &Answer) {
    let Ok(mut line) = serde_json::to_string(answer) else { return };
    line.push('\n');
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

/// The command line of a worker.
pub fn command(kind: WorldKind) -> std::process::Command {
    let mut command = std::process::Command::new(PathBuf::from("/proc/self/exe"));
    command.arg(ARGUMENT).arg(kind.to_string());
    command
}
