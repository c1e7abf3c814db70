//! Correct pipelines, written in different ways, keep every promise at every point: the harness
//! blames nobody who has done nothing wrong.

use std::collections::BTreeSet;

use process_roulette_tests::sweep::{folder, scenarios, sweep_with};

/// One test for each scenario: its name as a sentence, and the file.
macro_rules! correct {
    ($($sentence:ident: $file:literal,)*) => {
        const SCENARIOS: &[&str] = &[$($file),*];
        $(#[test]
        fn $sentence() {
            holds($file);
        })*
    };
}

correct! {
    building_blocks_in_bash_keep_every_promise: "blocks",
    an_acme_client_by_hand_keeps_every_promise_whatever_the_ca_does: "curl",
    key_and_chain_in_one_file_keep_every_promise: "combined",
    a_script_under_flock_from_outside_keeps_every_promise: "flock-outside",
    a_guard_with_a_listener_of_its_own_keeps_every_promise: "listener",
    two_slots_in_posix_sh_keep_every_promise: "posix",
    a_python_script_keeps_every_promise: "python",
    obtaining_and_promoting_in_two_stages_keeps_every_promise: "two-stages",
}

#[test]
fn every_correct_pipeline_has_a_test() {
    let tested: BTreeSet<String> = SCENARIOS.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(tested, scenarios(&folder("correct")));
}

/// Families beyond the default that the building blocks keep every promise under.
macro_rules! families {
    ($($sentence:ident: $family:literal,)*) => {
        $(#[test]
        fn $sentence() {
            holds_under("blocks", &["--faults", $family]);
        })*
    };
}

families! {
    every_promise_is_kept_whoever_sends_the_signals: "senders",
    every_promise_is_kept_while_stopped: "pause",
    every_promise_is_kept_whatever_the_disk_does: "disk",
    every_promise_is_kept_whatever_the_ca_does: "ca",
    every_promise_is_kept_whatever_the_neighbours_do: "neighbour",
    every_promise_is_kept_when_the_clock_is_stepped: "clock",
}

fn holds(file: &str) {
    holds_under(file, &[]);
}

fn holds_under(file: &str, options: &[&str]) {
    let Some(sweep) = sweep_with(&folder("correct").join(file).with_extension("toml"), options) else {
        return;
    };
    assert_eq!(sweep.complaints(), BTreeSet::new(), "{}", sweep.output);
    assert_eq!(sweep.inconclusive(), Vec::<String>::new(), "{}", sweep.output);
    assert_eq!(sweep.code, 0, "{}", sweep.output);
}
