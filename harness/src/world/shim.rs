//! Service managers and server controls as a world has them: `systemctl`, `service`,
//! `nginx -s reload` and the like do the real thing to the world's one server.
//!
//! The harness's own program stands behind these names and is told apart by the name it was
//! called by. Any unit is taken for the world's server: a scenario has one. A reload is a SIGHUP
//! that the shim itself sends to the process in the server's pid file, so that a tracer sees it
//! as the reload; a start is asked of the harness (see [`control`]), because a service manager's
//! daemons are nobody's children, and so is whether the configuration is sound. That a shim was called is seen as its exec.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::control;
use crate::limits;

/// Names the server's pid file in the subject's environment.
pub const PID_FILE: &str = "ROULETTE_PID_FILE";

/// The same settings for commands that were started with a cleared environment: one
/// `NAME=VALUE` a line. Only in private worlds.
pub const SETTINGS: &str = "/usr/lib/process-roulette/settings";

/// Service managers: always the world's, wherever the host has its own.
const MANAGERS: [(&str, &str); 4] = [
    ("systemctl", "/usr/bin"),
    ("service", "/usr/sbin"),
    ("invoke-rc.d", "/usr/sbin"),
    ("rc-service", "/usr/sbin"),
];

/// Servers' own controls: the world's only where the host has none.
const CONTROLS: [(&str, &str); 4] = [
    ("nginx", "/usr/sbin"),
    ("apachectl", "/usr/sbin"),
    ("apache2ctl", "/usr/sbin"),
    ("guard", "/usr/local/bin"),
];

/// Where programs are looked for.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Exit code of `systemctl` for a unit that is not running (LSB, systemctl(1)).
const NOT_RUNNING: u8 = 3;

/// Every name this program answers to besides its own, `guard` included.
pub fn names() -> impl Iterator<Item = &'static str> {
    MANAGERS.iter().chain(&CONTROLS).map(|(name, _)| *name)
}

/// Whether a program of this path is one that controls servers: a service manager or a server's own.
pub fn controls_servers(path: &str) -> bool {
    Path::new(path).file_name().and_then(OsStr::to_str).is_some_and(is_shim)
}

/// Whether `name` is one that [`main`] handles.
pub fn is_shim(name: &str) -> bool {
    name != "guard" && names().any(|known| known == name)
}

/// Where the host has `name`.
fn on_host(name: &str) -> Vec<PathBuf> {
    FOLDERS
        .iter()
        .filter(|folder| fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_dir()))
        .map(|folder| Path::new(folder).join(name))
        .filter(|path| fs::symlink_metadata(path).is_ok())
        .collect()
}

/// The shims and `guard`, with the usual folder of each, without the controls of servers that
/// the host has.
fn for_host() -> impl Iterator<Item = (&'static str, &'static str)> {
    let controls = CONTROLS.into_iter().filter(|(name, _)| *name == "guard" || on_host(name).is_empty());
    MANAGERS.into_iter().chain(controls)
}

/// The names that a world on this host has the harness's own program under.
pub(super) fn names_for_host() -> impl Iterator<Item = &'static str> {
    for_host().map(|(name, _)| name)
}

/// Where a private world puts the shims and `guard`: also wherever the host has a service
/// manager of its own.
pub(super) fn places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = for_host().map(|(name, folder)| Path::new(folder).join(name)).collect();
    places.extend(MANAGERS.iter().flat_map(|(name, _)| on_host(name)));
    places.sort();
    places.dedup();
    places
}

/// What a command line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Reload,
    /// Reload if it runs, else nothing.
    TryReload,
    /// Reload if it runs, else start.
    ReloadOrStart,
    Restart,
    TryRestart,
    Start,
    Stop,
    Status,
    IsActive,
    Send(Signal),
    /// Look whether the server would take its configuration.
    Test,
    Nothing,
}

/// The whole of a shim: does what the command line asks for and says how it went as the real
/// program would. `name`: what it was called by, with or without folders.
pub fn main(name: &str, args: &[String]) -> ExitCode {
    let name = Path::new(name).file_name().and_then(OsStr::to_str).unwrap_or(name);
    let asked = match name {
        "systemctl" => systemctl(args),
        "service" | "invoke-rc.d" | "rc-service" => service(args),
        "nginx" => nginx(args),
        "apachectl" | "apache2ctl" => apachectl(args),
        other => Err(format!("`{other}` is no shim")),
    };
    let (act, unit) = match asked {
        Ok(asked) => asked,
        Err(problem) => {
            eprintln!("{name}: {problem} (Process Roulette's stand-in)");
            return ExitCode::from(2);
        }
    };
    match run(act, &unit) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{name}: {unit}: {error} (Process Roulette's stand-in)");
            ExitCode::FAILURE
        }
    }
}

