//! The distribution's package, unpacked into the user's cache without root: apt with lists and
//! cache of its own fetches it, dpkg-deb unpacks it, nothing is installed.

use std::{
    fs::{self, File},
    io,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use crate::limits;

use super::{
    Programs,
    cache::{Cache, sha256},
    find::{Outcome, Source},
    programs::{CHALLTESTSRV, PEBBLE, on_path},
};

/// A package known by checksum. No other is ever unpacked.
struct Pin {
    /// Debian's name of the architecture.
    architecture: &'static str,
    /// The package's version.
    version: &'static str,
    /// The suite of Debian that had it when it was pinned.
    suite: &'static str,
    /// SHA-256 of the package file, from the suite's signed index.
    sha256: &'static str,
}

/// Newest first: of what is in the cache or offered, the newest is taken. All of them need only
/// glibc 2.34. Checked against deb.debian.org in November 2026.
const PINS: [Pin; 6] = [
    Pin {
        architecture: "amd64",
        version: "2.10.0+ds1-2",
        suite: "sid",
        sha256: "b9a3a3920143f1a6fc568dfa88247be22cafa96c845fe62938c08982a15df315",
    },
    Pin {
        architecture: "amd64",
        version: "2.6.0+ds1-1+b7",
        suite: "trixie",
        sha256: "94a4e1269abcad428d1276de74b984b123ac83e0313541951c41bdcb006147d3",
    },
    Pin {
        architecture: "amd64",
        version: "2.4.0+ds1-2+b4",
        suite: "bookworm",
        sha256: "ad144cb969adb92df94eba76670fa28595ba78fbb875036ae4a5b068939e102e",
    },
    Pin {
        architecture: "arm64",
        version: "2.10.0+ds1-2",
        suite: "sid",
        sha256: "0364a75c5a47a963b88125ce1ec69869d1af0aacd1062926476b8d2929289364",
    },
    Pin {
        architecture: "arm64",
        version: "2.6.0+ds1-1+b7",
        suite: "trixie",
        sha256: "93ab354db2df26227ce3d4c1e1ddf3c47c6998254455373b73c123a45919a4de",
    },
    Pin {
        architecture: "arm64",
        version: "2.4.0+ds1-2+b4",
        suite: "bookworm",
        sha256: "e057ee99982b1576a074aad5b74e5143275d40dbf5268aebc253bb879ced8d2f",
    },
];

/// Where the pinned suites are when the machine's own apt sources offer none of the pins.
const ARCHIVE: &str = "http://deb.debian.org/debian";

/// The package source.
pub(super) struct Package {
    cache: Result<Cache, String>,
}

impl Package {
    pub fn new() -> Package {
        Package { cache: Cache::of_user() }
    }
}

impl Source for Package {
    fn name(&self) -> &'static str {
        "package"
    }

    fn how(&self) -> String {
        "on Debian or a system with apt, with a network: nothing to do, it is unpacked into the cache"
            .to_owned()
    }

    fn find(&self, progress: &mut dyn FnMut(&str)) -> Outcome {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => return Outcome::Not(format!("no package is known by checksum for {other}")),
        };
        let cache = match &self.cache {
            Ok(cache) => cache,
            Err(why) => return Outcome::Not(why.clone()),
        };
        let pins: Vec<&Pin> = PINS.iter().filter(|pin| pin.architecture == architecture).collect();
        if let Some(programs) = cached(cache, &pins) {
            return Outcome::Found(programs);
        }
        match unpack(cache, &pins, progress) {
            Ok(programs) => Outcome::Found(programs),
            Err(why) => Outcome::Not(why),
        }
    }
}

impl Pin {
    /// The set's name in the cache.
    fn set(&self) -> String {
        format!("pebble-{}_{}", self.version, self.architecture)
    }

    /// `2.4.0` of `2.4.0+ds1-2+b4`.
    fn upstream(&self) -> &str {
        self.version.split(['+', '-']).next().unwrap_or(self.version)
    }
}

fn cached(cache: &Cache, pins: &[&Pin]) -> Option<Programs> {
    pins.iter().find_map(|pin| {
        let (pebble, challtestsrv) = cache.whole(&pin.set())?;
        Programs::new(pebble, challtestsrv, "package", Some(pin.upstream())).ok()
    })
}

