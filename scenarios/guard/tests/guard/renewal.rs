//! A scheduled run against a real Pebble.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::world::{DOMAIN, World, age, guard, run, run_ok};

const CLEAN: [&str; 7] = [
    "state",
    "state/account.json",
    "state/current",
    "state/generations",
    "state/generations/000001",
    "state/generations/000001/fullchain.pem",
    "state/generations/000001/privkey.pem",
];

#[test]
fn it_obtains_by_webroot_installs_and_reloads_once_and_an_idle_run_changes_nothing() {
    let Some(world) = World::start() else { return };
    let config = world.webroot_config();
    run_ok(&config);
    assert_eq!(world.reloads(), 1);
    let mut wanted: Vec<_> = CLEAN.map(str::to_owned).to_vec();
    wanted.extend(
        ["state/lock", "www", "www/.well-known", "www/.well-known/acme-challenge"].map(str::to_owned),
    );
    assert_eq!(world.names(), wanted);
    for private in ["state/account.json", "state/current/privkey.pem"] {
        assert_eq!(
            fs::metadata(world.path(private)).unwrap().permissions().mode() & 0o777,
            0o600,
            "{private}"
        );
    }
    let status = world.status(&config);
    assert_eq!(status["fingerprint"], status["served"]);
    assert_eq!(status["due"], serde_json::Value::Null);
    assert_eq!(status["reload_owed"], false);

    let before = world.snapshot();
    run_ok(&config);
    assert_eq!(world.snapshot(), before);
    assert_eq!(world.reloads(), 1);
}

#[test]
fn it_renews_an_aged_certificate_and_keeps_the_previous_generation_only() {
    let Some(world) = World::start() else { return };
    let config = world.webroot_config();
    run_ok(&config);
    for renewals in 1..=3 {
        age(&world);
        let aged = guard(["fingerprint", world.path("state/current/fullchain.pem").to_str().unwrap()]).stdout;
        run_ok(&config);
        let renewed =
            guard(["fingerprint", world.path("state/current/fullchain.pem").to_str().unwrap()]).stdout;
        assert_ne!(aged, renewed);
        assert_eq!(world.reloads(), 1 + renewals);
        let generations = fs::read_dir(world.path("state/generations")).unwrap().count();
        assert_eq!(generations, 2);
    }
}

#[test]
fn it_obtains_by_its_own_listener() {
    let Some(world) = World::start_without_web() else { return };
    let config = world.write_config(&format!("listen = \"127.0.0.1:{}\"", world.pebble.http_port), "");
    run_ok(&config);
    assert_eq!(world.reloads(), 1);
    assert_eq!(world.status(&config)["intact"], true);
}

#[test]
fn an_account_that_the_ca_does_not_know_is_replaced() {
    let Some(mut world) = World::start() else { return };
    let config = world.webroot_config();
    run_ok(&config);
    let before = fs::read(world.path("state/account.json")).unwrap();
    world.pebble.restart();
    age(&world);
    run_ok(&config);
    assert_ne!(fs::read(world.path("state/account.json")).unwrap(), before);
    assert_eq!(world.reloads(), 2);
}

#[test]
fn a_broken_account_file_is_replaced() {
    let Some(world) = World::start() else { return };
    let config = world.webroot_config();
    fs::create_dir(world.path("state")).unwrap();
    fs::write(world.path("state/account.json"), "").unwrap();
    run_ok(&config);
}

#[test]
fn a_key_of_another_certificate_is_replaced_with_its_certificate() {
    let Some(world) = World::start() else { return };
    let config = world.webroot_config();
    run_ok(&config);
    let other = rcgen::KeyPair::generate().unwrap();
    fs::write(world.path("state/current/privkey.pem"), other.serialize_pem()).unwrap();
    assert_eq!(world.status(&config)["intact"], false);
    run_ok(&config);
    assert_eq!(world.status(&config)["intact"], true);
    assert_eq!(world.reloads(), 2);
}

#[test]
fn without_a_ca_nothing_is_harmed_and_the_exit_code_says_so() {
    let Some(mut world) = World::start() else { return };
    let config = world.webroot_config();
    run_ok(&config);
    age(&world);
    world.pebble.stop();
    let before = world.snapshot();
    let output = run(&config);
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(log.matches("trying again").count(), 3, "{log}");
    // The aged certificate was never taken up by the server, so its reload was owed and done; nothing else changed.
    assert_eq!(world.snapshot(), before);
    world.pebble.restart();
    run_ok(&config);
}

#[test]
fn a_refused_challenge_says_the_cas_own_reason_and_leaves_no_token() {
    let Some(world) = World::start_without_web() else { return };
    let config = world.webroot_config();
    let output = run(&config);
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("urn:ietf:params:acme:error:"), "{log}");
    assert_eq!(fs::read_dir(world.path("www/.well-known/acme-challenge")).unwrap().count(), 0);
}

#[test]
fn obtain_writes_a_private_key_and_a_certificate_that_belong_together() {
    let Some(world) = World::start() else { return };
    let path = |name: &str| world.path(name).display().to_string();
    let obtain = |more: &[&str]| {
        let output = guard(
            [
                &["obtain", "--quiet", "--domain", DOMAIN, "--directory-url", &world.pebble.directory_url()],
                &[
                    "--ca-bundle",
                    &path("pebble.pem"),
                    "--webroot",
                    &path("www"),
                    "--account",
                    &path("account.json"),
                ],
                &["--certificate", &path("c.pem"), "--key", &path("k.pem"), "--poll", "20ms"][..],
                more,
            ]
            .concat(),
        );
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    };
    // A file that is readable by all must not stay so.
    fs::write(path("k.pem"), "").unwrap();
    obtain(&[]);
    assert_eq!(fs::metadata(path("k.pem")).unwrap().permissions().mode() & 0o777, 0o600);
    let due = guard(["due", "--certificate", &path("c.pem"), "--key", &path("k.pem"), "--domain", DOMAIN]);
    assert_eq!(due.status.code(), Some(1), "{due:?}");
    let key = fs::read_to_string(path("k.pem")).unwrap();
    obtain(&["--reuse-key", &path("k.pem"), "--locked"]);
    assert_eq!(fs::read_to_string(path("k.pem")).unwrap(), key);
}
