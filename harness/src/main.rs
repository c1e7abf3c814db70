//! The `roulette` command. It is also every helper program of its worlds: under another name, or
//! with a hidden first argument, it is that helper, and starts without any of the command line's
//! set-up.
#![forbid(unsafe_code)]

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::ExitCode,
};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().and_then(|name| Path::new(name).file_name()).and_then(OsStr::to_str);
    let first = arguments.get(1).and_then(|first| first.to_str());
    match multi_call(name.unwrap_or_default(), first.unwrap_or_default()) {
        Some(helper) => helper(arguments),
        None => process_roulette::cli::main(arguments),
    }
}

/// A helper program: gets all arguments, its name first.
type Helper = fn(Vec<OsString>) -> ExitCode;

/// Every helper, by the name it is started under. Those whose name begins with `__` are started
/// by it as first argument instead.
const HELPERS: &[(&str, Helper)] = &[];

fn multi_call(name: &str, first: &str) -> Option<Helper> {
    let wanted = if first.starts_with("__") { first } else { name };
    HELPERS.iter().find(|(known, _)| *known == wanted).map(|(_, helper)| *helper)
}
