//! Each flawed pipeline has one bug, and is caught by the one invariant that is there for it. No
//! other complains, but for consequences that are explained by it.

use std::collections::BTreeSet;

use process_roulette::fault::{self, Family};
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
    a_waiting_run_that_is_terminated_frees_anothers_lock: "term-frees-any-lock" breaks "one-at-a-time",
    a_lock_is_taken_away_where_many_wait_for_it: "steals-when-many-wait" breaks "one-at-a-time",
    a_recovery_that_is_killed_too_tears_the_pair: "promotes-one-by-one" breaks "pair-intact",
    waiting_for_what_nobody_does_never_ends: "waits-for-ever" breaks "ends",
    a_check_that_gets_short_of_memory_later_is_tried_for_ever: "check-until-it-works" breaks "ends",
    putting_things_back_takes_longer_than_a_stop_timeout: "slow-roll-back" breaks "no-partial-files",
    a_child_that_is_to_reload_goes_with_its_container: "reload-by-a-child" breaks "no-lost-reload",
    a_marker_in_run_is_lost_with_its_pod: "marker-in-run" breaks "no-lost-reload",
    a_pair_staged_in_run_is_lost_by_a_reboot_and_its_note_is_not: "staged-in-run" breaks "recovers",
    a_client_killed_for_its_memory_did_not_find_nothing_due: "killed-is-not-due" breaks "honest-exit",
    an_interpreter_that_was_refused_memory_has_not_answered: "no-memory-is-an-answer" breaks "honest-exit",
    tidying_up_at_the_exit_is_not_done_by_a_cgroup_that_is_killed: "tidies-at-exit" breaks "no-partial-files",
    a_kill_by_name_takes_the_lock_and_leaves_the_client: "lock-in-log-reader" breaks "no-orphans",
    a_client_under_nohup_goes_on_without_the_lock: "nohup-client" breaks "no-orphans",
    a_run_cancelled_at_the_terminal_is_no_success: "cancelled-is-success" breaks "honest-exit",
    a_lease_runs_out_while_its_holder_is_stopped: "lease" breaks "one-at-a-time",
    stamps_of_a_clock_that_was_stepped_back_lose_the_reload: "stamps-compared" breaks "no-lost-reload",
    a_clock_stepped_forward_makes_the_live_pair_old: "old-by-the-clock" breaks "no-partial-files",
    a_marker_that_could_not_be_made_loses_the_reload: "marker-unchecked" breaks "no-lost-reload",
    a_file_that_could_not_be_written_is_put_in_place: "write-unchecked" breaks "no-partial-files",
    what_one_write_did_not_take_is_left_out: "short-write" breaks "no-partial-files",
    a_sync_that_is_tried_until_it_succeeds_never_ends: "sync-until-done" breaks "ends",
    an_error_of_the_ca_is_put_in_place_as_certificate: "body-for-certificate" breaks "no-partial-files",
    a_request_with_the_nonce_that_was_refused_never_ends: "same-nonce-again" breaks "ends",
    a_network_that_fails_is_no_success: "network-trouble-is-success" breaks "honest-exit",
    an_order_in_processing_is_no_reason_for_ten_more: "orders-again" breaks "bounded-issuance",
    a_failed_validation_is_no_reason_for_ten_orders: "validates-again" breaks "bounded-issuance",
    a_refused_reload_that_is_noted_as_done_is_lost: "refused-reload-forgotten" breaks "no-lost-reload",
    a_helper_that_is_slept_for_may_need_longer: "sleeps-for-the-helper" breaks "honest-exit",
    a_reload_that_was_killed_for_its_time_is_lost: "timeout-is-success" breaks "no-lost-reload",
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
    a_check_without_the_memory_it_needs_is_tried_for_ever_in_the_replay_too: "until-it-works" breaks "ends",
    a_server_stopped_for_the_renewal_is_dark_in_the_replay_too: "stop-and-start" breaks "always-serving",
}

#[test]
fn every_flawed_pipeline_has_a_test() {
    let tested: BTreeSet<String> = SCENARIOS.iter().chain(REPLAYED).map(|&name| name.to_owned()).collect();
    assert_eq!(tested, scenarios(&folder("flawed")));
}

/// Faults that no flawed pipeline is there for yet. Those who send these signals have one each.
const WITHOUT_PIPELINE: &[&str] = &["sighup", "sigint"];

#[test]
fn every_fault_has_a_flawed_pipeline_that_names_it() {
    let named: BTreeSet<String> = SCENARIOS.iter().chain(REPLAYED).flat_map(|file| named_by(file)).collect();
    let without = fault::all().map(fault::Fault::name).filter(|name| !named.contains(*name));
    assert_eq!(without.collect::<BTreeSet<_>>(), BTreeSet::from_iter(WITHOUT_PIPELINE.iter().copied()));
}

/// The faults that a scenario names: by their own names, or by what stands for them.
fn named_by(file: &str) -> BTreeSet<String> {
    let path = folder("flawed").join(file).with_extension("toml");
    let text = std::fs::read_to_string(path).unwrap();
    let faults = text.split_once("[faults]").map_or("", |(_, faults)| faults);
    let names = |fault: &&dyn fault::Fault| match fault.name() {
        "second-run" => faults.contains("collide ="),
        "runs-at-once" => faults.contains("at_once ="),
        "pause" => faults.contains("pause ="),
        name => faults.contains(&format!("\"{name}\"")),
    };
    fault::all().filter(names).map(|fault| fault.name().to_owned()).collect()
}

/// This invariant complains, and nothing else does; and of the disk, the CA and the neighbours it does
/// after each fault that the scenario names. (Of kills, one signal or scope does where another does not.)
fn caught(file: &str, invariant: &str) -> Option<Sweep> {
    let sweep = sweep(&folder("flawed").join(file).with_extension("toml"))?;
    if sweep.lacks_groups() {
        return None;
    }
    assert_eq!(sweep.complaints(), BTreeSet::from([invariant.to_owned()]), "{}", sweep.output);
    assert_eq!(sweep.inconclusive(), Vec::<String>::new(), "{}", sweep.output);
    let findings = sweep.findings();
    assert!(!findings.is_empty(), "{}", sweep.output);
    assert!(findings.iter().all(|(broken, _)| broken == invariant), "{findings:?}: {}", sweep.output);
    assert_eq!(sweep.code, 1, "{}", sweep.output);
    let one_by_one = [Family::Disk, Family::Ca, Family::Neighbour].map(fault::names).concat();
    let named = named_by(file).into_iter().filter(|name| one_by_one.contains(&name.as_str()));
    let in_vain: Vec<String> = named.filter(|name| !sweep.exposing().contains(name)).collect();
    assert_eq!(in_vain, Vec::<String>::new(), "{}", sweep.output);
    Some(sweep)
}
