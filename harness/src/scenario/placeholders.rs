//! `{root}`, `{directory_url}` and the others: what a scenario writes to run in any world.

use std::{collections::BTreeMap, ops::Range};

use super::model::{Placeholders, Scenario};

/// Every placeholder, without its braces.
pub const PLACEHOLDERS: [&str; 6] =
    ["root", "directory_url", "http_port", "tls_port", "ca_bundle", "dns_api"];

impl Placeholders {
    /// `text` with every placeholder replaced. A `$` before the brace keeps it as it is, so that
    /// `${root}` in a shell script stays the shell's; so do braces with anything else in them.
    pub fn replace(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut copied = 0;
        for (range, name) in braces(text) {
            if let Some(value) = self.value(name) {
                out.push_str(&text[copied..range.start]);
                out.push_str(&value);
                copied = range.end;
            }
        }
        out.push_str(&text[copied..]);
        out
    }

    fn value(&self, name: &str) -> Option<String> {
        Some(match name {
            "root" => self.root.clone(),
            "directory_url" => self.directory_url.clone(),
            "http_port" => self.http_port.to_string(),
            "tls_port" => self.tls_port.to_string(),
            "ca_bundle" => self.ca_bundle.clone(),
            "dns_api" => self.dns_api.clone(),
            _ => return None,
        })
    }
}

/// Every `{word}` of lower-case letters and `_` in `text` that has no `$` before it: its range
/// with the braces, and the word.
pub(super) fn braces(text: &str) -> Vec<(Range<usize>, &str)> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices('{') {
        if text[..start].ends_with('$') {
            continue;
        }
        let inner = &text[start + 1..];
        let length = inner.bytes().take_while(|b| b.is_ascii_lowercase() || *b == b'_').count();
        if length > 0 && inner[length..].starts_with('}') {
            found.push((start..start + length + 2, &inner[..length]));
        }
    }
    found
}

impl Scenario {
    /// The scenario as it is in one world: placeholders replaced in commands, paths and the
    /// environment. Names, reasons and the text of files stay as they are; the text of
    /// `subject.templates` is for [`Placeholders::replace`] when they are placed.
    #[must_use]
    pub fn resolve(&self, placeholders: &Placeholders) -> Scenario {
        let mut scenario = self.clone();
        let one = |text: &mut String| *text = placeholders.replace(text);
        let keys = |map: &mut BTreeMap<String, String>| {
            *map = std::mem::take(map)
                .into_iter()
                .map(|(key, value)| (placeholders.replace(&key), value))
                .collect();
        };
        let subject = &mut scenario.subject;
        subject.command.iter_mut().for_each(one);
        subject.prepare.iter_mut().chain(&mut subject.age).flatten().for_each(one);
        subject.state.iter_mut().for_each(one);
        subject.env.values_mut().for_each(one);
        subject.cwd.iter_mut().for_each(one);
        keys(&mut subject.files);
        keys(&mut subject.templates);
        for artifact in &mut scenario.artifacts {
            one(&mut artifact.certificate);
            one(&mut artifact.key);
        }
        scenario.lock.iter_mut().map(|lock| &mut lock.path).for_each(one);
        scenario.server.webroots.iter_mut().for_each(one);
        one(&mut scenario.server.pid_file);
        scenario
    }

    /// What keeps the scenario from running in a bare world: every absolute path it is declared
    /// with, and where. Empty when all start with `{root}`.
    pub fn uses_absolute_paths(&self) -> Vec<String> {
        let subject = &self.subject;
        let mut declared: Vec<(&str, &str)> = Vec::new();
        declared.extend(subject.state.iter().map(|path| ("subject.state", path.as_str())));
        declared.extend(subject.files.keys().map(|path| ("subject.files", path.as_str())));
        declared.extend(subject.templates.keys().map(|path| ("subject.templates", path.as_str())));
        declared.extend(
            subject.cwd.iter().filter(|path| *path != "/").map(|path| ("subject.cwd", path.as_str())),
        );
        for artifact in &self.artifacts {
            declared.push(("artifact.certificate", &artifact.certificate));
            declared.push(("artifact.key", &artifact.key));
        }
        declared.extend(self.lock.iter().map(|lock| ("lock.path", lock.path.as_str())));
        declared.extend(self.server.webroots.iter().map(|path| ("server.webroots", path.as_str())));
        declared.push(("server.pid_file", &self.server.pid_file));
        let mut found: Vec<String> = declared
            .into_iter()
            .filter(|(_, path)| path.starts_with('/'))
            .map(|(key, path)| format!("{path} ({key})"))
            .collect();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> Placeholders {
        Placeholders {
            root: "/tmp/w".to_owned(),
            directory_url: "https://localhost:14000/directory".to_owned(),
            http_port: 5002,
            tls_port: 5001,
            ca_bundle: "/tmp/w/ca.pem".to_owned(),
            dns_api: "http://127.0.0.1:8055".to_owned(),
        }
    }

    #[test]
    fn placeholders_are_replaced_and_everything_else_stays() {
        for (text, replaced) in [
            ("{root}/etc", "/tmp/w/etc"),
            ("--http {http_port} --tls {tls_port}", "--http 5002 --tls 5001"),
            ("{dns_api}/set-txt", "http://127.0.0.1:8055/set-txt"),
            ("{directory_url}{ca_bundle}", "https://localhost:14000/directory/tmp/w/ca.pem"),
            ("\"${root}/x\"", "\"${root}/x\""),
            ("awk '{print}' {} {a,b} {Root} {root", "awk '{print}' {} {a,b} {Root} {root"),
            ("{{root}}", "{/tmp/w}"),
            ("é{root}é", "é/tmp/wé"),
            ("", ""),
        ] {
            assert_eq!(world().replace(text), replaced, "{text}");
        }
    }
}
