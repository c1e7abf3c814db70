//! Whether the subject's lock can be taken: tried by taking it, not by a file being there.

use std::{fs::File, io::ErrorKind, os::unix::fs::MetadataExt};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, Flock, FlockArg, fcntl},
    libc,
};

use crate::{
    invariant::LockState,
    procfs::Proc,
    scenario::{Lock, LockKind},
};

/// Tries the lock. The caller must see the subject's filesystem.
pub fn state(lock: Option<&Lock>, proc: &Proc) -> LockState {
    let Some(lock) = lock else { return LockState::Undeclared };
    match lock.kind {
        LockKind::Flock | LockKind::Fcntl => kernel_lock(lock, proc),
        LockKind::PidFile => match std::fs::read_to_string(&lock.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => LockState::Free,
            Err(error) => LockState::Unknown(format!("{}: {error}", lock.path)),
            Ok(_) => LockState::Present,
        },
        LockKind::File | LockKind::Directory => match std::fs::symlink_metadata(&lock.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => LockState::Free,
            Err(error) => LockState::Unknown(format!("{}: {error}", lock.path)),
            Ok(_) => LockState::Present,
        },
    }
}

/// Whether somebody has the lock, as far as can be told; `None` where none is declared or it
/// could not be tried.
pub fn taken(lock: Option<&Lock>, proc: &Proc) -> Option<bool> {
    match state(lock, proc) {
        LockState::Undeclared | LockState::Unknown(_) => None,
        LockState::Free => Some(false),
        LockState::Held(_) | LockState::Present => Some(true),
    }
}

fn kernel_lock(lock: &Lock, proc: &Proc) -> LockState {
    // A directory can be locked with flock too, so no write access is asked for unless fcntl,
    // whose write lock needs it.
    let opened = match lock.kind {
        LockKind::Fcntl => File::options().read(true).write(true).open(&lock.path),
        _ => File::open(&lock.path),
    };
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return LockState::Free,
        Err(error) => return LockState::Unknown(format!("{}: {error}", lock.path)),
    };
    let holder = |file: &File| {
        let pid = file.metadata().ok().and_then(|data| proc.lock_holder(data.ino()));
        match pid {
            Some(pid) if pid > 0 => proc.doing(pid),
            _ => "who inherited it".to_owned(),
        }
    };
    if lock.kind == LockKind::Fcntl {
        let mut asked = libc::flock {
            l_type: libc::F_WRLCK as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        return match fcntl(&file, FcntlArg::F_GETLK(&mut asked)) {
            Ok(_) if asked.l_type == libc::F_UNLCK as i16 => LockState::Free,
            Ok(_) => LockState::Held(holder(&file)),
            Err(error) => LockState::Unknown(format!("{}: {error}", lock.path)),
        };
    }
    let who = holder(&file);
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(_let_go_at_once) => LockState::Free,
        Err((_, Errno::EWOULDBLOCK)) => LockState::Held(who),
        Err((_, error)) => LockState::Unknown(format!("{}: {error}", lock.path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flock_counts_as_held_only_while_somebody_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = Lock { kind: LockKind::Flock, path: path.to_str().unwrap().to_owned() };
        let proc = Proc::open().unwrap();
        assert_eq!(state(Some(&lock), &proc), LockState::Free);
        let held = Flock::lock(File::create(&path).unwrap(), FlockArg::LockExclusive).unwrap();
        assert!(matches!(state(Some(&lock), &proc), LockState::Held(_)));
        drop(held);
        assert_eq!(state(Some(&lock), &proc), LockState::Free);
    }

    #[test]
    fn a_lock_directory_counts_as_present() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock { kind: LockKind::Directory, path: folder.path().to_str().unwrap().to_owned() };
        assert_eq!(state(Some(&lock), &Proc::open().unwrap()), LockState::Present);
        assert_eq!(state(None, &Proc::open().unwrap()), LockState::Undeclared);
    }
}
