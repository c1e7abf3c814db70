//! Whether a scenario of the right shape makes sense: what types cannot say.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Component, Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    fault::{
        self, Family, clock,
        disk::LASTING,
        memory::{self, LOWERED},
        senders::KILL_MODES,
    },
    limits::AT_ONCE_MOST,
};

use super::{
    duration,
    model::{Faults, Scenario},
    placeholders::{PLACEHOLDERS, braces},
    problem::{Place, Problem, nearest, suggest},
};

/// Versions of the format that this program reads.
const SCHEMAS: [u32; 1] = [1];

/// Folders that are the system's: as state they would hide it from the subject.
const SYSTEM: [&str; 19] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run",
    "/sbin", "/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/var",
];

/// Where a value is in the document.
#[derive(Clone, Copy)]
enum At<'a> {
    Key(&'a str),
    Index(usize),
}
use At::{Index, Key};

/// Finds the span of the deepest part of `path` that there is.
fn locate(document: &Spanned<DeTable<'_>>, path: &[At<'_>]) -> Option<Range<usize>> {
    let mut table = Some(document.get_ref());
    let mut array = None;
    let mut span = None;
    for step in path {
        let value: &Spanned<DeValue<'_>> = match step {
            Key(key) => match table.and_then(|table| table.iter().find(|(k, _)| k.get_ref() == key)) {
                Some((_, value)) => value,
                None => break,
            },
            Index(index) => match array.and_then(|array: &toml::de::DeArray<'_>| array.get(*index)) {
                Some(value) => value,
                None => break,
            },
        };
        span = Some(value.span());
        table = value.get_ref().as_table();
        array = value.get_ref().as_array();
    }
    span
}

/// Finds the span of a key of a table.
fn locate_key(document: &Spanned<DeTable<'_>>, tables: &[&str], key: &str) -> Option<Range<usize>> {
    let mut table = document.get_ref();
    for name in tables {
        table = table.iter().find(|(k, _)| k.get_ref() == name)?.1.get_ref().as_table()?;
    }
    table.iter().find(|(k, _)| k.get_ref() == key).map(|(k, _)| k.span())
}

