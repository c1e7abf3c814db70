//! The filesystem of a stage, as a list of layers: overlays on the host's directories and plain
//! directories, mounted one over the other, parents first.
//!
//! Where the kernel allows it (as root) there is one overlay on `/`: renames work across
//! top-level directories exactly as they do on the host's own root file system. In a user
//! namespace that is refused wherever inherited mounts lie below (they are locked, see
//! `mount_namespaces(7)`), so the plan descends: a directory with mounts below it becomes a plain
//! directory, and its children get an overlay each. Renames between two layers are `EXDEV`,
//! as they are between two disks.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{MetadataExt, PermissionsExt, chown},
    },
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::{AccessFlags, access},
};

use super::tree;

/// Directories that every stage gets fresh: never the host's.
const FRESH: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/tmp"];

/// Layers that are in memory on a host, and no part of its disk.
const IN_MEMORY: &str = "/run";

/// The folder of a layer's tree that holds those in memory: a mount of its own on a stage, so that
/// the disk can be full without them.
pub const MEMORY: &str = "memory";

/// Host files up to this size are copied where their directory cannot be an overlay; larger ones
/// are bind-mounted.
const COPIED_BYTES_MAX: u64 = 256 * 1024;

/// What a layer is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// An overlay: the host's directory below, the stage's changes above.
    Overlay,
    /// A directory of the stage's own.
    Plain,
    /// The host's own file or directory, read-only: nothing can be laid over it.
    Bound,
}

/// One mount of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Where, as the subject names it. Also the host's path below it.
    pub path: PathBuf,
    /// What.
    pub kind: Kind,
}

/// The layers of a world's stages, and the tree that each starts from.
#[derive(Debug)]
pub struct Layers {
    list: Vec<Layer>,
    /// Holds one tree a layer, named by the layer's number.
    base: PathBuf,
    /// In a user namespace: overlays keep their marks in `user.*` attributes.
    userns: bool,
    mounted: Vec<PathBuf>,
    probe: PathBuf,
    hidden: Vec<PathBuf>,
}

impl Layers {
    /// Finds out which layers this machine allows, and makes their trees in the new folder
    /// `base`. `hidden`: directories of the stage's own that start empty, whatever the host
    /// has there. `probe`: an empty folder for trial mounts, on the same file system as `base`.
    ///
    /// # Errors
    /// No overlay can be mounted at all, or a tree could not be made.
    pub fn plan(base: &Path, probe: &Path, userns: bool, hidden: &[PathBuf]) -> io::Result<Self> {
        fs::create_dir_all(base.join(MEMORY))?;
        let mut layers = Self {
            list: Vec::new(),
            base: base.to_path_buf(),
            userns,
            mounted: mount_points()?,
            probe: probe.to_path_buf(),
            hidden: Vec::new(),
        };
        layers.hidden = hidden.iter().map(|path| layers.resolve(path)).collect();
        for part in ["lower", "upper", "work", "target"] {
            fs::create_dir_all(probe.join(part))?;
        }
        layers.trial(&probe.join("lower")).map_err(|errno| {
            io::Error::new(
                io::Error::from(errno).kind(),
                format!("this kernel mounts no overlay here: {errno}"),
            )
        })?;
        layers.descend(Path::new("/"))?;
        layers.add(Path::new("/run"), Kind::Plain)?;
        let lock = layers.writable(Path::new("/run/lock"))?;
        fs::set_permissions(lock, fs::Permissions::from_mode(0o1777))?;
        layers.fresh_tmp()?;
        for path in ["/proc", "/sys", "/dev"] {
            layers.writable(Path::new(path))?;
        }
        for path in layers.hidden.clone() {
            layers.hide(&path)?;
        }
        Ok(layers)
    }

    /// The layers, parents first.
    pub fn list(&self) -> &[Layer] {
        &self.list
    }

    /// Whether one overlay holds the whole root file system.
    pub fn is_one_overlay(&self) -> bool {
        self.list.first().is_some_and(|layer| layer.kind == Kind::Overlay)
    }

    /// Mounts an overlay on `lower` for a moment.
    fn trial(&self, lower: &Path) -> Result<(), Errno> {
        let target = self.probe.join("target");
        self.overlay(lower, &self.probe.join("upper"), &self.probe.join("work"), &target)?;
        umount2(&target, MntFlags::MNT_DETACH)
    }

