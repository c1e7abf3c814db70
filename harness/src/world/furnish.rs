//! What is put into a world before its first command: the scenario's files and templates, the
//! files that make it a host of its own, and the roots it trusts.

use std::{
    collections::BTreeMap,
    fs, io,
    net::IpAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::WorldError;
use crate::scenario::{Placeholders, Scenario};

/// Where programs look for the roots they trust, by distribution: Debian, Fedora and their
/// families, Alpine and the BSD-minded, openSUSE. The first is made when none is there.
pub const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/var/lib/ca-certificates/ca-bundle.pem",
];

/// Variables by which programs are told of another bundle: OpenSSL and Go, certifi (certbot from
/// `PyPI`), curl, lego, Node. Without them a program that brings its own roots would not trust
/// the world's CA.
const BUNDLE_VARIABLES: [&str; 5] =
    ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "LEGO_CA_CERTIFICATES", "NODE_EXTRA_CA_CERTS"];

/// The file mode creation mask that cron and systemd give a job.
pub const UMASK: u32 = 0o022;

/// A file to be put into a world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its path there.
    pub path: PathBuf,
    /// What it holds.
    pub content: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
}

impl Item {
    /// A file everybody may read.
    pub fn new(path: impl Into<PathBuf>, content: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), content: content.into(), mode: 0o644 }
    }
}

/// The scenario's `[subject.files]` and `[subject.templates]`, read, for a resolved scenario.
///
/// # Errors
/// A file that cannot be read, with what named it.
pub fn scenario_items(scenario: &Scenario, placeholders: &Placeholders) -> Result<Vec<Item>, WorldError> {
    let mut items = Vec::new();
    let subject = &scenario.subject;
    let files = subject.files.iter().map(|entry| (entry, false));
    let templates = subject.templates.iter().map(|entry| (entry, true));
    for ((path, source), template) in files.chain(templates) {
        let from = scenario.folder.join(source);
        let read = || -> io::Result<Item> {
            let mode = fs::metadata(&from)?.permissions().mode() & 0o7777;
            let mut content = fs::read(&from)?;
            if template {
                let text = String::from_utf8(content)
                    .map_err(|_| io::Error::other("a template must be UTF-8 text"))?;
                content = placeholders.replace(&text).into_bytes();
            }
            Ok(Item { path: path.into(), content, mode })
        };
        items.push(read().map_err(|source| WorldError {
            tried: format!("failed to read {} for {path}", from.display()),
            source,
            remedy: None,
        })?);
    }
    Ok(items)
}

/// Makes the scenario's state directories and webroots, and the directories of its lock and pid
/// file. The scenario is a resolved one.
///
/// # Errors
/// What the file system said, with the path.
pub fn folders(scenario: &Scenario) -> io::Result<()> {
    let state = scenario.subject.state.iter().map(Path::new);
    let webroots = scenario.server.webroots.iter().map(Path::new);
    let files = scenario.lock.iter().map(|lock| &lock.path).chain([&scenario.server.pid_file]);
    let parents = files.filter_map(|path| Path::new(path).parent());
    for folder in state.chain(webroots).chain(parents) {
        fs::create_dir_all(folder)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())))?;
    }
    Ok(())
}

/// Puts `item` in its place: what was there is replaced, not written through.
///
/// # Errors
/// What the file system said, with the path.
pub fn put(item: &Item) -> io::Result<()> {
    let at = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", item.path.display()));
    if let Some(parent) = item.path.parent() {
        fs::create_dir_all(parent).map_err(at)?;
    }
    clear(&item.path).map_err(at)?;
    fs::write(&item.path, &item.content).map_err(at)?;
    fs::set_permissions(&item.path, fs::Permissions::from_mode(item.mode)).map_err(at)
}

/// Removes the file or symlink at `path`, if there is one.
///
/// # Errors
/// What the file system said.
pub fn clear(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The files that make a private world a host of its own.
pub fn host_items(
    scenario: &Scenario,
    host: &str,
    subject: IpAddr,
    ca: IpAddr,
    ca_names: &[String],
) -> Vec<Item> {
    let mut hosts = format!("127.0.0.1 localhost\n::1 localhost ip6-localhost\n{subject} {host}\n");
    for name in ca_names {
        hosts.push_str(&format!("{ca} {name}\n"));
    }
    let domains = scenario.artifacts.iter().flat_map(|artifact| &artifact.domains);
    for domain in domains.filter(|domain| !domain.starts_with('*')) {
        hosts.push_str(&format!("{subject} {domain}\n"));
    }
    vec![
        Item::new("/etc/hosts", hosts),
        Item::new("/etc/hostname", format!("{host}\n")),
        Item::new("/etc/resolv.conf", format!("nameserver {ca}\noptions timeout:1 attempts:2\n")),
    ]
}

/// The roots the host trusts; empty where none are found.
pub fn host_roots() -> Vec<u8> {
    BUNDLES.iter().find_map(|path| fs::read(path).ok()).unwrap_or_default()
}

/// The scheduler's environment, the bundle's variables and the scenario's own.
pub fn environment(path_first: Option<&Path>, bundle: &str, scenario: &Scenario) -> BTreeMap<String, String> {
    // What cron and systemd give a job (crontab(5), systemd.exec(5)), with the whole of
    // systemd's PATH.
    let mut path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string();
    if let Some(first) = path_first {
        path = format!("{}:{path}", first.display());
    }
    let mut env = BTreeMap::from(
        [
            ("PATH", path.as_str()),
            ("HOME", "/root"),
            ("LANG", "C.UTF-8"),
            ("SHELL", "/bin/sh"),
            ("LOGNAME", "root"),
            ("USER", "root"),
        ]
        .map(|(name, value)| (name.to_string(), value.to_string())),
    );
    env.extend(BUNDLE_VARIABLES.map(|name| (name.to_string(), bundle.to_string())));
    env.extend(scenario.subject.env.clone());
    env
}
