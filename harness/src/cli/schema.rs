//! `roulette schema`.

use crate::scenario::schema_text;

use super::{error::CliError, exit_code::ExitCode, output::print};

pub(super) fn schema() -> Result<ExitCode, CliError> {
    print(&schema_text())
}
