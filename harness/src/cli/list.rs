//! `roulette list`: what there is.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{fault::Family, invariant, scenario::Scenario};

use super::{
    arguments::{ListOptions, TextOrJson},
    error::CliError,
    exit_code::ExitCode,
    output::{print, print_json},
};

/// The folder that is searched.
const FOLDER: &str = "scenarios";

#[derive(Serialize)]
struct Listing {
    schema: u32,
    scenarios: Vec<Found>,
    faults: Vec<Named>,
    invariants: Vec<Named>,
}

#[derive(Serialize)]
struct Named {
    name: &'static str,
    #[serde(rename = "description")]
    text: &'static str,
}

#[derive(Serialize)]
struct Found {
    file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
    /// Why it cannot be loaded, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(super) fn list(options: &ListOptions) -> Result<ExitCode, CliError> {
    let mut files = Vec::new();
    collect(Path::new(FOLDER), &mut files);
    files.sort();
    let listing = Listing {
        schema: 1,
        scenarios: files.into_iter().map(found).collect(),
        faults: Family::ALL.iter().map(|(name, text, _)| Named { name, text }).collect(),
        invariants: invariant::all()
            .iter()
            .map(|one| Named { name: one.name(), text: one.promise() })
            .collect(),
    };
    match options.format {
        TextOrJson::Json => print_json(&listing),
        TextOrJson::Text => print(&text(&listing)),
    }
}

/// Files that say they are scenarios: other TOML files (a pipeline's configuration, a crate's
/// manifest) may lie beside them.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        // A link could lead back to where it is.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "toml")
            && std::fs::read_to_string(&path).is_ok_and(|text| is_scenario(&text))
        {
            files.push(path);
        }
    }
}

fn is_scenario(text: &str) -> bool {
    text.lines().any(|line| line.trim() == "[subject]")
        && text.lines().any(|line| {
            line.trim_start().strip_prefix("schema").is_some_and(|rest| rest.trim_start().starts_with('='))
        })
}

fn found(file: PathBuf) -> Found {
    match Scenario::load(&file) {
        Ok(scenario) => {
            Found { file, name: Some(scenario.name), purpose: Some(scenario.purpose), error: None }
        }
        Err(error) => Found { file, name: None, purpose: None, error: Some(error.to_string()) },
    }
}

fn text(listing: &Listing) -> String {
    let mut out = String::from("scenarios\n");
    if listing.scenarios.is_empty() {
        let _ = writeln!(out, "  none: there is no scenario file in ./{FOLDER}");
    }
    let width =
        listing.scenarios.iter().map(|found| found.file.display().to_string().len()).max().unwrap_or(0);
    for found in &listing.scenarios {
        let file = found.file.display().to_string();
        match (&found.purpose, &found.error) {
            (_, Some(error)) => {
                let first = error.lines().next().unwrap_or_default();
                let _ = writeln!(out, "  {file:width$}  does not load: {first}");
            }
            (purpose, None) => {
                let _ = writeln!(out, "  {file:width$}  {}", purpose.as_deref().unwrap_or_default());
            }
        }
    }
    for (heading, all) in [("faults", &listing.faults), ("invariants", &listing.invariants)] {
        let _ = writeln!(out, "\n{heading}");
        for named in all {
            let _ = writeln!(out, "  {:18}  {}", named.name, named.text);
        }
    }
    out
}
