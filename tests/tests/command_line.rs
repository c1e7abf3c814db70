//! The `roulette` command as people and scripts meet it: help, errors, exit codes. Nothing here
//! starts a world.

use std::{
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
};

use assert_cmd::assert::OutputAssertExt as _;
use process_roulette::event::Event;
use process_roulette_tests::program::roulette;

const SCENARIO: &str = r#"schema = 1
name = "small"
purpose = "as little as there can be"
[subject]
command = ["renew"]
[[artifact]]
domains = ["example.com"]
certificate = "{root}/etc/tls/cert.pem"
key = "{root}/etc/tls/key.pem"
"#;

/// The command in an empty folder of its own, with its stored runs in there too.
fn command(folder: &Path) -> Command {
    let mut command = Command::new(roulette());
    command.current_dir(folder).env("XDG_STATE_HOME", folder.join("state")).env_remove("ROULETTE_PEBBLE");
    command
}

/// Runs it, and gives exit code, standard output and standard error.
fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = command(folder).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_command_has_a_help_with_examples() {
    let folder = tempfile::tempdir().unwrap();
    let (code, help, _) = run(folder.path(), &["--help"]);
    assert_eq!(code, 0);
    for line in ["0    every promise was kept", "1    a promise was broken", "130  ended by Ctrl-C"] {
        assert!(help.contains(line), "{help}");
    }
    for command in ["run", "spin", "census", "replay", "list", "check", "report", "completions", "schema"] {
        assert!(help.contains(&format!("  {command} ")), "{help}");
        let (code, help, _) = run(folder.path(), &[command, "--help"]);
        assert_eq!(code, 0, "{command}");
        assert!(help.contains(&format!("Examples:\n  roulette {command}")), "{help}");
    }
}

#[test]
fn what_is_not_understood_is_exit_2_with_what_was_probably_meant() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.toml"), SCENARIO).unwrap();
    for (arguments, expected) in [
        (&["runn"][..], "a similar subcommand exists: 'run'"),
        (&["run"], "<SCENARIO>..."),
        (&["run", "x.toml", "--shard", "3/2"], "write I/N with I from 1 to N"),
        (&["run", "x.toml", "--faults", "kil"], "a similar value exists: 'kill'"),
        (&["run", "x.toml", "--allow-inconclusive", "end"], "did you mean `ends`?"),
        (&["run", "x.toml", "--report", "jsn=x"], "did you mean `json`?"),
        (&["run", "x.toml", "--report", "json"], "is not FORMAT=PATH"),
        (&["run", "x.toml", "--jobs", "0"], "0 is not in 1..="),
        (&["run", "x.toml", "--world", "privat"], "a similar value exists: 'private'"),
        (&["run", "."], ". is a folder: name the scenario files in it"),
        (&["run", "none.toml"], "none.toml: failed to read the scenario file: No such file"),
        (&["spin", "x.toml"], "--for <TIME>"),
        (&["spin", "x.toml", "--for", "60"], "is not a duration"),
        (&["replay", "small.123456"], "no stored run has a finding or an experiment `small.123456`"),
        (&["replay", "x.toml"], "say which of its experiments with --experiment ID"),
        (&["replay", "y.toml", "--experiment", "1"], "there is no scenario file y.toml"),
        (&["report"], "there is no stored run in"),
        (&["completions", "csh"], "invalid value 'csh'"),
    ] {
        let (code, stdout, stderr) = run(folder.path(), arguments);
        assert_eq!(code, 2, "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
        assert_eq!(stdout, "", "{arguments:?}");
    }
}

#[test]
fn a_wrong_scenario_file_is_told_with_file_line_key_and_the_nearest_known_one() {
    let folder = tempfile::tempdir().unwrap();
    let wrong =
        SCENARIO.replace("command =", "comand =").replace("[[artifact]]", "deadlin = \"60s\"\n[[artifact]]");
    std::fs::write(folder.path().join("wrong.toml"), wrong).unwrap();
    let (code, _, stderr) = run(folder.path(), &["run", "wrong.toml"]);
    assert_eq!(code, 2);
    assert_eq!(run(folder.path(), &["census", "wrong.toml"]), (2, String::new(), stderr.clone()));
    insta::assert_snapshot!(stderr, @r#"
    roulette: wrong.toml:4:1: `command` is missing in [subject]
      |
    4 | [subject]
      | ^^^^^^^^^ it is: The production command, exactly as the scheduler starts it: program and arguments.

    wrong.toml:5:1: unknown key `comand` in [subject]
      |
    5 | comand = ["renew"]
      | ^^^^^^ did you mean `command`?

    wrong.toml:6:1: unknown key `deadlin` in [subject]
      |
    6 | deadlin = "60s"
      | ^^^^^^^ did you mean `deadline`?
    "#);
}

#[test]
fn every_wrong_file_is_told_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good.toml"), SCENARIO).unwrap();
    std::fs::write(folder.path().join("bad.toml"), "schema = 9\n").unwrap();
    let (code, _, stderr) = run(folder.path(), &["run", "good.toml", "bad.toml", "worse.toml"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("bad.toml:1:10: schema 9 is not known"), "{stderr}");
    assert!(stderr.contains("worse.toml: failed to read"), "{stderr}");
    assert!(!folder.path().join("state").exists());
}

#[test]
fn a_missing_program_is_exit_4_with_how_to_install_it_and_the_reports_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let needs = SCENARIO.replace("[[artifact]]", "needs = [\"no-such-program\"]\n[[artifact]]");
    std::fs::write(folder.path().join("x.toml"), needs).unwrap();
    let (code, _, stderr) =
        run(folder.path(), &["run", "x.toml", "--report", "junit=r.xml", "--report", "json=r.json"]);
    assert_eq!(code, 4, "{stderr}");
    assert!(
        stderr.contains("`no-such-program` is not installed: apt-get install no-such-program"),
        "{stderr}"
    );
    let junit = std::fs::read_to_string(folder.path().join("r.xml")).unwrap();
    assert!(junit.contains("errors=\"1\"") && junit.contains("no-such-program"), "{junit}");
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("r.json")).unwrap()).unwrap();
    assert_eq!(json["verdict"], "inconclusive");
    assert_eq!(json["scenario"], "small");
}

