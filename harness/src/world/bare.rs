//! The bare world, for machines that grant no namespaces (a default Docker container): a
//! temporary folder as root of the state, loopback with ports of its own, and a subreaper for the
//! processes.
//!
//! It keeps nothing from the host but what the scenario writes with `{root}`; that a subject
//! cannot connect to anything but loopback is the tracer's business.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs, io,
    net::{IpAddr, Ipv4Addr, TcpListener},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{DirBuilderExt, PermissionsExt, symlink},
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::exit,
    sync::Arc,
    time::Instant,
};

use nix::{
    errno::Errno,
    sys::{
        prctl::{set_child_subreaper, set_pdeathsig},
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::{Pid, getpid, getppid, setsid},
};
use process_roulette_tracer as tracer;

use super::{
    Snapshot, Stage, World, WorldError,
    control::VARIABLE,
    furnish,
    janitor::Janitor,
    processes::{Proc, Process},
    scenery::{failed, remove},
    shim, tree,
};
use crate::{
    event::WorldKind,
    front::{Ca, CaSpec},
    limits,
    pebble::Programs,
    scenario::{Placeholders, Scenario},
};

/// Where ports for the subject are looked for: below the kernel's ephemeral ports (32768 and up,
/// ip(7)), so that no outgoing connection takes one by chance.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Directories that a stage's root has besides the scenario's own, with their modes.
const FOLDERS: [(&str, u32); 6] =
    [("etc", 0o755), ("root", 0o700), ("run", 0o755), ("tmp", 0o1777), ("var", 0o755), ("usr", 0o755)];

/// Whether the scenario can run in a bare world.
///
/// # Errors
/// The absolute paths in it that do not start with `{root}`, and where each is.
pub fn requires(scenario: &Scenario) -> Result<(), Vec<String>> {
    let absolute = scenario.uses_absolute_paths();
    if absolute.is_empty() { Ok(()) } else { Err(absolute) }
}

/// What a worker for bare worlds does first: it gets a session of its own and dies with the thread
/// that started it.
///
/// # Errors
/// What the kernel refused.
pub fn isolate() -> Result<(), WorldError> {
    let parent = getppid();
    // No controlling terminal, as under a scheduler. Fails for a group's leader, which has none.
    let _ = setsid();
    set_pdeathsig(Signal::SIGKILL).map_err(|errno| failed("ask to die with the parent")(errno.into()))?;
    if getppid() != parent {
        exit(1);
    }
    Ok(())
}

/// A folder, loopback and a subreaper, in a worker process that has called [`isolate`].
#[derive(Debug)]
pub struct BareWorld {
    placeholders: Placeholders,
    environment: BTreeMap<String, String>,
    cwd: PathBuf,
    ca: Arc<Ca>,
    folder: PathBuf,
    proc: Proc,
    /// Processes below the worker that belong to no stage: the CA's and the janitor.
    own: BTreeSet<i32>,
    control: String,
    snapshots: u64,
    _ports: [Port; 2],
    // Last: it deletes the folder.
    _janitor: Janitor,
}

impl BareWorld {
    /// Builds the world for one scenario and starts its CA. `roots`: PEM of what it trusts besides
    /// that CA and what the host trusts. The folder is in `TMPDIR`; it goes with the world, also
    /// if the worker is killed.
    ///
    /// # Errors
    /// The part that could not be built.
    pub fn build(scenario: &Scenario, programs: &Programs, roots: &str) -> Result<Self, WorldError> {
        set_child_subreaper(true).map_err(|errno| failed("become a subreaper")(errno.into()))?;
        let no_folder = |source| WorldError {
            tried: format!("failed to make a folder in {}", env::temp_dir().display()),
            source,
            remedy: Some("name a writable directory in TMPDIR".to_string()),
        };
        // Nobody guesses it, so that the janitor, which is there before the folder is, deletes no
        // other one.
        let control = format!("roulette-{:032x}", rand::random::<u128>());
        let folder = fs::canonicalize(env::temp_dir()).map_err(no_folder)?.join(&control);
        let janitor = Janitor::start(&folder, &format!("{VARIABLE}={control}"))
            .map_err(failed("start the janitor that deletes the world's folder"))?;
        fs::DirBuilder::new().mode(0o700).create(&folder).map_err(no_folder)?;
        let ports = [Port::take(), Port::take()];
        let [Ok(http), Ok(tls)] = ports else {
            let source = ports.into_iter().find_map(Result::err);
            let source = source.unwrap_or_else(|| io::Error::other("no port"));
            return Err(failed("find free ports on loopback")(source));
        };
        let ca = Arc::new(start_ca(&folder, programs, http.number, tls.number)?);
        let bundle = folder.join("ca-bundle.pem");
        let mut trusted = furnish::host_roots();
        trusted.push(b'\n');
        trusted.extend(ca.roots_pem().as_bytes());
        trusted.extend(roots.as_bytes());
        fs::write(&bundle, trusted).map_err(failed("write the CA bundle"))?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let root = folder.join("root");
        let placeholders = Placeholders {
            root: text(&root),
            directory_url: ca.directory_url().to_string(),
            http_port: http.number,
            tls_port: tls.number,
            ca_bundle: text(&bundle),
            dns_api: format!("http://{}", ca.dns_management()),
        };
        let scenario = scenario.resolve(&placeholders);
        let bin = folder.join("bin");
        programs_on_path(&bin).map_err(failed("make the folder of shims"))?;
        let mut environment = furnish::environment(Some(&bin), &placeholders.ca_bundle, &scenario);
        for (name, value) in [
            ("HOME", text(&root.join("root"))),
            ("TMPDIR", text(&root.join("tmp"))),
            (VARIABLE, control.clone()),
            (shim::PID_FILE, scenario.server.pid_file.clone()),
        ] {
            if !scenario.subject.env.contains_key(name) {
                environment.insert(name.to_string(), value);
            }
        }
        furnish(&folder.join("base"), &root, &scenario, &placeholders)?;
        let proc = Proc::open().map_err(failed("open /proc"))?;
        let cwd = scenario.subject.cwd.as_ref().map_or(root, PathBuf::from);
        let mut world = Self {
            placeholders,
            environment,
            cwd,
            ca,
            folder,
            proc,
            own: BTreeSet::new(),
            control,
            snapshots: 0,
            _ports: [http, tls],
            _janitor: janitor,
        };
        let own = world.descendants().map_err(failed("read /proc"))?;
        world.own = own.into_iter().map(|process| process.pid).collect();
        Ok(world)
    }

    /// Every process below the worker but its own, the dead that nobody has waited for included.
    fn descendants(&self) -> io::Result<Vec<Process>> {
        let mut found = self.proc.below(getpid().as_raw())?;
        found.retain(|process| !self.own.contains(&process.pid));
        Ok(found)
    }

    /// Kills everything on the stage and waits until it is gone.
    fn kill_all(&self) -> io::Result<()> {
        let deadline = Instant::now() + limits::STAGE_CLEAR;
        let own = getpid().as_raw();
        loop {
            let left = self.descendants()?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let held: Vec<_> = left.iter().map(|process| process.command.as_str()).collect();
                return Err(io::Error::other(format!("still there: {}", held.join(", "))));
            }
            for process in left.iter().filter(|process| process.alive) {
                match kill(Pid::from_raw(process.pid), Signal::SIGKILL) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            // Whoever is below these becomes the worker's child when they are gone.
            for process in left.iter().filter(|process| process.parent == own) {
                if process.traced {
                    return Err(io::Error::other(format!(
                        "process {} is still traced: its tracer must end first",
                        process.pid
                    )));
                }
                // ECHILD: somebody else waited for it.
                let _ = waitpid(Pid::from_raw(process.pid), Some(WaitPidFlag::__WALL));
            }
        }
    }

    fn root(&self) -> PathBuf {
        self.folder.join("root")
    }
}

impl World for BareWorld {
    fn kind(&self) -> WorldKind {
        WorldKind::Bare
    }

    fn placeholders(&self) -> &Placeholders {
        &self.placeholders
    }

    fn ca(&self) -> Arc<Ca> {
        Arc::clone(&self.ca)
    }

    fn control_name(&self) -> &str {
        &self.control
    }

    fn stage(&mut self, from: Option<&Snapshot>) -> Result<Box<dyn Stage + '_>, WorldError> {
        let from = from.map_or_else(|| self.folder.join("base"), |from| from.tree.clone());
        let root = self.root();
        remove(&root);
        tree::copy(&from, &root).map_err(failed("restore the filesystem of a stage"))?;
        Ok(Box::new(BareStage { world: self, from }))
    }
}

