//! How a worker process gets its own namespaces.

use std::{
    env, fs, io,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, exit},
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::{getegid, geteuid, getpid, getppid, setsid},
};

use super::WorldError;

/// Set in the inner process's environment: the process id of the outer one.
const MARKER: &str = "ROULETTE_OUTER";

/// Everything a world keeps to itself.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC);

/// Puts the calling process into namespaces of its own. Must be the first thing a process does,
/// while it has one thread.
///
/// The call returns only in a second process: the program, started again with the same
/// arguments, is process 1 of the new PID namespace, mounts nothing into the host and sees no
/// network. The first process stays, waits for the second and exits as it did. Both die with
/// their parent (the thread that started them, see `PR_SET_PDEATHSIG` in prctl(2)); with the
/// second, everything in its PID namespace dies. Standard input, output and error are passed
/// through.
///
/// As root the namespaces are made directly. Otherwise, or where root may not, a user namespace
/// is made first, in which the caller's one uid and gid are 0. (The cgroup namespace is kept:
/// memory limits are set through the host's paths.)
///
/// # Errors
/// What the kernel refused, with what usually forbids it.
pub fn isolate() -> Result<(), WorldError> {
    if let Some(outer) = outer() {
        return settle(outer);
    }
    let parent = getppid();
    let fail = |tried: &str, source: io::Error| WorldError {
        tried: format!("failed to {tried}"),
        source,
        remedy: None,
    };
    // No controlling terminal, as under a scheduler; and a Ctrl-C at the terminal is the main
    // process's business alone. Fails only for a process group's leader, which has been asked
    // for already then.
    let _ = setsid();
    enter()?;
    // After the change of credentials, which clears it.
    set_pdeathsig(Signal::SIGKILL).map_err(|errno| fail("ask to die with the parent", errno.into()))?;
    if getppid() != parent {
        exit(1);
    }
    let mut arguments = env::args_os();
    let mut again = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    again.args(arguments).env(MARKER, getpid().to_string());
    let status = again.status().map_err(|error| fail("start the worker inside its namespaces", error))?;
    exit(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

/// Whether this is the second process, which [`isolate`] has started: it must call it too,
/// before anything that looks at processes or mounts.
pub fn is_inside() -> bool {
    outer().is_some()
}

fn outer() -> Option<i32> {
    let outer = env::var(MARKER).ok()?.parse().ok()?;
    (getpid().as_raw() == 1).then_some(outer)
}

/// Makes the namespaces. (The calling process itself stays in its PID namespace; its next child
/// is the first of the new one.)
///
/// # Errors
/// What the kernel refused.
pub(super) fn enter() -> Result<(), WorldError> {
    if geteuid().is_root() && has(&NEEDED) {
        match unshare(NAMESPACES) {
            Ok(()) => return Ok(()),
            Err(Errno::EPERM) => {}
            Err(errno) => return Err(refused("namespaces", errno)),
        }
    }
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| refused("a user namespace", errno))?;
    let map = |file: &str, text: String| {
        fs::write(file, text).map_err(|source| WorldError {
            tried: format!("failed to write {file} for a user namespace"),
            source,
            remedy: Some(remedy().to_string()),
        })
    };
    // Without this the kernel refuses a gid map to an ordinary user (user_namespaces(7)).
    map("/proc/self/setgroups", "deny".to_string())?;
    map("/proc/self/uid_map", format!("0 {uid} 1"))?;
    map("/proc/self/gid_map", format!("0 {gid} 1"))?;
    unshare(NAMESPACES).map_err(|errno| refused("namespaces in a user namespace", errno))
}

/// What a world takes of root's capabilities, by number (capabilities(7)): `CAP_CHOWN`,
/// `CAP_DAC_OVERRIDE`, `CAP_FOWNER`, `CAP_NET_ADMIN`, `CAP_SYS_CHROOT`, `CAP_SYS_ADMIN`. The root
/// of a container has only some; in a user namespace of its own it has all.
const NEEDED: [u32; 6] = [0, 1, 3, 12, 18, 21];

fn has(capabilities: &[u32]) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .unwrap_or(0);
    capabilities.iter().all(|number| effective & (1 << number) != 0)
}

/// What usually forbids user namespaces.
pub(super) const USERNS_REMEDY: &str = "allow user namespaces, as root: `sysctl -w user.max_user_namespaces=10000`, \
     on Debian `sysctl -w kernel.unprivileged_userns_clone=1`, \
     on Ubuntu `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`; or run as root";

/// The same inside a container. The root of such a container has all that a world needs; an
/// ordinary user in it needs the last option, which lets it mount a fresh /proc.
pub(super) const CONTAINER_REMEDY: &str = "start the container with `--cap-add SYS_ADMIN --cap-add NET_ADMIN \
     --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined`";

/// What to do when namespaces are refused here.
pub(super) fn remedy() -> &'static str {
    let marks = ["/.dockerenv", "/run/.containerenv"];
    if marks.iter().any(|mark| std::path::Path::new(mark).exists()) {
        CONTAINER_REMEDY
    } else {
        USERNS_REMEDY
    }
}

fn refused(what: &str, errno: Errno) -> WorldError {
    WorldError {
        tried: format!("failed to make {what}"),
        source: errno.into(),
        remedy: Some(remedy().to_string()),
    }
}

/// The inner process's part: dies with the outer one, sees its own processes in /proc.
fn settle(outer: i32) -> Result<(), WorldError> {
    let fail = |tried: &str, source: io::Error, remedy: Option<&str>| WorldError {
        tried: format!("failed to {tried}"),
        source,
        remedy: remedy.map(str::to_string),
    };
    set_pdeathsig(Signal::SIGKILL).map_err(|errno| fail("ask to die with the parent", errno.into(), None))?;
    // getppid() is 0 across PID namespaces; the outer /proc, still mounted, tells the truth.
    let status = fs::read_to_string("/proc/self/status")
        .map_err(|error| fail("read /proc/self/status", error, None))?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    if parent.and_then(|text| text.trim().parse().ok()) != Some(outer) {
        exit(1);
    }
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(|errno| fail("make the mounts private", errno.into(), None))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>).map_err(|errno| {
        fail(
            "mount a fresh /proc",
            errno.into(),
            Some("a container that masks parts of /proc forbids it: start it with `--security-opt systempaths=unconfined`"),
        )
    })
}
