//! What this machine can do: each capability is really tried, in a process that is thrown away,
//! and what is missing comes with its remedy.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use nix::sched::{CloneFlags, unshare};
use process_roulette_tracer as tracer;
use serde::{Deserialize, Serialize};

use super::{WorldError, bare, cgroup, isolate, network, private, scenery};
use crate::{event::WorldKind, limits, scenario::Scenario};

/// The hidden subcommand that tries one capability: `roulette __probe NAME`.
pub const PROBE: &str = "__probe";

/// Whether this machine has a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It works.
    Yes,
    /// It works with the limits that the detail names.
    Partial,
    /// It does not.
    No,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            State::Yes => "yes",
            State::Partial => "partial",
            State::No => "no",
        })
    }
}

/// One thing a machine can or cannot do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// Its name, such as `user namespaces`.
    pub name: String,
    /// Whether it is there.
    pub state: State,
    /// What was seen, in one line.
    pub detail: String,
    /// What to do to get it; `None` when there is nothing to do.
    pub remedy: Option<String>,
}

/// What a probe saw: state and detail.
type Seen = (State, String);

/// One probe: its name, what it is good for is in the documentation, how it is tried, and what
/// to do when it fails.
struct Probe {
    name: &'static str,
    run: fn() -> Result<Seen, String>,
    remedy: &'static str,
}

/// How the detail of a probe begins that needs namespaces where none are to be had.
const NOT_TRIED: &str = "not tried";

/// How the detail begins when user namespaces themselves are refused.
const NOT_ALLOWED: &str = "not allowed";

/// The probe that [`choose`] asks.
const PRIVATE: &str = "private world";

const PROBES: [Probe; 11] = [
    Probe {
        name: PRIVATE,
        run: private_world,
        remedy: "the lines below say which part is missing; scenarios written with {root} run in a bare world without it",
    },
    Probe { name: "bare world", run: bare_world, remedy: "make a writable directory and name it in TMPDIR" },
    Probe { name: "user namespaces", run: user_namespaces, remedy: "" },
    Probe {
        name: "network namespaces and veth",
        run: network_namespaces,
        remedy: "load the kernel module: `modprobe veth`",
    },
    Probe {
        name: "PID namespaces",
        run: pid_namespaces,
        remedy: "a container that masks parts of /proc forbids a fresh one: start it with `--security-opt systempaths=unconfined`",
    },
    Probe {
        name: "overlay file system",
        run: overlay,
        remedy: "load the kernel module: `modprobe overlay`; in a user namespace Linux 5.11 or newer is needed",
    },
    Probe {
        name: "ptrace and seccomp",
        run: tracing,
        remedy: "`sysctl -w kernel.yama.ptrace_scope=1`; in a container start it with `--cap-add SYS_PTRACE`",
    },
    Probe { name: "memory cgroup", run: memory_cgroup, remedy: cgroup::REMEDY },
    Probe { name: "time namespaces", run: time_namespaces, remedy: "needs Linux 5.6 with CONFIG_TIME_NS" },
    Probe {
        name: "container engine",
        run: container_engine,
        remedy: "start Docker or Podman's API service, or name it in DOCKER_HOST; only the container source of Pebble needs it",
    },
    Probe { name: "memory", run: memory, remedy: "run fewer experiments at once: `--jobs 1`" },
];

/// Tries everything.
pub fn capabilities() -> Vec<Capability> {
    PROBES.iter().map(capability).collect()
}

fn capability(probe: &Probe) -> Capability {
    let (state, detail) = throw_away(probe.name).unwrap_or_else(|error| (State::No, error));
    let remedy = match state {
        State::Yes => None,
        _ if detail.starts_with(NOT_TRIED) || detail.starts_with(NOT_ALLOWED) => Some(isolate::remedy()),
        State::Partial if probe.name == PRIVATE => Some("run as root for the rest"),
        _ => Some(probe.remedy),
    };
    Capability { name: probe.name.to_string(), state, detail, remedy: remedy.map(str::to_string) }
}

/// Runs one probe in a process of its own.
fn throw_away(name: &str) -> Result<Seen, String> {
    let output = Command::new("/proc/self/exe")
        .args([PROBE, name])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("the probe did not start: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().last().unwrap_or_default();
        format!("the probe died ({}): {said}", output.status)
    })
}

