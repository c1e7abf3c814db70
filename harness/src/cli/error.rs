//! What ends a command early: one message and an exit code.

use crate::{
    lab::{LabError, LabErrorKind},
    report::ReportError,
    scenario::ScenarioError,
};

use super::exit_code::ExitCode;

/// Where bugs are reported.
pub(super) const ISSUES: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/issues");

/// A command that could not do what it was asked for.
#[derive(Debug)]
pub(super) struct CliError {
    pub code: ExitCode,
    pub message: String,
}

impl CliError {
    pub fn usage(message: impl Into<String>) -> CliError {
        CliError { code: ExitCode::Usage, message: message.into() }
    }

    pub fn machine(message: impl Into<String>) -> CliError {
        CliError { code: ExitCode::Machine, message: message.into() }
    }

    /// Prints the message to standard error, and gives the exit code.
    pub fn show(&self) -> ExitCode {
        if !self.message.is_empty() {
            eprintln!("roulette: {}", self.message);
        }
        if self.code == ExitCode::Bug {
            eprintln!(
                "\nThis is a bug of Process Roulette. Please report it, with the lines above and the command line, at\n{ISSUES}"
            );
        }
        self.code
    }
}

impl From<ScenarioError> for CliError {
    fn from(error: ScenarioError) -> Self {
        CliError::usage(error.to_string())
    }
}

impl From<LabError> for CliError {
    fn from(error: LabError) -> Self {
        let code = match error.kind {
            LabErrorKind::Usage => ExitCode::Usage,
            LabErrorKind::Machine => ExitCode::Machine,
            LabErrorKind::Baseline => ExitCode::Inconclusive,
            LabErrorKind::Interrupted => ExitCode::Interrupted,
            LabErrorKind::Bug => ExitCode::Bug,
        };
        CliError { code, message: error.message }
    }
}

impl From<ReportError> for CliError {
    fn from(error: ReportError) -> Self {
        if error.is_broken_pipe() {
            // The reader has seen enough.
            return CliError { code: ExitCode::Held, message: String::new() };
        }
        CliError::machine(error.to_string())
    }
}