    fn overlay(&self, lower: &Path, upper: &Path, work: &Path, target: &Path) -> Result<(), Errno> {
        let mut options = b"lowerdir=".to_vec();
        options.extend(tree::escaped(lower));
        options.extend(b",upperdir=");
        options.extend(tree::escaped(upper));
        options.extend(b",workdir=");
        options.extend(tree::escaped(work));
        // Copies of upper layers are mounted again: nothing in them may name inodes (index).
        // With redirect_dir a host's directory can be renamed, as on the host.
        options.extend(if self.userns {
            &b",index=off,userxattr"[..]
        } else {
            &b",index=off,metacopy=off,redirect_dir=on"[..]
        });
        mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(OsStr::from_bytes(&options)))
    }

    fn descend(&mut self, path: &Path) -> io::Result<()> {
        if self.hidden.iter().any(|hidden| path.starts_with(hidden)) {
            return Ok(());
        }
        let below: Vec<PathBuf> = self
            .mounted
            .iter()
            .filter(|mounted| mounted.starts_with(path) && *mounted != path)
            .cloned()
            .collect();
        let readable = access(path, AccessFlags::R_OK | AccessFlags::X_OK).is_ok();
        let above_is_plain = self.above(path).is_some_and(|(_, layer)| layer.kind == Kind::Plain);
        if readable && above_is_plain && fs::read_dir(path)?.next().is_none() {
            // Nothing to lay over: the directory alone will do.
            return self.writable(path).map(drop);
        }
        if readable && self.trial(path).is_ok() {
            self.add(path, Kind::Overlay)?;
            for mounted in &below {
                let nested = below.iter().any(|other| mounted != other && mounted.starts_with(other));
                if !nested && !is_fresh(mounted) {
                    self.submount(mounted)?;
                }
            }
            return Ok(());
        }
        if path == Path::new("/") {
            self.add(path, Kind::Plain)?;
        } else if !readable {
            // The subject could not look into it either, if it were the host's.
            return self.writable(path).map(drop);
        } else if below.is_empty() {
            return self.add(path, Kind::Bound);
        } else {
            self.writable(path)?;
        }
        let mut entries: Vec<fs::DirEntry> = fs::read_dir(path)?.collect::<io::Result<_>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            if is_fresh(&path) || entry.file_name() == "lost+found" {
                continue;
            }
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            if meta.is_dir() {
                self.descend(&path)?;
            } else {
                self.single(&path, &meta)?;
            }
        }
        Ok(())
    }

    /// A mount below an overlay: the overlay itself shows only what is underneath it.
    fn submount(&mut self, path: &Path) -> io::Result<()> {
        let Ok(meta) = fs::symlink_metadata(path) else { return Ok(()) };
        if meta.is_dir() { self.descend(path) } else { self.single(path, &meta) }
    }

    /// A file whose directory is plain, or that is a mount of its own.
    fn single(&mut self, path: &Path, meta: &fs::Metadata) -> io::Result<()> {
        let target = self.in_base(path)?;
        if fs::symlink_metadata(&target).is_ok() {
            return Ok(());
        }
        if meta.file_type().is_symlink() {
            return std::os::unix::fs::symlink(fs::read_link(path)?, target);
        }
        if !meta.is_file() || access(path, AccessFlags::R_OK).is_err() {
            return Ok(());
        }
        if meta.len() <= COPIED_BYTES_MAX {
            fs::copy(path, target)?;
            return Ok(());
        }
        fs::write(target, "")?;
        self.add(path, Kind::Bound)
    }

    fn add(&mut self, path: &Path, kind: Kind) -> io::Result<()> {
        if self.list.iter().any(|layer| layer.path == path) {
            return Ok(());
        }
        if path != Path::new("/") && kind == Kind::Plain {
            self.writable(path)?;
        }
        // The mount point in a plain directory above; an overlay above has it from the host.
        if kind == Kind::Overlay
            && let Some(Kind::Plain) = self.above(path).map(|(_, layer)| layer.kind.clone())
        {
            self.writable(path)?;
        }
        if kind != Kind::Bound {
            let tree = place_in(&self.base, self.list.len(), path);
            fs::create_dir(&tree)?;
            self.like_host(path, &tree)?;
        }
        self.list.push(Layer { path: path.to_path_buf(), kind });
        Ok(())
    }

    /// The layer that `path` is in: its number and itself.
    fn above(&self, path: &Path) -> Option<(usize, &Layer)> {
        self.list
            .iter()
            .enumerate()
            .filter(|(_, layer)| path.starts_with(&layer.path))
            .max_by_key(|(_, layer)| layer.path.as_os_str().len())
    }

    /// Where the base tree of its layer has `path`; its parents are made.
    fn in_base(&mut self, path: &Path) -> io::Result<PathBuf> {
        if let Some(parent) = path.parent() {
            self.writable(parent)?;
        }
        self.place(path)
    }

    fn place(&self, path: &Path) -> io::Result<PathBuf> {
        let (number, layer) = self.above(path).ok_or_else(|| io::Error::other("no layer holds the path"))?;
        let inside = path.strip_prefix(&layer.path).unwrap_or(Path::new(""));
        Ok(place_in(&self.base, number, &layer.path).join(inside))
    }

    /// Makes the directory `path` and its parents in the base trees, with the host's modes. In
    /// a user namespace this is what lets the subject write there: the host's directories belong
    /// to a user that is not mapped.
    ///
    /// # Errors
    /// A directory could not be made.
    pub fn writable(&mut self, path: &Path) -> io::Result<PathBuf> {
        let path = self.resolve(path);
        let mut so_far = PathBuf::from("/");
        for component in path.components() {
            so_far.push(component);
            let place = self.place(&so_far)?;
            match fs::create_dir(&place) {
                Ok(()) => self.like_host(&so_far, &place)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        self.place(&path)
    }

    /// Makes `path` writable for the subject, or as much of it as the host has: what is missing
    /// the subject can make itself. State directories are writable already, and stay empty.
    ///
    /// # Errors
    /// A directory could not be made.
    pub fn writable_as_far(&mut self, path: &Path) -> io::Result<()> {
        let path = self.resolve(path);
        if is_fresh(&path) || self.hidden.iter().any(|hidden| path.starts_with(hidden)) {
            return Ok(());
        }
        let there = path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
        self.writable(there).map(drop)
    }

    /// Gives `made` the mode of the host's `path`, and its owner where that is possible.
    fn like_host(&self, path: &Path, made: &Path) -> io::Result<()> {
        let host = if is_fresh(path) { None } else { fs::metadata(path).ok() };
        let mode = match &host {
            Some(meta) => meta.mode() & 0o7777,
            None if path == Path::new("/tmp") => 0o1777,
            None => 0o755,
        };
        if let Some(meta) = host
            && !self.userns
        {
            chown(made, Some(meta.uid()), Some(meta.gid()))?;
        }
        fs::set_permissions(made, fs::Permissions::from_mode(mode))
    }

    /// /tmp starts empty. It stays on the root file system where the host has it there: a rename
    /// out of /tmp is atomic on such a host, and a copy on others.
    fn fresh_tmp(&mut self) -> io::Result<()> {
        let tmp = Path::new("/tmp");
        if self.is_one_overlay() && !self.mounted.iter().any(|mounted| mounted == tmp) {
            self.hide(tmp)
        } else {
            self.add(tmp, Kind::Plain)
        }
    }

    /// Makes `path` an empty directory of the stage's own, whatever the host has there.
    fn hide(&mut self, path: &Path) -> io::Result<()> {
        let place = self.writable(path)?;
        let above = self.above(path).map(|(_, layer)| layer.kind.clone());
        if above != Some(Kind::Overlay) || fs::symlink_metadata(path).is_err() {
            return Ok(());
        }
        let name = if self.userns { "user.overlay.opaque" } else { "trusted.overlay.opaque" };
        match tree::set_xattr(&place, name, b"y") {
            Ok(()) => Ok(()),
            // tmpfs has user attributes from Linux 6.6 only: a mount of its own instead. The
            // directory itself cannot be renamed or removed then (EBUSY).
            Err(_) => self.add(path, Kind::Plain),
        }
    }

    /// `path` with the host's symlinks followed, as far as it exists.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        let mut waiting: Vec<OsString> =
            path.components().rev().map(|component| component.as_os_str().to_owned()).collect();
        let mut done = PathBuf::from("/");
        let mut followed = 0;
        while let Some(component) = waiting.pop() {
            match Path::new(&component).components().next() {
                Some(Component::Normal(name)) => done.push(name),
                Some(Component::ParentDir) => {
                    done.pop();
                    continue;
                }
                _ => continue,
            }
            // The kernel's own bound (path_resolution(7)).
            if !is_fresh(&done)
                && followed < 40
                && let Ok(target) = fs::read_link(&done)
            {
                followed += 1;
                done.pop();
                if target.is_absolute() {
                    done = PathBuf::from("/");
                }
                waiting.extend(target.components().rev().map(|part| part.as_os_str().to_owned()));
            }
        }
        done
    }

    /// Copies the trees in `from` (`None`: the base trees) to the folder `to`, which has its folder
    /// [`MEMORY`] and nothing else.
    ///
    /// # Errors
    /// See [`tree::copy`].
    pub fn copy(&self, from: Option<&Path>, to: &Path) -> io::Result<()> {
        let from = from.unwrap_or(&self.base);
        for (number, layer) in self.list.iter().enumerate() {
            if layer.kind != Kind::Bound {
                tree::copy(&place_in(from, number, &layer.path), &place_in(to, number, &layer.path))?;
            }
        }
        Ok(())
    }

    /// Every path that differs between the trees in `then` (`None`: the base trees) and `now`.
    ///
    /// # Errors
    /// See [`tree::differences`].
    pub fn differences(&self, then: Option<&Path>, now: &Path) -> io::Result<Vec<PathBuf>> {
        let then = then.unwrap_or(&self.base);
        let mut found = BTreeSet::new();
        for (number, layer) in self.list.iter().enumerate() {
            if layer.kind != Kind::Bound {
                let [then, now] = [then, now].map(|trees| place_in(trees, number, &layer.path));
                tree::differences(Some(&then), &now, &layer.path, &mut found)?;
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Mounts every layer below the folder `root`, with the trees in `trees` on top. `work`: a
    /// folder on the same file system as the trees, for the overlays.
    ///
    /// # Errors
    /// The mount that was refused, with its path.
    pub fn mount(&self, trees: &Path, work: &Path, root: &Path) -> io::Result<()> {
        for (number, layer) in self.list.iter().enumerate() {
            let target = root.join(tree::relative(&layer.path));
            let name = number.to_string();
            let upper = place_in(trees, number, &layer.path);
            let outcome = match layer.kind {
                Kind::Plain => bind(&upper, &target, MsFlags::empty()),
                Kind::Overlay => {
                    let work = work.join(&name);
                    fs::create_dir(&work)?;
                    self.overlay(&layer.path, &upper, &work, &target)
                }
                // The host has unmounted it since the layers were chosen, as container engines do.
                Kind::Bound if !layer.path.exists() => Ok(()),
                Kind::Bound => bind(&layer.path, &target, MsFlags::MS_REC),
            };
            outcome.map_err(|errno| {
                let error = io::Error::from(errno);
                io::Error::new(error.kind(), format!("on {}: {errno}", layer.path.display()))
            })?;
        }
        Ok(())
    }
}

/// Where `trees` has the tree of a layer.
fn place_in(trees: &Path, number: usize, layer: &Path) -> PathBuf {
    let trees = if layer.starts_with(IN_MEMORY) { trees.join(MEMORY) } else { trees.to_path_buf() };
    trees.join(number.to_string())
}

/// Bind-mounts `from` on `to`.
pub fn bind(from: &Path, to: &Path, flags: MsFlags) -> Result<(), Errno> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | flags, None::<&str>)
}

fn is_fresh(path: &Path) -> bool {
    FRESH.iter().any(|fresh| path.starts_with(fresh))
}

/// Every mount point of the calling thread's mount namespace.
fn mount_points() -> io::Result<Vec<PathBuf>> {
    let text = fs::read("/proc/thread-self/mountinfo")?;
    let mut found: Vec<PathBuf> = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|field| PathBuf::from(unescaped(field)))
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// A field of mountinfo: blanks and backslashes are octal there (`proc_pid_mountinfo(5)`).
fn unescaped(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut at = 0;
    while at < field.len() {
        let octal = field.get(at + 1..at + 4).filter(|_| field[at] == b'\\');
        let value = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match value {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(field[at]);
                at += 1;
            }
        }
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_blanks_are_read_right() {
        assert_eq!(unescaped(br"/mnt/a\040b\134c"), OsString::from(r"/mnt/a b\c"));
    }
}
