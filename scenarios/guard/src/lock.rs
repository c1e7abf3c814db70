//! The lock: flock(2) on a file that is never removed. The kernel releases it with the last descriptor, however the run ends.
//!
//! The descriptor is close-on-exec, so no child inherits the lock: a reload command that leaves a daemon behind cannot keep it.
//! In return the reload command must not outlive the guard; see `bound`.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::Error;
use crate::files;
use crate::limits::LOCK_REPLACED_MAX;

/// Taken.
pub struct Lock {
    flock: Flock<std::fs::File>,
}

impl Lock {
    /// Take the lock without waiting.
    pub fn take(path: &Path) -> Result<Self, Error> {
        for _ in 0..LOCK_REPLACED_MAX {
            let file = open(path)?;
            let flock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(flock) => flock,
                Err((_, Errno::EWOULDBLOCK)) => return Err(Error::Held { path: path.to_owned() }),
                Err((_, errno)) => return Err(Error::file("lock", path)(errno.into())),
            };
            // Somebody may have removed or replaced the file between open and flock: then others lock another file.
            let ours = flock.metadata().map_err(Error::file("stat", path))?;
            match path.metadata() {
                Ok(now) if (now.dev(), now.ino()) == (ours.dev(), ours.ino()) => {
                    return Ok(Self { flock });
                }
                _ => {
                    tracing::warn!(path = %path.display(), "the lock file was replaced while it was being locked");
                }
            }
        }
        Err(Error::Foreign {
            what: "is removed again and again while it is being locked; find out who does it",
            path: path.to_owned(),
        })
    }

    /// Keep it until the process ends, however it ends: there is nothing left to do that could be done too early or forgotten.
    pub fn keep_until_exit(self) {
        std::mem::forget(self.flock);
    }
}

/// Open the lock file; made if missing. Two steps, so that a usual run changes nothing here.
fn open(path: &Path) -> Result<std::fs::File, Error> {
    match OpenOptions::new().read(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        result => return result.map_err(Error::file("open the lock", path)),
    }
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        files::ensure_dir(parent, 0o755)?;
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(Error::file("create the lock", path))
}

/// The process that holds the lock, looked up in /proc/locks: taking it to find out would get in a real run's way.
///
/// `None` if nobody in this PID namespace does. Some file systems (btrfs, overlay) report other device numbers there than stat(2)
/// does; on those a held lock looks free.
pub fn holder(path: &Path) -> Option<u32> {
    let wanted = path.metadata().ok()?;
    let (major, minor) = (nix::sys::stat::major(wanted.dev()), nix::sys::stat::minor(wanted.dev()));
    let wanted = format!("{major:02x}:{minor:02x}:{}", wanted.ino());
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    // 1: FLOCK  ADVISORY  WRITE 1234 00:2a:5678 0 EOF
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields.as_slice() {
            [_, "FLOCK", _, _, pid, at, ..] if *at == wanted => pid.parse().ok(),
            _ => None,
        }
    })
}