fn unpack(cache: &Cache, pins: &[&Pin], progress: &mut dyn FnMut(&str)) -> Result<Programs, String> {
    for tool in ["apt-get", "apt-cache", "dpkg-deb"] {
        if on_path(tool).is_none() {
            return Err(format!("`{tool}` is not on PATH, so this is no system with Debian packages"));
        }
    }
    let in_cache = |error: io::Error| format!("failed to use the cache {}: {error}", cache.path().display());
    progress(&format!(
        "unpacking the distribution's Pebble into {} (some 5 s, once)",
        cache.path().display()
    ));
    let locked = cache.lock().map_err(in_cache)?;
    // Another run may have done it in the meantime.
    if let Some(programs) = cached(cache, pins) {
        return Ok(programs);
    }
    let workspace = locked.workspace().map_err(in_cache)?;
    let (pin, package) = download(workspace.path(), pins, progress)?;
    let tree = workspace.path().join("tree");
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&tree), workspace.path())?;
    let bin = tree.join("usr/bin");
    let (pebble, challtestsrv) = locked
        .keep(&pin.set(), workspace.path(), &bin.join(PEBBLE), &bin.join(CHALLTESTSRV))
        .map_err(in_cache)?;
    Programs::new(pebble, challtestsrv, "package", Some(pin.upstream()))
}

/// Downloads a pinned package: from the machine's own apt sources (and so its mirror and proxy),
/// else from Debian's archive.
fn download<'a>(
    workspace: &Path,
    pins: &[&'a Pin],
    progress: &mut dyn FnMut(&str),
) -> Result<(&'a Pin, std::path::PathBuf), String> {
    let mut failures = Vec::new();
    match Apt::new(workspace, "own", None).and_then(|apt| apt.download(pins)) {
        Ok(found) => return Ok(found),
        Err(why) => failures.push(format!("the machine's own apt sources: {why}")),
    }
    // The older suites change least.
    for pin in pins.iter().rev() {
        progress(&format!("asking {ARCHIVE} for Pebble {}", pin.upstream()));
        match Apt::new(workspace, pin.suite, Some(pin.suite)).and_then(|apt| apt.download(&[pin])) {
            Ok(found) => return Ok(found),
            Err(why) => failures.push(format!("{ARCHIVE} {}: {why}", pin.suite)),
        }
    }
    Err(failures.join("; "))
}

/// apt with lists, cache and settings of its own. Reads the machine's, changes nothing of it.
struct Apt {
    folder: std::path::PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// `suite`: of Debian's archive; `None`: the machine's own sources.
    fn new(workspace: &Path, name: &str, suite: Option<&str>) -> Result<Apt, String> {
        let folder = workspace.join(name);
        let prepare = || {
            fs::create_dir_all(folder.join("lists/partial"))?;
            fs::create_dir_all(folder.join("cache/archives/partial"))?;
            // Hooks of the machine would act on the machine's cache, and fail without root. They
            // are lists, which only a file can clear.
            fs::write(
                folder.join("apt.conf"),
                "#clear APT::Update::Pre-Invoke;\n#clear APT::Update::Post-Invoke;\n\
                 #clear APT::Update::Post-Invoke-Success;\n",
            )?;
            if let Some(suite) = suite {
                // Trusted by the pinned checksum, which says more than a signature; other
                // distributions don't have Debian's keys.
                fs::write(
                    folder.join("sources.list"),
                    format!("deb [trusted=yes] {ARCHIVE} {suite} main\n"),
                )?;
            }
            Ok(())
        };
        prepare().map_err(|error: io::Error| format!("failed to write to {}: {error}", folder.display()))?;
        let path = |name: &str| folder.join(name).display().to_string();
        let mut options = vec![
            format!("--config-file={}", path("apt.conf")),
            format!("--option=Dir::State::lists={}", path("lists")),
            format!("--option=Dir::Cache={}", path("cache")),
            // apt's own user could not write to the user's cache.
            "--option=APT::Sandbox::User=root".to_owned(),
            "--option=Acquire::Languages=none".to_owned(),
            "--option=Acquire::Retries=1".to_owned(),
            format!("--option=Acquire::http::Timeout={}", limits::PACKAGE_CONNECT.as_secs()),
            format!("--option=Acquire::https::Timeout={}", limits::PACKAGE_CONNECT.as_secs()),
        ];
        // Indexes that desktop packages ask for, larger than the one that is needed.
        for index in ["DEP-11", "DEP-11-icons-small", "DEP-11-icons", "CNF", "Contents-deb"] {
            options.push(format!("--option=Acquire::IndexTargets::deb::{index}::DefaultEnabled=false"));
        }
        if suite.is_some() {
            options.push(format!("--option=Dir::Etc::SourceList={}", path("sources.list")));
            options.push("--option=Dir::Etc::SourceParts=-".to_owned());
        }
        Ok(Apt { folder, options })
    }

