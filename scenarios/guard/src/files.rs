//! The few file operations the guard is made of. Each writes only to names that nobody reads yet.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::Error;

/// Make a directory and its parents with `mode` (less the umask), unless it is there already.
pub fn ensure_dir(path: &Path, mode: u32) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(Error::file("make the directory", path))?;
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        sync_dir(parent)?;
    }
    Ok(())
}

/// Write a new file with one write, and fsync it. It never had another mode than `mode` (less the umask), not even for a moment.
pub fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), Error> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(Error::file("create", path))?;
    file.write_all(bytes).map_err(Error::file("write", path))?;
    file.sync_all().map_err(Error::file("fsync", path))
}

/// Write a file in place, as `guard obtain` does: created or emptied, and never readable by more than `mode` says.
pub fn write_plain(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), Error> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .map_err(Error::file("open", path))?;
    let found = file.metadata().map_err(Error::file("stat", path))?.permissions().mode() & 0o777;
    if found & !mode != 0 {
        // The file was there before, with a wider mode: narrow it before the first byte is in it.
        file.set_permissions(Permissions::from_mode(mode)).map_err(Error::file("chmod", path))?;
    }
    file.write_all(bytes).map_err(Error::file("write", path))
}

/// Make a file's directory entries durable.
pub fn sync_dir(path: &Path) -> Result<(), Error> {
    // The parent of a bare name.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Error::file("fsync the directory", path))
}

/// Rename within one directory and make it durable.
pub fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::rename(from, to).map_err(Error::file("put in place", to))?;
    match to.parent() {
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

/// Remove a file; `false` if there was none. Asks first, so that an idle run does not even try.
pub fn remove_if_there(path: &Path) -> Result<bool, Error> {
    if path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        return Ok(false);
    }
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::file("remove", path)(e)),
    }
}

/// Read a whole file; `None` if there is none.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file("read", path)(e)),
    }
}
