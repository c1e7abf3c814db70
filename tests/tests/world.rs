//! Worlds as a subject meets them: what it sees, what it cannot reach, and what is left of it.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use process_roulette_tests::program::roulette;

/// Who runs the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Whoever runs the tests.
    Caller,
    /// An ordinary user; needs a caller who is root.
    Nobody,
}

/// The callers that can be tried here.
fn everybody() -> Vec<Who> {
    if nix::unistd::geteuid().is_root() { vec![Who::Caller, Who::Nobody] } else { vec![Who::Caller] }
}

/// A scenario with one state directory and one webroot, and a folder for its world.
struct Try {
    folder: tempfile::TempDir,
    who: Who,
}

const NOBODY: u32 = 65534;

impl Try {
    fn new(who: Who, root: &str, state: &str) -> Try {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let scenario = format!(
            "schema = 1\nname = \"try\"\npurpose = \"a world to look at\"\n\
             [subject]\ncommand = [\"true\"]\nstate = [\"{root}{state}\"]\n\
             [[artifact]]\ndomains = [\"example.com\"]\n\
             certificate = \"{root}{state}/cert.pem\"\nkey = \"{root}{state}/key.pem\"\n\
             [server]\nkind = \"builtin\"\nwebroots = [\"{root}/var/www\"]\npid_file = \"{root}/run/nginx.pid\"\n"
        );
        fs::write(folder.path().join("try.toml"), scenario).expect("a scenario");
        fs::create_dir(folder.path().join("tmp")).expect("a folder");
        if who == Who::Nobody {
            for path in [folder.path().to_path_buf(), folder.path().join("tmp")] {
                std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("chown");
            }
        }
        Try { folder, who }
    }

