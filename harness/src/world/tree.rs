//! Copies and comparisons of directory trees as an overlay's upper layer holds them: whiteouts,
//! opaque directories, owners, modes, times, hard links and symlinks included.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::{CStr, CString},
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{AT_FDCWD, AtFlags},
    sys::{
        stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat},
        time::TimeSpec,
    },
    unistd::{Gid, Uid, fchownat},
};

/// Files up to this size are compared by content when everything else about them is equal.
const COMPARED_BYTES_MAX: u64 = 1 << 20;

/// Copies the directory `from` with everything in it to `to`, which must not exist yet.
///
/// # Errors
/// The first file that could not be read or made, with its path.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut links = HashMap::new();
    copy_entry(from, to, &mut links)
}

fn copy_entry(from: &Path, to: &Path, links: &mut HashMap<(u64, u64), PathBuf>) -> io::Result<()> {
    let at = |error: io::Error| io::Error::new(error.kind(), format!("copying {}: {error}", from.display()));
    let meta = fs::symlink_metadata(from).map_err(at)?;
    let kind = meta.file_type();
    if !kind.is_dir() && meta.nlink() > 1 {
        if let Some(first) = links.get(&(meta.dev(), meta.ino())) {
            return fs::hard_link(first, to).map_err(at);
        }
        links.insert((meta.dev(), meta.ino()), to.to_path_buf());
    }
    if kind.is_dir() {
        fs::create_dir(to).map_err(at)?;
        for entry in fs::read_dir(from).map_err(at)? {
            let entry = entry.map_err(at)?;
            copy_entry(&entry.path(), &to.join(entry.file_name()), links)?;
        }
    } else if kind.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from).map_err(at)?, to).map_err(at)?;
    } else if kind.is_file() {
        let mut source = fs::File::open(from).map_err(at)?;
        let mut target = fs::File::create_new(to).map_err(at)?;
        if meta.len() > 0 {
            io::copy(&mut source, &mut target).map_err(at)?;
        }
    } else {
        let node = SFlag::from_bits_truncate(meta.mode() & SFlag::S_IFMT.bits());
        // Sockets too: their path must be there, although nobody listens behind it any more.
        mknod(to, node, Mode::from_bits_truncate(meta.mode() & 0o7777), meta.rdev())
            .map_err(|errno| at(errno.into()))?;
    }
    copy_attributes(from, to, &meta).map_err(at)
}

