//! Programs a subject needs: whether they are there, and how to install those that are not.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::model::Scenario;

/// A program that a scenario needs and this machine lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingNeed {
    /// Its name.
    pub program: String,
    /// How to install it: `apt-get install certbot`, or where that is not known, a hint.
    pub install: String,
}

impl std::fmt::Display for MissingNeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` is not installed: {}", self.program, self.install)
    }
}

/// Programs whose package has another name (Debian's).
const PACKAGES: [(&str, &str); 22] = [
    ("flock", "util-linux"),
    ("setsid", "util-linux"),
    ("logger", "bsdutils"),
    ("pgrep", "procps"),
    ("pkill", "procps"),
    ("ps", "procps"),
    ("hostname", "hostname"),
    ("dig", "bind9-dnsutils"),
    ("nsupdate", "bind9-dnsutils"),
    ("host", "bind9-host"),
    ("python3", "python3-minimal"),
    ("awk", "mawk"),
    ("gawk", "gawk"),
    ("install", "coreutils"),
    ("sha256sum", "coreutils"),
    ("timeout", "coreutils"),
    ("nc", "netcat-openbsd"),
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("htpasswd", "apache2-utils"),
    ("xxd", "xxd"),
    ("acme-tiny", "acme-tiny"),
];

impl Scenario {
    /// The programs of `subject.needs` that are not to be had here. Looks in `PATH` and in the
    /// system administrator's folders, which a scheduler has in its `PATH` and an ordinary user
    /// may not.
    pub fn missing_needs(&self) -> Vec<MissingNeed> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path)
            .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
            .collect();
        missing(&self.subject.needs, &folders)
    }
}

fn missing(needs: &[String], folders: &[PathBuf]) -> Vec<MissingNeed> {
    let runs = |path: &Path| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    needs
        .iter()
        .filter(|need| {
            if need.contains('/') {
                !runs(Path::new(need))
            } else {
                !folders.iter().any(|f| runs(&f.join(need)))
            }
        })
        .map(|need| MissingNeed { program: need.clone(), install: install(need) })
        .collect()
}

fn install(program: &str) -> String {
    if program.contains('/') {
        return "it is to be put there by hand".to_owned();
    }
    let package = PACKAGES.iter().find(|(name, _)| *name == program).map_or(program, |(_, package)| package);
    if program == "acme.sh" {
        return "it is no package: see https://github.com/acmesh-official/acme.sh".to_owned();
    }
    format!("apt-get install {package} (or your distribution's package of that name)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let needs = ["sh", "no-such-program-anywhere", "flock"].map(str::to_owned);
        let none = missing(&needs, &[]);
        assert_eq!(none.len(), 3);
        assert!(none[1].to_string().contains("apt-get install no-such-program-anywhere"), "{}", none[1]);
        assert!(none[2].to_string().contains("apt-get install util-linux"), "{}", none[2]);
        assert_eq!(missing(&needs[..1], &["/bin".into()]), []);
    }
}