    /// Fetches the first of `pins` that is offered with its checksum.
    fn download<'a>(&self, pins: &[&'a Pin]) -> Result<(&'a Pin, std::path::PathBuf), String> {
        // One of several sources may fail: what matters is whether a package is offered.
        let update = self.run("apt-get", &["--quiet=2", "update"]);
        let offered = self.run("apt-cache", &["show", "pebble"]).unwrap_or_default();
        let is_offered = |pin: &&&Pin| {
            offered.split("\n\n").any(|stanza| {
                let has = |line: String| stanza.lines().any(|l| l == line);
                has(format!("Version: {}", pin.version)) && has(format!("SHA256: {}", pin.sha256))
            })
        };
        let Some(pin) = pins.iter().find(is_offered) else {
            let versions: Vec<&str> = offered.lines().filter_map(|l| l.strip_prefix("Version: ")).collect();
            return Err(match (versions.is_empty(), update) {
                (false, _) => format!("offers Pebble {}, none known by checksum", versions.join(", ")),
                (true, Err(why)) => why,
                (true, Ok(_)) => "offers no package `pebble`".to_owned(),
            });
        };
        self.run("apt-get", &["--quiet=2", "download", &format!("pebble={}", pin.version)])?;
        let package = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .ok_or("apt-get download left no package")?;
        match sha256(&package) {
            Ok(sum) if sum == pin.sha256 => Ok((pin, package)),
            Ok(sum) => {
                Err(format!("the package of Pebble {} has SHA-256 {sum}, not {}", pin.version, pin.sha256))
            }
            Err(error) => Err(format!("failed to read {}: {error}", package.display())),
        }
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        run(Command::new(program).args(&self.options).args(arguments), &self.folder)
    }
}

/// Runs a command in `folder` to its end, at most [`limits::PACKAGE`]; what it printed. The error
/// is a fragment with the end of that.
fn run(command: &mut Command, folder: &Path) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let log = folder.join(".output");
    let mut attempt = || -> io::Result<Option<std::process::ExitStatus>> {
        let file = File::create(&log)?;
        let mut child = command
            .current_dir(folder)
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        let deadline = Instant::now() + limits::PACKAGE;
        loop {
            match child.try_wait()? {
                Some(status) => return Ok(Some(status)),
                None if Instant::now() > deadline => {
                    child.kill()?;
                    child.wait()?;
                    return Ok(None);
                }
                None => std::thread::sleep(limits::PACKAGE_POLL),
            }
        }
    };
    let ended = attempt().map_err(|error| format!("{program} cannot be run: {error}"))?;
    let output = fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let last = || {
        output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it printed nothing").to_owned()
    };
    match ended {
        Some(status) if status.success() => Ok(output),
        Some(status) => Err(format!("{program} ended with {status}: {}", last())),
        None => Err(format!("{program} took more than {} s: {}", limits::PACKAGE.as_secs(), last())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(cache: &Path) -> Outcome {
        Package { cache: Ok(Cache::in_folder(cache)) }.find(&mut |line| eprintln!("{line}"))
    }

    #[test]
    fn the_package_is_unpacked_once_and_a_broken_cache_again() {
        let folder = tempfile::tempdir().unwrap();
        let start = Instant::now();
        // Two sweeps at once: one unpacks, the other waits for it.
        let outcomes = std::thread::scope(|scope| {
            let two: Vec<_> = (0..2).map(|_| scope.spawn(|| find(folder.path()))).collect();
            two.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
        });
        let mut outcomes = outcomes.into_iter();
        let (Some(one), Some(other)) = (outcomes.next(), outcomes.next()) else { unreachable!("two ran") };
        let programs = match one {
            Outcome::Found(programs) => programs,
            Outcome::Not(why) | Outcome::Wrong(why) => {
                eprintln!("SKIPPED the_package_is_unpacked_once_and_a_broken_cache_again: {why}");
                return;
            }
        };
        eprintln!("unpacked {} in {:?}", programs.record.version, start.elapsed());
        assert_eq!(programs.record.source, "package");
        assert!(matches!(other, Outcome::Found(same) if same == programs));
        assert!(programs.record.version.starts_with("2."));

        let start = Instant::now();
        let Outcome::Found(again) = find(folder.path()) else { panic!("the cache was not used") };
        eprintln!("used again in {:?}", start.elapsed());
        assert_eq!(again, programs);

        fs::write(&programs.challtestsrv, "broken").unwrap();
        let Outcome::Found(mended) = find(folder.path()) else { panic!("the broken cache was not redone") };
        assert_eq!(mended, programs);
        assert!(fs::metadata(&programs.challtestsrv).unwrap().len() > 1_000_000);
    }

    #[test]
    fn debian_s_archive_has_a_pinned_package_for_machines_whose_sources_have_none() {
        let folder = tempfile::tempdir().unwrap();
        let pin = PINS.iter().find(|pin| pin.suite == "bookworm").unwrap();
        match Apt::new(folder.path(), pin.suite, Some(pin.suite)).and_then(|apt| apt.download(&[pin])) {
            Ok((_, package)) => assert_eq!(sha256(&package).unwrap(), pin.sha256),
            Err(why) => eprintln!(
                "SKIPPED debian_s_archive_has_a_pinned_package_for_machines_whose_sources_have_none: {why}"
            ),
        }
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_said_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let Outcome::Not(why) = find(&file) else { panic!("a file was used as a folder") };
        if on_path("apt-get").is_some() {
            assert!(why.contains(&file.display().to_string()), "{why}");
        }
    }
}
