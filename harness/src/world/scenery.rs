//! The filesystem of a private world, without its CA: the scratch space, the layers, and how a
//! thread moves onto a stage and off it.

use std::{
    env,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::{statvfs::statvfs, sysinfo::sysinfo},
    unistd::{chdir, pivot_root},
};

use super::{
    WorldError,
    device::{self, SystemLog},
    furnish::{self, Item},
    layers::{Layers, MEMORY, bind},
    processes::Proc,
    shim, tree,
};
use crate::{limits, scenario::Scenario};

/// Where the harness's own program is in a world: behind the shims and as `guard`.
pub const OWN: &str = "/usr/lib/process-roulette";

/// Directories that the subject may write to in a user namespace besides the ones its scenario
/// names, where the host has them. As root it may write anywhere.
const USUAL: [&str; 36] = [
    "/etc",
    "/etc/ssl",
    "/etc/ssl/certs",
    "/etc/ssl/private",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/private",
    "/etc/pki/ca-trust/extracted/pem",
    "/etc/nginx",
    "/etc/apache2",
    "/etc/httpd",
    "/etc/haproxy",
    "/etc/postfix",
    "/etc/dovecot",
    "/etc/cron.d",
    "/etc/default",
    "/etc/systemd/system",
    "/home",
    "/opt",
    "/root",
    "/srv",
    "/usr/bin",
    "/usr/lib",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/etc",
    "/usr/local/lib",
    "/usr/local/sbin",
    "/usr/local/share",
    "/var/backups",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/spool",
    "/var/tmp",
    "/var/www",
    "/var/www/html",
];

/// The filesystem of one private world. Its stages are set and left on the thread that made it.
#[derive(Debug)]
pub struct Scenery {
    scratch: PathBuf,
    /// The mount namespace outside every stage.
    outside: OwnedFd,
    proc: Proc,
    layers: Layers,
    folders: u64,
    _log: SystemLog,
}

/// Says what was tried, for an error that has no known remedy.
pub fn failed(tried: impl Into<String>) -> impl FnOnce(io::Error) -> WorldError {
    let tried = tried.into();
    move |source| WorldError { tried: format!("failed to {tried}"), source, remedy: None }
}

impl Scenery {
    /// Plans the layers and puts the state directories, `items` and the shims into the trees
    /// that every stage starts from. `scratch`: from [`scratch`].
    ///
    /// # Errors
    /// The part that could not be made, with what the kernel said.
    pub fn build(scratch: &Path, scenario: &Scenario, items: &[Item]) -> Result<Self, WorldError> {
        // From here on this thread's root and working directory are its own.
        unshare(CloneFlags::CLONE_FS).map_err(|errno| failed("separate the thread's root")(errno.into()))?;
        let outside =
            File::open("/proc/thread-self/ns/mnt").map_err(failed("open the mount namespace"))?.into();
        let proc = Proc::open().map_err(failed("open /proc"))?;
        let log = device::devices(&scratch.join("dev")).map_err(failed("make /dev"))?;
        device::sysfs(&scratch.join("sys")).map_err(failed("mount /sys"))?;
        let program = scratch.join("roulette");
        own_program(&program).map_err(failed("make the harness's own program available"))?;
        let layers = layers(scratch, scenario, items)?;
        let mut scenery =
            Self { scratch: scratch.to_path_buf(), outside, proc, layers, folders: 0, _log: log };
        let base = scenery.scratch.join("base");
        let folder = scenery.folder()?;
        scenery.enter(&base, &folder)?;
        let furnished = put(scenario, items);
        scenery.leave()?;
        remove(&folder);
        furnished.map_err(failed("furnish the world"))?;
        Ok(scenery)
    }

    /// The scratch space.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// The layers.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The worker's own `/proc`.
    pub fn proc(&self) -> &Proc {
        &self.proc
    }

    /// A new folder in the scratch space, with the parts a stage needs.
    ///
    /// # Errors
    /// It could not be made.
    pub fn folder(&mut self) -> Result<PathBuf, WorldError> {
        self.folders += 1;
        let folder = self.scratch.join(format!("stage-{}", self.folders));
        ["", "work", "root"]
            .iter()
            .try_for_each(|part| fs::create_dir(folder.join(part)))
            .map_err(failed("make a folder in the scratch space"))?;
        Ok(folder)
    }

