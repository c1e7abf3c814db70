//! What a killed run leaves, and that the next run mends it unaided.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::SeedableRng;

use crate::world::{GUARD, World, age, run, run_ok, wait_until};

fn start(config: &Path) -> Child {
    Command::new(GUARD)
        .args(["run", "--log-level", "off", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// After a recovery run: a whole pair that is served and not due, at most one reload per installed certificate, no litter, and an
/// idle run that changes nothing.
fn assert_recovered(world: &World, config: &Path, context: &str) {
    let status = world.status(config);
    assert_eq!(status["intact"], true, "{context}: {status}");
    assert_eq!(status["due"], serde_json::Value::Null, "{context}: {status}");
    assert_eq!(status["reload_owed"], false, "{context}: {status}");
    assert_eq!(fs::read_dir(world.path("www/.well-known/acme-challenge")).unwrap().count(), 0, "{context}");
    let litter: Vec<_> =
        world.names().into_iter().filter(|n| n.contains("/.") && !n.contains("/.well-known")).collect();
    assert!(litter.is_empty(), "{context}: {litter:?}");
    let generations = fs::read_dir(world.path("state/generations")).unwrap().count();
    assert!((1..=2).contains(&generations), "{context}: {generations} generations");
    let (before, reloads) = (world.snapshot(), world.reloads());
    run_ok(config);
    assert_eq!(world.snapshot(), before, "{context}");
    assert_eq!(world.reloads(), reloads, "{context}");
}

#[test]
fn killed_at_fifty_random_moments_the_next_run_mends_it() {
    let Some(world) = World::start() else { return };
    let config = world.webroot_config();
    run_ok(&config);
    age(&world);
    let begun = Instant::now();
    run_ok(&config);
    let whole = begun.elapsed();

    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    for round in 0..50 {
        age(&world);
        // The old certificate is served at the start, as it was before a renewal.
        world.reload_by_hand();
        let reloads = world.reloads();
        let moment = whole.mul_f64(random.random_range(0.0..1.1));
        let signal = if random.random() { nix::sys::signal::SIGKILL } else { nix::sys::signal::SIGTERM };
        let context = format!("seed {seed}, round {round}, {signal} after {moment:?} of {whole:?}");
        let mut child = start(&config);
        std::thread::sleep(moment);
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, signal).unwrap();
        let ended = child.wait().unwrap();
        assert!(ended.success() || ended.signal() == Some(signal as i32), "{context}: {ended}");
        let status = world.status(&config);
        assert_eq!(status["intact"], true, "{context}: {status}");
        run_ok(&config);
        assert_eq!(world.reloads(), reloads + 1, "{context}");
        assert_recovered(&world, &config, &context);
    }
}

#[test]
fn killed_at_thirty_random_moments_of_the_first_run_ever_the_next_run_mends_it() {
    let Some(world) = World::start() else { return };
    let config = world.webroot_config();
    let begun = Instant::now();
    run_ok(&config);
    let whole = begun.elapsed();
    for round in 0..30 {
        fs::remove_dir_all(world.path("state")).unwrap();
        fs::remove_dir_all(world.path("www/.well-known")).unwrap();
        let reloads = world.reloads();
        let moment = whole.mul_f64(f64::from(round) / 30.0);
        let mut child = start(&config);
        std::thread::sleep(moment);
        drop(child.kill());
        child.wait().unwrap();
        run_ok(&config);
        let context = format!("round {round}, after {moment:?} of {whole:?}");
        assert_eq!(world.reloads(), reloads + 1, "{context}");
        assert_recovered(&world, &config, &context);
    }
}

#[test]
fn killed_again_and_again_the_first_run_that_is_left_alone_mends_it() {
    let Some(world) = World::start() else { return };
    let config = world.webroot_config();
    run_ok(&config);
    age(&world);
    let begun = Instant::now();
    run_ok(&config);
    let whole = begun.elapsed();
    let seed: u64 = rand::random();
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    for round in 0..10 {
        age(&world);
        world.reload_by_hand();
        let reloads = world.reloads();
        for _ in 0..4 {
            let mut child = start(&config);
            std::thread::sleep(whole.mul_f64(random.random_range(0.0..1.1)));
            drop(child.kill());
            child.wait().unwrap();
        }
        run_ok(&config);
        let context = format!("seed {seed}, round {round}");
        assert_eq!(world.reloads(), reloads + 1, "{context}");
        assert_recovered(&world, &config, &context);
    }
}

#[test]
fn everything_a_killed_run_can_leave_is_removed_and_nothing_of_others() {
    let Some(world) = World::start() else { return };
    let config = world.webroot_config();
    run_ok(&config);
    let clean = world.names();
    let account: serde_json::Value =
        serde_json::from_slice(&fs::read(world.path("state/account.json")).unwrap()).unwrap();
    let thumbprint = account["thumbprint"].as_str().unwrap();
    let challenges = world.path("www/.well-known/acme-challenge");
    fs::create_dir(world.path("state/generations/000002")).unwrap();
    fs::write(world.path("state/generations/000002/privkey.pem"), "half").unwrap();
    std::os::unix::fs::symlink("generations/000002", world.path("state/.current.tmp")).unwrap();
    fs::write(world.path("state/.account.json.tmp"), "{").unwrap();
    fs::write(challenges.join("token"), format!("token.{thumbprint}")).unwrap();
    fs::write(challenges.join(format!(".guard-{}-token", &thumbprint[..16])), "tok").unwrap();
    run_ok(&config);
    assert_eq!(world.names(), clean);

    let foreign = ["theirs", ".guard-0123456789abcdef-theirs", "empty"];
    for name in foreign {
        fs::write(challenges.join(name), if name == "empty" { "" } else { "theirs.thumbprint" }).unwrap();
    }
    run_ok(&config);
    assert!(foreign.iter().all(|name| challenges.join(name).exists()));
}

#[test]
fn a_second_run_beside_a_held_lock_leaves_with_75_and_changes_nothing() {
    let Some(world) = World::start() else { return };
    let config = world.webroot_config();
    run_ok(&config);
    age(&world);
    let lock = fs::File::open(world.path("state/lock")).unwrap();
    let lock = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let before = world.snapshot();
    assert_eq!(run(&config).status.code(), Some(75));
    assert_eq!(world.snapshot(), before);
    assert_eq!(world.status(&config)["lock_held_by"], std::process::id());
    drop(lock);
    run_ok(&config);
    assert_eq!(world.status(&config)["lock_held_by"], serde_json::Value::Null);
}

#[test]
fn a_reload_command_dies_with_the_guard_and_does_not_hold_the_lock() {
    let Some(world) = World::start() else { return };
    let pid_file = world.path("reload.pid");
    let config = world.webroot_config();
    let usual = fs::read_to_string(&config).unwrap();
    // The shell becomes the sleeper: one process, which would outlive everybody.
    let hangs = format!("echo $$ > {0}.tmp; mv {0}.tmp {0}; exec sleep 1000", pid_file.display());
    let hanging = usual.split("[reload]").next().unwrap().to_owned()
        + &format!("[reload]\ncommand = [\"/bin/sh\", \"-c\", \"{hangs}\"]\n");
    fs::write(&config, hanging).unwrap();
    let mut child = start(&config);
    wait_until("the reload hangs", || pid_file.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let sleeper = fs::read_to_string(&pid_file).unwrap();
    wait_until("the reload command is gone", || {
        // A zombie is nobody's business: its new parent has to take it away.
        let stat = fs::read_to_string(format!("/proc/{}/stat", sleeper.trim())).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
    fs::write(&config, usual).unwrap();
    run_ok(&config);
    assert_eq!(world.reloads(), 1);
    assert_recovered(&world, &config, "after a hanging reload");
}

#[test]
fn a_hanging_reload_is_ended_at_its_timeout() {
    let Some(world) = World::start() else { return };
    let config = world.webroot_config();
    let text = fs::read_to_string(&config).unwrap();
    let text = text.split("[reload]").next().unwrap().to_owned()
        + "[reload]\ncommand = [\"sleep\", \"1000\"]\ntimeout = \"200ms\"\n";
    fs::write(&config, text).unwrap();
    let begun = Instant::now();
    let output = run(&config);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did not end within 200ms"));
    assert!(begun.elapsed() < Duration::from_secs(30));
}
