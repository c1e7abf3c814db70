//! What a scenario file says. The doc comments here generate the schema and the reference page.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration;
use crate::limits;

/// A subject, its world, the faults to try and the invariants to hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Version of the format: 1.
    pub schema: u32,
    /// Short name, used in reports and ids: lower-case letters, digits and `-`.
    pub name: String,
    /// What it shows, in one sentence.
    pub purpose: String,
    /// The pipeline under test.
    pub subject: Subject,
    /// Key and certificate pairs that the pipeline keeps fresh (`[[artifact]]`), at least one.
    #[serde(rename = "artifact", default)]
    pub artifacts: Vec<Artifact>,
    /// The lock that keeps two runs apart, if there is one.
    #[serde(default)]
    pub lock: Option<Lock>,
    /// The server that uses the certificate.
    #[serde(default)]
    pub server: Server,
    /// Which faults to try. When absent: SIGKILL and SIGTERM, each to the process, the leader and
    /// the tree, at every point.
    #[serde(default)]
    pub faults: Faults,
    /// Bounds that invariants judge by.
    #[serde(default)]
    pub limits: Limits,
    /// Known findings, each with its reason (`[[expect]]`).
    #[serde(default)]
    pub expect: Vec<Expect>,
    /// The folder of the scenario file: relative paths in it start there. Not in the file.
    #[serde(default)]
    #[schemars(skip)]
    pub folder: PathBuf,
    /// The scenario file as it was named. Not in the file.
    #[serde(default)]
    #[schemars(skip)]
    pub file: PathBuf,
}

/// The pipeline under test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The production command, exactly as the scheduler starts it: program and arguments.
    pub command: Vec<String>,
    /// Commands that bring the world to its first certificate, run once, in order.
    #[serde(default)]
    pub prepare: Vec<Vec<String>>,
    /// Commands run after the certificate has been aged, for clients that keep the next renewal
    /// date somewhere else than in the certificate.
    #[serde(default)]
    pub age: Vec<Vec<String>>,
    /// Directories that hold the pipeline's state. The folders of the artifacts are added to them.
    #[serde(default)]
    pub state: Vec<String>,
    /// Programs that must be installed; a missing one is exit 4.
    #[serde(default)]
    pub needs: Vec<String>,
    /// How long one run may take, as a number with `ms`, `s`, `m` or `h`: `"60s"`.
    #[serde(default = "deadline_default", with = "duration")]
    #[schemars(with = "String", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub deadline: Duration,
    /// Files put into the world, run bit kept: path in the world = file beside the scenario.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// The same, with the placeholders in their text replaced.
    #[serde(default)]
    pub templates: BTreeMap<String, String>,
    /// Environment variables added to the scheduler's (PATH, HOME, LANG).
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Working directory; `/` when absent.
    #[serde(default)]
    pub cwd: Option<String>,
}

/// One key and certificate pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// The names in the certificate; the first is asked for over TLS.
    pub domains: Vec<String>,
    /// PEM file with the certificate and its chain, as the server reads it.
    pub certificate: String,
    /// PEM file with the private key, as the server reads it. May be the same file.
    pub key: String,
}

/// What kind of lock keeps two runs apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LockKind {
    /// `flock(2)` on the file, released by the kernel with the last descriptor.
    Flock,
    /// A POSIX record lock (`fcntl(2)`), released by the kernel with its process.
    Fcntl,
    /// A file whose being there is the lock (`O_EXCL`, `set -C`).
    File,
    /// A file with a process id in it.
    PidFile,
    /// A directory whose being there is the lock (`mkdir`).
    Directory,
}

/// The lock that keeps two runs apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Its kind.
    pub kind: LockKind,
    /// Its path.
    pub path: String,
}

/// Which server uses the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServerKind {
    /// The harness's own TLS server: reloads on SIGHUP, keeps the old pair when the new one does
    /// not match, serves the webroots on the HTTP port.
    Builtin,
}

/// The server that uses the certificate. The first artifact is what it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Which one.
    pub kind: ServerKind,
    /// Whether it also answers on the HTTP port; `false` for pipelines that listen there
    /// themselves.
    pub http: bool,
    /// Folders it serves over HTTP, tried in order.
    pub webroots: Vec<String>,
    /// Where it writes its process id.
    pub pid_file: String,
}