/// `roulette __probe NAME`: tries one capability in this process and prints what it saw.
pub fn probe_main(name: &str) -> ExitCode {
    let Some(probe) = PROBES.iter().find(|probe| probe.name == name) else {
        eprintln!("`{PROBE}` is for the harness itself; there is no probe `{name}`");
        return ExitCode::from(2);
    };
    let seen = (probe.run)().unwrap_or_else(|problem| (State::No, problem));
    match serde_json::to_string(&seen) {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("{error}"),
    }
    ExitCode::SUCCESS
}

/// The kind of world that a scenario gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Which one.
    pub kind: WorldKind,
    /// Why it is not a private one, although nobody asked for another.
    pub denied: Option<String>,
}

impl From<WorldKind> for Chosen {
    fn from(kind: WorldKind) -> Self {
        Chosen { kind, denied: None }
    }
}

/// Which kind of world the scenario gets here. `wanted`: what the user asked for.
///
/// # Errors
/// This machine cannot, or the scenario cannot; with what to do.
pub fn choose(scenario: &Scenario, wanted: Option<WorldKind>) -> Result<Chosen, WorldError> {
    if wanted != Some(WorldKind::Bare) {
        match throw_away(PRIVATE) {
            Ok((State::Yes | State::Partial, _)) => return Ok(WorldKind::Private.into()),
            Ok((State::No, why)) | Err(why) => {
                let why = why.trim_start_matches(NOT_TRIED).trim_start_matches(": ").to_string();
                let absolute = bare::requires(scenario).err();
                if wanted.is_none() && absolute.is_none() {
                    return Ok(Chosen {
                        kind: WorldKind::Bare,
                        denied: Some(format!("{why}; `roulette check` says how to get them")),
                    });
                }
                let besides = absolute.map_or(String::new(), |paths| {
                    format!("; a bare world is out of the question, it has {}", paths.join(", "))
                });
                return Err(WorldError {
                    tried: format!("failed to make a private world for `{}`", scenario.name),
                    source: io::Error::other(format!("{why}{besides}")),
                    remedy: Some("`roulette check` says what is missing and how to get it".to_string()),
                });
            }
        }
    }
    match bare::requires(scenario) {
        Ok(()) => Ok(WorldKind::Bare.into()),
        Err(paths) => Err(WorldError {
            tried: format!("failed to make a bare world for `{}`", scenario.name),
            source: io::Error::other(format!("the scenario has {}", paths.join(", "))),
            remedy: Some(
                "write its paths with {root}, or enable private worlds (see `roulette check`)".to_string(),
            ),
        }),
    }
}

/// A scenario that asks for nothing, to try a world with.
fn nothing() -> Scenario {
    use crate::scenario::{Faults, Limits, Server, ServerKind, Subject};
    Scenario {
        schema: 1,
        name: "probe".to_string(),
        purpose: String::new(),
        subject: Subject {
            command: Vec::new(),
            prepare: Vec::new(),
            age: Vec::new(),
            state: vec!["/etc/letsencrypt".to_string()],
            needs: Vec::new(),
            deadline: crate::limits::DEADLINE_DEFAULT,
            files: Default::default(),
            templates: Default::default(),
            env: Default::default(),
            cwd: None,
        },
        artifacts: Vec::new(),
        lock: None,
        server: Server {
            kind: ServerKind::Builtin,
            http: true,
            webroots: Vec::new(),
            pid_file: "/run/server.pid".to_string(),
        },
        faults: Faults::none(),
        limits: Limits { orders: 0, certificates: 0, renewed_days: 0 },
        expect: Vec::new(),
        folder: PathBuf::from("/"),
        file: PathBuf::new(),
    }
}

/// Enters namespaces of its own, or says that they are refused: then what a probe is for could
/// not be tried.
fn isolated() -> Result<(), String> {
    private::isolate().map_err(|error| format!("{NOT_TRIED}: {}: {}", error.tried, error.source))
}

fn private_world() -> Result<Seen, String> {
    isolated()?;
    let told = |error: WorldError| error.to_string();
    let scratch = scenery::scratch(&[]).map_err(told)?;
    network::build().map_err(|error| format!("failed to join two network hosts: {error}"))?;
    let scenario = nothing();
    let scenery = scenery::Scenery::build(&scratch, &scenario, &[]).map_err(told)?;
    let mounts = scenery.layers().list().len();
    if scenery::in_user_namespace() {
        let detail = format!(
            "in a user namespace: one user only, renames between top-level directories are EXDEV ({mounts} mounts)"
        );
        return Ok((State::Partial, detail));
    }
    Ok((State::Yes, "as root".to_string()))
}