struct Checker<'a> {
    source: &'a str,
    document: &'a Spanned<DeTable<'a>>,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn report(&mut self, span: Option<Range<usize>>, message: impl Into<String>, help: impl Into<String>) {
        let at = span.map(|span| Place::of(self.source, span));
        self.problems.push(Problem { at, message: message.into(), help: Some(help.into()) });
    }

    fn at(&mut self, path: &[At<'_>], message: impl Into<String>, help: impl Into<String>) {
        let span = locate(self.document, path);
        self.report(span, message, help);
    }

    /// A path as the subject names it: absolute, or under `{root}`, and without `..`.
    fn path(&mut self, span: Option<Range<usize>>, name: &str, path: &str) {
        self.placeholders(span.as_ref(), path, true);
        let bare = path.strip_prefix("{root}").unwrap_or(path);
        if !bare.starts_with('/') && !path.starts_with('{') {
            self.report(
                span,
                format!("`{name}` is not an absolute path: `{path}`"),
                "write it as the subject names it, from `/`, or from `{root}/` for a scenario that runs in any world",
            );
        } else if Path::new(bare).components().any(|part| part == Component::ParentDir) {
            self.report(span, format!("`{name}` has `..` in it: `{path}`"), "write the path without it");
        }
    }

    /// In free text such as a command only what is nearly a placeholder is one: `awk '{print}'`
    /// is none.
    fn placeholders(&mut self, span: Option<&Range<usize>>, text: &str, strict: bool) {
        for (_, word) in braces(text) {
            if PLACEHOLDERS.contains(&word) {
                continue;
            }
            let near = PLACEHOLDERS.iter().any(|known| strsim::osa_distance(known, word) <= 2);
            if strict || near {
                let known = PLACEHOLDERS;
                let help = match nearest(word, known) {
                    Some(found) => format!("did you mean `{{{found}}}`?"),
                    None => format!("known: {}", known.map(|name| format!("`{{{name}}}`")).join(", ")),
                };
                self.report(span.cloned(), format!("unknown placeholder `{{{word}}}`"), help);
            }
        }
    }

    fn words(&mut self, path: &[At<'_>], words: &[String]) {
        if words.first().is_none_or(String::is_empty) {
            let name: Vec<&str> =
                path.iter().filter_map(|step| if let Key(key) = step { Some(*key) } else { None }).collect();
            self.at(
                path,
                format!("`{}` names no program", name.join(".")),
                "write it as [\"program\", \"argument\"]",
            );
        }
        for (index, word) in words.iter().enumerate() {
            let mut path = path.to_vec();
            path.push(Index(index));
            self.placeholders(locate(self.document, &path).as_ref(), word, false);
        }
    }

    fn files(&mut self, table: &str, files: &BTreeMap<String, String>, folder: &Path) {
        for (target, source) in files {
            let key = locate_key(self.document, &["subject", table], target);
            self.path(key, &format!("subject.{table}"), target);
            let place = locate(self.document, &[Key("subject"), Key(table), Key(target)]);
            let path = folder.join(source);
            match std::fs::metadata(&path) {
                Ok(found) if found.is_file() => {}
                Ok(_) => self.report(
                    place,
                    format!("`{}` is not a file", path.display()),
                    "name one file at a time",
                ),
                Err(error) => self.report(
                    place,
                    format!("there is no file `{}`: {error}", path.display()),
                    "paths of files start at the scenario's folder",
                ),
            }
        }
    }
}

impl Checker<'_> {
    /// Names of faults and their settings, and whether they go together.
    fn faults(&mut self, faults: &Faults) {
        // A misspelt one may have been meant.
        let has_settings = |name: &String| fault::find(name).is_none_or(|fault| !fault.settings().is_empty());
        if let Some(kill) = &faults.kill {
            self.chosen("kill", "signals", &kill.signals, &[]);
            self.chosen("kill", "scopes", &kill.scopes, &[]);
        }
        if let Some(senders) = &faults.senders {
            self.chosen("senders", "profiles", &senders.profiles, &fault::names(Family::Senders));
            self.chosen("senders", "kill_modes", &senders.kill_modes, &KILL_MODES);
            let sends = |profile: &str| senders.profiles.iter().any(|p| p == profile);
            let patterns = [Key("faults"), Key("senders"), Key("patterns")];
            if sends("pkill-f") && senders.patterns.iter().all(String::is_empty) {
                self.at(
                    &[Key("faults"), Key("senders"), Key("profiles")],
                    "`pkill-f` has no pattern to kill by",
                    "add what it is called with, such as patterns = [\"certbot renew\"]",
                );
            } else if !senders.patterns.is_empty() && !sends("pkill-f") {
                self.at(
                    &patterns,
                    "`faults.senders.patterns` is for `pkill-f`, which is not among the profiles",
                    "add `pkill-f` to the profiles, or leave `patterns` out",
                );
            } else if senders.patterns.iter().any(String::is_empty) {
                self.at(
                    &patterns,
                    "an empty pattern matches every process",
                    "use the scope `tree` of `kill` for that",
                );
            }
            if !senders.profiles.iter().any(has_settings) {
                self.unused("senders", "kill_modes", "the systemd profiles");
            }
        }
        if let Some(collide) = &faults.collide
            && collide.at_once > AT_ONCE_MOST
        {
            self.at(
                &[Key("faults"), Key("collide"), Key("at_once")],
                format!("{} runs at once are more than any scheduler starts", collide.at_once),
                format!("use at most {AT_ONCE_MOST}"),
            );
        }
        if faults.pairs.as_ref().is_some_and(|pairs| pairs.most == Some(0)) {
            self.at(
                &[Key("faults"), Key("pairs"), Key("most")],
                "`faults.pairs.most` is 0",
                "name how many, or leave `pairs` out",
            );
        }
        if faults.pairs.is_some() && *faults == (Faults { pairs: faults.pairs.clone(), ..Faults::none() }) {
            self.at(
                &[Key("faults"), Key("pairs")],
                "`faults.pairs` has no first fault to follow",
                "name a family of faults beside it, such as kill = {}",
            );
        }
        if let Some(memory) = &faults.memory {
            self.chosen("memory", "faults", &memory.faults, &fault::names(Family::Memory));
            self.chosen("memory", "kills", &memory.kills, &memory::KILLS);
            if !memory.faults.iter().any(|name| memory::takes_group(name) || fault::find(name).is_none()) {
                self.unused("memory", "kills", "`memory-limit` and `memory-lowered`");
            }
            if memory.limits == 0 {
                self.at(
                    &[Key("faults"), Key("memory"), Key("limits")],
                    "`faults.memory.limits` is 0",
                    "use at least 1, or leave all but `memory-lowered` out of the faults",
                );
            }
            if memory.faults.iter().all(|name| name == LOWERED) {
                self.unused("memory", "limits", "`memory-limit` and `address-space`");
            }
        }
        if let Some(disk) = &faults.disk {
            self.chosen("disk", "errors", &disk.errors, &fault::names(Family::Disk));
            self.chosen("disk", "lasting", &disk.lasting, &LASTING);
            if !disk.errors.iter().any(has_settings) {
                self.unused("disk", "lasting", "errors that are refused by number");
            }
        }
        if let Some(ca) = &faults.ca {
            self.chosen("ca", "troubles", &ca.troubles, &fault::names(Family::Ca));
        }
        if let Some(neighbour) = &faults.neighbour {
            self.chosen("neighbour", "faults", &neighbour.faults, &fault::names(Family::Neighbour));
        }
        if let Some(stepped) = &faults.clock {
            self.chosen("clock", "faults", &stepped.faults, &fault::names(Family::Clock));
            self.chosen("clock", "by", &stepped.by, &[]);
            for (index, by) in stepped.by.iter().enumerate() {
                if clock::seconds(by).is_none() {
                    self.at(
                        &[Key("faults"), Key("clock"), Key("by"), Index(index)],
                        format!("`{by}` is no step of a clock"),
                        "write a number and `s`, `m`, `h` or `d`, such as `90d`, at most 50 years of 365 days",
                    );
                }
            }
        }
    }

    /// A list that chooses among `known` (any, where that is empty): neither empty, nor with a name
    /// twice or one that nobody knows.
    fn chosen<T: PartialEq + ToString>(&mut self, family: &str, key: &str, chosen: &[T], known: &[&str]) {
        let path = [Key("faults"), Key(family), Key(key)];
        if chosen.is_empty() {
            self.at(
                &path,
                format!("`faults.{family}.{key}` is empty"),
                format!("name one, or leave `{family}` out"),
            );
        }
        for (index, name) in chosen.iter().enumerate() {
            let text = name.to_string();
            let path = [Key("faults"), Key(family), Key(key), Index(index)];
            if !known.is_empty() && !known.contains(&text.as_str()) {
                let elsewhere = fault::find(&text)
                    .map(fault::Fault::family)
                    .filter(|_| !matches!(key, "lasting" | "kills"));
                let help = match elsewhere {
                    Some(other) => format!("it is of the family `{}`", other.name()),
                    None => suggest(&text, known.iter().copied()),
                };
                self.at(&path, format!("unknown name `{text}` in faults.{family}.{key}"), help);
            } else if chosen[..index].contains(name) {
                self.at(&path, format!("`{text}` is here twice"), "remove one of them");
            }
        }
    }

    /// A setting that is written down and that nothing would use.
    fn unused(&mut self, family: &str, key: &str, of: &str) {
        let span = locate_key(self.document, &["faults", family], key);
        if span.is_some() {
            self.report(
                span,
                format!("`faults.{family}.{key}` is for {of}, and none is asked for"),
                format!("leave `{key}` out, or ask for one"),
            );
        }
    }
}