/// Which faults to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    /// Single kills at every point.
    #[serde(default)]
    pub kill: Option<Kill>,
    /// Kills as real senders do them: `senders = { profiles = ["systemd-stop", "reboot"] }`.
    #[serde(default)]
    pub senders: Option<Senders>,
    /// Other runs beside the first: a second one started at every point while the first is held
    /// there, and several at once: `collide = {}`.
    #[serde(default)]
    pub collide: Option<Collide>,
    /// A real memory limit and the kernel's OOM killer: `memory = { limits = 5 }`.
    #[serde(default)]
    pub memory: Option<Memory>,
    /// Disk errors at every point: `disk = { errors = ["enospc"] }`.
    #[serde(default)]
    pub disk: Option<Disk>,
    /// The CA in trouble at every protocol step: `ca = { troubles = ["rate-limited"] }`.
    #[serde(default)]
    pub ca: Option<CaTroubles>,
    /// The neighbours in trouble at every point: `neighbour = {}`.
    #[serde(default)]
    pub neighbour: Option<Neighbour>,
    /// The run stopped while a second one comes and goes: `pause = {}`.
    #[serde(default)]
    pub pause: Option<Pause>,
    /// A second fault after each of the others: `pairs = { most = 300 }`.
    #[serde(default)]
    pub pairs: Option<Pairs>,
    /// The clock stepped at every point after which somebody looks at it:
    /// `clock = { by = ["1d"] }`.
    #[serde(default)]
    pub clock: Option<Clock>,
}

/// Kills as those who send them in real life do it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Senders {
    /// Who: `systemd-stop`, `systemd-timeout`, `docker-stop`, `pod-delete`, `oom-kill`,
    /// `oomd-kill`, `pkill-f`, `ctrl-c`, `hangup`, `reboot`. When absent: all but `pkill-f`, which
    /// needs patterns, and `systemd-timeout`, which sends what `systemd-stop` sends.
    pub profiles: Vec<String>,
    /// `KillMode=` of the unit, for the systemd profiles: `control-group`, `mixed`, `process`.
    pub kill_modes: Vec<String>,
    /// What `pkill -f` is called with, as literal text.
    pub patterns: Vec<String>,
}

/// Other runs beside the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Collide {
    /// Whether the second run is also killed, at each point of its own.
    pub kill_second: bool,
    /// How many runs are started at once, with jitter, the first one included; under 2: none.
    pub at_once: u32,
}

/// A second fault after the first: whatever run comes after it (the same one, the one beside it, the
/// next scheduled one) is killed at each of its own points.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pairs {
    /// At most this many pairs, spread over all of them; when absent: every pair.
    pub most: Option<u32>,
}

/// A real memory limit and the kernel's OOM killer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Which: `memory-limit` (from the run's start), `memory-lowered` (at every point),
    /// `address-space` (each process's own, from the run's start; stands in for `memory-limit` where no
    /// control group is to be had).
    pub faults: Vec<String>,
    /// How many limits are tried from the highest under which the run goes short down to the lowest
    /// under which the command starts.
    #[schemars(range(min = 1))]
    pub limits: u32,
    /// Whom the kernel kills: `process` (the one it chooses), `group` (with it every other of the run, as with
    /// `memory.oom.group`, systemd's `OOMPolicy=kill` or Kubernetes from 1.28).
    pub kills: Vec<String>,
}

/// Disk errors at every point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Disk {
    /// Which: `enospc`, `edquot`, `erofs`, `eio`, `short-write`, `disk-full` (in a private world).
    pub errors: Vec<String>,
    /// How long: `once`, `from-here-on`.
    pub lasting: Vec<String>,
}

/// The CA in trouble at every protocol step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CaTroubles {
    /// Which: `bad-nonce`, `rate-limited`, `internal-error`, `unavailable`, `malformed`,
    /// `account-unknown`, `cut-before`, `cut-after`, `slow`, `processing`.
    pub troubles: Vec<String>,
}

/// The neighbours in trouble at every point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Neighbour {
    /// Which: `server-killed`, `server-refuses`, `hook-slow`, `hook-hangs`.
    pub faults: Vec<String>,
}

/// The run stopped while a second one comes and goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pause {}

/// The clock stepped at every point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Clock {
    /// Which: `clock-forward`, `clock-back`.
    pub faults: Vec<String>,
    /// By how much: a number and `s`, `m`, `h` or `d`, up to 50 years.
    pub by: Vec<String>,
}

