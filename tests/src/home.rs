//! A folder with everything that a run of `roulette` reads and writes: where it is run from, by
//! whom, and what is left of it.

use std::{
    fs,
    os::unix::{fs::MetadataExt, fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{ca::PROGRAMS, program::roulette};

/// Who runs the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Whoever runs the tests.
    Caller,
    /// An ordinary user; needs a caller who is root.
    Nobody,
}

/// The callers that can be tried here.
pub fn everybody() -> Vec<Who> {
    if nix::unistd::geteuid().is_root() { vec![Who::Caller, Who::Nobody] } else { vec![Who::Caller] }
}

const NOBODY: u32 = 65534;

/// The folder.
#[derive(Debug)]
pub struct Home {
    folder: tempfile::TempDir,
    who: Who,
}

impl Home {
    /// A new one, with the shipped scenarios and programs of its own in it. `None`, said aloud, where
    /// there is no Pebble.
    ///
    /// # Panics
    /// When the file system refuses.
    pub fn new(who: Who) -> Option<Home> {
        let programs = match &*PROGRAMS {
            Ok(programs) => programs,
            Err(why) => {
                eprintln!("SKIPPED: no Pebble: {why}");
                return None;
            }
        };
        let folder = tempfile::Builder::new().prefix("home-").tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["tmp", "state", "cache", "run", "bin"] {
            fs::create_dir(at(name)).unwrap();
            if who == Who::Nobody {
                std::os::unix::fs::chown(at(name), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        for program in [roulette(), &programs.pebble, &programs.challtestsrv] {
            // A copy: the programs that run are known by their inode.
            fs::copy(program, at("bin").join(program.file_name().unwrap())).unwrap();
        }
        let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios"));
        fs::create_dir_all(at("scenarios/reference")).unwrap();
        for name in ["reference.toml", "reference/guard.toml"] {
            fs::copy(shipped.join(name), at("scenarios").join(name)).unwrap();
        }
        Some(Home { folder, who })
    }

    /// A path in it.
    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `roulette`, with this folder as all that it knows of a user.
    pub fn roulette(&self) -> Command {
        let mut command = Command::new(self.at("bin/roulette"));
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin")
            .env("HOME", self.at("tmp"))
            .env("TMPDIR", self.at("tmp"))
            .env("XDG_STATE_HOME", self.at("state"))
            .env("XDG_CACHE_HOME", self.at("cache"))
            .env("XDG_RUNTIME_DIR", self.at("run"))
            .env("ROULETTE_PEBBLE", self.at("bin"))
            .stdin(Stdio::null());
        if self.who == Who::Nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Runs `roulette` to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.roulette().args(arguments).output().expect("the roulette command starts");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Whether this user can have a private world here; said aloud where not.
    pub fn has_private_world(&self) -> bool {
        let ran = self.run(&["check", "--format", "json"]);
        let found: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        let list = found.as_array().or_else(|| found["capabilities"].as_array()).cloned().unwrap_or_default();
        let has = list.iter().any(|one| one["name"] == "private world" && one["available"] == true);
        if !has {
            eprintln!("SKIPPED for {:?}: no private world here:\n{}", self.who, ran.stdout);
        }
        has
    }

    /// What is left of what ran from here: processes, mounts, temporary files.
    ///
    /// # Panics
    /// When `/proc` cannot be read.
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        let own: Vec<(u64, u64)> = fs::read_dir(self.at("bin"))
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.metadata().ok())
            .map(|data| (data.dev(), data.ino()))
            .collect();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            // Follows the link, also into another mount namespace. The dead have none.
            let Ok(data) = fs::metadata(entry.path().join("exe")) else { continue };
            if own.contains(&(data.dev(), data.ino())) {
                let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let command = String::from_utf8_lossy(&command).replace('\0', " ");
                left.push(format!("process {pid}: {command}"));
            }
        }
        let here = self.folder.path().to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = |line: &&str| line.contains(&here) || line.contains(" - tmpfs roulette ");
        left.extend(mounts.lines().filter(ours).map(|line| format!("mount: {line}")));
        for name in ["tmp", "run"] {
            let entries = fs::read_dir(self.at(name)).unwrap().flatten();
            left.extend(entries.map(|entry| format!("file: {}", entry.path().display())));
        }
        left
    }
}

/// A run that is over.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; `None`: killed by a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}
