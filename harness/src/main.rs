//! The `roulette` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((name, rest)) if name == process_roulette::target::SERVE => {
            process_roulette::target::serve_main(rest)
        }
        _ => ExitCode::SUCCESS,
    }
}
