//! Memory control groups: a real limit, and the kernel's own account of whom it killed for want of
//! memory. Version 2 of the interface (cgroup-v2.rst of the kernel) where its memory controller is
//! to be had, else version 1 (cgroup-v1/memory.rst).
//!
//! The harness makes one folder for a command, under its own group or the nearest one above where
//! it may; each experiment that needs one makes a group in it. Only the subject is put into it:
//! not the CA, not the server, not the harness.

use std::{
    fs,
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::{
        signal::{Signal, kill},
        stat::{Mode, mkdirat},
    },
    unistd::{AccessFlags, Pid, UnlinkatFlags, access, unlinkat},
};
use serde::{Deserialize, Serialize};

use super::janitor::Janitor;
use crate::limits;

/// What to do where no group can be made.
pub const REMEDY: &str =
    "run as root, or in a delegated group: `systemd-run --user --scope -p Delegate=yes roulette …`";

/// Which interface the kernel offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// `memory.limit_in_bytes`.
    V1,
    /// `memory.max`.
    V2,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Version::V1 => "v1",
            Version::V2 => "v2",
        })
    }
}

impl Version {
    fn limit(self) -> &'static str {
        match self {
            Version::V1 => "memory.limit_in_bytes",
            Version::V2 => "memory.max",
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Version::V1 => "memory.usage_in_bytes",
            Version::V2 => "memory.current",
        }
    }

    fn peak(self) -> &'static str {
        match self {
            Version::V1 => "memory.max_usage_in_bytes",
            Version::V2 => "memory.peak",
        }
    }

    /// Where the kernel counts, in the line `oom_kill`, the processes it has killed.
    fn kills(self) -> &'static str {
        match self {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        }
    }
}

/// Where a command's groups are made. Dropped, nothing of them is left; nor is if the harness is
/// killed.
#[derive(Debug)]
pub struct Cgroups {
    place: Place,
    /// Last: it removes the folder.
    _janitor: Option<Janitor>,
}

/// The same, for those who make groups there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    version: Version,
    folder: PathBuf,
}

impl Cgroups {
    /// Makes the folder, in version 2 where that is possible.
    ///
    /// # Errors
    /// What was tried where, and what the kernel said.
    pub fn make() -> Result<Cgroups, String> {
        Cgroups::make_with(&|folder, opened| Janitor::of_cgroup(folder, opened).map(Some))
    }

    fn make_with(janitor: Start<'_>) -> Result<Cgroups, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        let hierarchies = hierarchies(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
        let mut tried = Vec::new();
        for hierarchy in &hierarchies {
            match hierarchy.make(janitor) {
                Ok(cgroups) => return Ok(cgroups),
                Err(why) => tried.push(format!("cgroup {}: {why}", hierarchy.version)),
            }
        }
        if tried.is_empty() {
            tried.push("no memory cgroup is mounted".to_owned());
        }
        Err(tried.join("; "))
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

/// How the janitor of a folder is started.
type Start<'a> = &'a dyn Fn(&Path, Option<&Path>) -> io::Result<Option<Janitor>>;

/// A mounted hierarchy that may have the memory controller.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    version: Version,
    mount: PathBuf,
    /// The caller's own group in it.
    own: PathBuf,
}

/// Every hierarchy, version 2 first, from the texts of `/proc/self/mountinfo` and
/// `/proc/self/cgroup`.
fn hierarchies(mounts: &str, groups: &str) -> Vec<Hierarchy> {
    let own = |version| {
        groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let found = match version {
                Version::V2 => controllers.is_empty(),
                Version::V1 => controllers.split(',').any(|name| name == "memory"),
            };
            found.then_some(path)
        })
    };
    let mut found = Vec::new();
    for line in mounts.lines() {
        // proc_pid_mountinfo(5): optional fields end with a lone `-`.
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let (head, tail): (Vec<_>, Vec<_>) = (head.split(' ').collect(), tail.split(' ').collect());
        let (&[_, _, _, root, mount, ..], &[kind, _, options, ..]) = (&*head, &*tail) else { continue };
        let version = match kind {
            "cgroup2" => Version::V2,
            "cgroup" if options.split(',').any(|option| option == "memory") => Version::V1,
            _ => continue,
        };
        let Some(path) = own(version) else { continue };
        // In a container what is mounted begins at the container's own group, and the path may be
        // the host's.
        let inside = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        found.push(Hierarchy { version, mount: mount.into(), own: Path::new(mount).join(inside) });
    }
    found.sort_by_key(|hierarchy| hierarchy.version == Version::V1);
    found
}

