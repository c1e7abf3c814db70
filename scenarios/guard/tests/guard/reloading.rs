//! The reload is owed until the served certificate is the one on disk.

use std::fs;

use crate::world::{World, age, guard, run, run_ok};

#[test]
fn a_failed_reload_is_owed_to_the_next_run() {
    let Some(world) = World::start() else { return };
    let config = world.webroot_config();
    let usual = fs::read_to_string(&config).unwrap();
    let failing = usual.split("[reload]").next().unwrap().to_owned() + "[reload]\ncommand = [\"false\"]\n";
    fs::write(&config, failing).unwrap();
    assert_eq!(run(&config).status.code(), Some(3));
    assert_eq!(world.status(&config)["reload_owed"], true);
    let status = guard(["status", "--config", config.to_str().unwrap()]);
    assert_eq!(status.status.code(), Some(3));
    fs::write(&config, usual).unwrap();
    let before = world.snapshot();
    run_ok(&config);
    assert_eq!(world.reloads(), 1);
    assert_eq!(world.snapshot(), before, "a reload of an installed certificate changes nothing on disk");
    run_ok(&config);
    assert_eq!(world.reloads(), 1);
}

#[test]
fn a_reload_that_a_killed_run_has_started_is_waited_for_and_not_repeated() {
    let Some(world) = World::start() else { return };
    let config = world.webroot_config();
    run_ok(&config);
    age(&world);
    assert_eq!(guard(["run", "--no-reload", "--config", config.to_str().unwrap()]).status.code(), Some(0));
    assert_eq!(world.status(&config)["reload_owed"], true);
    // Arrives while the next run is already looking.
    let patient = fs::read_to_string(&config).unwrap().replace("settle = \"300ms\"", "settle = \"30s\"");
    fs::write(&config, patient).unwrap();
    let reloads = world.path("reloads");
    let late = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        fs::write(reloads, "xx").unwrap();
    });
    run_ok(&config);
    late.join().unwrap();
    assert_eq!(world.reloads(), 2, "one by the first run, one by the killed one");
}

#[test]
fn a_server_that_does_not_answer_is_reloaded_and_reported() {
    let Some(mut world) = World::start() else { return };
    let config = world.webroot_config();
    run_ok(&config);
    let text = fs::read_to_string(&config).unwrap().replace("within = \"5s\"", "within = \"100ms\"");
    fs::write(&config, text).unwrap();
    world.tls.stop();
    let output = run(&config);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("failed to connect"), "{output:?}");
}

#[test]
fn without_a_server_to_ask_the_reload_is_on_record() {
    let Some(world) = World::start() else { return };
    let config = world.webroot_config();
    let text = fs::read_to_string(&config).unwrap();
    let (before, after) = (text.split("[served]").next().unwrap(), text.split("[reload]").nth(1).unwrap());
    let no_server = format!("{before}[reload]{after}");
    fs::write(&config, no_server.replace("printf", "false; printf").replace("false;", "exit 1;")).unwrap();
    assert_eq!(run(&config).status.code(), Some(3));
    assert_eq!(world.reloads(), 0);
    fs::write(&config, no_server).unwrap();
    run_ok(&config);
    assert_eq!(world.reloads(), 1);
    let before = world.snapshot();
    run_ok(&config);
    assert_eq!(world.reloads(), 1);
    assert_eq!(world.snapshot(), before);
    age(&world);
    run_ok(&config);
    assert_eq!(world.reloads(), 2);
}

#[test]
fn served_prints_the_same_fingerprint_as_fingerprint_does() {
    let Some(world) = World::start() else { return };
    let config = world.webroot_config();
    run_ok(&config);
    let file = world.path("state/current/fullchain.pem");
    let address = world.tls.address.to_string();
    let on_disk = guard(["fingerprint", file.to_str().unwrap()]);
    let served = guard(["served", "--address", &address, "--name", "example.com"]);
    assert_eq!(on_disk.stdout, served.stdout);
    assert_eq!(on_disk.stdout.len(), 65);
    let wait = ["served", "--address", &address, "--name", "example.com", "--within", "50ms", "--wait-for"];
    assert_eq!(guard(wait.iter().copied().chain([file.to_str().unwrap()])).status.code(), Some(0));
    let other = world.path("pebble.pem");
    assert_eq!(guard(wait.iter().copied().chain([other.to_str().unwrap()])).status.code(), Some(3));
}
