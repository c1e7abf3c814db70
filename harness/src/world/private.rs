//! The private world: namespaces of its own, so that a pipeline full of absolute paths and
//! production host names runs as it is.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::{
    mount::{MntFlags, umount2},
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::{Pid, getpid, sethostname},
};
use process_roulette_tracer as tracer;

pub use super::isolate::{is_inside, isolate};
use super::{
    Snapshot, Stage, World, WorldError,
    control::{PRIVATE_NAME, VARIABLE},
    furnish::{self, BUNDLES, Item},
    layers::MEMORY,
    network,
    processes::Process,
    scenery::{Scenery, failed, go, remove, scratch},
    shim,
};
use crate::{
    event::WorldKind,
    front::{Ca, CaSpec},
    pebble::Programs,
    scenario::{Placeholders, Scenario},
};

/// Production and staging CAs whose host names clients have as their default. All of them are
/// the world's CA; the first is in its directory URL.
pub const CA_NAMES: [&str; 9] = [
    "acme-v02.api.letsencrypt.org",
    "acme-staging-v02.api.letsencrypt.org",
    "acme.zerossl.com",
    "api.buypass.com",
    "api.test4.buypass.no",
    "dv.acme-v02.api.pki.goog",
    "dv.acme-v02.test-api.pki.goog",
    "acme.ssl.com",
    "acme-api.actalis.com",
];

/// The subject's host calls itself this.
const HOST: &str = "renewal";

/// A world of namespaces, in a worker process that has called [`isolate`]. Its stages are set
/// and left on the thread that built it.
#[derive(Debug)]
pub struct PrivateWorld {
    placeholders: Placeholders,
    environment: BTreeMap<String, String>,
    cwd: PathBuf,
    ca: Arc<Ca>,
    scenery: Scenery,
    snapshots: u64,
}

impl PrivateWorld {
    /// Builds the world for one scenario and starts its CA. `roots`: PEM of what it trusts besides
    /// that CA and what the host trusts.
    ///
    /// # Errors
    /// The part that could not be built, with what the kernel said.
    pub fn build(scenario: &Scenario, programs: &Programs, roots: &str) -> Result<Self, WorldError> {
        let scratch = scratch(&[&scenario.folder, &programs.pebble, &programs.challtestsrv])?;
        let ca = Arc::new(start_ca(&scratch, programs)?);
        let bundle = BUNDLES.iter().find(|path| Path::new(path).exists()).unwrap_or(&BUNDLES[0]);
        let placeholders = Placeholders {
            root: String::new(),
            directory_url: ca.directory_url().to_string(),
            http_port: 80,
            tls_port: 443,
            ca_bundle: (*bundle).to_string(),
            dns_api: format!("http://{}", ca.dns_management()),
        };
        let scenario = scenario.resolve(&placeholders);
        let mut environment = furnish::environment(None, bundle, &scenario);
        environment.insert(VARIABLE.to_string(), PRIVATE_NAME.to_string());
        environment.insert(shim::PID_FILE.to_string(), scenario.server.pid_file.clone());
        let items = items(&scenario, &placeholders, &format!("{}{roots}", ca.roots_pem()))?;
        let scenery = Scenery::build(&scratch, &scenario, &items)?;
        let cwd = scenario.subject.cwd.as_deref().unwrap_or("/").into();
        Ok(Self { placeholders, environment, cwd, ca, scenery, snapshots: 0 })
    }
}

impl World for PrivateWorld {
    fn kind(&self) -> WorldKind {
        WorldKind::Private
    }

    fn placeholders(&self) -> &Placeholders {
        &self.placeholders
    }

    fn ca(&self) -> Arc<Ca> {
        Arc::clone(&self.ca)
    }

    fn control_name(&self) -> &str {
        PRIVATE_NAME
    }