#[test]
fn absolute_paths_in_a_bare_world_are_exit_4_and_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.toml"), SCENARIO.replace("{root}", "")).unwrap();
    let (code, _, stderr) = run(folder.path(), &["run", "x.toml", "--world", "bare"]);
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.contains("/etc/tls/key.pem (artifact.key)"), "{stderr}");
}

#[test]
fn a_report_that_cannot_be_written_fails_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.toml"), SCENARIO).unwrap();
    let (code, _, stderr) = run(folder.path(), &["run", "x.toml", "--report", "json=missing/r.json"]);
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.contains("failed to create the report missing/r.json"), "{stderr}");
    assert!(!folder.path().join("state").exists());
}

#[test]
fn the_list_names_scenarios_faults_and_invariants_with_their_promise() {
    let folder = tempfile::tempdir().unwrap();
    let scenarios = folder.path().join("scenarios/flawed");
    std::fs::create_dir_all(&scenarios).unwrap();
    std::fs::write(scenarios.join("small.toml"), SCENARIO).unwrap();
    std::fs::write(scenarios.join("bad.toml"), "schema = 1\n[subject]\ncomand = 1\n").unwrap();
    std::fs::write(scenarios.join("guard.toml"), "[server]\nport = 1\n").unwrap();
    let (code, text, _) = run(folder.path(), &["list"]);
    assert_eq!(code, 0);
    for line in [
        "  scenarios/flawed/small.toml  as little as there can be\n",
        "  scenarios/flawed/bad.toml    does not load: ",
        "  kill ",
        "  pair-intact ",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("guard.toml"), "{text}");
    let (_, text, _) = run(folder.path(), &["list", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["scenarios"][1]["name"], "small");
    let invariants = json["invariants"].as_array().unwrap();
    assert_eq!(invariants.len(), process_roulette::scenario::INVARIANTS.len());
    assert!(
        invariants.iter().all(|invariant| !invariant["description"].as_str().unwrap().is_empty()),
        "{text}"
    );
}

#[test]
fn completions_and_the_schema_are_printed_whole() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (code, text, _) = run(folder.path(), &["completions", shell]);
        assert_eq!(code, 0);
        assert!(text.contains("allow-inconclusive"), "{shell}");
    }
    let (code, text, _) = run(folder.path(), &["schema"]);
    assert_eq!(code, 0);
    assert_eq!(text, process_roulette::scenario::schema_text());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command(folder.path())
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_stored_run_is_reported_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let stored = folder.path().join("state/process-roulette/runs/small-20260102T030405Z-00ff");
    std::fs::create_dir_all(&stored).unwrap();
    let events = [
        Event::Started {
            schema: 1,
            scenario: "small".to_owned(),
            purpose: "as little as there can be".to_owned(),
            file: "x.toml".to_owned(),
            seed: 7,
            world: process_roulette::event::WorldKind::Bare,
            jobs: 2,
            version: "process-roulette 0".to_owned(),
        },
        Event::Failed { message: "the clean run failed".to_owned() },
    ];
    let lines: Vec<String> =
        events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect();
    std::fs::write(stored.join("events.jsonl"), lines.concat() + "{\"event\":\"no").unwrap();
    for (format, expected) in [
        ("terminal", "cut short: the clean run failed"),
        ("json", "\"interrupted\": \"the clean run failed\""),
        ("junit", "<error message=\"the clean run failed\""),
        ("html", "Cut short: the clean run failed"),
    ] {
        let (code, text, stderr) = run(folder.path(), &["report", "small", "--format", format]);
        assert_eq!(code, 0, "{stderr}");
        assert!(text.contains(expected), "{format}: {text}");
    }
    command(folder.path())
        .args(["report", "--format", "html", "--output", "r.html"])
        .assert()
        .success()
        .stdout("");
    assert!(std::fs::read_to_string(folder.path().join("r.html")).unwrap().contains("is torn"));
}
