//! The documentation agrees with what is there: links lead somewhere, paths exist, commands, exit
//! codes and fault families are described.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use process_roulette::{fault::Family, invariant};
use process_roulette_tests::{program::roulette, readme};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is in the repository").to_owned()
}

/// Every page, by its path from the root.
fn pages() -> Vec<(PathBuf, String)> {
    let mut pages: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "ci/README.md"].map(PathBuf::from).to_vec();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = Path::new("docs").join(entry.unwrap().file_name());
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    pages
        .into_iter()
        .map(|page| {
            let text =
                fs::read_to_string(root().join(&page)).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
            (page, text)
        })
        .collect()
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A page without its fenced blocks, which have text of others in them.
fn prose(text: &str) -> String {
    let mut inside = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    assert!(!inside, "a fenced block has no end:\n{text}");
    prose
}

/// What stands between `open` and `close`, without line ends in it.
fn between<'t>(text: &'t str, open: &str, close: char) -> impl Iterator<Item = &'t str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split_once(close).map(|(inner, _)| inner))
}

/// The anchor that a heading has, as the usual hosts make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    prose(text)
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

#[test]
fn every_relative_link_leads_to_a_file_and_its_heading() {
    let mut dead = Vec::new();
    for (page, text) in pages() {
        for target in between(&prose(&text), "](", ')') {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let folder = page.parent().unwrap_or(Path::new(""));
            let path = if file.is_empty() { root().join(&page) } else { root().join(folder).join(file) };
            if !path.exists() {
                dead.push(format!("{}: {target}", page.display()));
            } else if !fragment.is_empty() && !anchors(&fs::read_to_string(&path).unwrap()).contains(fragment)
            {
                dead.push(format!("{}: {target}: no such heading", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

#[test]
fn every_path_of_the_repository_that_a_page_names_exists() {
    let tops = [".ci", "ci", "docs", "harness", "scenarios", "tests"];
    let mut missing = Vec::new();
    for (page, text) in pages() {
        // The example of an invariant that is yet to be written.
        let invented = "harness/src/invariant/renewed_in_time.rs";
        for code in between(&prose(&text), "`", '`') {
            for word in code.split_whitespace() {
                let word = word.trim_end_matches([',', '.', ':']).trim_end_matches('/');
                let Some((top, _)) = word.split_once('/') else { continue };
                let pattern = word.contains(['*', '{', '<', '$', '…', ':', '=']) || word.contains("NAME");
                if !tops.contains(&top) || pattern || word == invented {
                    continue;
                }
                if !root().join(word).exists() {
                    missing.push(format!("{}: {word}", page.display()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "paths that are not there:\n{}", missing.join("\n"));
}

#[test]
fn the_two_commands_of_the_readme_are_the_ones_that_ci_runs() {
    let commands = ["cargo run --release -- run scenarios/reference.toml", "cargo test --workspace"];
    let readme = readme::text();
    for command in commands {
        assert!(readme.contains(&format!("$ {command}\n")), "the README does not have `{command}`");
    }
    let Ok(script) = fs::read_to_string(root().join(".ci/run")) else {
        eprintln!("SKIPPED the_two_commands_of_the_readme_are_the_ones_that_ci_runs: there is no .ci/run");
        return;
    };
    for command in commands {
        assert!(script.contains(command), ".ci/run does not run `{command}`");
    }
}

#[test]
fn the_guide_describes_every_subcommand_and_every_option_of_run() {
    let guide = page("docs/guide.md");
    let help = |arguments: &[&str]| {
        let output = Command::new(roulette()).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = help(&["--help"]);
    let commands: Vec<&str> = listed
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .collect();
    assert!(commands.len() >= 9, "{listed}");
    for command in commands {
        let described = guide
            .lines()
            .any(|line| line.starts_with("### ") && line.contains(&format!("`roulette {command}`")));
        assert!(described, "docs/guide.md has no section on `roulette {command}`");
    }
    for word in help(&["run", "--help"]).split(|c: char| c.is_whitespace() || c == ',') {
        let option = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        if option.len() > 2 && option.starts_with("--") && !["--help", "--version"].contains(&option) {
            assert!(guide.contains(option), "docs/guide.md does not describe `{option}`");
        }
    }
}

#[test]
fn every_exit_code_of_the_help_is_in_the_guide() {
    let output = Command::new(roulette()).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let guide = page("docs/guide.md");
    let codes: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Exit codes:")
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(codes.len(), 7, "{help}");
    for code in codes {
        assert!(guide.contains(&format!("\n| {code} | ")), "docs/guide.md does not tell exit code {code}");
    }
}

#[test]
fn every_fault_family_and_every_invariant_has_its_section() {
    let faults = anchors(&page("docs/faults.md"));
    for (name, ..) in Family::ALL {
        assert!(faults.contains(name), "docs/faults.md has no section on `{name}`");
    }
    let invariants = anchors(&page("docs/invariants.md"));
    for invariant in invariant::all() {
        assert!(
            invariants.contains(invariant.name()),
            "docs/invariants.md has no section on {}",
            invariant.name()
        );
    }
}

#[test]
fn the_index_lists_every_page() {
    let index = page("docs/README.md");
    for (page, _) in pages() {
        let name = page.file_name().unwrap().to_string_lossy().into_owned();
        if page.starts_with("docs") && name != "README.md" {
            assert!(index.contains(&format!("]({name})")), "docs/README.md does not list {name}");
        }
    }
}

#[test]
fn the_guide_describes_every_field_of_the_json_report() {
    let guide = page("docs/guide.md");
    let snapshot = page(
        "harness/src/report/tests/snapshots/process_roulette__report__tests__the_json_report_has_schema_1.snap",
    );
    let json = &snapshot[snapshot.find("\n{").expect("the snapshot has an object")..];
    let report: serde_json::Value = serde_json::from_str(json).unwrap();
    let mut keys = BTreeSet::new();
    fn gather(value: &serde_json::Value, keys: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map {
                    keys.insert(key.clone());
                    gather(value, keys);
                }
            }
            serde_json::Value::Array(values) => values.iter().for_each(|value| gather(value, keys)),
            _ => {}
        }
    }
    gather(&report, &mut keys);
    assert!(keys.len() > 30, "{keys:?}");
    let section = guide.split("\n## ").find(|section| section.starts_with("The JSON report")).unwrap();
    for key in keys {
        let told = [("`", "`"), (".", "`"), ("`", "["), (".", "["), ("`", ".")]
            .map(|(before, after)| format!("{before}{key}{after}"));
        assert!(
            told.iter().any(|told| section.contains(told)),
            "docs/guide.md does not describe the field {key}"
        );
    }
}