    /// Copies the trees in `from` (`None`: the base trees) to `to`, for a stage: what is in memory on
    /// a host has a tmpfs of its own there. [`Scenery::remove_trees`] takes it away.
    ///
    /// # Errors
    /// A mount was refused, or a file could not be copied.
    pub fn copy_trees(&self, from: Option<&Path>, to: &Path) -> io::Result<()> {
        let memory = to.join(MEMORY);
        fs::create_dir_all(&memory)?;
        let size = format!("mode=0755,size={}m", limits::MEMORY_MIB);
        mount(Some("roulette"), &memory, Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))?;
        self.layers.copy(from, to)
    }

    /// Unmounts what [`Scenery::copy_trees`] has mounted.
    pub fn remove_trees(&self, trees: &Path) {
        if let Err(errno) = umount2(&trees.join(MEMORY), MntFlags::MNT_DETACH) {
            tracing::debug!("{} stays mounted until the world ends: {errno}", trees.display());
        }
    }

    /// Makes the scratch space full: its size is what is used of it now. Returns how many blocks are
    /// free nevertheless.
    ///
    /// # Errors
    /// The kernel refused, also because more was used by the time it was asked.
    pub fn fill(&self) -> io::Result<u64> {
        let now = statvfs(&self.scratch)?;
        let used = (now.blocks() - now.blocks_free()) * now.fragment_size();
        self.resize(&format!("size={used}"))?;
        Ok(statvfs(&self.scratch)?.blocks_free())
    }

    /// Gives the scratch space its usual size again.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn give_room(&self) -> io::Result<()> {
        self.resize(&usual_size())
    }

    fn resize(&self, size: &str) -> io::Result<()> {
        Ok(mount(None::<&str>, &self.scratch, None::<&str>, MsFlags::MS_REMOUNT, Some(size))?)
    }

    /// Moves the calling thread into a new mount namespace whose root is made of `trees`.
    ///
    /// # Errors
    /// A mount was refused; the thread is where it was.
    pub fn enter(&self, trees: &Path, folder: &Path) -> Result<(), WorldError> {
        let outcome = self.mount(trees, folder);
        if outcome.is_err() {
            self.leave()?;
        }
        outcome.map_err(failed("set a stage"))
    }

    fn mount(&self, trees: &Path, folder: &Path) -> io::Result<()> {
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)?;
        let root = folder.join("root");
        self.layers.mount(trees, &folder.join("work"), &root)?;
        // In a user namespace a fresh /proc may only be mounted where one is visible already;
        // the stage's init mounts its own over this.
        bind(Path::new("/proc"), &root.join("proc"), MsFlags::empty())?;
        bind(&self.scratch.join("sys"), &root.join("sys"), MsFlags::MS_REC)?;
        bind(&self.scratch.join("dev"), &root.join("dev"), MsFlags::MS_REC)?;
        let shm = trees.join(MEMORY).join("shm");
        fs::create_dir_all(&shm)?;
        fs::set_permissions(&shm, fs::Permissions::from_mode(0o1777))?;
        bind(&shm, &root.join("dev/shm"), MsFlags::empty())?;
        let own = root.join(tree::relative(Path::new(OWN))).join("roulette");
        bind(&self.scratch.join("roulette"), &own, MsFlags::empty())?;
        chdir(&root)?;
        // Stacks the old root on the new one, and takes it off again (pivot_root(2)).
        pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        chdir("/")?;
        Ok(())
    }

    /// Moves the calling thread out of the stage's mount namespace.
    ///
    /// # Errors
    /// The thread cannot get back: the worker is of no more use.
    pub fn leave(&self) -> Result<(), WorldError> {
        go(&self.outside).map_err(failed("leave a stage"))
    }
}

/// Puts the program that is running at `place`: a bind mount, or where its file has been
/// replaced since it was started, a copy.
fn own_program(place: &Path) -> io::Result<()> {
    let running = fs::metadata("/proc/self/exe")?;
    let same = |path: &Path| {
        fs::metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == (running.dev(), running.ino()))
    };
    match env::current_exe() {
        Ok(path) if same(&path) => {
            fs::write(place, "")?;
            Ok(bind(&path, place, MsFlags::empty())?)
        }
        _ => fs::copy("/proc/self/exe", place).map(drop),
    }
}

