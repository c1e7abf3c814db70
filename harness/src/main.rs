//! The `roulette` command.

use std::{env, path::Path, process::ExitCode};

use process_roulette::{front, world};

fn main() -> ExitCode {
    let args: Vec<String> = env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let name = args.first().and_then(|name| Path::new(name).file_name()?.to_str()).unwrap_or("");
    if world::shim::is_shim(name) {
        return world::shim::main(name, &args[1..]);
    }
    match args.get(1).map(String::as_str) {
        Some("__world-shell") => world::shell::main(&args[2..]),
        Some(front::LIFELINE) => front::lifeline_main(env::args_os().skip(2)),
        _ => ExitCode::from(2),
    }
}