fn systemctl(args: &[String]) -> Result<(Act, String), String> {
    let mut words = Vec::new();
    let mut signal = Signal::SIGTERM;
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "-s" | "--signal" => {
                signal = parse_signal(rest.next().ok_or("a signal must follow -s")?)?;
            }
            // Options with a value of their own.
            "-t" | "--type" | "-p" | "--property" | "-H" | "--host" | "-M" | "--machine" | "-o"
            | "--output" | "-n" | "--lines" | "--kill-whom" | "--kill-who" | "--job-mode" => {
                rest.next();
            }
            option if option.starts_with("--signal=") => {
                signal = parse_signal(&option["--signal=".len()..])?;
            }
            option if option.starts_with('-') => {}
            word => words.push(word),
        }
    }
    let unit = words.get(1).copied().unwrap_or("").to_string();
    let act = match words.first().copied().unwrap_or("status") {
        "reload" => Act::Reload,
        "try-reload-or-restart" | "reload-or-try-restart" | "force-reload" => Act::TryReload,
        "reload-or-restart" => Act::ReloadOrStart,
        "restart" => Act::Restart,
        "try-restart" | "condrestart" => Act::TryRestart,
        "start" => Act::Start,
        "stop" => Act::Stop,
        "status" | "show" => Act::Status,
        "is-active" => Act::IsActive,
        "kill" => Act::Send(signal),
        "daemon-reload" | "daemon-reexec" | "enable" | "disable" | "is-enabled" | "mask" | "unmask"
        | "reset-failed" | "is-system-running" | "list-units" | "cat" => Act::Nothing,
        "is-failed" => return Err("is-failed is not supported".to_string()),
        other => return Err(format!("unknown command verb `{other}`")),
    };
    Ok((act, unit))
}

fn service(args: &[String]) -> Result<(Act, String), String> {
    let words: Vec<&str> = args.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    let [unit, verb, ..] = words[..] else {
        return Err("a service and what to do with it must be named".to_string());
    };
    let act = match verb {
        "reload" | "force-reload" => Act::Reload,
        "restart" => Act::Restart,
        "try-restart" | "condrestart" => Act::TryRestart,
        "start" => Act::Start,
        "stop" => Act::Stop,
        "status" => Act::Status,
        "configtest" => Act::Test,
        other => return Err(format!("unknown action `{other}`")),
    };
    Ok((act, unit.to_string()))
}

fn nginx(args: &[String]) -> Result<(Act, String), String> {
    let mut act = Act::Start;
    let mut rest = args.iter().map(String::as_str);
    while let Some(arg) = rest.next() {
        match arg {
            "-t" | "-T" => act = Act::Test,
            "-v" | "-V" => act = Act::Nothing,
            "-s" => {
                act = match rest.next() {
                    Some("reload") => Act::Reload,
                    Some("stop" | "quit") => Act::Stop,
                    Some("reopen") => Act::Send(Signal::SIGUSR1),
                    other => return Err(format!("invalid option: -s {}", other.unwrap_or(""))),
                };
            }
            "-c" | "-g" | "-p" | "-e" => {
                rest.next();
            }
            _ => {}
        }
    }
    Ok((act, "nginx".to_string()))
}

fn apachectl(args: &[String]) -> Result<(Act, String), String> {
    let verb = args.iter().map(String::as_str).rfind(|arg| *arg != "-k");
    let act = match verb.unwrap_or("start") {
        "graceful" => Act::Reload,
        "restart" => Act::Restart,
        "start" => Act::Start,
        "stop" | "graceful-stop" => Act::Stop,
        "status" | "fullstatus" => Act::Status,
        "configtest" | "-t" => Act::Test,
        "-v" | "-S" => Act::Nothing,
        other => return Err(format!("unknown action `{other}`")),
    };
    Ok((act, "apache2".to_string()))
}

fn parse_signal(name: &str) -> Result<Signal, String> {
    let upper = name.to_uppercase();
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    full.parse()
        .ok()
        .or_else(|| name.parse::<i32>().ok().and_then(|number| Signal::try_from(number).ok()))
        .ok_or_else(|| format!("unknown signal `{name}`"))
}

