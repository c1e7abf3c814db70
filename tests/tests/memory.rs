//! Memory limits: a correct pipeline survives the kernel's OOM killer, each kill is told, and no
//! control group is left behind.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use process_roulette_tests::{
    program::roulette,
    sweep::{folder, sweep_with},
};

#[test]
fn a_correct_pipeline_survives_a_real_oom_kill_wherever_it_comes() {
    let blocks = folder("correct").join("blocks.toml");
    let Some(sweep) = sweep_with(&blocks, &["--faults", "memory"]) else { return };
    assert_eq!(sweep.code, 0, "{}", sweep.output);
    if sweep.lacks_groups() {
        return;
    }
    let mut limited = 0;
    for experiment in sweep.experiments().filter(|e| e["faults"][0]["fault"].is_string()) {
        let memory = &experiment["memory"];
        let kills = memory["kills"].as_array().unwrap_or_else(|| panic!("no kills: {experiment}"));
        assert!(!kills.is_empty() && memory["limit"].is_u64(), "{experiment}");
        assert!(kills.iter().all(|kill| kill["process"].is_string()), "{experiment}");
        limited += u32::from(experiment["faults"][0]["fault"] == "memory-limit");
    }
    assert!(limited > 1, "{}", sweep.output);
}

/// The correct pipeline with a table of memory faults of its own, beside the files it is made of.
fn blocks_with(memory: &str) -> (tempfile::TempDir, PathBuf) {
    let copy = tempfile::tempdir().unwrap();
    for name in ["blocks.sh", "lib.sh"] {
        fs::copy(folder("correct").join(name), copy.path().join(name)).unwrap();
    }
    let text = fs::read_to_string(folder("correct").join("blocks.toml")).unwrap();
    let scenario = copy.path().join("blocks.toml");
    fs::write(&scenario, text.replace("[faults]", &format!("[faults]\nmemory = {memory}"))).unwrap();
    (copy, scenario)
}

#[test]
fn a_correct_pipeline_survives_that_all_of_its_group_is_killed() {
    let (_copy, scenario) = blocks_with(r#"{ faults = ["memory-limit"], limits = 2, kills = ["group"] }"#);
    let Some(sweep) = sweep_with(&scenario, &["--faults", "memory"]) else { return };
    assert_eq!(sweep.code, 0, "{}", sweep.output);
    if sweep.lacks_groups() {
        return;
    }
    // The leader is as dead as whomever the kernel chose: it comes to no further effect.
    let mut limited = 0;
    for experiment in sweep.experiments().filter(|experiment| experiment["memory"].is_object()) {
        let kills =
            experiment["memory"]["kills"].as_array().unwrap_or_else(|| panic!("no kills: {experiment}"));
        assert!(kills.iter().all(|kill| kill["before"].is_null()), "{experiment}");
        limited += 1;
    }
    assert_eq!(limited, 2, "{}", sweep.output);
}

#[test]
fn a_correct_pipeline_survives_that_its_processes_are_refused_memory() {
    let (_copy, scenario) = blocks_with(r#"{ faults = ["address-space"], limits = 4 }"#);
    let Some(sweep) = sweep_with(&scenario, &["--faults", "memory"]) else { return };
    assert_eq!(sweep.code, 0, "{}", sweep.output);
    let refused = sweep.experiments().filter(|experiment| experiment["memory"]["refusals"].is_array());
    assert!(refused.count() > 1, "{}", sweep.output);
}

#[test]
fn no_control_group_is_left_of_a_harness_that_is_killed() {
    let state = tempfile::tempdir().unwrap();
    let mut harness = Command::new(roulette())
        .args(["run", "--faults", "memory", "--jobs", "1"])
        .arg(folder("correct").join("blocks.toml"))
        .env("XDG_STATE_HOME", state.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut groups = None;
    wait_until("a group with somebody in it", || {
        groups = groups_of(&harness);
        groups.as_deref().is_some_and(inhabited) || has_ended(&mut harness)
    });
    let Some(groups) = groups.filter(|groups| inhabited(groups)) else {
        eprintln!("SKIPPED: no memory cgroup or no world here");
        return;
    };
    harness.kill().unwrap();
    harness.wait().unwrap();
    wait_until("an end of the groups", || !groups.exists());
}

/// Where the harness makes its control groups: its janitor, a child of its, is told.
fn groups_of(harness: &Child) -> Option<PathBuf> {
    let parent = format!("PPid:\t{}", harness.id());
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let [_, helper, of, folder, ..] = words.as_slice() else { continue };
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        if helper == "__janitor" && of == "cgroup" && status.lines().any(|line| line == parent) {
            return Some(PathBuf::from(folder.as_ref()));
        }
    }
    None
}

/// Whether there is a process in one of the groups.
fn inhabited(groups: &Path) -> bool {
    let groups = fs::read_dir(groups).into_iter().flatten().flatten();
    groups
        .filter_map(|group| fs::read_to_string(group.path().join("cgroup.procs")).ok())
        .any(|processes| !processes.trim().is_empty())
}

fn has_ended(child: &mut Child) -> bool {
    child.try_wait().is_ok_and(|status| status.is_some())
}

/// Longer than any machine takes to fetch a Pebble and build a world.
const PATIENCE: Duration = Duration::from_secs(120);

fn wait_until(what: &str, mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::yield_now();
    }
}