/// Owner, mode, extended attributes and times of `from`, put on `to`.
fn copy_attributes(from: &Path, to: &Path, meta: &fs::Metadata) -> io::Result<()> {
    let made = fs::symlink_metadata(to)?;
    if (made.uid(), made.gid()) != (meta.uid(), meta.gid()) {
        fchownat(
            AT_FDCWD,
            to,
            Some(Uid::from_raw(meta.uid())),
            Some(Gid::from_raw(meta.gid())),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )?;
    }
    if !meta.file_type().is_symlink() && made.mode() & 0o7777 != meta.mode() & 0o7777 {
        fs::set_permissions(to, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    }
    if meta.is_dir() || meta.is_file() {
        copy_xattrs(from, to)?;
    }
    let time = |seconds, nanoseconds| TimeSpec::new(seconds, nanoseconds);
    utimensat(
        AT_FDCWD,
        to,
        &time(meta.atime(), meta.atime_nsec()),
        &time(meta.mtime(), meta.mtime_nsec()),
        UtimensatFlags::NoFollowSymlink,
    )?;
    Ok(())
}

fn copy_xattrs(from: &Path, to: &Path) -> io::Result<()> {
    let mut names = [0_u8; 4096];
    let length = match rustix::fs::llistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        let mut value = [0_u8; 4096];
        let length = rustix::fs::lgetxattr(from, name, &mut value[..])?;
        match rustix::fs::lsetxattr(to, name, &value[..length], rustix::fs::XattrFlags::empty()) {
            Ok(()) => {}
            // Labels of a security module belong to the policy, not to the subject.
            Err(_) if name.to_bytes().starts_with(b"security.") => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Sets one extended attribute.
///
/// # Errors
/// What the file system said; `EOPNOTSUPP` when it has no such attributes.
pub fn set_xattr(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    let name = CString::new(name)?;
    rustix::fs::lsetxattr(path, name.as_c_str(), value, rustix::fs::XattrFlags::empty())?;
    Ok(())
}

/// Adds to `found` every path at which `now` differs from `then` (`None`: everything in `now`
/// that is not a directory is a difference). Paths are told as `name` plus the path in the tree.
/// A directory differs when its owner, mode or kind does, not when its time stamp does: what was
/// done in it is told by its entries.
///
/// # Errors
/// The first directory that could not be read.
pub fn differences(
    then: Option<&Path>,
    now: &Path,
    name: &Path,
    found: &mut BTreeSet<PathBuf>,
) -> io::Result<()> {
    let old = names(then)?;
    let new = names(Some(now))?;
    for entry in old.union(&new) {
        let path = name.join(entry);
        let before = then.map(|then| then.join(entry)).filter(|_| old.contains(entry));
        let after = now.join(entry);
        if !new.contains(entry) {
            add_all(before.as_deref(), &path, found)?;
            continue;
        }
        let meta = fs::symlink_metadata(&after)?;
        let Some(before) = before else {
            add_all(Some(&after), &path, found)?;
            continue;
        };
        let old_meta = fs::symlink_metadata(&before)?;
        if differ(&before, &old_meta, &after, &meta)? {
            found.insert(path.clone());
        }
        if meta.is_dir() {
            let before = Some(before.as_path()).filter(|_| old_meta.is_dir());
            differences(before, &after, &path, found)?;
        } else if old_meta.is_dir() {
            add_all(Some(&before), &path, found)?;
        }
    }
    Ok(())
}

fn names(folder: Option<&Path>) -> io::Result<BTreeSet<std::ffi::OsString>> {
    let Some(folder) = folder else { return Ok(BTreeSet::new()) };
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.file_name())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

fn add_all(tree: Option<&Path>, name: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    found.insert(name.to_path_buf());
    let Some(tree) = tree else { return Ok(()) };
    if fs::symlink_metadata(tree)?.is_dir() {
        for entry in names(Some(tree))? {
            add_all(Some(&tree.join(&entry)), &name.join(&entry), found)?;
        }
    }
    Ok(())
}

fn differ(before: &Path, old: &fs::Metadata, after: &Path, new: &fs::Metadata) -> io::Result<bool> {
    let head = |meta: &fs::Metadata| (meta.mode(), meta.uid(), meta.gid());
    if head(old) != head(new) {
        return Ok(true);
    }
    if new.is_dir() {
        return Ok(false);
    }
    let body = |meta: &fs::Metadata| (meta.size(), meta.mtime(), meta.mtime_nsec(), meta.rdev());
    if body(old) != body(new) {
        return Ok(true);
    }
    if new.file_type().is_symlink() {
        return Ok(fs::read_link(before)? != fs::read_link(after)?);
    }
    Ok(new.is_file() && new.size() <= COMPARED_BYTES_MAX && fs::read(before)? != fs::read(after)?)
}

/// `path` without its leading `/`, to be joined to another root.
pub fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// Escapes what the overlay's mount options would read as a separator.
pub fn escaped(path: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b',' | b':' | b'\\') {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn sample() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("live/example.com")).expect("folders");
        fs::write(tree.join("key.pem"), "key").expect("a file");
        fs::set_permissions(tree.join("key.pem"), fs::Permissions::from_mode(0o600)).expect("its mode");
        fs::hard_link(tree.join("key.pem"), tree.join("also.pem")).expect("a hard link");
        symlink("../../key.pem", tree.join("live/example.com/privkey.pem")).expect("a symlink");
        folder
    }

    #[test]
    fn a_copy_does_not_differ_from_its_original() {
        let folder = sample();
        let (tree, copied) = (folder.path().join("tree"), folder.path().join("copied"));
        copy(&tree, &copied).expect("copy");
        let mut found = BTreeSet::new();
        differences(Some(&tree), &copied, Path::new("/"), &mut found).expect("compare");
        assert_eq!(found, BTreeSet::new());
        let ino = |name: &str| fs::metadata(copied.join(name)).expect("metadata").ino();
        assert_eq!(ino("key.pem"), ino("also.pem"), "hard links stay together");
        let mode = fs::metadata(copied.join("key.pem")).expect("metadata").mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn every_change_of_a_tree_is_found() {
        let folder = sample();
        let (tree, copied) = (folder.path().join("tree"), folder.path().join("copied"));
        copy(&tree, &copied).expect("copy");
        fs::remove_file(copied.join("live/example.com/privkey.pem")).expect("remove");
        fs::write(copied.join("new"), "").expect("write");
        fs::set_permissions(copied.join("live"), fs::Permissions::from_mode(0o700)).expect("chmod");
        let mut found = BTreeSet::new();
        differences(Some(&tree), &copied, Path::new("/etc"), &mut found).expect("compare");
        let told: Vec<_> = found.iter().filter_map(|path| path.to_str()).collect();
        assert_eq!(told, ["/etc/live", "/etc/live/example.com/privkey.pem", "/etc/new"]);
    }
}
