//! The user's cache, where unpacked programs are kept: each set in a folder of its own, put in
//! place by one rename and checked by checksum each time it is used.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use ring::digest;

use super::programs::{CHALLTESTSRV, PEBBLE};

/// Names the programs' checksums within a set. Written last.
const SUMS: &str = "SHA256SUMS";

/// Prefix of the folders of an unpacking under way.
const UNPACKING: &str = ".unpacking-";

/// `$XDG_CACHE_HOME/process-roulette`, or `~/.cache/process-roulette`.
pub(super) struct Cache {
    root: PathBuf,
}

/// The right to change the cache. Ends with the process at the latest.
pub(super) struct Locked<'a> {
    cache: &'a Cache,
    _lock: Flock<File>,
}

impl Cache {
    /// The user's own; the error is a fragment.
    pub fn of_user() -> Result<Cache, String> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
        home.map(|home| Cache::in_folder(&home))
            .ok_or_else(|| "neither XDG_CACHE_HOME nor HOME is set, so there is no cache folder".to_owned())
    }

    /// One under `folder`.
    pub fn in_folder(folder: &Path) -> Cache {
        Cache { root: folder.join("process-roulette") }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The set called `name`, if it is there and whole: Pebble and its DNS server.
    pub fn whole(&self, name: &str) -> Option<(PathBuf, PathBuf)> {
        let folder = self.root.join(name);
        let sums = fs::read_to_string(folder.join(SUMS)).ok()?;
        (sums == sums_of(&folder).ok()?).then(|| (folder.join(PEBBLE), folder.join(CHALLTESTSRV)))
    }

    /// Waits until nobody else changes the cache, and removes what killed runs left there.
    pub fn lock(&self) -> io::Result<Locked<'_>> {
        fs::create_dir_all(&self.root)?;
        let file = File::create(self.root.join(".lock"))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io::Error::from(errno))?;
        for entry in fs::read_dir(&self.root)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNPACKING) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(Locked { cache: self, _lock: lock })
    }
}

impl Locked<'_> {
    /// An empty folder for the work, removed with the value.
    pub fn workspace(&self) -> io::Result<tempfile::TempDir> {
        tempfile::Builder::new().prefix(UNPACKING).tempdir_in(&self.cache.root)
    }

    /// Keeps the two programs as the set `name`, in place of a broken one.
    pub fn keep(
        &self,
        name: &str,
        workspace: &Path,
        pebble: &Path,
        challtestsrv: &Path,
    ) -> io::Result<(PathBuf, PathBuf)> {
        let ready = workspace.join("ready");
        fs::create_dir(&ready)?;
        for (from, to) in [(pebble, PEBBLE), (challtestsrv, CHALLTESTSRV)] {
            let to = ready.join(to);
            fs::rename(from, &to)?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
        }
        fs::write(ready.join(SUMS), sums_of(&ready)?)?;
        let place = self.cache.root.join(name);
        match fs::rename(&place, workspace.join("broken")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::rename(&ready, &place)?,
        }
        Ok((place.join(PEBBLE), place.join(CHALLTESTSRV)))
    }
}

/// SHA-256 of a file, lower-case hex.
pub(super) fn sha256(file: &Path) -> io::Result<String> {
    let mut reader = File::open(file)?;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match io::Read::read(&mut reader, &mut chunk)? {
            0 => break,
            length => context.update(&chunk[..length]),
        }
    }
    let mut hex = String::new();
    for byte in context.finish().as_ref() {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}

/// The programs' checksums, in the form of sha256sum.
fn sums_of(folder: &Path) -> io::Result<String> {
    let mut sums = String::new();
    for program in [PEBBLE, CHALLTESTSRV] {
        let _ = writeln!(sums, "{}  {program}", sha256(&folder.join(program))?);
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(cache: &Cache, text: &str) {
        let locked = cache.lock().unwrap();
        let workspace = locked.workspace().unwrap();
        let files = ["a", "b"].map(|name| workspace.path().join(name));
        files.iter().for_each(|file| fs::write(file, text).unwrap());
        locked.keep("pebble-1", workspace.path(), &files[0], &files[1]).unwrap();
    }

    #[test]
    fn a_broken_set_is_seen_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::in_folder(folder.path());
        assert_eq!(cache.whole("pebble-1"), None);
        keep(&cache, "one");
        let (pebble, _) = cache.whole("pebble-1").unwrap();
        fs::write(&pebble, "on").unwrap();
        assert_eq!(cache.whole("pebble-1"), None);
        keep(&cache, "two");
        assert_eq!(fs::read_to_string(cache.whole("pebble-1").unwrap().1).unwrap(), "two");
        let mut left: Vec<_> = fs::read_dir(cache.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".lock", "pebble-1"]);
    }

    #[test]
    fn what_a_killed_run_left_is_removed_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::in_folder(folder.path());
        let killed = cache.lock().unwrap().workspace().unwrap().keep();
        drop(cache.lock().unwrap());
        assert!(!killed.exists());
    }
}
