//! `roulette completions`.

use clap::CommandFactory as _;

use super::{
    arguments::{Arguments, CompletionsOptions},
    error::CliError,
    exit_code::ExitCode,
    output::print,
};

pub(super) fn completions(options: &CompletionsOptions) -> Result<ExitCode, CliError> {
    // Into memory first: the generator panics where its writer fails.
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "roulette", &mut text);
    print(&String::from_utf8_lossy(&text))
}
