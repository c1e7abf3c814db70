//! Sweeps from a user's own tests: the `roulette` program run on a scenario, and what it found.
//!
//! ```no_run
//! // in a #[test]
//! process_roulette::sweep("tests/renewal.toml").assert_held();
//! ```
//!
//! The program is run, and not the lab inside of the test, because it is also every helper of its
//! worlds (workers, shims, servers): a test binary cannot be those. So it must be installed, and
//! the test stays an ordinary one that needs no harness of its own.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

use crate::{cli::ExitCode, event::Finding, verdict::Verdict};

/// The environment variable that names the `roulette` program.
const PROGRAM: &str = "ROULETTE_PROGRAM";

/// The schema of the JSON report that is understood here.
const SCHEMA: u32 = 1;

/// A sweep of the scenario in `file`. A relative path is taken from the working directory, which
/// is the package's folder under `cargo test`.
pub fn sweep(file: impl Into<PathBuf>) -> Sweep {
    Sweep { file: file.into(), program: None, arguments: Vec::new() }
}

/// A sweep that is yet to be run: see [`sweep()`].
#[derive(Debug, Clone)]
#[must_use = "a sweep does nothing until it is run"]
pub struct Sweep {
    file: PathBuf,
    program: Option<PathBuf>,
    arguments: Vec<OsString>,
}

/// What a sweep came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Swept {
    /// The worst over all experiments, known findings (`[[expect]]`) set aside.
    pub verdict: Verdict,
    /// What was found, the known ones too.
    pub findings: Vec<Finding>,
    /// The report for people.
    pub report: String,
}

/// Why a sweep came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// There is no `roulette` program.
    #[error(
        "failed to start {}: {source}. Install it (`cargo install --path harness` in a checkout of Process Roulette) \
         or name it in {PROGRAM}", program.display()
    )]
    Program {
        /// What was tried.
        program: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// This machine lacks something that the scenario or the world needs.
    #[error("this machine cannot run {}: {message}", file.display())]
    Machine {
        /// The scenario.
        file: PathBuf,
        /// What is missing, and how to get it.
        message: String,
    },
    /// The sweep could not be made or ended early.
    #[error("{} was not swept ({how}): {message}", file.display())]
    NotSwept {
        /// The scenario.
        file: PathBuf,
        /// How the program ended.
        how: String,
        /// What it said.
        message: String,
    },
    /// The program's report could not be read.
    #[error("failed to read the report of {}: {message}", program.display())]
    Report {
        /// The program.
        program: PathBuf,
        /// What went wrong.
        message: String,
    },
}

impl Sweep {
    /// Uses this `roulette` program. Otherwise it is what `ROULETTE_PROGRAM` names, or `roulette`
    /// on PATH.
    pub fn program(mut self, program: impl Into<PathBuf>) -> Sweep {
        self.program = Some(program.into());
        self
    }

    /// Adds arguments of `roulette run`, such as `["--jobs", "2"]`.
    pub fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Sweep {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When there is no program, when the machine lacks something ([`SweepError::Machine`]), when
    /// the scenario is wrong or the subject fails undisturbed.
    pub fn run(self) -> Result<Swept, SweepError> {
        let program = self.program.unwrap_or_else(|| {
            std::env::var_os(PROGRAM).map_or_else(|| PathBuf::from("roulette"), PathBuf::from)
        });
        let unreadable = |message: String| SweepError::Report { program: program.clone(), message };
        let folder = tempfile::tempdir()
            .map_err(|error| unreadable(format!("failed to make a temporary folder: {error}")))?;
        let json = folder.path().join("report.json");
        let mut report = OsString::from("json=");
        report.push(&json);
        let output = Command::new(&program)
            .args([OsStr::new("run"), self.file.as_os_str()])
            .args(&self.arguments)
            .arg("--report")
            .arg(report)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| SweepError::Program { program: program.clone(), source })?;
        let code = output.status.code();
        let is = |wanted: ExitCode| code == Some(i32::from(wanted.number()));
        let said = || said(&String::from_utf8_lossy(&output.stderr));
        if is(ExitCode::Machine) {
            return Err(SweepError::Machine { file: self.file, message: said() });
        }
        if ![ExitCode::Held, ExitCode::Violated, ExitCode::Inconclusive].into_iter().any(is) {
            let how = output.status.to_string();
            return Err(SweepError::NotSwept { file: self.file, how, message: said() });
        }
        let told = Told::read(&json).map_err(unreadable)?;
        if let Some(message) = told.failed {
            return Err(SweepError::NotSwept { file: self.file, how: output.status.to_string(), message });
        }
        Ok(Swept {
            verdict: told.verdict,
            findings: told.findings,
            report: String::from_utf8_lossy(&output.stdout).into_owned(),
        })
    }

    /// Runs it, and fails the test unless every promise was kept.
    ///
    /// # Panics
    /// When a promise was broken or could not be judged, with the report; and when the sweep could
    /// not be made. A test that should be left out where the machine lacks something calls
    /// [`Sweep::run`] and looks for [`SweepError::Machine`].
    #[track_caller]
    pub fn assert_held(self) -> Swept {
        match self.run() {
            Ok(swept) if swept.verdict == Verdict::Held => swept,
            Ok(swept) => panic!("{}", swept.report),
            Err(error) => panic!("{error}"),
        }
    }
}

/// The part of the JSON report that is needed here.
#[derive(Deserialize)]
struct Told {
    schema: u32,
    verdict: Verdict,
    findings: Vec<Finding>,
    failed: Option<String>,
}

impl Told {
    fn read(path: &Path) -> Result<Told, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let told: Told =
            serde_json::from_reader(io::BufReader::new(file)).map_err(|error| error.to_string())?;
        if told.schema != SCHEMA {
            return Err(format!(
                "it has schema {}, and schema {SCHEMA} is what is understood here: the program and the crate are of different versions",
                told.schema
            ));
        }
        Ok(told)
    }
}

/// The program's message, without the progress before it.
fn said(stderr: &str) -> String {
    const NAME: &str = "roulette: ";
    let start = stderr.find(&format!("\n{NAME}")).map_or(0, |at| at + 1);
    let text = &stderr[start..];
    text.strip_prefix(NAME).unwrap_or(text).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_told_without_the_progress_before_it() {
        assert_eq!(said("building 6 worlds\nroulette: it\n  is so\n"), "it\n  is so");
        assert_eq!(said("error: unexpected\n"), "error: unexpected");
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_what_to_do() {
        let error = sweep("x.toml").program("/nowhere/roulette").run().unwrap_err().to_string();
        assert!(error.starts_with("failed to start /nowhere/roulette: "), "{error}");
        assert!(error.contains("cargo install"), "{error}");
    }
}
