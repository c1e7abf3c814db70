//! Memory control groups: a real limit, and the kernel's own account of whom it killed for want of
//! memory. Version 2 of the interface (cgroup-v2.rst of the kernel) where its memory controller is
//! to be had, else version 1 (cgroup-v1/memory.rst).
//!
//! The harness makes one folder for a command, under its own group or the nearest one above where
//! it may; each experiment that needs one makes a group in it. Only the subject is put into it:
//! not the CA, not the server, not the harness.

mod group;
mod hierarchy;
mod version;

use std::{io, path::Path};

pub use group::{Group, Groups};
pub(super) use hierarchy::sweep;
pub use hierarchy::{Cgroups, Place};
pub use version::Version;

/// What to do where no group can be made.
pub const REMEDY: &str =
    "run as root, or in a delegated group: `systemd-run --user --scope -p Delegate=yes roulette …`";

/// Has something killed at a limit, and says what was seen.
///
/// # Errors
/// It was not killed, or the kernel did not count it.
pub(super) fn try_out(cgroups: &Cgroups) -> Result<String, String> {
    let told = |error: io::Error| error.to_string();
    let place = cgroups.place();
    let group = place.open().and_then(|groups| groups.group()).map_err(told)?;
    group.limit(TRIED).map_err(told)?;
    hungry(&place.folder.join(&group.name)).status().map_err(told)?;
    match group.kills().map_err(told)? {
        0 => Err(format!("cgroup {}: the kernel killed nobody at a limit of {TRIED} bytes", place.version)),
        _ => Ok(format!("cgroup {}: the kernel kills at {}", place.version, place.version.limit())),
    }
}

/// The limit that is tried out: enough for a shell to start.
const TRIED: u64 = 8 << 20;

/// A command that goes into the group and grows until it is killed; not beyond 256 MiB, should
/// nobody kill it.
pub(super) fn hungry(group: &Path) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    let script = "echo 0 > \"$1/cgroup.procs\" && ulimit -v 262144 && exec tail /dev/zero";
    command.args(["-c", script, "sh"]).arg(group).stderr(std::process::Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _, process::Command};

    use super::*;

    /// Where this machine grants groups; a test that needs one says so loudly where it does not.
    fn granted() -> Option<Cgroups> {
        // The janitor is the `roulette` program, which a unit test is not: its work is done here.
        match Cgroups::make_with(&|_, _| Ok(None)) {
            Ok(cgroups) => Some(cgroups),
            Err(why) => {
                eprintln!("SKIPPED: no memory cgroup: {why}");
                None
            }
        }
    }

    #[test]
    fn the_kernel_kills_at_the_limit_counts_it_and_nothing_is_left() {
        let Some(cgroups) = granted() else { return };
        let groups = cgroups.place().open().unwrap();
        let group = groups.group().unwrap();
        let folder = cgroups.place().folder.clone();
        group.limit(8 << 20).unwrap();
        let status = hungry(&folder.join(&group.name)).status().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(nix::libc::SIGKILL));
        assert_eq!(group.kills().unwrap(), 1);
        group.lift().unwrap();
        assert_eq!(group.limited().unwrap(), None);
        drop(group);
        assert_eq!(fs::read_dir(&folder).unwrap().flatten().filter(|e| e.path().is_dir()).count(), 0);
        assert!(sweep(&folder, None));
        assert!(!folder.exists(), "{}", folder.display());
    }

    #[test]
    fn with_the_one_it_chooses_the_kernel_kills_all_where_it_can_be_told() {
        let Some(cgroups) = granted() else { return };
        let group = cgroups.place().open().unwrap().group().unwrap();
        let folder = cgroups.place().folder.clone();
        if !group.can_kill_all() {
            eprintln!("SKIPPED: version 1 of the interface has no memory.oom.group");
            drop(group);
            assert!(sweep(&folder, None));
            return;
        }
        group.kill_all().unwrap();
        group.limit(8 << 20).unwrap();
        let inside = folder.join(&group.name);
        let script = "echo 0 > \"$1/cgroup.procs\" && echo in && exec sleep 600";
        let mut bystander = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&inside)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 3];
        bystander.stdout.take().unwrap().read_exact(&mut said).unwrap();
        hungry(&inside).status().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&bystander.wait().unwrap());
        assert_eq!(signal, Some(nix::libc::SIGKILL));
        assert_eq!(group.kills().unwrap(), 2);
        drop(group);
        assert!(sweep(&folder, None));
    }

    #[test]
    fn squeezed_processes_are_killed_when_they_need_more() {
        let Some(cgroups) = granted() else { return };
        let group = cgroups.place().open().unwrap().group().unwrap();
        let folder = cgroups.place().folder.clone();
        let script =
            "echo 0 > \"$1/cgroup.procs\" && echo in && read -r line; ulimit -v 262144; exec tail /dev/zero";
        let mut grower = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(folder.join(&group.name))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 3];
        grower.stdout.take().unwrap().read_exact(&mut said).unwrap();
        let limit = group.squeeze().unwrap();
        assert_eq!(group.limited().unwrap(), Some(limit));
        drop(grower.stdin.take());
        let signal = std::os::unix::process::ExitStatusExt::signal(&grower.wait().unwrap());
        assert_eq!(signal, Some(nix::libc::SIGKILL), "limit {limit}");
        assert_eq!(group.kills().unwrap(), 1);
        assert!(limit < 4 << 20, "{limit}");
        drop(group);
        assert!(sweep(&folder, None));
    }

    #[test]
    fn what_a_killed_harness_left_in_its_groups_is_ended_and_removed() {
        let Some(cgroups) = granted() else { return };
        let group = cgroups.place().open().unwrap().group().unwrap();
        let folder = cgroups.place().folder.clone();
        let script = "echo 0 > \"$1/cgroup.procs\" && echo in && exec sleep 600";
        let mut left = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(folder.join(&group.name))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 3];
        left.stdout.take().unwrap().read_exact(&mut said).unwrap();
        // As if nobody had dropped it.
        std::mem::forget(group);
        assert!(sweep(&folder, None));
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&left.wait().unwrap()),
            Some(nix::libc::SIGKILL)
        );
        assert!(!folder.exists(), "{}", folder.display());
    }
}
