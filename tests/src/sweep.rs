//! Sweeps of scenarios with the real command, as a user makes them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::program::roulette;

/// A sweep that was made.
pub struct Sweep {
    /// The command's exit code.
    pub code: i32,
    /// The JSON report.
    pub report: Value,
    /// What it printed, to be shown when a test fails.
    pub output: String,
    /// Where it keeps its runs.
    state: TempDir,
}

/// A folder of shipped scenarios.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(name)
}

/// The names of the scenarios in a folder.
pub fn scenarios(folder: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let scenarios = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    scenarios.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// One sweep at a time: each has several worlds at work already.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sweeps a scenario. `None`, said loudly, where this machine lacks something for it.
pub fn sweep(scenario: &Path) -> Option<Sweep> {
    make(scenario, &["run"])
}

/// The same with further options of `roulette run`.
pub fn sweep_with(scenario: &Path, options: &[&str]) -> Option<Sweep> {
    make(scenario, &[&["run"], options].concat())
}

/// The same with a command and options of one's own: `["spin", "--count", "10"]`.
pub fn make(scenario: &Path, command: &[&str]) -> Option<Sweep> {
    let _turn = turn();
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("report.json");
    let output = Command::new(roulette())
        .args(command)
        .arg(scenario)
        .arg("--report")
        .arg(format!("json={}", file.display()))
        .env("XDG_STATE_HOME", state.path())
        .output()
        .unwrap();
    let code = output.status.code().unwrap();
    let printed =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if code == 4 {
        eprintln!("SKIPPED the sweep of {}: {printed}", scenario.display());
        return None;
    }
    let report = std::fs::read(&file).unwrap_or_else(|error| panic!("no report ({error}): {printed}"));
    let report = serde_json::from_slice(&report).unwrap_or_else(|error| panic!("{error}: {printed}"));
    Some(Sweep { code, report, output: printed, state })
}

impl Sweep {
    /// Whether this machine has no memory cgroup for the faults that take one, which is said loudly.
    pub fn lacks_groups(&self) -> bool {
        let mut skipped = list(&self.report["skipped"]);
        let lacks = skipped.any(|skipped| text(&skipped["why"]).starts_with("no memory cgroup can be made"));
        if lacks {
            eprintln!("SKIPPED: memory faults that take a control group");
        }
        lacks
    }

    /// Experiments that could not be judged, with the reason.
    pub fn inconclusive(&self) -> Vec<String> {
        let undecided = self.experiments().filter(|experiment| experiment["verdict"] == "inconclusive");
        undecided.map(ToString::to_string).collect()
    }

    /// Every invariant that complained where nothing else explains it.
    pub fn complaints(&self) -> BTreeSet<String> {
        let violations = self.experiments().flat_map(|experiment| list(&experiment["violations"]));
        let own = violations.filter(|violation| violation["explained_by"].is_null());
        own.map(|violation| text(&violation["invariant"])).collect()
    }

    /// Every fault that some invariant complained after.
    pub fn exposing(&self) -> BTreeSet<String> {
        let violated = self.experiments().filter(|experiment| experiment["verdict"] == "violated");
        violated
            .flat_map(|experiment| list(&experiment["faults"]))
            .map(|fault| text(&fault["fault"]))
            .collect()
    }

    /// The invariant and the replay line of every finding.
    pub fn findings(&self) -> Vec<(String, String)> {
        let findings = list(&self.report["findings"]);
        findings.map(|finding| (text(&finding["invariant"]), text(&finding["replay"]))).collect()
    }

    /// Does what a replay line says; its exit code and output.
    pub fn replay(&self, line: &str) -> (i32, String) {
        let _turn = turn();
        let arguments = line.strip_prefix("roulette ").expect("a replay line can be typed");
        let output = Command::new(roulette())
            .args(arguments.split(' '))
            .env("XDG_STATE_HOME", self.state.path())
            .output()
            .unwrap();
        let printed =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), printed)
    }

    /// The experiments with a fault: their ids, in the report's order.
    pub fn ids(&self) -> Vec<String> {
        let faulted = self.experiments().filter(|experiment| list(&experiment["faults"]).next().is_some());
        faulted.map(|experiment| text(&experiment["id"])).collect()
    }

    /// Every experiment, as the report has it.
    pub fn experiments(&self) -> impl Iterator<Item = &Value> {
        list(&self.report["experiments"])
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("a list in the report").iter()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text in the report").to_owned()
}