    fn stage(&mut self, from: Option<&Snapshot>) -> Result<Box<dyn Stage + '_>, WorldError> {
        let folder = self.scenery.folder()?;
        let from = from.map(|snapshot| snapshot.tree.clone());
        let trees = folder.join("trees");
        let made = self
            .scenery
            .copy_trees(from.as_deref(), &trees)
            .map_err(failed("restore the filesystem of a stage"))
            .and_then(|()| self.scenery.enter(&trees, &folder));
        if let Err(error) = made {
            self.scenery.remove_trees(&trees);
            remove(&folder);
            return Err(error);
        }
        // From here on dropping it cleans up.
        let mut stage = PrivateStage { world: self, folder, from, inside: None, init: None };
        let inside = File::open("/proc/thread-self/ns/mnt").map_err(failed("open the stage's mounts"))?;
        stage.inside = Some(inside.into());
        stage.start_init()?;
        Ok(Box::new(stage))
    }
}

/// One stage of a private world; the thread that set it sees its filesystem until it is dropped.
#[derive(Debug)]
struct PrivateStage<'world> {
    world: &'world mut PrivateWorld,
    folder: PathBuf,
    from: Option<PathBuf>,
    /// The stage's mount namespace.
    inside: Option<OwnedFd>,
    init: Option<tracer::Init>,
}

impl PrivateStage<'_> {
    fn start_init(&mut self) -> Result<(), WorldError> {
        let options = tracer::InitOptions { flags: 0, proc_mount: Some("/proc".into()) };
        let init = tracer::spawn_init(&options).map_err(|error| WorldError {
            tried: format!("failed to start the stage's init: {error}"),
            source: error.source,
            remedy: None,
        })?;
        self.init = Some(init);
        Ok(())
    }

    /// Does something in the scratch space, which a stage does not show.
    fn outside<T>(
        &self,
        work: impl FnOnce(&Scenery, &Path) -> Result<T, WorldError>,
    ) -> Result<T, WorldError> {
        self.world.scenery.leave()?;
        let done = work(&self.world.scenery, &self.folder.join("trees"));
        if let Some(inside) = &self.inside {
            go(inside).map_err(failed("go back to a stage"))?;
        }
        done
    }

    /// The stage's processes, the dead that nobody has waited for included; without its init.
    fn members(&self) -> io::Result<Vec<Process>> {
        let init = self.init.as_ref().map(|init| init.pid().as_raw());
        let all = self.world.scenery.proc().all()?;
        // The worker is process 1 of its own namespace; only what a stage runs is in one below.
        Ok(all
            .into_values()
            .filter(|process| !process.inner_pids.is_empty() && Some(process.pid) != init)
            .collect())
    }

    /// Kills every process and waits until the PID namespace is gone.
    fn kill_all(&mut self) -> io::Result<()> {
        let Some(init) = self.init.take() else { return Ok(()) };
        kill(init.pid(), Signal::SIGKILL)?;
        // The namespace goes when everything in it has been waited for. Its init waits for its
        // own orphans; what was started from outside (commands, servers) is the worker's.
        let own = getpid().as_raw();
        for process in self.members()? {
            if process.parent == own && !process.traced {
                // ECHILD: somebody else waited for it.
                let _ = waitpid(Pid::from_raw(process.pid), Some(WaitPidFlag::__WALL));
            }
        }
        if let Some(held) = self.members()?.iter().find(|process| process.traced) {
            tracing::warn!("process {} is still traced: its tracer must end first", held.pid);
        }
        init.kill(None).map_err(io::Error::other)
    }
}