/// One stage of a bare world.
#[derive(Debug)]
struct BareStage<'world> {
    world: &'world mut BareWorld,
    from: PathBuf,
}

impl Stage for BareStage<'_> {
    fn command(&self, argv: &[String]) -> tracer::Command {
        let mut command = tracer::Command::new(argv);
        let variables = self.world.environment.iter();
        command.env = variables.map(|(name, value)| (name.into(), value.into())).collect();
        command.cwd.clone_from(&self.world.cwd);
        command.umask = Some(furnish::UMASK);
        command
    }

    fn processes(&self) -> io::Result<BTreeMap<i32, String>> {
        let alive = self.world.descendants()?.into_iter().filter(|process| process.alive);
        Ok(alive.map(|process| (process.pid, process.command)).collect())
    }

    fn touched(&self) -> Result<Vec<PathBuf>, WorldError> {
        let root = self.world.root();
        let mut found = BTreeSet::new();
        tree::differences(Some(&self.from), &root, &root, &mut found)
            .map_err(failed("compare the filesystem of a stage"))?;
        Ok(found.into_iter().collect())
    }

    fn snapshot(&mut self) -> Result<Snapshot, WorldError> {
        self.world.snapshots += 1;
        let tree = self.world.folder.join(format!("snapshot-{}", self.world.snapshots));
        tree::copy(&self.world.root(), &tree).map_err(failed("keep the filesystem of a stage"))?;
        Ok(Snapshot { tree })
    }

    fn clear(&mut self) -> Result<(), WorldError> {
        self.world.kill_all().map_err(failed("kill the processes of a stage"))
    }
}

