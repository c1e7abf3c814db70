//! Each flawed pipeline has one bug, and is caught by the one invariant that is there for it. No
//! other complains, but for consequences that are explained by it.

use std::collections::BTreeSet;

use process_roulette_tests::sweep::{Sweep, folder, scenarios, sweep};

/// One test for each scenario: what is wrong with it as a sentence, the file, and the invariant.
macro_rules! flawed {
    ($($sentence:ident: $file:literal breaks $invariant:literal,)*) => {
        const SCENARIOS: &[&str] = &[$($file),*];
        $(#[test]
        fn $sentence() {
            caught($file, $invariant);
        })*
    };
}

flawed! {
    a_pid_file_as_lock_stays_behind: "pid-file-lock" breaks "lock-released",
    a_daemon_that_inherits_the_lock_keeps_it: "daemon-inherits-lock" breaks "lock-released",
    a_file_written_in_place_is_partial_for_a_moment: "in-place-write" breaks "no-partial-files",
    two_symlinks_swapped_one_by_one_tear_the_pair: "two-symlinks" breaks "pair-intact",
    unlink_then_symlink_leaves_nothing_for_a_moment: "unlink-then-symlink" breaks "no-partial-files",
    temporary_files_of_killed_runs_stay: "litter" breaks "no-partial-files",
    a_reload_in_every_run_is_one_too_many: "reload-every-run" breaks "at-most-one-reload",
    a_reload_before_the_install_is_lost: "reload-before-install" breaks "no-lost-reload",
    a_fingerprint_recorded_before_the_reload_loses_it: "fingerprint-before-reload" breaks "no-lost-reload",
    a_marker_removed_before_the_reload_loses_it: "marker-removed-early" breaks "no-lost-reload",
    a_trap_without_exit_goes_on_without_the_lock: "trap-without-exit" breaks "no-orphans",
    a_key_is_readable_until_chmod: "key-readable" breaks "key-private",
    a_background_child_is_left: "child-left" breaks "no-orphans",
    a_forced_renewal_asks_the_ca_in_every_run: "forced" breaks "bounded-issuance",
    a_note_written_before_the_work_keeps_it_from_being_done: "note-before-work" breaks "recovers",
    two_runs_without_a_lock_are_at_work_together: "no-lock" breaks "one-at-a-time",
    a_trap_that_frees_anothers_lock_lets_it_go_on_without: "trap-frees-foreign-lock" breaks "one-at-a-time",
    a_lock_file_that_is_unlinked_keeps_nobody_out: "lock-file-unlinked" breaks "one-at-a-time",
    a_check_before_the_lock_renews_twice: "check-before-lock" breaks "one-at-a-time",
    waiting_for_what_nobody_does_never_ends: "waits-for-ever" breaks "ends",
}

/// Those whose replay is tried too: one for each way in which a breach shows.
macro_rules! replayed {
    ($($sentence:ident: $file:literal breaks $invariant:literal,)*) => {
        const REPLAYED: &[&str] = &[$($file),*];
        $(#[test]
        fn $sentence() {
            let Some(sweep) = caught($file, $invariant) else { return };
            for (_, line) in sweep.findings() {
                let (code, output) = sweep.replay(&line);
                assert_eq!(code, 1, "{line}: {output}");
                assert!(output.contains($invariant), "{line}: {output}");
            }
        })*
    };
}

replayed! {
    a_directory_as_lock_stays_behind_in_the_replay_too: "mkdir-lock" breaks "lock-released",
    files_moved_one_by_one_tear_the_pair_in_the_replay_too: "one-by-one" breaks "pair-intact",
    a_reload_by_the_renewing_run_alone_is_lost_in_the_replay_too: "reload-if-renewed" breaks "no-lost-reload",
    exit_0_on_term_is_dishonest_in_the_replay_too: "exit-0-on-term" breaks "honest-exit",
    a_server_stopped_for_the_renewal_is_dark_in_the_replay_too: "stop-and-start" breaks "always-serving",
}

#[test]
fn every_flawed_pipeline_has_a_test() {
    let tested: BTreeSet<String> = SCENARIOS.iter().chain(REPLAYED).map(|&name| name.to_owned()).collect();
    assert_eq!(tested, scenarios(&folder("flawed")));
}

/// This invariant complains, and nothing else does.
fn caught(file: &str, invariant: &str) -> Option<Sweep> {
    let sweep = sweep(&folder("flawed").join(file).with_extension("toml"))?;
    assert_eq!(sweep.complaints(), BTreeSet::from([invariant.to_owned()]), "{}", sweep.output);
    assert_eq!(sweep.inconclusive(), Vec::<String>::new(), "{}", sweep.output);
    let findings = sweep.findings();
    assert!(!findings.is_empty(), "{}", sweep.output);
    assert!(findings.iter().all(|(broken, _)| broken == invariant), "{findings:?}: {}", sweep.output);
    assert_eq!(sweep.code, 1, "{}", sweep.output);
    Some(sweep)
}