impl Stage for PrivateStage<'_> {
    fn command(&self, argv: &[String]) -> tracer::Command {
        let mut command = tracer::Command::new(argv);
        let variables = self.world.environment.iter();
        command.env = variables.map(|(name, value)| (name.into(), value.into())).collect();
        command.cwd.clone_from(&self.world.cwd);
        command.umask = Some(furnish::UMASK);
        // Without its init (`clear` has failed) the command would run outside the stage: a
        // descriptor that is no namespace makes its start fail instead.
        let init = self.init.as_ref().and_then(|init| init.pidfd().try_clone_to_owned().ok());
        command.pid_namespace = init.or_else(|| File::open("/dev/null").ok().map(OwnedFd::from));
        command
    }

    fn processes(&self) -> io::Result<BTreeMap<i32, String>> {
        let members = self.members()?.into_iter().filter(|process| process.alive);
        Ok(members.map(|process| (process.pid, process.command)).collect())
    }

    fn touched(&self) -> Result<Vec<PathBuf>, WorldError> {
        self.outside(|scenery, trees| {
            scenery
                .layers()
                .differences(self.from.as_deref(), trees)
                .map_err(failed("compare the filesystem of a stage"))
        })
    }

    fn snapshot(&mut self) -> Result<Snapshot, WorldError> {
        self.world.snapshots += 1;
        let number = self.world.snapshots;
        self.outside(|scenery, trees| {
            let tree = scenery.scratch().join(format!("snapshot-{number}"));
            fs::create_dir_all(tree.join(MEMORY))
                .and_then(|()| scenery.layers().copy(Some(trees), &tree))
                .map_err(failed("keep the filesystem of a stage"))?;
            Ok(Snapshot { tree })
        })
    }

    fn fill(&mut self) -> Result<u64, WorldError> {
        self.outside(|scenery, _| scenery.fill().map_err(failed("fill the disk of a stage")))
    }

    fn give_room(&mut self) -> Result<(), WorldError> {
        self.outside(|scenery, _| scenery.give_room().map_err(failed("give a stage's disk room again")))
    }

    fn clear(&mut self) -> Result<(), WorldError> {
        self.kill_all().map_err(failed("kill the processes of a stage"))?;
        // The dead namespace's /proc, so that they do not pile up.
        umount2("/proc", MntFlags::MNT_DETACH)
            .map_err(|errno| failed("unmount a stage's /proc")(errno.into()))?;
        self.start_init()
    }
}

impl Drop for PrivateStage<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.kill_all() {
            tracing::warn!("failed to kill the processes of a stage: {error}");
        }
        match self.world.scenery.leave() {
            Ok(()) => {
                // The last descriptor of the namespace takes its mounts with it.
                self.inside = None;
                self.world.scenery.remove_trees(&self.folder.join("trees"));
                remove(&self.folder);
            }
            Err(error) => tracing::error!("{error}"),
        }
    }
}

fn start_ca(scratch: &Path, programs: &Programs) -> Result<Ca, WorldError> {
    let namespace = network::build().map_err(failed("join two network hosts"))?;
    sethostname(HOST).map_err(|errno| failed("set the host name")(errno.into()))?;
    let folder = scratch.join("ca");
    fs::create_dir(&folder).map_err(failed("make a folder for the CA"))?;
    Ca::start(CaSpec {
        programs: programs.clone(),
        namespace: Some(namespace),
        address: IpAddr::V4(network::CA),
        front_port: 443,
        dns_port: 53,
        names: CA_NAMES.map(str::to_string).to_vec(),
        subject: IpAddr::V4(network::SUBJECT),
        http_port: 80,
        tls_port: 443,
        scratch: folder,
    })
    .map_err(|error| failed("start the world's CA")(io::Error::other(error)))
}

/// Every file that the world gets. `roots`: what it trusts besides the host's roots, as PEM.
fn items(scenario: &Scenario, placeholders: &Placeholders, roots: &str) -> Result<Vec<Item>, WorldError> {
    let mut items = furnish::host_items(
        scenario,
        HOST,
        IpAddr::V4(network::SUBJECT),
        IpAddr::V4(network::CA),
        &CA_NAMES.map(str::to_string),
    );
    let mut bundle = furnish::host_roots();
    if !bundle.is_empty() && !bundle.ends_with(b"\n") {
        bundle.push(b'\n');
    }
    bundle.extend(roots.as_bytes());
    for path in BUNDLES {
        if Path::new(path).exists() || path == placeholders.ca_bundle {
            // Some are links to others.
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.into());
            items.push(Item::new(path, bundle.clone()));
        }
    }
    items.push(Item::new(
        shim::SETTINGS,
        format!("{}={}\n{VARIABLE}={PRIVATE_NAME}\n", shim::PID_FILE, scenario.server.pid_file),
    ));
    items.extend(furnish::scenario_items(scenario, placeholders)?);
    Ok(items)
}
