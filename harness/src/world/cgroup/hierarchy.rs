//! Where groups can be made: the mounted hierarchies, a folder in one of them, and its end.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Instant,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{AccessFlags, Pid, access},
};
use serde::{Deserialize, Serialize};

use super::Version;
use crate::{limits, world::janitor::Janitor};

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
    pub(super) version: Version,
    pub(super) folder: PathBuf,
}

impl Cgroups {
    /// Makes the folder, in version 2 where that is possible.
    ///
    /// # Errors
    /// What was tried where, and what the kernel said.
    pub fn make() -> Result<Cgroups, String> {
        Cgroups::make_with(&|folder, opened| Janitor::of_cgroup(folder, opened).map(Some))
    }

    pub(super) fn make_with(janitor: Start<'_>) -> Result<Cgroups, String> {
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
pub(super) type Start<'a> = &'a dyn Fn(&Path, Option<&Path>) -> io::Result<Option<Janitor>>;

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
pub(super) const PROCS: &str = "cgroup.procs";

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
pub(in crate::world) fn sweep(folder: &Path, opened: Option<&Path>) -> bool {
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

#[cfg(test)]
mod tests {
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
}
