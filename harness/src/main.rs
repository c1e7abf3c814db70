//! The `roulette` command. It is also every helper program of its worlds: under another name, or
//! with a hidden first argument, it is that helper, and starts without any of the command line's
//! set-up.
#![forbid(unsafe_code)]

use process_roulette::{front, target, worker, world};
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
const HELPERS: &[(&str, Helper)] = &[
    ("guard", guard::main),
    (worker::ARGUMENT, |arguments| worker::main(arguments.get(2).is_some_and(|kind| kind == "private"))),
    (target::SERVE, |arguments| target::serve_main(&text(&arguments[2..]))),
    (front::LIFELINE, |arguments| front::lifeline_main(arguments.into_iter().skip(2))),
    (world::check::PROBE, |arguments| {
        world::check::probe_main(text(&arguments[2..]).first().map_or("", String::as_str))
    }),
    (world::janitor::JANITOR, |arguments| world::janitor::main(&text(&arguments[2..]))),
    (world::shell::SHELL, |arguments| world::shell::main(&text(&arguments[2..]))),
];

fn multi_call(name: &str, first: &str) -> Option<Helper> {
    if world::shim::is_shim(name) {
        return Some(|arguments| {
            world::shim::main(&text(&arguments[..1])[0].clone(), &text(&arguments[1..]))
        });
    }
    let named = |wanted: &str| HELPERS.iter().find(|(known, _)| *known == wanted).map(|(_, helper)| *helper);
    named(name).or_else(|| first.starts_with("__").then(|| named(first)).flatten())
}

fn text(arguments: &[OsString]) -> Vec<String> {
    arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect()
}
