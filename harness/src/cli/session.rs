//! What the commands that start worlds have in common: the scenario and the machine checked, the
//! reporters fed, the run stored.

use std::{
    cell::Cell,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    event::{Event, Summary, WorldKind},
    lab::{self, LabError, LabOptions, WorldChoice},
    report::{EventLog, Output, Progress, ReportError, Reporter, Style, Terminal, store::Store},
    scenario::Scenario,
    verdict::Verdict,
};

use super::{arguments::WorldOptions, error::CliError, exit_code::ExitCode};

/// Loads a scenario and makes sure that it can run here.
pub(super) fn load(path: &Path) -> Result<Scenario, CliError> {
    if path.is_dir() {
        let path = path.display();
        return Err(CliError::usage(format!(
            "{path} is a folder: name the scenario files in it, such as {path}/*.toml"
        )));
    }
    Ok(Scenario::load(path)?)
}

/// Makes sure that the machine has what the scenario and the command line need.
pub(super) fn check_machine(scenario: &Scenario, options: &WorldOptions) -> Result<(), CliError> {
    require(&options.require)?;
    let missing = scenario.missing_needs();
    if !missing.is_empty() {
        let list: Vec<String> = missing.iter().map(|need| format!("\n  {need}")).collect();
        return Err(CliError::machine(format!(
            "{} needs programs that are not here:{}",
            scenario.name,
            list.concat()
        )));
    }
    let absolute = scenario.uses_absolute_paths();
    if options.world == WorldChoice::Bare && !absolute.is_empty() {
        return Err(CliError::machine(format!(
            "{} cannot run in a bare world, because it uses absolute paths:\n  {}\n\
             Write them with {{root}} in front, or use a private world (`roulette check` says what that takes)",
            scenario.name,
            absolute.join("\n  ")
        )));
    }
    Ok(())
}

/// Fails where one of the named capabilities is missing.
pub(super) fn require(names: &[String]) -> Result<(), CliError> {
    if names.is_empty() {
        return Ok(());
    }
    let capabilities = lab::check()?;
    for name in names {
        let Some(found) = capabilities.iter().find(|capability| capability.name == *name) else {
            let known = capabilities.iter().map(|capability| capability.name.as_str());
            return Err(CliError::usage(match crate::scenario::nearest(name, known) {
                Some(near) => format!("--require {name}: no such capability, did you mean `{near}`?"),
                None => format!("--require {name}: no such capability, `roulette check` lists them"),
            }));
        };
        if !found.available {
            let remedy = found.remedy.as_deref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
            return Err(CliError::machine(format!(
                "{name} is required and not available: {}{remedy}",
                found.detail
            )));
        }
    }
    Ok(())
}

/// The lab's options as far as all commands share them.
pub(super) fn lab_options(
    scenario: Scenario,
    world: &WorldOptions,
    interrupt: &Arc<AtomicBool>,
) -> LabOptions {
    let pebble = world.pebble.clone().or_else(|| std::env::var_os("ROULETTE_PEBBLE").map(Into::into));
    LabOptions {
        scenario,
        // 32 bits: short enough to be typed again, and exact in every JSON reader.
        seed: world.seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
        jobs: world.jobs,
        shard: None,
        faults: None,
        fail_fast: false,
        allow_inconclusive: Vec::new(),
        pebble,
        world: world.world,
        max_experiments: None,
        interrupt: Arc::clone(interrupt),
    }
}

/// The reporters of a whole command: the terminal, and the files that were asked for.
pub(super) struct Session {
    reporters: Vec<Box<dyn Reporter>>,
    interrupt: Arc<AtomicBool>,
}

impl Session {
    /// Opens every report file, so that one that cannot be written fails now.
    pub fn open(outputs: &[Output], several: bool, interrupt: Arc<AtomicBool>) -> Result<Session, CliError> {
        let mut reporters: Vec<Box<dyn Reporter>> = Vec::new();
        let taken = outputs.iter().any(|output| output.path.as_os_str() == "-");
        // A report on standard output is the result; the one for people would spoil it.
        let out: Box<dyn std::io::Write> =
            if taken { Box::new(std::io::sink()) } else { Box::new(std::io::stdout()) };
        reporters.push(Box::new(Terminal::new(out, Style::of_stdout()).with_progress(Progress::of_stderr())));
        for output in outputs {
            reporters.push(output.open(several)?);
        }
        Ok(Session { reporters, interrupt })
    }

    /// Runs one scenario: `work` is given where to tell its events.
    pub fn scenario(
        &mut self,
        options: LabOptions,
        work: impl FnOnce(LabOptions, &mut dyn FnMut(Event)) -> Result<Summary, LabError>,
    ) -> Result<ExitCode, CliError> {
        let mut log = store(&options.scenario);
        let mut broken: Option<ReportError> = None;
        let started = Cell::new(false);
        let first = first_event(&options);
        let mut tell = |event: Event| {
            started.set(started.get() || matches!(event, Event::Started { .. }));
            for reporter in log.iter_mut().chain(&mut self.reporters) {
                if let Err(error) = reporter.event(&event)
                    && broken.is_none()
                {
                    // What is found now could not be told: better to end than to go on in vain.
                    broken = Some(error);
                    self.interrupt.store(true, Ordering::Relaxed);
                }
            }
        };
        let result = work(options, &mut tell);
        if let Err(error) = &result {
            if !started.get() {
                tell(first);
            }
            tell(Event::Failed { message: error.message.clone() });
        }
        if let Some(error) = broken {
            return Err(error.into());
        }
        let summary = result?;
        Ok(match summary.verdict {
            _ if self.interrupt.load(Ordering::Relaxed) => ExitCode::Interrupted,
            Verdict::Held => ExitCode::Held,
            Verdict::Violated => ExitCode::Violated,
            Verdict::Inconclusive => ExitCode::Inconclusive,
        })
    }

    /// Reports a scenario that this machine cannot run.
    pub fn refused(&mut self, options: &LabOptions, error: &CliError) -> Result<(), CliError> {
        let failed = Event::Failed { message: error.message.clone() };
        for reporter in &mut self.reporters {
            reporter.event(&first_event(options))?;
            reporter.event(&failed)?;
        }
        Ok(())
    }

    /// Writes the report files.
    pub fn finish(mut self) -> Result<(), CliError> {
        // Every reporter is finished, whatever becomes of the others.
        let results: Vec<Result<(), ReportError>> =
            self.reporters.iter_mut().map(|reporter| reporter.finish()).collect();
        Ok(results.into_iter().collect::<Result<(), ReportError>>()?)
    }
}

/// What a run that failed before it began is reported as.
fn first_event(options: &LabOptions) -> Event {
    Event::Started {
        schema: 1,
        scenario: options.scenario.name.clone(),
        purpose: options.scenario.purpose.clone(),
        file: options.scenario.file.display().to_string(),
        seed: options.seed,
        world: if options.world == WorldChoice::Bare { WorldKind::Bare } else { WorldKind::Private },
        jobs: 0,
        version: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

/// The stored log of the run. A machine that has no place for it can still run.
fn store(scenario: &Scenario) -> Option<Box<dyn Reporter>> {
    let opened = Store::of_user()
        .and_then(|store| store.create(scenario))
        .and_then(|run| EventLog::create(&run.events()));
    match opened {
        Ok(log) => Some(Box::new(log)),
        Err(error) => {
            eprintln!(
                "roulette: {error}; this run is not stored: `roulette report` and `roulette replay` will not find it"
            );
            None
        }
    }
}