impl Faults {
    /// No fault at all.
    pub fn none() -> Faults {
        Faults {
            kill: None,
            senders: None,
            collide: None,
            memory: None,
            disk: None,
            ca: None,
            neighbour: None,
            pause: None,
            pairs: None,
            clock: None,
        }
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

impl Default for Senders {
    fn default() -> Senders {
        Senders {
            profiles: strings(&[
                "systemd-stop",
                "docker-stop",
                "pod-delete",
                "oom-kill",
                "oomd-kill",
                "ctrl-c",
                "hangup",
                "reboot",
            ]),
            kill_modes: strings(&["control-group", "mixed", "process"]),
            patterns: Vec::new(),
        }
    }
}

impl Default for Collide {
    fn default() -> Collide {
        Collide { kill_second: true, at_once: limits::AT_ONCE }
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory {
            faults: strings(&["memory-limit", "memory-lowered"]),
            limits: limits::MEMORY_LIMITS,
            kills: strings(&["process"]),
        }
    }
}

impl Memory {
    /// Without the limits that have to be looked for first.
    pub fn lowered() -> Memory {
        Memory { faults: strings(&["memory-lowered"]), ..Memory::default() }
    }
}

impl Default for Disk {
    fn default() -> Disk {
        Disk {
            errors: strings(&["enospc", "erofs", "eio", "short-write", "disk-full"]),
            lasting: strings(&["once", "from-here-on"]),
        }
    }
}

impl Default for CaTroubles {
    fn default() -> CaTroubles {
        CaTroubles {
            troubles: strings(&[
                "bad-nonce",
                "rate-limited",
                "internal-error",
                "unavailable",
                "malformed",
                "account-unknown",
                "cut-before",
                "cut-after",
                "slow",
                "processing",
            ]),
        }
    }
}

impl Default for Neighbour {
    fn default() -> Neighbour {
        Neighbour { faults: strings(&["server-killed", "server-refuses", "hook-slow", "hook-hangs"]) }
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock { faults: strings(&["clock-forward", "clock-back"]), by: strings(&["1d", "90d"]) }
    }
}

/// A signal that kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(extend("enum" = ["sigkill", "sigterm", "sigint", "sighup", "SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"]))]
#[expect(missing_docs, reason = "the names are the signals'")]
pub enum KillSignal {
    #[serde(alias = "SIGKILL")]
    Sigkill,
    #[serde(alias = "SIGTERM")]
    Sigterm,
    #[serde(alias = "SIGINT")]
    Sigint,
    #[serde(alias = "SIGHUP")]
    Sighup,
}

impl std::fmt::Display for KillSignal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            KillSignal::Sigkill => "sigkill",
            KillSignal::Sigterm => "sigterm",
            KillSignal::Sigint => "sigint",
            KillSignal::Sighup => "sighup",
        })
    }
}

/// Who gets a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The process at the point.
    Process,
    /// The top command only; its children live on.
    Leader,
    /// The leader's process group.
    Group,
    /// Every process of the run.
    Tree,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Scope::Process => "process",
            Scope::Leader => "leader",
            Scope::Group => "group",
            Scope::Tree => "tree",
        })
    }
}

/// Single kills at every point: each signal to each scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Kill {
    /// Which signals.
    pub signals: Vec<KillSignal>,
    /// To whom.
    pub scopes: Vec<Scope>,
}

/// Bounds that invariants judge by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// New orders per incident (the faulted run, its recovery and the idle run together).
    pub orders: u32,
    /// Certificates issued per incident.
    pub certificates: u32,
    /// A renewed certificate has at least this many days left; under it, it is due.
    pub renewed_days: u32,
}

/// Defaults of a scenario file. Paths start with `{root}`, so that they are right in both kinds of
/// world.
impl Default for Server {
    fn default() -> Self {
        Server {
            kind: ServerKind::Builtin,
            http: true,
            webroots: WEBROOTS_DEFAULT.map(|path| format!("{{root}}{path}")).to_vec(),
            pid_file: "{root}/run/nginx.pid".to_owned(),
        }
    }
}

/// Where the clients' own documentation and the distributions' packages put HTTP-01 tokens.
const WEBROOTS_DEFAULT: [&str; 6] = [
    "/var/www",
    "/var/www/html",
    "/var/www/letsencrypt",
    "/var/www/dehydrated",
    "/var/lib/dehydrated/acme-challenges",
    "/usr/share/nginx/html",
];

impl Default for Faults {
    fn default() -> Self {
        Faults { kill: Some(Kill::default()), ..Faults::none() }
    }
}

impl Default for Kill {
    fn default() -> Self {
        Kill {
            signals: vec![KillSignal::Sigkill, KillSignal::Sigterm],
            scopes: vec![Scope::Process, Scope::Leader, Scope::Tree],
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            orders: limits::ORDERS_DEFAULT,
            certificates: limits::CERTIFICATES_DEFAULT,
            renewed_days: limits::RENEWED_DAYS_DEFAULT,
        }
    }
}

fn deadline_default() -> Duration {
    limits::DEADLINE_DEFAULT
}

/// A known finding: counted and shown, but the run does not fail for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The invariant that is known to be violated.
    pub invariant: String,
    /// Why that is known and accepted.
    pub reason: String,
    /// Only findings whose title, fault or point contains this text.
    #[serde(default)]
    pub matching: Option<String>,
}

/// The values of the placeholders `{root}`, `{directory_url}`, `{http_port}`, `{tls_port}`,
/// `{ca_bundle}` and `{dns_api}` in one world.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Placeholders {
    /// Empty in a private world; the folder that stands for `/` in a bare one.
    pub root: String,
    /// The ACME directory URL. In a private world the production one.
    pub directory_url: String,
    /// Where HTTP-01 is validated: 80 in a private world.
    pub http_port: u16,
    /// Where the server serves TLS: 443 in a private world.
    pub tls_port: u16,
    /// PEM file with the roots that the world trusts.
    pub ca_bundle: String,
    /// URL of the interface by which DNS records are set, without a slash at its end: what a DNS
    /// provider's API is to a hook.
    pub dns_api: String,
}
