//! `roulette report`: a stored run, told again.

use crate::report::{Format, Output, Style, render, store::Store};

use super::{arguments::ReportOptions, error::CliError, exit_code::ExitCode};

pub(super) fn report(options: &ReportOptions) -> Result<ExitCode, CliError> {
    let run = Store::of_user()?.find(&options.run).map_err(CliError::usage)?;
    let reporter = match &options.output {
        Some(path) => Output { format: options.format, path: path.clone() }.open(false)?,
        None => {
            let style = if options.format == Format::Terminal { Style::of_stdout() } else { Style::plain() };
            options.format.reporter(Box::new(std::io::stdout()), "standard output".to_owned(), false, style)
        }
    };
    render(&run.events(), &mut [reporter])?;
    Ok(ExitCode::Held)
}
