//! Standard output for results: a reader that goes away is no error and no panic.

use std::io::Write as _;

use super::{error::CliError, exit_code::ExitCode};
use crate::report::ReportError;

/// Prints `text` and ends the command well.
pub(super) fn print(text: &str) -> Result<ExitCode, CliError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(ReportError::new("failed to write to standard output"))?;
    Ok(ExitCode::Held)
}

/// Prints `value` as JSON and ends the command well.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<ExitCode, CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| CliError {
        code: ExitCode::Bug,
        message: format!("failed to encode JSON: {error}"),
    })?;
    print(&format!("{text}\n"))
}