fn run(act: Act, unit: &str) -> io::Result<ExitCode> {
    let server = server()?;
    let none = || io::Error::other("it is not running");
    match (act, server) {
        (Act::Nothing, _) | (Act::TryReload | Act::TryRestart, None) => {}
        (Act::Test, _) => test()?,
        // Servers' own controls read the configuration before they signal, and so tell of a broken
        // one (`nginx -s reload`, `apachectl graceful`).
        (Act::Reload | Act::TryReload | Act::ReloadOrStart, Some(pid)) => {
            test()?;
            kill(pid, Signal::SIGHUP)?;
        }
        (Act::Send(signal), Some(pid)) => kill(pid, signal)?,
        (Act::Reload | Act::Send(_), None) => return Err(none()),
        (Act::Start, Some(_)) | (Act::Stop, None) => {}
        (Act::Start | Act::Restart | Act::ReloadOrStart, None) => start(unit)?,
        (Act::Stop, Some(pid)) => stop(pid)?,
        (Act::Restart | Act::TryRestart, Some(pid)) => {
            stop(pid)?;
            start(unit)?;
        }
        (Act::Status | Act::IsActive, server) => {
            let state = if server.is_some() { "active" } else { "inactive" };
            if act == Act::IsActive {
                println!("{state}");
            } else {
                println!("{unit}: {state}");
            }
            if server.is_none() {
                return Ok(ExitCode::from(NOT_RUNNING));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn setting(name: &str) -> io::Result<String> {
    if let Ok(value) = env::var(name) {
        return Ok(value);
    }
    let settings = fs::read_to_string(SETTINGS).unwrap_or_default();
    settings
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .map(str::to_string)
        .ok_or_else(|| {
            io::Error::other(format!(
                "neither the variable {name} nor {SETTINGS} says where the server is; \
                 only a world of Process Roulette does"
            ))
        })
}

/// The world's server, if it is running.
fn server() -> io::Result<Option<Pid>> {
    let file = setting(PID_FILE)?;
    let Ok(text) = fs::read_to_string(&file) else { return Ok(None) };
    let Some(pid) = text.trim().parse::<i32>().ok().filter(|pid| *pid > 1) else {
        return Ok(None);
    };
    let pid = Pid::from_raw(pid);
    match kill(pid, None) {
        Ok(()) => Ok(Some(pid)),
        Err(Errno::ESRCH) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn start(unit: &str) -> io::Result<()> {
    control::ask(&setting(control::VARIABLE)?, &control::Request::Start(unit.to_string()))
}

/// Asks whether the server would take its configuration.
fn test() -> io::Result<()> {
    control::ask(&setting(control::VARIABLE)?, &control::Request::Test)
}

/// Sends SIGTERM and waits until the process is gone.
fn stop(pid: Pid) -> io::Result<()> {
    let raw =
        rustix::process::Pid::from_raw(pid.as_raw()).ok_or_else(|| io::Error::other("no such process"))?;
    let handle = match rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    kill(pid, Signal::SIGTERM)?;
    let timeout = PollTimeout::try_from(limits::SERVER_STOP).unwrap_or(PollTimeout::MAX);
    let mut waited = [PollFd::new(std::os::fd::AsFd::as_fd(&handle), PollFlags::POLLIN)];
    if poll(&mut waited, timeout)? == 0 {
        return Err(io::Error::other("it did not stop on SIGTERM"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_string).collect()
    }

    #[test]
    fn command_lines_of_hooks_are_understood() {
        for (line, act) in [
            ("reload nginx", Act::Reload),
            ("--quiet --no-block reload nginx.service", Act::Reload),
            ("-q try-reload-or-restart nginx", Act::TryReload),
            ("reload-or-restart nginx", Act::ReloadOrStart),
            ("kill -s HUP nginx", Act::Send(Signal::SIGHUP)),
            ("kill --signal=SIGUSR1 nginx", Act::Send(Signal::SIGUSR1)),
            ("daemon-reload", Act::Nothing),
            ("is-active --quiet nginx", Act::IsActive),
        ] {
            assert_eq!(systemctl(&words(line)).map(|(act, _)| act), Ok(act), "systemctl {line}");
        }
        assert_eq!(service(&words("nginx reload")), Ok((Act::Reload, "nginx".to_string())));
        assert_eq!(nginx(&words("-s reload")).map(|(act, _)| act), Ok(Act::Reload));
        assert_eq!(nginx(&words("-t -q")).map(|(act, _)| act), Ok(Act::Test));
        assert_eq!(apachectl(&words("-k graceful")).map(|(act, _)| act), Ok(Act::Reload));
    }

    #[test]
    fn an_unknown_verb_is_refused_and_not_passed_over() {
        assert!(systemctl(&words("frobnicate nginx")).is_err());
        assert!(service(&words("nginx")).is_err());
    }
}
