//! The command line.

mod arguments;
mod census;
mod check;
mod completions;
mod error;
mod exit_code;
mod interrupt;
mod list;
mod output;
mod panic;
mod replay;
mod report;
mod run;
mod schema;
mod session;
mod spin;

use std::{ffi::OsString, process};

use clap::Parser as _;

pub use exit_code::ExitCode;

use arguments::{Arguments, Command};

/// Runs the command line: `arguments` with the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> process::ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    panic::install_hook();
    panic::guarded(move || dispatch(arguments)).into()
}

fn dispatch(arguments: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { ExitCode::Usage } else { ExitCode::Held };
            // Nobody is left to be told that the message could not be written.
            let _ = error.print();
            return code;
        }
    };
    trace();
    let result = match arguments.command {
        Command::Run(options) => run::run(&options),
        Command::Spin(options) => spin::spin(&options),
        Command::Census(options) => census::census(&options),
        Command::Replay(options) => replay::replay(&options),
        Command::List(options) => list::list(&options),
        Command::Check(options) => check::check(&options),
        Command::Report(options) => report::report(&options),
        Command::Completions(options) => completions::completions(&options),
        Command::Schema => schema::schema(),
    };
    result.unwrap_or_else(|error| error.show())
}

/// The harness's own log, for people who look for a bug in it: `ROULETTE_LOG=debug`.
fn trace() {
    if let Ok(filter) = std::env::var("ROULETTE_LOG") {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
            .with_writer(std::io::stderr)
            .init();
    }
}