/// Only the version of the format, which is asked first: a file of another version may have
/// another shape, and complaining about that would mislead.
pub(super) fn check_version(source: &str, document: &Spanned<DeTable<'_>>) -> Option<Problem> {
    let (_, value) = document.get_ref().iter().find(|(key, _)| key.get_ref() == "schema")?;
    let number = value.get_ref().as_integer()?;
    let known = SCHEMAS.map(|version| version.to_string());
    if known.iter().any(|version| version == number.as_str()) {
        return None;
    }
    Some(Problem {
        at: Some(Place::of(source, value.span())),
        message: format!("schema {} is not known", number.as_str()),
        help: Some(format!("this version reads schema {}", known.join(", "))),
    })
}

/// Everything else. `invariants` are the names that `[[expect]]` may use.
pub(super) fn check(
    source: &str,
    document: &Spanned<DeTable<'_>>,
    scenario: &Scenario,
    invariants: &[&str],
) -> Vec<Problem> {
    let mut checker = Checker { source, document, problems: Vec::new() };
    let check = &mut checker;

    let name = &scenario.name;
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty()
        || name.len() > 60
        || !name.chars().all(letters)
        || name.starts_with('-')
        || name.ends_with('-')
    {
        check.at(
            &[Key("name")],
            format!("`{name}` is no name for a scenario"),
            "use up to 60 lower-case letters, digits and `-`, such as `certbot-flock`",
        );
    }
    if scenario.purpose.trim().is_empty() {
        check.at(&[Key("purpose")], "`purpose` is empty", "say in one sentence what the scenario shows");
    }

    let subject = &scenario.subject;
    check.words(&[Key("subject"), Key("command")], &subject.command);
    for (table, commands) in [("prepare", &subject.prepare), ("age", &subject.age)] {
        for (index, command) in commands.iter().enumerate() {
            check.words(&[Key("subject"), Key(table), Index(index)], command);
        }
    }
    for (index, path) in subject.state.iter().enumerate() {
        let span = locate(document, &[Key("subject"), Key("state"), Index(index)]);
        check.path(span.clone(), "subject.state", path);
        if let Some(system) = system_folder(path) {
            check.report(
                span,
                format!("`{path}` cannot be a state directory: {system} is the system's"),
                "name the pipeline's own folders inside it",
            );
        }
    }
    for need in subject.needs.iter().enumerate().filter(|(_, need)| need.is_empty()) {
        check.at(&[Key("subject"), Key("needs"), Index(need.0)], "an empty name of a program", "remove it");
    }
    check.files("files", &subject.files, &scenario.folder);
    check.files("templates", &subject.templates, &scenario.folder);
    for target in subject.files.keys().filter(|target| subject.templates.contains_key(*target)) {
        let span = locate_key(document, &["subject", "templates"], target);
        check.report(span, format!("`{target}` is in subject.files too"), "keep one of them");
    }
    for (key, value) in &subject.env {
        let span = locate(document, &[Key("subject"), Key("env"), Key(key)]);
        check.placeholders(span.as_ref(), value, false);
        if key.is_empty() || key.contains(['=', '\0']) {
            let span = locate_key(document, &["subject", "env"], key);
            check.report(
                span,
                format!("`{key}` is no name of a variable"),
                "it must not be empty or have `=` in it",
            );
        }
    }
    if let Some(cwd) = &subject.cwd {
        check.path(locate(document, &[Key("subject"), Key("cwd")]), "subject.cwd", cwd);
    }

    if scenario.artifacts.is_empty() {
        check.at(
            &[],
            "there is no [[artifact]]",
            "name at least one certificate and its key, as the server reads them: domains, certificate, key",
        );
    }
    for (index, artifact) in scenario.artifacts.iter().enumerate() {
        let inside = |key| [Key("artifact"), Index(index), Key(key)];
        if artifact.domains.is_empty() {
            check.at(
                &inside("domains"),
                "`artifact.domains` is empty",
                "name at least one, such as \"example.com\"",
            );
        }
        for (key, path) in [("certificate", &artifact.certificate), ("key", &artifact.key)] {
            let span = locate(document, &inside(key));
            check.path(span.clone(), &format!("artifact.{key}"), path);
            let folder = Path::new(path).parent().map(|folder| folder.to_string_lossy().into_owned());
            if let Some(folder) = folder
                && !subject.state.iter().any(|state| Path::new(path).starts_with(state))
                && let Some(system) = system_folder(&folder)
            {
                check.report(
                    span,
                    format!(
                        "`{path}` is under no state directory, and {system} is the system's and cannot be one"
                    ),
                    "let the pipeline keep its certificates in a folder of their own",
                );
            }
        }
    }
    if let Some(lock) = &scenario.lock {
        check.path(locate(document, &[Key("lock"), Key("path")]), "lock.path", &lock.path);
    }
    for (index, path) in scenario.server.webroots.iter().enumerate() {
        let span = locate(document, &[Key("server"), Key("webroots"), Index(index)]);
        check.path(span, "server.webroots", path);
    }
    let span = locate(document, &[Key("server"), Key("pid_file")]);
    check.path(span, "server.pid_file", &scenario.server.pid_file);

    check.faults(&scenario.faults);
    if scenario.limits.orders == 0 || scenario.limits.certificates == 0 {
        let key = if scenario.limits.orders == 0 { "orders" } else { "certificates" };
        check.at(
            &[Key("limits"), Key(key)],
            format!("`limits.{key}` is 0: no renewal could hold that"),
            "use at least 1",
        );
    }
    for (index, expect) in scenario.expect.iter().enumerate() {
        if !invariants.contains(&expect.invariant.as_str()) {
            check.at(
                &[Key("expect"), Index(index), Key("invariant")],
                format!("unknown invariant `{}`", expect.invariant),
                suggest(&expect.invariant, invariants.iter().copied()),
            );
        }
        if expect.reason.trim().is_empty() {
            check.at(
                &[Key("expect"), Index(index), Key("reason")],
                "`expect.reason` is empty",
                "say why the finding is known and accepted",
            );
        }
    }
    checker.problems
}