impl Hierarchy {
    fn make(&self, janitor: Start<'_>) -> Result<Cgroups, String> {
        let mut tried = Vec::new();
        for above in self.own.ancestors().take_while(|folder| folder.starts_with(&self.mount)) {
            match self.make_under(above, janitor) {
                Ok(cgroups) => return Ok(cgroups),
                // The nearest says most.
                Err(why) => tried.push(format!("{}: {why}", above.display())),
            }
        }
        Err(tried.into_iter().next().unwrap_or_else(|| format!("{} is not there", self.own.display())))
    }

    fn make_under(&self, above: &Path, janitor: Start<'_>) -> Result<Cgroups, String> {
        let told = |error: io::Error| error.to_string();
        let opened = match self.version {
            Version::V1 => None,
            Version::V2 => self.open_up(above)?,
        };
        access(above, AccessFlags::W_OK).map_err(|errno| told(errno.into()))?;
        // Nobody guesses it, so that the janitor, which is there before the folder is, removes no
        // other one.
        let folder = above.join(format!("roulette-{:016x}", rand::random::<u64>()));
        let janitor = janitor(&folder, opened.as_deref()).map_err(told)?;
        fs::create_dir(&folder).map_err(told)?;
        if !folder.join(self.version.limit()).exists() {
            return Err(format!("no {} in a new group", self.version.limit()));
        }
        if self.version == Version::V2 {
            fs::write(folder.join(SUBTREE), "+memory").map_err(told)?;
        }
        Ok(Cgroups { place: Place { version: self.version, folder }, _janitor: janitor })
    }

    /// Makes sure that groups under `above` have the memory controller. Returns what is to be
    /// undone later, if something is: see [`close`].
    fn open_up(&self, above: &Path) -> Result<Option<PathBuf>, String> {
        let has = |file: &str| {
            fs::read_to_string(above.join(file))
                .is_ok_and(|text| text.split_whitespace().any(|c| c == "memory"))
        };
        if has(SUBTREE) {
            return Ok(None);
        }
        if !has("cgroup.controllers") {
            return Err("the memory controller is not there".to_owned());
        }
        if above != self.own {
            return Err("the memory controller is not handed down".to_owned());
        }
        let hand_down = || fs::write(above.join(SUBTREE), "+memory");
        match hand_down() {
            Ok(()) => return Ok(Some(above.to_owned())),
            // A group that hands controllers down can have no processes of its own.
            Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => {}
            Err(error) => return Err(format!("{SUBTREE}: {error}")),
        }
        let own = std::process::id().to_string();
        if fs::read_to_string(above.join(PROCS)).is_ok_and(|pids| pids.lines().any(|pid| pid != own)) {
            return Err(
                "other processes are in the group, which keeps it from having groups of its own".to_owned()
            );
        }
        let aside = above.join(SUPERVISOR);
        let moved = fs::create_dir(&aside)
            .and_then(|()| fs::write(aside.join(PROCS), "0"))
            .and_then(|()| hand_down());
        moved.map_err(|error| {
            close(above);
            format!("{SUBTREE}: {error}")
        })?;
        Ok(Some(above.to_owned()))
    }
}

/// Which controllers a group hands down (cgroup-v2.rst).
const SUBTREE: &str = "cgroup.subtree_control";

