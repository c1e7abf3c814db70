//! The wheel: seeded draws, kills at random times, and what is found kept for the next time.

use std::{collections::BTreeSet, path::PathBuf};

use process_roulette_tests::sweep::{folder, make};
use tempfile::TempDir;

/// Copies of the shipped scenarios: what is found is saved beside them.
fn copies() -> TempDir {
    let copies = tempfile::tempdir().unwrap();
    for name in ["correct", "flawed"] {
        let to = copies.path().join(name);
        std::fs::create_dir(&to).unwrap();
        for entry in std::fs::read_dir(folder(name)).unwrap().flatten() {
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
    copies
}

fn flawed(copies: &TempDir, name: &str) -> PathBuf {
    copies.path().join("flawed").join(name).with_extension("toml")
}

#[test]
fn the_same_seed_gives_the_same_experiments_whatever_the_number_of_workers() {
    let copies = copies();
    let scenario = copies.path().join("correct/combined.toml");
    let spin = |jobs: &str| {
        // Of families in which chance has no part: whether a lowered memory limit kills, say, differs.
        let faults = "kill,senders,collide,disk,clock";
        let command =
            ["spin", "--seed", "3", "--count", "8", "--when", "points", "--faults", faults, "--jobs", jobs];
        make(&scenario, &command)
    };
    let (Some(one), Some(three)) = (spin("1"), spin("3")) else { return };
    let set = |ids: Vec<String>| ids.into_iter().collect::<BTreeSet<String>>();
    assert!(!one.ids().is_empty(), "{}", one.output);
    assert_eq!(set(one.ids()), set(three.ids()), "{}", three.output);
    assert_eq!((one.code, three.code), (0, 0), "{} {}", one.output, three.output);
}

#[test]
fn kills_at_random_times_are_delivered_and_blame_no_correct_pipeline() {
    let copies = copies();
    let scenario = copies.path().join("correct/blocks.toml");
    let command = ["spin", "--seed", "1", "--count", "12", "--when", "times", "--faults", "kill"];
    let Some(spin) = make(&scenario, &command) else { return };
    assert!(!spin.ids().is_empty(), "{}", spin.output);
    assert_eq!(spin.inconclusive(), Vec::<String>::new(), "{}", spin.output);
    assert_eq!(spin.code, 0, "{}", spin.output);
}

#[test]
fn what_a_spin_finds_is_shrunk_saved_and_tried_first_the_next_time() {
    let copies = copies();
    let saved = copies.path().join("flawed/regressions/no-lock.toml");
    let scenario = flawed(&copies, "no-lock");
    let command = ["spin", "--seed", "2", "--count", "6", "--when", "points", "--faults", "collide,ca"];
    let Some(spin) = make(&scenario, &command) else { return };
    assert_eq!(spin.code, 1, "{}", spin.output);
    let text = std::fs::read_to_string(&saved).unwrap_or_else(|error| panic!("{error}: {}", spin.output));
    assert!(text.contains("one-at-a-time"), "{text}");

    let command = ["run", "--faults", "collide", "--max-experiments", "1", "--jobs", "1"];
    let Some(run) = make(&scenario, &command) else { return };
    assert_eq!(run.code, 1, "{}", run.output);
    assert!(run.output.contains("regressions/no-lock.toml first"), "{}", run.output);
    assert_eq!(run.complaints(), BTreeSet::from(["one-at-a-time".to_owned()]), "{}", run.output);
}
