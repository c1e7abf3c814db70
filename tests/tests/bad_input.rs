//! Bad input: each kind gives one clear message and its exit code, and never a panic.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use process_roulette_tests::home::{Home, Ran, Who};

/// A scenario whose subject is a shell script, in a world of whichever kind there is.
fn scenario(home: &Home, name: &str, prepare: &str, renew: &str, more: &str) -> String {
    let text = format!(
        "schema = 1\nname = \"{name}\"\npurpose = \"bad input\"\n\
         [subject]\ncommand = [\"sh\", \"-c\", '''{renew}''']\nprepare = [[\"sh\", \"-c\", '''{prepare}''']]\n\
         state = [\"{{root}}/var/lib/guard\", \"{{root}}/var/www\"]\n{more}\n\
         [subject.templates]\n\"{{root}}/etc/guard/guard.toml\" = \"reference/guard.toml\"\n\
         [[artifact]]\ndomains = [\"example.com\", \"www.example.com\"]\n\
         certificate = \"{{root}}/var/lib/guard/current/fullchain.pem\"\n\
         key = \"{{root}}/var/lib/guard/current/privkey.pem\"\n\
         [server]\nwebroots = [\"{{root}}/var/www\"]\npid_file = \"{{root}}/run/nginx.pid\"\n\
         [faults]\nkill = {{ signals = [\"sigkill\"], scopes = [\"tree\"] }}\n"
    );
    let file = format!("scenarios/{name}.toml");
    fs::write(home.at(&file), text).unwrap();
    file
}

/// What renews as it should.
const GUARD: &str = "exec guard run --config {root}/etc/guard/guard.toml";

fn run(home: &Home, file: &str) -> Ran {
    run_with(home, file, &[])
}

fn run_with(home: &Home, file: &str, more: &[&str]) -> Ran {
    let ran = home.run(&[&["run", file, "--jobs", "1", "--max-experiments", "2"], more].concat());
    assert!(!ran.stderr.contains("a bug of Process Roulette"), "{ran:?}");
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    ran
}

/// Fails with this exit code and all of these words.
#[track_caller]
fn fails(ran: &Ran, code: i32, words: &[&str]) {
    for word in words {
        assert!(ran.stderr.contains(word), "`{word}` is not in: {ran:?}");
    }
    assert_eq!(ran.code, Some(code), "{ran:?}");
    let messages = ran.stderr.lines().filter(|line| line.starts_with("roulette: ")).count();
    assert_eq!(messages, 1, "one message: {ran:?}");
}

#[test]
fn a_subject_whose_clean_run_is_not_what_it_should_be_is_told_with_its_own_output() {
    let Some(home) = Home::new(Who::Caller) else { return };
    for (name, prepare, renew, more, words) in [
        ("never-asks", GUARD, "echo not today", "", &["never asked the CA", "not today"][..]),
        ("fails", GUARD, "echo no luck; exit 7", "", &["ended with exit 7", "no luck"]),
        (
            "prepare-fails",
            "echo bad start >&2; exit 9",
            GUARD,
            "",
            &["`subject.prepare`", "exit 9", "bad start"],
        ),
        ("no-certificate", "true", GUARD, "", &["fullchain.pem"]),
        (
            "garbage",
            "mkdir -p {root}/var/lib/guard/current; cd {root}/var/lib/guard/current; echo x > fullchain.pem; echo y > privkey.pem",
            GUARD,
            "",
            &["fullchain.pem"],
        ),
        (
            "folder",
            "mkdir -p {root}/var/lib/guard/current/fullchain.pem {root}/var/lib/guard/current/privkey.pem",
            GUARD,
            "",
            &["fullchain.pem"],
        ),
        (
            "never-ends",
            GUARD,
            "echo waiting; sleep 1000",
            "deadline = \"1s\"",
            &["did not end within its deadline of 1s", "sleep 1000", "waiting"],
        ),
        ("killed", GUARD, "echo bye; kill -9 $$", "", &["ended with", "bye"]),
    ] {
        let file = scenario(&home, name, prepare, renew, more);
        let ran = run(&home, &file);
        fails(&ran, 3, words);
        assert!(!ran.stderr.contains("plan:"), "{name}: nothing else runs: {}", ran.stderr);
    }
}