fn bare_world() -> Result<Seen, String> {
    let folder = tempfile::tempdir()
        .map_err(|error| format!("no temporary folder in {}: {error}", env::temp_dir().display()))?;
    nix::sys::prctl::set_child_subreaper(true).map_err(|errno| format!("no subreaper: {errno}"))?;
    std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no loopback: {error}"))?;
    Ok((State::Yes, format!("in {}", folder.path().parent().unwrap_or(Path::new("/")).display())))
}

fn user_namespaces() -> Result<Seen, String> {
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| format!("{NOT_ALLOWED}: {errno}"))?;
    Ok((State::Yes, "made one".to_string()))
}

fn network_namespaces() -> Result<Seen, String> {
    isolated()?;
    network::build().map_err(|error| error.to_string())?;
    Ok((State::Yes, "joined two hosts".to_string()))
}

fn pid_namespaces() -> Result<Seen, String> {
    isolated()?;
    Ok((State::Yes, format!("was process {}, with a /proc of its own", std::process::id())))
}

fn overlay() -> Result<Seen, String> {
    isolated()?;
    let scratch = scenery::scratch(&[]).map_err(|error| error.to_string())?;
    let userns = scenery::in_user_namespace();
    let layers = super::layers::Layers::plan(&scratch.join("base"), &scratch.join("probe"), userns, &[])
        .map_err(|error| error.to_string())?;
    Ok(if layers.is_one_overlay() {
        (State::Yes, "one over the whole root".to_string())
    } else {
        (State::Yes, "one a top-level directory".to_string())
    })
}

fn tracing() -> Result<Seen, String> {
    let mut tracer = tracer::Tracer::new(tracer::Options::default()).map_err(|error| error.to_string())?;
    // This program itself: a small container may have no other.
    let command = tracer::Command::new(["/proc/self/exe", PROBE]);
    tracer.spawn(&command).map_err(|error| error.to_string())?;
    let mut stops = 0;
    loop {
        match tracer.wait(Some(Instant::now() + limits::PROBE)).map_err(|error| error.to_string())? {
            tracer::Event::Stopped(stopped) => {
                stops += usize::from(stopped.syscall().is_some());
                stopped.resume().map_err(|error| error.to_string())?;
            }
            tracer::Event::Empty => break,
            tracer::Event::TimedOut => return Err("the traced program did not end".to_string()),
            tracer::Event::Ended(_) | tracer::Event::Forked { .. } | tracer::Event::Woken => {}
        }
    }
    if stops == 0 {
        return Err("the traced program ran past the seccomp filter without a stop".to_string());
    }
    Ok((State::Yes, format!("this program stopped at {stops} system calls")))
}

fn memory_cgroup() -> Result<Seen, String> {
    let cgroups = cgroup::Cgroups::make()?;
    Ok((State::Yes, cgroup::try_out(&cgroups)?))
}

fn time_namespaces() -> Result<Seen, String> {
    isolated()?;
    // CLONE_NEWTIME of sched.h, which nix does not name.
    unshare(CloneFlags::from_bits_retain(0x80)).map_err(|errno| errno.to_string())?;
    Ok((State::Yes, "made one".to_string()))
}

fn container_engine() -> Result<Seen, String> {
    let mut sockets = vec![PathBuf::from("/var/run/docker.sock"), "/run/podman/podman.sock".into()];
    if let Ok(host) = env::var("DOCKER_HOST") {
        match host.strip_prefix("unix://") {
            Some(path) => sockets.insert(0, path.into()),
            None => return Ok((State::Partial, format!("DOCKER_HOST is {host}; not tried"))),
        }
    }
    if let Some(folder) = env::var_os("XDG_RUNTIME_DIR") {
        sockets.push(Path::new(&folder).join("podman/podman.sock"));
        sockets.push(Path::new(&folder).join("docker.sock"));
    }
    sockets
        .iter()
        .find(|socket| std::os::unix::net::UnixStream::connect(socket).is_ok())
        .map(|socket| (State::Yes, format!("{} answers", socket.display())))
        .ok_or_else(|| "no engine answers".to_string())
}

/// A world needs about this much: Pebble, its DNS server, the subject, a few trees on tmpfs.
const WORLD_MIB: u64 = 150;

fn memory() -> Result<Seen, String> {
    let text = fs::read_to_string("/proc/meminfo").map_err(|error| error.to_string())?;
    let available = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .ok_or("the kernel does not say")?
        / 1024;
    let detail = format!("{available} MiB free, enough for {} worlds", available / WORLD_MIB);
    Ok((if available < 2 * WORLD_MIB { State::Partial } else { State::Yes }, detail))
}
