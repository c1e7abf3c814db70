//! The programs of the test CA.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use serde::{Deserialize, Serialize};

use crate::{event::PebbleRecord, limits};

/// File name of the CA itself.
pub(super) const PEBBLE: &str = "pebble";

/// File name of its DNS server.
pub(super) const CHALLTESTSRV: &str = "pebble-challtestsrv";

/// The programs of the test CA, found and able to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programs {
    /// `pebble`.
    pub pebble: PathBuf,
    /// `pebble-challtestsrv`.
    pub challtestsrv: PathBuf,
    /// What to say of it in reports.
    pub record: PebbleRecord,
}

impl Programs {
    /// Two programs of one source. `version` is what the source knows of it; Pebble's own word
    /// comes first.
    pub(super) fn new(
        pebble: PathBuf,
        challtestsrv: PathBuf,
        source: &str,
        version: Option<&str>,
    ) -> Result<Programs, String> {
        starts(&challtestsrv)?;
        let own = starts(&pebble)?;
        let version = own.as_deref().or(version).unwrap_or("unknown").to_owned();
        Ok(Programs { pebble, challtestsrv, record: PebbleRecord { version, source: source.to_owned() } })
    }
}

/// The first executable file called `name` on PATH.
pub(super) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
        .and_then(|file| std::path::absolute(file).ok())
}

/// Whether `file` is a regular file that somebody may execute.
pub(super) fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Runs `program -version`: `Ok` when it can be run at all (Pebble 2.4 refuses the flag and
/// prints its usage), with the version if it says one.
fn starts(program: &Path) -> Result<Option<String>, String> {
    let run = || -> io::Result<Option<Vec<u8>>> {
        let (mut reader, writer) = io::pipe()?;
        let mut command = Command::new(program);
        command.arg("-version").stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).env_clear();
        let mut child = command.spawn()?;
        drop(command);
        let deadline = Instant::now() + limits::PROGRAM_VERSION;
        // What it prints fits into the pipe, so that it need not be read while it runs.
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            std::thread::sleep(limits::PROGRAM_POLL);
        }
        let mut output = Vec::new();
        io::Read::read_to_end(&mut reader, &mut output)?;
        Ok(Some(output))
    };
    match run() {
        Ok(output) => Ok(output.and_then(|output| version_in(&String::from_utf8_lossy(&output)))),
        Err(error) => Err(format!("{} cannot be run: {error}", program.display())),
    }
}

/// `Pebble version: v2.10.0` or the like; builds without a number say `dev`.
fn version_in(output: &str) -> Option<String> {
    let said = output.lines().find_map(|line| line.split_once("ersion:"))?.1.trim();
    let number = said.trim_start_matches('v');
    number.starts_with(|c: char| c.is_ascii_digit()).then(|| number.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_taken_only_from_what_is_one() {
        assert_eq!(version_in("Pebble version: v2.10.1\n").as_deref(), Some("2.10.1"));
        assert_eq!(version_in("Pebble version: 2.10.0+ds1\n").as_deref(), Some("2.10.0+ds1"));
        assert_eq!(version_in("Pebble version: dev\n"), None);
        assert_eq!(version_in("flag provided but not defined: -version\nUsage of pebble:\n"), None);
    }

    #[test]
    fn what_cannot_be_run_is_said_with_its_path() {
        let error = starts(Path::new("/nonexistent/pebble")).unwrap_err();
        assert!(error.contains("/nonexistent/pebble cannot be run"), "{error}");
    }
}