#[test]
fn a_command_that_cannot_be_started_is_told_with_the_reason() {
    let Some(home) = Home::new(Who::Caller) else { return };
    fs::write(home.at("scenarios/plain.txt"), "exit 0\n").unwrap();
    let text = fs::read_to_string(home.at("scenarios/reference.toml")).unwrap();
    let command = "command = [\"guard\", \"run\", \"--config\", \"{root}/etc/guard/guard.toml\"]";
    assert!(text.contains(command));
    for (name, program, files, mode, words) in [
        ("missing", "no-such-command", "", 0o644, &["no-such-command", "No such file"][..]),
        ("not-executable", "{root}/opt/plain", "plain.txt", 0o644, &["/opt/plain", "Permission denied"]),
        ("no-shebang", "{root}/opt/plain", "plain.txt", 0o755, &["/opt/plain", "Exec format error"]),
    ] {
        fs::set_permissions(home.at("scenarios/plain.txt"), fs::Permissions::from_mode(mode)).unwrap();
        let mut text = text.replace(command, &format!("command = [\"{program}\"]"));
        if !files.is_empty() {
            text = text.replace(
                "[[artifact]]",
                &format!("[subject.files]\n\"{{root}}/opt/plain\" = \"{files}\"\n\n[[artifact]]"),
            );
        }
        fs::write(home.at(&format!("scenarios/{name}.toml")), text).unwrap();
        let ran = run(&home, &format!("scenarios/{name}.toml"));
        fails(&ran, 4, words);
    }
}

#[test]
fn a_loud_closed_or_crowded_subject_is_judged_like_any_other() {
    let Some(home) = Home::new(Who::Caller) else { return };
    let guard = GUARD.trim_start_matches("exec ");
    for (name, renew) in [
        ("closes-stdout", format!("exec >&- 2>&-; {guard}")),
        ("prints-100-megabytes", format!("head -c 100000000 /dev/zero; {guard}")),
        ("forks-1000-children", format!("i=0; while [ $i -lt 1000 ]; do (:); i=$((i+1)); done; {guard}")),
    ] {
        let file = scenario(&home, name, GUARD, &renew, "deadline = \"60s\"");
        let ran = run(&home, &file);
        assert_eq!(ran.code, Some(0), "{name}: {} {}", ran.stdout, ran.stderr);
    }
}

#[test]
fn files_that_are_no_scenarios_are_refused_before_anything_runs() {
    let Some(home) = Home::new(Who::Caller) else { return };
    fs::write(home.at("empty.toml"), "").unwrap();
    fs::write(home.at("binary.toml"), [0xff, 0xfe, 0x00]).unwrap();
    fs::create_dir(home.at("folder.toml")).unwrap();
    let reference = fs::read_to_string(home.at("scenarios/reference.toml")).unwrap();
    fs::write(home.at("deadline.toml"), reference.replace("\"30s\"", "\"99999999999999999999s\"")).unwrap();
    fs::write(home.at("schema.toml"), reference.replace("schema = 1", "schema = 99999999999999999999"))
        .unwrap();
    for (file, words) in [
        ("empty.toml", &["empty.toml", "missing"][..]),
        ("binary.toml", &["binary.toml"]),
        ("folder.toml", &["folder.toml is a folder"]),
        ("missing.toml", &["missing.toml", "No such file"]),
        ("deadline.toml", &["deadline.toml:", "99999999999999999999s"]),
        ("schema.toml", &["schema.toml:"]),
    ] {
        let ran = run(&home, file);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        for word in words {
            assert!(ran.stderr.contains(word), "`{word}` is not in {ran:?}");
        }
    }
    for (arguments, words) in [
        (&["--jobs", "0"][..], "0 is not in 1..="),
        (&["--jobs", "99999999999"], "--jobs"),
        (&["--shard", "3/2"], "write I/N with I from 1 to N"),
        (&["--shard", "0/0"], "write I/N"),
        (&["--seed", "-1"], "-1"),
        (&["--max-experiments", "x"], "x"),
    ] {
        let ran = home.run(&[&["run", "scenarios/reference.toml"], arguments].concat());
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(words), "{ran:?}");
    }
}

#[test]
fn what_a_scenario_needs_and_is_not_here_is_exit_4_with_how_to_install_it() {
    let Some(home) = Home::new(Who::Caller) else { return };
    let file = scenario(&home, "needs", GUARD, GUARD, "needs = [\"flock\", \"no-such-client\"]");
    fails(&run(&home, &file), 4, &["no-such-client", "install"]);
}