/// Who is in a group; a process is put there by writing its id.
const PROCS: &str = "cgroup.procs";

/// Where the harness itself goes in a group that has been delegated to it.
const SUPERVISOR: &str = "roulette-supervisor";

/// Undoes what [`Hierarchy::open_up`] did to a group, as far as it can be undone.
fn close(above: &Path) {
    let aside = above.join(SUPERVISOR);
    let _ = fs::write(above.join(SUBTREE), "-memory");
    for pid in fs::read_to_string(aside.join(PROCS)).unwrap_or_default().lines() {
        let _ = fs::write(above.join(PROCS), pid);
    }
    let _ = fs::remove_dir(aside);
}

/// The janitor's work: ends what is left in the groups and removes them. Returns whether all is
/// gone.
pub(super) fn sweep(folder: &Path, opened: Option<&Path>) -> bool {
    let deadline = Instant::now() + limits::STAGE_CLEAR;
    let gone = loop {
        for group in fs::read_dir(folder).into_iter().flatten().flatten() {
            if !group.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            for pid in fs::read_to_string(group.path().join(PROCS)).unwrap_or_default().lines() {
                // 0: it is in a PID namespace that cannot be seen from here.
                if let Some(pid) = pid.parse().ok().filter(|pid| *pid > 0) {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
            }
            let _ = fs::remove_dir(group.path());
        }
        match fs::remove_dir(folder) {
            Ok(()) => break true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break true,
            Err(_) if Instant::now() > deadline => break false,
            Err(_) => std::thread::sleep(limits::CGROUP_POLL),
        }
    };
    if let Some(above) = opened {
        close(above);
    }
    gone
}

/// [`Place`], opened by a worker before its world hides the host's files from it.
#[derive(Debug, Clone)]
pub struct Groups {
    version: Version,
    folder: Arc<OwnedFd>,
}

impl Place {
    /// Opens it.
    ///
    /// # Errors
    /// It is not there.
    pub fn open(&self) -> io::Result<Groups> {
        Ok(Groups { version: self.version, folder: Arc::new(File::open(&self.folder)?.into()) })
    }
}

impl Groups {
    /// A new group, without a limit and with nobody in it.
    ///
    /// # Errors
    /// It could not be made.
    pub fn group(&self) -> io::Result<Group> {
        let name = format!("{:016x}", rand::random::<u64>());
        mkdirat(self.folder.as_fd(), name.as_str(), Mode::from_bits_truncate(0o755))?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = openat(self.folder.as_fd(), name.as_str(), flags, Mode::empty())?;
        let group = Group { version: self.version, folder, within: self.clone(), name };
        if self.version == Version::V2 {
            // A kernel without swap has no such file.
            let _ = group.write("memory.swap.max", "0");
        }
        Ok(group)
    }
}

/// One experiment's group. Dropped, it is removed, if its processes are gone by then; else the
/// janitor removes it.
#[derive(Debug)]
pub struct Group {
    version: Version,
    folder: OwnedFd,
    within: Groups,
    name: String,
}

impl Group {
    /// What [`process_roulette_tracer::Command::cgroup`] takes.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn entrance(&self) -> io::Result<OwnedFd> {
        Ok(open(self.folder.as_fd(), PROCS, OFlag::O_WRONLY)?.into())
    }

    /// Limits what its processes use together to this many bytes. In version 2, using more ends
    /// in a kill at once; in version 1 it is `EBUSY`, and the limit stays what it was.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn limit(&self, bytes: u64) -> io::Result<()> {
        self.write(self.version.limit(), &bytes.to_string())?;
        if self.version == Version::V1 {
            // The same for memory and swap together, where swap is accounted.
            match self.write(MEMSW, &bytes.to_string()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
        }
        Ok(())
    }

    /// Whether the kernel can be told to kill all of a group with the one it chooses: version 2 alone.
    pub fn can_kill_all(&self) -> bool {
        self.version == Version::V2
    }

    /// Tells the kernel to kill all of the group with the one it chooses, where it can be told.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn kill_all(&self) -> io::Result<()> {
        if self.can_kill_all() { self.write("memory.oom.group", "1") } else { Ok(()) }
    }

    /// Takes the limit away.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn lift(&self) -> io::Result<()> {
        match self.version {
            Version::V1 => {
                let _ = self.write(MEMSW, "-1");
                self.write(self.version.limit(), "-1")
            }
            Version::V2 => self.write(self.version.limit(), "max"),
        }
    }

    /// The limit that is in force, in bytes; `None`: none.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn limited(&self) -> io::Result<Option<u64>> {
        let text = self.read(self.version.limit())?;
        // Version 1 says "none" with a number no machine has.
        Ok(text.trim().parse().ok().filter(|bytes| *bytes < i64::MAX as u64 / 2))
    }

    /// Lowers the limit to what its processes cannot do without, so that the kernel has to kill:
    /// in version 2 at once, in version 1 when one of them next needs more. Returns the limit.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn squeeze(&self) -> io::Result<u64> {
        let before = self.kills()?;
        let mut limit = whole_pages(self.usage()?).max(PAGE);
        let mut step = limit / 8;
        // What is used can have grown since it was read.
        while let Err(error) = self.limit(limit) {
            if !is_busy(&error) || limit > u64::MAX / 4 {
                return Err(error);
            }
            limit = whole_pages(limit * 2);
        }
        while step >= PAGE && limit > PAGE {
            let lower = whole_pages(limit.saturating_sub(step)).max(PAGE);
            match self.limit(lower) {
                Ok(()) => limit = lower,
                Err(error) if is_busy(&error) => step /= 2,
                Err(error) => return Err(error),
            }
            if self.kills()? > before {
                break;
            }
        }
        Ok(limit)
    }

    /// Bytes in use, the page cache included.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn usage(&self) -> io::Result<u64> {
        number(&self.read(self.version.usage())?)
    }

    /// The most that ever was; `None` where the kernel does not say (version 2 before Linux 5.19).
    pub fn peak(&self) -> Option<u64> {
        number(&self.read(self.version.peak()).ok()?).ok()
    }

    /// How many of its processes the kernel has killed for want of memory.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn kills(&self) -> io::Result<u64> {
        let text = self.read(self.version.kills())?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        number(count.ok_or_else(|| io::Error::other("the kernel does not count its OOM kills"))?)
    }

    fn read(&self, file: &str) -> io::Result<String> {
        let mut text = String::new();
        open(self.folder.as_fd(), file, OFlag::O_RDONLY)?.read_to_string(&mut text)?;
        Ok(text)
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        open(self.folder.as_fd(), file, OFlag::O_WRONLY | OFlag::O_TRUNC)?.write_all(text.as_bytes())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let deadline = Instant::now() + limits::KILLED;
        loop {
            match unlinkat(self.within.folder.as_fd(), self.name.as_str(), UnlinkatFlags::RemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => return,
                // Its dead have not been waited for yet.
                Err(Errno::EBUSY) if Instant::now() < deadline => std::thread::sleep(limits::CGROUP_POLL),
                Err(errno) => {
                    tracing::warn!("a control group is left to the janitor: {errno}");
                    return;
                }
            }
        }
    }
}