/// Fills the stage that the calling thread is on.
fn put(scenario: &Scenario, items: &[Item]) -> io::Result<()> {
    furnish::folders(scenario)?;
    for item in items {
        furnish::put(item)?;
    }
    for place in shim::places() {
        furnish::clear(&place)?;
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        symlink(Path::new(OWN).join("roulette"), place)?;
    }
    Ok(())
}

/// Moves the calling thread to a mount namespace.
///
/// # Errors
/// What the kernel said.
pub fn go(namespace: &OwnedFd) -> io::Result<()> {
    // A thread started meanwhile shares the root; setns(2) wants it unshared.
    unshare(CloneFlags::CLONE_FS)?;
    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNS)?;
    Ok(())
}

/// Deletes a folder of the scratch space. What cannot be deleted dies with the scratch space.
pub fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        tracing::debug!("{} stays until the world ends: {error}", folder.display());
    }
}

/// Mounts the scratch space over a directory that the worker does not need: one of those that
/// stages get fresh anyway. `needed`: files and folders that must stay to be seen.
///
/// # Errors
/// There is no such directory, or the mount was refused.
pub fn scratch(needed: &[&Path]) -> Result<PathBuf, WorldError> {
    let mut needed: Vec<PathBuf> = needed.iter().map(PathBuf::from).collect();
    needed.push(env::temp_dir());
    needed.extend(env::current_exe());
    needed.extend(env::current_dir());
    let needed: Vec<PathBuf> =
        needed.into_iter().map(|path| fs::canonicalize(&path).unwrap_or(path)).collect();
    let over = ["/run", "/tmp", "/dev/shm"]
        .map(Path::new)
        .into_iter()
        .find(|over| over.is_dir() && !needed.iter().any(|path| path.starts_with(over)))
        .ok_or_else(|| WorldError {
            tried: "failed to find a place for the world's scratch space".to_string(),
            source: io::Error::other("/run, /tmp and /dev/shm all hold files of this run"),
            remedy: Some("keep the program, the scenario or TMPDIR elsewhere".to_string()),
        })?;
    let options = format!("mode=0755,{}", usual_size());
    mount(Some("roulette"), over, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|errno| failed(format!("mount a tmpfs on {}", over.display()))(errno.into()))?;
    Ok(over.to_path_buf())
}

/// The size of a scratch space, as an option of tmpfs.
fn usual_size() -> String {
    let memory = sysinfo().map_or(u64::MAX, |info| info.ram_total() >> 20);
    format!("size={}m", limits::SCRATCH_MIB.min(memory / limits::SCRATCH_SHARE))
}

/// Plans the layers, with the state directories empty and everything that is written writable.
fn layers(scratch: &Path, scenario: &Scenario, items: &[Item]) -> Result<Layers, WorldError> {
    let probe = scratch.join("probe");
    let hidden: Vec<PathBuf> = scenario.subject.state.iter().map(PathBuf::from).collect();
    let base = scratch.join("base");
    let mut layers = Layers::plan(&base, &probe, in_user_namespace(), &hidden)
        .map_err(failed("plan the world's filesystem"))?;
    remove(&probe);
    let mut writable: Vec<&Path> = Vec::new();
    if in_user_namespace() {
        writable.extend(USUAL.map(Path::new).into_iter().filter(|path| path.is_dir()));
        let artifacts = scenario.artifacts.iter().flat_map(|artifact| [&artifact.certificate, &artifact.key]);
        let files = artifacts
            .chain(scenario.lock.iter().map(|lock| &lock.path))
            .chain([&scenario.server.pid_file])
            .map(Path::new)
            .chain(items.iter().map(|item| item.path.as_path()));
        writable.extend(files.filter_map(Path::parent));
        writable.extend(scenario.server.webroots.iter().map(Path::new));
    }
    for path in writable {
        layers.writable_as_far(path).map_err(failed(format!("make {} writable", path.display())))?;
    }
    // The harness's own program is a mount point.
    layers
        .writable(Path::new(OWN))
        .and_then(|own| fs::write(own.join("roulette"), ""))
        .map_err(failed("make room for the harness's own program"))?;
    Ok(layers)
}

/// Whether this process's root is not the machine's (`user_namespaces(7)`): the whole range of
/// ids is mapped only in the initial user namespace.
pub fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"]
}