#[test]
fn a_pebble_that_does_not_start_is_told_with_its_last_words() {
    let Some(home) = Home::new(Who::Caller) else { return };
    // Beside it there is no DNS server.
    fails(
        &run_with(&home, "scenarios/reference.toml", &["--pebble", "/no/such/file"]),
        4,
        &["/no/such/file"],
    );
    let folder = home.at("broken");
    fs::create_dir(&folder).unwrap();
    for name in ["pebble", "pebble-challtestsrv"] {
        fs::write(folder.join(name), "#!/bin/sh\necho no, thank you >&2\nexit 1\n").unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let ran = run_with(&home, "scenarios/reference.toml", &["--pebble", &folder.to_string_lossy()]);
    fails(&ran, 4, &["no, thank you"]);
}

#[test]
fn two_sweeps_at_once_both_hold() {
    let Some(home) = Home::new(Who::Caller) else { return };
    for world in ["auto", "bare"] {
        let arguments =
            ["run", "scenarios/reference.toml", "--jobs", "2", "--max-experiments", "6", "--world", world];
        std::thread::scope(|scope| {
            let runs = [0, 1].map(|_| scope.spawn(|| home.run(&arguments)));
            for ran in runs {
                let ran = ran.join().unwrap();
                assert_eq!(ran.code, Some(0), "{ran:?}");
            }
        });
    }
}

#[test]
fn a_replay_of_a_changed_subject_says_diverged_with_the_first_difference() {
    let Some(home) = Home::new(Who::Caller) else { return };
    let step = "echo a > {root}/var/lib/guard/one; ";
    let guard = GUARD.trim_start_matches("exec ");
    let file = scenario(&home, "changing", GUARD, &format!("{step}{guard}"), "");
    let ran = home.run(&["run", &file, "--jobs", "2", "--report", "json=report.json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(home.at("report.json")).unwrap()).unwrap();
    let experiments = report["experiments"].as_array().unwrap();
    let at_one = |e: &&serde_json::Value| e["faults"][0]["point"].to_string().contains("/var/lib/guard/one");
    let id = experiments.iter().find(at_one).expect("an experiment at the step")["id"].as_str().unwrap();
    let changed = step.replace("guard/one", "guard/two");
    scenario(&home, "changing", GUARD, &format!("{changed}{guard}"), "");
    let ran = home.run(&["replay", id]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stdout.contains("diverged") && ran.stdout.contains("first difference"), "{ran:?}");
    assert!(ran.stdout.contains("/var/lib/guard/one"), "{ran:?}");
}

#[test]
fn no_space_is_told_and_not_taken_for_the_subjects_fault() {
    let Some(home) = Home::new(Who::Caller) else { return };
    // A device that is always full, as a report and as the place of stored runs.
    if Path::new("/dev/full").exists() {
        let ran = run_with(&home, "scenarios/reference.toml", &["--report", "json=/dev/full"]);
        fails(&ran, 4, &["/dev/full", "No space left"]);
    }
    let ran = run_with(&home, "scenarios/reference.toml", &["--report", "json=/no/such/folder/x.json"]);
    fails(&ran, 4, &["/no/such/folder/x.json"]);
    fs::remove_dir_all(home.at("state/process-roulette")).unwrap();
    fs::write(home.at("state/process-roulette"), "in the way").unwrap();
    let ran = run(&home, "scenarios/reference.toml");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("this run is not stored"), "{ran:?}");
    fs::remove_file(home.at("state/process-roulette")).unwrap();
    // A subject that fills its world meets the world's bound, and the host does not.
    let file = scenario(
        &home,
        "fills",
        GUARD,
        "dd if=/dev/zero of={root}/var/lib/guard/big bs=1M count=100000",
        "deadline = \"60s\"",
    );
    if home.has_private_world() {
        fails(&run_with(&home, &file, &["--world", "private"]), 3, &["No space left"]);
    }
}

#[test]
fn without_namespaces_a_private_world_is_refused_and_a_bare_one_taken() {
    let Some(home) = Home::new(Who::Caller) else { return };
    // A user namespace in which no other may be made.
    let limited = |arguments: &[&str]| {
        let mut command = home.roulette();
        let program = command.get_program().to_owned();
        let environment: Vec<_> =
            command.get_envs().filter_map(|(k, v)| Some((k.to_owned(), v?.to_owned()))).collect();
        command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c"]);
        command.arg(
            "for n in user mnt net pid; do echo 0 > /proc/sys/user/max_${n}_namespaces; done 2>/dev/null; \
                      cat /proc/sys/user/max_user_namespaces >&2; exec \"$@\"",
        );
        command.arg("sh").arg(program).args(arguments).current_dir(home.at("")).env_clear().envs(environment);
        command.output()
    };
    let output = match limited(&["run", "scenarios/reference.toml", "--world", "private"]) {
        Ok(output) => output,
        Err(error) => return eprintln!("SKIPPED: no unshare to be had: {error}"),
    };
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    if !err.starts_with("0\n") {
        return eprintln!("SKIPPED: namespaces cannot be limited here: {err}");
    }
    assert_eq!(output.status.code(), Some(4), "{err}");
    assert!(err.contains("failed to make a private world") && err.contains("`roulette check`"), "{err}");
    let output =
        limited(&["run", "scenarios/reference.toml", "--jobs", "1", "--max-experiments", "2"]).unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    assert!(out.contains("private worlds, because"), "{out}");
}