/// Version 1's limit of memory and swap together.
const MEMSW: &str = "memory.memsw.limit_in_bytes";

/// The kernel counts in pages; a smaller step is none.
const PAGE: u64 = 4096;

fn whole_pages(bytes: u64) -> u64 {
    bytes / PAGE * PAGE
}

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::EBUSY)
}

fn number(text: &str) -> io::Result<u64> {
    text.trim().parse().map_err(|_| io::Error::other(format!("`{}` is no number", text.trim())))
}

fn open(folder: BorrowedFd<'_>, file: &str, flags: OFlag) -> io::Result<File> {
    Ok(openat(folder, file, flags | OFlag::O_CLOEXEC, Mode::empty())?.into())
}

/// Has something killed at a limit, and says what was seen.
///
/// # Errors
/// It was not killed, or the kernel did not count it.
pub(super) fn try_out(cgroups: &Cgroups) -> Result<String, String> {
    let told = |error: io::Error| error.to_string();
    let place = cgroups.place();
    let group = place.open().and_then(|groups| groups.group()).map_err(told)?;
    group.limit(TRIED).map_err(told)?;
    hungry(&place.folder.join(&group.name)).status().map_err(told)?;
    match group.kills().map_err(told)? {
        0 => Err(format!("cgroup {}: the kernel killed nobody at a limit of {TRIED} bytes", place.version)),
        _ => Ok(format!("cgroup {}: the kernel kills at {}", place.version, place.version.limit())),
    }
}