impl Drop for BareStage<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.world.kill_all() {
            tracing::warn!("failed to kill the processes of a stage: {error}");
        }
        remove(&self.world.root());
    }
}

/// A port that no other world on this machine takes. Held by a name in the abstract socket
/// namespace, which the kernel frees with the process.
#[derive(Debug)]
struct Port {
    number: u16,
    _held: UnixListener,
}

impl Port {
    fn take() -> io::Result<Self> {
        for number in PORTS {
            let name = SocketAddr::from_abstract_name(format!("roulette-port-{number}"))?;
            if let Ok(held) = UnixListener::bind_addr(&name)
                && TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).is_ok()
            {
                return Ok(Self { number, _held: held });
            }
        }
        Err(io::Error::other(format!("none between {} and {} is free", PORTS.start, PORTS.end)))
    }
}

fn start_ca(folder: &Path, programs: &Programs, http: u16, tls: u16) -> Result<Ca, WorldError> {
    let scratch = folder.join("ca");
    fs::create_dir(&scratch).map_err(failed("make a folder for the CA"))?;
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Ca::start(CaSpec {
        programs: programs.clone(),
        namespace: None,
        address: loopback,
        front_port: 0,
        dns_port: 0,
        names: vec!["localhost".to_string()],
        subject: loopback,
        http_port: http,
        tls_port: tls,
        scratch,
    })
    .map_err(|error| failed("start the world's CA")(io::Error::other(error)))
}

/// The folder that is first in the subject's PATH: `guard` and the shims.
fn programs_on_path(bin: &Path) -> io::Result<()> {
    fs::create_dir(bin)?;
    let own = env::current_exe()?;
    for name in shim::names_for_host() {
        symlink(&own, bin.join(name))?;
    }
    Ok(())
}

/// Makes the tree that stages start from: `base`, which stands for `root`.
fn furnish(
    base: &Path,
    root: &Path,
    scenario: &Scenario,
    placeholders: &Placeholders,
) -> Result<(), WorldError> {
    let make = || -> io::Result<()> {
        fs::create_dir(root)?;
        for (name, mode) in FOLDERS {
            fs::create_dir(root.join(name))?;
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode))?;
        }
        furnish::folders(scenario)
    };
    make().map_err(failed("furnish the world"))?;
    for item in furnish::scenario_items(scenario, placeholders)? {
        if !item.path.starts_with(root) {
            let source = io::Error::other("it is not in the world's root");
            return Err(WorldError {
                tried: format!("failed to place {}", item.path.display()),
                source,
                remedy: Some("start its path with {root}".to_string()),
            });
        }
        furnish::put(&item).map_err(failed("furnish the world"))?;
    }
    fs::rename(root, base).map_err(failed("furnish the world"))
}
