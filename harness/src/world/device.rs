//! The parts of a stage that are the same for all stages of a world: `/dev`, `/sys` and the
//! system log. Made once; each stage binds them.

use std::{
    fs, io,
    net::Shutdown,
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixDatagram,
    },
    path::Path,
    thread,
};

use nix::mount::{MsFlags, mount};

use super::layers::bind;

/// The devices that programs expect on any host. They are the host's own: a user namespace may
/// not make device nodes.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// `/dev/log`: programs that log (`logger` in a hook) must not fail in a world. What they say is
/// read and dropped; dropping this ends it.
#[derive(Debug)]
pub struct SystemLog(UnixDatagram);

impl Drop for SystemLog {
    fn drop(&mut self) {
        // Wakes the reading thread; where it fails, the thread has ended already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Fills the new directory `dev`, read-only for the stages, with devices, a devpts of its own
/// and a system log.
///
/// # Errors
/// What could not be made or mounted.
pub fn devices(dev: &Path) -> io::Result<SystemLog> {
    fs::create_dir(dev)?;
    fs::set_permissions(dev, fs::Permissions::from_mode(0o755))?;
    bind(dev, dev, MsFlags::empty())?;
    for name in DEVICES {
        let host = Path::new("/dev").join(name);
        if host.exists() {
            fs::write(dev.join(name), "")?;
            bind(&host, &dev.join(name), MsFlags::empty())?;
        }
    }
    for folder in ["pts", "shm", "mqueue"] {
        fs::create_dir(dev.join(folder))?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(
        Some("devpts"),
        &dev.join("pts"),
        Some("devpts"),
        flags,
        Some("newinstance,ptmxmode=0666,mode=0620"),
    )?;
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("core", "/proc/kcore"),
    ] {
        symlink(target, dev.join(name))?;
    }
    let log = UnixDatagram::bind(dev.join("log"))?;
    fs::set_permissions(dev.join("log"), fs::Permissions::from_mode(0o666))?;
    let reader = log.try_clone()?;
    thread::Builder::new().name("system log".to_string()).spawn(move || {
        let mut line = [0; 1024];
        while matches!(reader.recv(&mut line), Ok(1..)) {}
    })?;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, dev, None::<&str>, read_only, None::<&str>)?;
    Ok(SystemLog(log))
}

/// Mounts a read-only sysfs of the world's network namespace on the new directory `sys`; where
/// that is refused, the host's.
///
/// # Errors
/// Neither could be mounted.
pub fn sysfs(sys: &Path) -> io::Result<()> {
    fs::create_dir(sys)?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if mount(Some("sysfs"), sys, Some("sysfs"), flags, None::<&str>).is_err() {
        bind(Path::new("/sys"), sys, MsFlags::MS_REC)?;
    }
    Ok(())
}