/// The limit that is tried out: enough for a shell to start.
const TRIED: u64 = 8 << 20;

/// A command that goes into the group and grows until it is killed; not beyond 256 MiB, should
/// nobody kill it.
pub(super) fn hungry(group: &Path) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    let script = "echo 0 > \"$1/cgroup.procs\" && ulimit -v 262144 && exec tail /dev/zero";
    command.args(["-c", script, "sh"]).arg(group).stderr(std::process::Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_groups_of_a_host_with_systemd_are_found() {
        let mounts = "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let own = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope\n";
        let found = hierarchies(mounts, own);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].version, Version::V2);
        assert!(found[0].own.ends_with("app.slice/run-1.scope"), "{found:?}");
    }

    #[test]
    fn a_hybrid_host_has_both_and_version_2_is_tried_first() {
        let mounts = "40 30 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      41 30 0:34 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      42 30 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let found = hierarchies(mounts, "4:memory:/jobs/1\n1:cpu:/\n0::/\n");
        let found: Vec<_> = found.iter().map(|h| (h.version, h.own.to_str().unwrap())).collect();
        let expected =
            [(Version::V2, "/sys/fs/cgroup/unified/"), (Version::V1, "/sys/fs/cgroup/memory/jobs/1")];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_group_of_a_container_is_where_its_mount_begins() {
        let mounts = "40 30 0:33 /docker/3f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let found = hierarchies(mounts, "4:memory:/docker/3f\n");
        assert_eq!(found[0].own, Path::new("/sys/fs/cgroup/memory/"));
    }

    /// A folder of plain files for a group.
    fn plain(version: Version, files: &[(&str, &str)]) -> (tempfile::TempDir, Group) {
        let folder = tempfile::tempdir().unwrap();
        let groups = Place { version, folder: folder.path().to_owned() }.open().unwrap();
        // What the kernel makes with the folder, a test makes before it is looked at.
        let group = groups.group().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(&group.name).join(name), text).unwrap();
        }
        (folder, group)
    }

    #[test]
    fn version_2_is_spoken_as_its_documentation_says() {
        let files = [
            ("memory.max", "max\n"),
            ("memory.oom.group", "0\n"),
            ("memory.current", "1048576\n"),
            ("memory.peak", "2097152\n"),
            ("memory.events", "low 0\nhigh 0\nmax 69\noom 1\noom_kill 3\noom_group_kill 0\n"),
        ];
        let (folder, group) = plain(Version::V2, &files);
        assert_eq!(
            (group.usage().unwrap(), group.peak(), group.kills().unwrap()),
            (1 << 20, Some(1 << 21), 3)
        );
        assert_eq!(group.limited().unwrap(), None);
        group.limit(4 << 20).unwrap();
        assert_eq!(group.limited().unwrap(), Some(4 << 20));
        group.kill_all().unwrap();
        let all = fs::read_to_string(folder.path().join(&group.name).join("memory.oom.group")).unwrap();
        assert_eq!(all, "1");
        group.lift().unwrap();
        let limit = fs::read_to_string(folder.path().join(&group.name).join("memory.max")).unwrap();
        assert_eq!(limit, "max");
        fs::remove_dir_all(folder.path().join(&group.name)).unwrap();
    }

    #[test]
    fn version_1_limits_memory_and_swap_together() {
        let files = [
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.memsw.limit_in_bytes", "9223372036854771712\n"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ];
        let (folder, group) = plain(Version::V1, &files);
        assert_eq!((group.limited().unwrap(), group.kills().unwrap(), group.peak()), (None, 2, None));
        group.limit(4 << 20).unwrap();
        let both = fs::read_to_string(folder.path().join(&group.name).join(MEMSW)).unwrap();
        assert_eq!((group.limited().unwrap(), both.as_str()), (Some(4 << 20), "4194304"));
        fs::remove_dir_all(folder.path().join(&group.name)).unwrap();
    }

    /// Where this machine grants groups; a test that needs one says so loudly where it does not.
    fn granted() -> Option<Cgroups> {
        // The janitor is the `roulette` program, which a unit test is not: its work is done here.
        match Cgroups::make_with(&|_, _| Ok(None)) {
            Ok(cgroups) => Some(cgroups),
            Err(why) => {
                eprintln!("SKIPPED: no memory cgroup: {why}");
                None
            }
        }
    }

    #[test]
    fn the_kernel_kills_at_the_limit_counts_it_and_nothing_is_left() {
        let Some(cgroups) = granted() else { return };
        let groups = cgroups.place().open().unwrap();
        let group = groups.group().unwrap();
        let folder = cgroups.place().folder.clone();
        group.limit(8 << 20).unwrap();
        let status = hungry(&folder.join(&group.name)).status().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(nix::libc::SIGKILL));
        assert_eq!(group.kills().unwrap(), 1);
        group.lift().unwrap();
        assert_eq!(group.limited().unwrap(), None);
        drop(group);
        assert_eq!(fs::read_dir(&folder).unwrap().flatten().filter(|e| e.path().is_dir()).count(), 0);
        assert!(sweep(&folder, None));
        assert!(!folder.exists(), "{}", folder.display());
    }

    #[test]
    fn squeezed_processes_are_killed_when_they_need_more() {
        let Some(cgroups) = granted() else { return };
        let group = cgroups.place().open().unwrap().group().unwrap();
        let folder = cgroups.place().folder.clone();
        let script =
            "echo 0 > \"$1/cgroup.procs\" && echo in && read -r line; ulimit -v 262144; exec tail /dev/zero";
        let mut grower = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(folder.join(&group.name))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 3];
        grower.stdout.take().unwrap().read_exact(&mut said).unwrap();
        let limit = group.squeeze().unwrap();
        assert_eq!(group.limited().unwrap(), Some(limit));
        drop(grower.stdin.take());
        let signal = std::os::unix::process::ExitStatusExt::signal(&grower.wait().unwrap());
        assert_eq!(signal, Some(nix::libc::SIGKILL), "limit {limit}");
        assert_eq!(group.kills().unwrap(), 1);
        assert!(limit < 4 << 20, "{limit}");
        drop(group);
        assert!(sweep(&folder, None));
    }

    #[test]
    fn what_a_killed_harness_left_in_its_groups_is_ended_and_removed() {
        let Some(cgroups) = granted() else { return };
        let group = cgroups.place().open().unwrap().group().unwrap();
        let folder = cgroups.place().folder.clone();
        let script = "echo 0 > \"$1/cgroup.procs\" && echo in && exec sleep 600";
        let mut left = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(folder.join(&group.name))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 3];
        left.stdout.take().unwrap().read_exact(&mut said).unwrap();
        // As if nobody had dropped it.
        std::mem::forget(group);
        assert!(sweep(&folder, None));
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&left.wait().unwrap()),
            Some(nix::libc::SIGKILL)
        );
        assert!(!folder.exists(), "{}", folder.display());
    }
}
