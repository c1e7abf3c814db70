//! What is in the world and was not there before.

use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
};

use crate::{
    artifact,
    invariant::Litter,
    role::{self, Roles},
    scenario::Scenario,
};

/// Where copies and traces of the certificate can be: the state, and whatever else was touched.
pub(super) fn ageing_roots(scenario: &Scenario, touched: &[PathBuf]) -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = scenario.subject.state.iter().map(PathBuf::from).collect();
    let files =
        touched.iter().filter(|path| path.is_file() && !roots.iter().any(|root| path.starts_with(root)));
    let bundles = ["ca-certificates.crt", "ca-bundle.crt", "cert.pem"];
    let files: Vec<PathBuf> = files
        .filter(|path| !(path.starts_with("/etc/ssl/certs") && bundles.iter().any(|b| path.ends_with(b))))
        .cloned()
        .collect();
    roots.extend(files);
    roots
}

/// Roles of paths that runs made who knew which of their names are random: one that happens to
/// look like a word to everybody else must not make litter of the others.
pub(super) fn roles(paths: &[PathBuf], root: &str, made: &Roles) -> BTreeSet<String> {
    let names: Vec<String> = paths.iter().map(|path| named(path, root)).collect();
    names.iter().map(|name| made.of(name)).chain(names.iter().map(|name| role::of(name))).collect()
}

/// Paths that are there now and that no clean run leaves.
pub(super) fn litter(touched: &[PathBuf], clean_roles: &[String], root: &str) -> Vec<Litter> {
    let known: HashSet<&str> = clean_roles.iter().map(String::as_str).collect();
    let patterns: Vec<&String> = clean_roles.iter().filter(|role| role.contains("{X}")).collect();
    let mut found = Vec::new();
    for path in touched {
        let Ok(data) = path.symlink_metadata() else { continue };
        let name = named(path, root);
        if known.contains(role::of(&name).as_str())
            || patterns.iter().any(|pattern| role::matches(pattern, &name))
            || name.starts_with("/var/log/")
            || name.ends_with(".log")
        {
            continue;
        }
        let what = if data.is_dir() {
            "directory".to_owned()
        } else if data.is_symlink() {
            "symbolic link".to_owned()
        } else {
            let content = std::fs::read(path).unwrap_or_default();
            artifact::looks_like(path, &content)
                .map_or_else(|| format!("file of {} bytes", data.len()), str::to_owned)
        };
        found.push(Litter { path: name.into(), what });
    }
    found
}

fn named(path: &std::path::Path, root: &str) -> String {
    let text = path.to_string_lossy();
    text.strip_prefix(root).unwrap_or(&text).to_owned()
}