/// The deadline is a string by shape; this is asked before deserialising, for its place.
pub(super) fn check_deadline(source: &str, document: &Spanned<DeTable<'_>>) -> Option<Problem> {
    let mut table = document.get_ref();
    table = table.iter().find(|(key, _)| key.get_ref() == "subject")?.1.get_ref().as_table()?;
    let value = &table.iter().find(|(key, _)| key.get_ref() == "deadline")?.1;
    let message = duration::parse(value.get_ref().as_str()?).err()?;
    Some(Problem { at: Some(Place::of(source, value.span())), message, help: None })
}

/// Adds the artifacts' folders to the state where no state directory has them already: what the
/// pipeline writes there is state, whether or not it was said.
pub(super) fn add_artifact_folders(scenario: &mut Scenario) {
    for artifact in &scenario.artifacts {
        for path in [&artifact.certificate, &artifact.key] {
            let covered = scenario.subject.state.iter().any(|state| Path::new(path).starts_with(state));
            if let Some(folder) = Path::new(path).parent().filter(|_| !covered) {
                scenario.subject.state.push(folder.to_string_lossy().into_owned());
            }
        }
    }
}

/// The system's folder that `path` is, if it is one.
fn system_folder(path: &str) -> Option<&'static str> {
    let path = path.strip_prefix("{root}").unwrap_or(path);
    let plain: PathBuf = Path::new("/").join(path).components().collect();
    SYSTEM.into_iter().find(|system| Path::new(system) == plain)
}
