//! Correct pipelines, written in different ways, keep every promise at every point: the harness
//! blames nobody who has done nothing wrong.

use std::collections::BTreeSet;

use process_roulette_tests::sweep::{folder, scenarios, sweep};

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

fn holds(file: &str) {
    let Some(sweep) = sweep(&folder("correct").join(file).with_extension("toml")) else { return };
    assert_eq!(sweep.complaints(), BTreeSet::new(), "{}", sweep.output);
    assert_eq!(sweep.inconclusive(), Vec::<String>::new(), "{}", sweep.output);
    assert_eq!(sweep.code, 0, "{}", sweep.output);
}