    /// Where its temporary files go.
    fn tmp(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    fn command(&self, kind: &str, script: &str) -> Command {
        let programs = process_roulette::pebble::find(None, &mut |_| {}).expect("a Pebble");
        let folder = self.folder.path().join("programs");
        if fs::create_dir(&folder).is_ok() {
            // They may be where the ordinary user cannot look.
            for program in [&programs.pebble, &programs.challtestsrv] {
                let place = folder.join(program.file_name().expect("a program has a name"));
                if fs::hard_link(program, &place).is_err() {
                    fs::copy(program, &place).expect("a copy of a program");
                }
            }
        }
        let mut command = Command::new(roulette());
        command.args(["__world-shell", kind]).arg(self.folder.path().join("try.toml"));
        command.args(["--", "sh", "-c", script]);
        command.env("TMPDIR", self.tmp()).env("HOME", self.tmp()).current_dir("/");
        command.env("ROULETTE_PEBBLE", folder);
        command.stdin(Stdio::null());
        if self.who == Who::Nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Runs a script in a private world; `None`, said aloud, where there can be none.
    fn private(&self, script: &str) -> Option<(String, String)> {
        let output = match self.command("private", script).output() {
            Ok(output) => output,
            Err(error) => {
                eprintln!("SKIPPED for {:?}: {} cannot be started: {error}", self.who, roulette().display());
                return None;
            }
        };
        let (out, err) = texts(&output);
        if err.contains("failed to make a private world") {
            eprintln!("SKIPPED for {:?}: no private world here: {err}", self.who);
            return None;
        }
        assert!(err.contains("0 processes after clear"), "{:?}: {out}{err}", self.who);
        Some((out, err))
    }
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_private_world_has_no_way_out() {
    for who in everybody() {
        let script = "exec 2>&1; bash -c 'exec 3<>/dev/tcp/1.1.1.1/443'; bash -c 'exec 3<>/dev/tcp/2606:4700::1111/443'; \
                      cat /proc/net/route | wc -l; wc -l < /proc/net/dev";
        let Some((out, _)) = Try::new(who, "", "/etc/default").private(script) else { continue };
        assert!(out.matches("unreachable").count() >= 1, "{out}");
        assert!(!out.contains("Connection refused") && !out.contains("timed out"), "{out}");
    }
}

#[test]
fn a_private_world_has_the_production_ca_and_resolves_every_name_to_itself() {
    for who in everybody() {
        let script = "getent hosts some.example.org; getent hosts acme-v02.api.letsencrypt.org; hostname";
        let Some((out, _)) = Try::new(who, "", "/etc/default").private(script) else { continue };
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines[0].starts_with("10.77.0.2") && lines[1].starts_with("10.77.0.1"), "{out}");
        assert_eq!(lines[2], "renewal");
    }
}

#[test]
fn a_state_directory_starts_empty_and_the_host_keeps_its_own() {
    let before = names(Path::new("/etc/default"));
    for who in everybody() {
        let script =
            "ls -A /etc/default | wc -l; echo x > /etc/default/world; ls -A /run /tmp; rm /etc/hosts";
        let Some((out, err)) = Try::new(who, "", "/etc/default").private(script) else { continue };
        assert_eq!(out.lines().next(), Some("0"), "{out}");
        assert!(
            err.contains("touched /etc/default/world\n") && err.contains("touched /etc/hosts\n"),
            "{err}"
        );
        assert_eq!(err.matches("\n0 paths differ from what was restored").count(), 2, "{err}");
    }
    assert_eq!(names(Path::new("/etc/default")), before);
    assert!(Path::new("/etc/hosts").exists());
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

#[test]
fn directories_are_renamed_in_a_state_directory_as_on_a_disk() {
    for who in everybody() {
        let script = "set -e; cd /etc/default; mkdir -p gen/1; echo a > gen/1/key; ln gen/1/key gen/1/link; \
                      perl -e 'rename(\"gen\", \"live\") or die $!; rename(\"live/1\", \"/etc/default/2\") or die $!; \
                      rename(\"/etc/default\", \"/etc/moved\") or die $!'; cat /etc/moved/2/link";
        let Some((out, _)) = Try::new(who, "", "/etc/default").private(script) else { continue };
        assert_eq!(out, "a\n");
    }
}

#[test]
fn a_reload_by_systemctl_reaches_the_server() {
    for who in everybody() {
        let script = "set -e; (trap 'echo reloaded; exit 0' HUP; touch /run/up; while :; do sleep 0.05; done) & \
                      until [ -e /run/up ]; do sleep 0.05; done; echo $! > /run/nginx.pid; \
                      systemctl is-active nginx; /usr/bin/systemctl --quiet reload nginx.service; wait; \
                      service nginx status || echo status $?";
        let Some((out, _)) = Try::new(who, "", "/etc/default").private(script) else { continue };
        assert_eq!(out, "active\nreloaded\nnginx: inactive\nstatus 3\n");
    }
}

#[test]
fn processes_that_outlive_their_command_are_seen_and_cleared() {
    for who in everybody() {
        let script = "setsid sleep 1000 & (sleep 2000 &) ; sleep 0.05";
        let Some((_, err)) = Try::new(who, "", "/etc/default").private(script) else { continue };
        assert!(err.contains("sleep 1000") && err.contains("sleep 2000"), "{err}");
    }
}

#[test]
fn a_bare_world_keeps_to_its_folder_and_removes_it() {
    for who in everybody() {
        let case = Try::new(who, "{root}", "/etc/tls");
        let script = "setsid sleep 1000 & pwd; echo k > {root}/etc/tls/key.pem; type guard; \
                      curl -sS --cacert {ca_bundle} {directory_url} | grep -c newOrder";
        let output = match case.command("bare", script).output() {
            Ok(output) => output,
            Err(error) => {
                eprintln!("SKIPPED for {who:?}: {error}");
                continue;
            }
        };
        let (out, err) = texts(&output);
        let root = out.lines().next().unwrap_or_default();
        assert!(root.starts_with(&*case.tmp().to_string_lossy()), "{out}{err}");
        assert!(out.contains("/bin/guard"), "{out}");
        assert!(err.contains(&format!("touched {root}/etc/tls/key.pem\n")), "{err}");
        assert!(err.contains("sleep 1000") && err.contains("0 processes after clear"), "{err}");
        assert_eq!(names(&case.tmp()), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_scenario_with_absolute_paths_is_refused_by_a_bare_world() {
    let output =
        Try::new(Who::Caller, "", "/etc/default").command("bare", "true").output().expect("it starts");
    let (_, err) = texts(&output);
    assert_eq!(output.status.code(), Some(4), "{err}");
    assert!(err.contains("/etc/default (subject.state)") && err.contains("{root}"), "{err}");
}

/// Waits until `condition` holds.
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come to be");
        std::thread::yield_now();
    }
}

/// Whether a process runs `sleep` with this argument.
fn sleeps(seconds: &str) -> bool {
    let wanted = format!("sleep\0{seconds}\0");
    fs::read_dir("/proc").is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes()))
    })
}

#[test]
fn nothing_is_left_of_a_world_whose_worker_is_killed() {
    for (kind, root) in [("private", ""), ("bare", "{root}")] {
        let case = Try::new(Who::Caller, root, "/etc/default");
        let seconds = format!("{}.{}", 1000 + kind.len(), std::process::id());
        let mut command = case.command(kind, &format!("exec sleep {seconds}"));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        wait_until("a running subject", || sleeps(&seconds) || child_is_gone(child.id()));
        if child_is_gone(child.id()) {
            let _ = child.wait();
            eprintln!("SKIPPED: no {kind} world here");
            continue;
        }
        child.kill().expect("kill");
        child.wait().expect("wait");
        wait_until("an end of the subject", || !sleeps(&seconds));
        wait_until("an empty folder", || names(&case.tmp()).is_empty());
    }
}

/// Whether a child has ended (and is a zombie).
fn child_is_gone(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}
