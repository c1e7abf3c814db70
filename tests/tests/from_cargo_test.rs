//! `process_roulette::sweep` as a user's own `cargo test` calls it, on the wrapper and the scenario
//! that the README shows.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use process_roulette::{sweep::SweepError, verdict::Verdict};
use process_roulette_tests::{program::roulette, readme};

/// Writes the README's wrapper and scenario into a folder, as a reader would.
fn as_the_readme_says(folder: &Path) -> std::path::PathBuf {
    let wrapper = folder.join("renew.sh");
    fs::write(&wrapper, readme::block("bash", "renew.sh")).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let scenario = folder.join("mine.toml");
    fs::write(&scenario, readme::block("toml", "mine")).unwrap();
    scenario
}

#[test]
fn a_scenario_that_holds_passes() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/reference.toml");
    let swept = process_roulette::sweep(reference)
        .program(roulette())
        .arguments(["--max-experiments", "4", "--jobs", "1"])
        .assert_held();
    assert_eq!(swept.verdict, Verdict::Held);
    assert!(swept.findings.is_empty());
    assert!(swept.report.contains("held: every promise was kept"), "{}", swept.report);
}

#[test]
fn the_wrapper_in_the_readme_breaks_the_promises_that_the_readme_says() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = as_the_readme_says(folder.path());
    let swept = match process_roulette::sweep(scenario).program(roulette()).arguments(["--jobs", "3"]).run() {
        Ok(swept) => swept,
        Err(SweepError::Machine { message, .. }) => {
            eprintln!(
                "SKIPPED the_wrapper_in_the_readme_breaks_the_promises_that_the_readme_says: {message}"
            );
            return;
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(swept.verdict, Verdict::Violated, "{}", swept.report);
    for invariant in ["pair-intact", "no-lost-reload", "honest-exit"] {
        let found = swept.findings.iter().find(|finding| finding.invariant == invariant);
        let found = found.unwrap_or_else(|| panic!("no finding about {invariant}:\n{}", swept.report));
        assert!(readme::text().contains(&found.id), "the README shows another id than {}", found.id);
    }
}

#[test]
fn a_broken_promise_fails_the_test_with_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = as_the_readme_says(folder.path());
    let sweep =
        process_roulette::sweep(&scenario).program(roulette()).arguments(["--fail-fast", "--jobs", "2"]);
    if let Err(SweepError::Machine { message, .. }) = sweep.clone().run() {
        eprintln!("SKIPPED a_broken_promise_fails_the_test_with_the_report: {message}");
        return;
    }
    let panic = std::panic::catch_unwind(|| sweep.assert_held()).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("1 finding") && message.contains("roulette replay mine."), "{message}");
}

#[test]
fn a_wrong_scenario_is_told_with_its_place_and_not_as_a_broken_promise() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("x.toml");
    fs::write(&scenario, "schema = 1\nnam = \"x\"\n").unwrap();
    let error = process_roulette::sweep(&scenario).program(roulette()).run().unwrap_err();
    let SweepError::NotSwept { message, .. } = &error else { panic!("{error}") };
    assert!(message.contains("x.toml:2") && message.contains("did you mean `name`?"), "{message}");
}
