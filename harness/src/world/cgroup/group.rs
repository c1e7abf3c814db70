//! One experiment's group: its limit, and the kernel's account of it.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Instant,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::stat::{Mode, mkdirat},
    unistd::{UnlinkatFlags, unlinkat},
};

use super::{Place, Version, hierarchy::PROCS};
use crate::limits;

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
    pub(super) name: String,
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

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
}
