//! What a scenario file says. The doc comments here generate the schema and the reference page.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// A subject, its world, the faults to try and the invariants to hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    pub artifacts: Vec<Artifact>,
    /// The lock that keeps two runs apart, if there is one.
    pub lock: Option<Lock>,
    /// The server that uses the certificate.
    pub server: Server,
    /// Which faults to try.
    pub faults: Faults,
    /// Bounds that invariants judge by.
    pub limits: Limits,
    /// Known findings, each with its reason.
    pub expect: Vec<Expect>,
    /// The folder of the scenario file: relative paths in it start there. Not in the file.
    pub folder: PathBuf,
    /// The scenario file as it was named. Not in the file.
    pub file: PathBuf,
}

/// The pipeline under test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The production command, exactly as the scheduler starts it: program and arguments.
    pub command: Vec<String>,
    /// Commands that bring the world to its first certificate, run once, in order.
    pub prepare: Vec<Vec<String>>,
    /// Commands run after the certificate has been aged, for clients that keep the next renewal
    /// date somewhere else than in the certificate.
    pub age: Vec<Vec<String>>,
    /// Directories that hold the pipeline's state.
    pub state: Vec<String>,
    /// Programs that must be installed; a missing one is exit 4.
    pub needs: Vec<String>,
    /// How long one run may take.
    pub deadline: Duration,
    /// Files put into the world, run bit kept: path in the world = file beside the scenario.
    pub files: BTreeMap<String, String>,
    /// The same, with the placeholders in their text replaced.
    pub templates: BTreeMap<String, String>,
    /// Environment variables added to the scheduler's (PATH, HOME, LANG).
    pub env: BTreeMap<String, String>,
    /// Working directory; `/` when absent.
    pub cwd: Option<String>,
}

/// One key and certificate pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// The names in the certificate; the first is asked for over TLS.
    pub domains: Vec<String>,
    /// PEM file with the certificate and its chain, as the server reads it.
    pub certificate: String,
    /// PEM file with the private key, as the server reads it. May be the same file.
    pub key: String,
}

/// What kind of lock keeps two runs apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Its kind.
    pub kind: LockKind,
    /// Its path.
    pub path: String,
}

/// Which server uses the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerKind {
    /// The harness's own TLS server: reloads on SIGHUP, keeps the old pair when the new one does
    /// not match, serves the webroots on the HTTP port.
    Builtin,
}

/// The server that uses the certificate. The first artifact is what it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Single kills at every point.
    pub kill: Option<Kill>,
}

/// A signal that kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the signals'")]
pub enum KillSignal {
    Sigkill,
    Sigterm,
    Sigint,
    Sighup,
}

/// Who gets a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// Single kills at every point: each signal to each scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// Which signals.
    pub signals: Vec<KillSignal>,
    /// To whom.
    pub scopes: Vec<Scope>,
}

/// Bounds that invariants judge by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// New orders per incident (the faulted run, its recovery and the idle run together).
    pub orders: u32,
    /// Certificates issued per incident.
    pub certificates: u32,
    /// A renewed certificate has at least this many days left; under it, it is due.
    pub renewed_days: u32,
}

/// A known finding: counted and shown, but the run does not fail for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expect {
    /// The invariant that is known to be violated.
    pub invariant: String,
    /// Why that is known and accepted.
    pub reason: String,
    /// Only findings whose title, fault or point contains this text.
    pub matching: Option<String>,
}

/// The values of the placeholders `{root}`, `{directory_url}`, `{http_port}`, `{tls_port}` and
/// `{ca_bundle}` in one world.
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
}
