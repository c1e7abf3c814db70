//! The life of a CA's host: where Pebble comes from, how it starts and fails to, several at once,
//! and that nothing of it stays.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant as Clock},
};

use process_roulette::{
    front::{Ca, CaError, CaSpec, issuance},
    pebble::Programs,
};
use process_roulette_tests::{
    ca::{Host, of_folder, order, run, spec},
    programs_or_skip,
};

#[test]
fn two_cas_live_side_by_side() {
    let programs = programs_or_skip!();
    let start = Clock::now();
    let hosts: Vec<Host> = std::thread::scope(|scope| {
        let starting: Vec<_> = (0..2).map(|_| scope.spawn(|| Host::start(programs.clone()))).collect();
        starting.into_iter().map(|host| host.join().unwrap()).collect()
    });
    eprintln!("two CAs started in {:?}", start.elapsed());
    assert_ne!(hosts[0].ca.front(), hosts[1].ca.front());
    assert_ne!(hosts[0].ca.dns(), hosts[1].ca.dns());
    run(async {
        for host in &hosts {
            order(&host.account().await.unwrap()).await.unwrap();
            assert_eq!(issuance(&host.ca.take_requests()).orders, 1);
        }
    });
}

/// A program for this test alone, from a shell script. Written by another process: while this
/// one had it open for writing, a fork in a test beside this one would make it "text file busy".
fn script(folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("program");
    let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#;
    let written = Command::new("sh").args(["-c", write, "sh"]).arg(&file).arg(text).status().unwrap();
    assert!(written.success());
    file
}

#[test]
fn a_program_that_does_not_start_is_said_at_once_with_its_last_words() {
    let programs = programs_or_skip!();
    let folder = tempfile::tempdir().unwrap();
    let chatty = script(folder.path(), "echo 'the config is bad' >&2; exit 3");
    let refused = |programs: Programs| {
        let scratch = tempfile::tempdir().unwrap();
        let start = Clock::now();
        let CaError(message) = Ca::start(spec(programs, scratch.path(), 5002)).unwrap_err();
        eprintln!("{:?}: {message}\n", start.elapsed());
        assert_eq!(of_folder(scratch.path()), [0; 0], "a process was left");
        message
    };
    let pebble = |path: &Path| Programs { pebble: path.to_owned(), ..programs.clone() };
    let dns = |path: &Path| Programs { challtestsrv: path.to_owned(), ..programs.clone() };

    for message in [refused(pebble(&chatty)), refused(dns(&chatty))] {
        assert!(message.contains("ended with exit code 3"), "{message}");
        assert!(message.contains("the config is bad"), "{message}");
        assert!(message.contains(chatty.to_str().unwrap()), "{message}");
    }
    let message = refused(pebble(Path::new("/bin/false")));
    assert!(message.contains("/bin/false ended with exit code 1"), "{message}");
    assert!(message.contains("printed nothing"), "{message}");
    let message = refused(pebble(Path::new("/nonexistent/pebble")));
    assert!(message.contains("/nonexistent/pebble cannot be run: No such file"), "{message}");
    assert!(message.contains("--pebble"), "{message}");
}

/// What a program that looks for Pebble says, with nothing in its environment but `variables`.
fn said_without(variables: &[(&str, &str)]) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let holder = Command::new(env!("CARGO_BIN_EXE_ca-host"))
        .arg(scratch.path())
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert_eq!(holder.status.code(), Some(4));
    String::from_utf8(holder.stderr).unwrap()
}

#[test]
fn without_any_pebble_all_four_ways_to_one_are_listed() {
    let cache = tempfile::tempdir().unwrap();
    let message = said_without(&[
        ("PATH", "/nonexistent"),
        ("XDG_CACHE_HOME", cache.path().to_str().unwrap()),
        ("DOCKER_HOST", "unix:///nonexistent/docker.sock"),
    ]);
    eprintln!("{message}");
    for said in [
        "option     none was named",
        "`--pebble PATH` or ROULETTE_PEBBLE=PATH",
        "path       `pebble` is not on PATH",
        "container ",
        "ROULETTE_PEBBLE_IMAGE",
        "package    `apt-get` is not on PATH",
    ] {
        assert!(message.contains(said), "`{said}` is not in {message}");
    }
}

#[test]
fn a_wrong_path_to_pebble_is_an_error_and_no_other_is_looked_for() {
    let path = std::env::var("PATH").unwrap();
    let message = said_without(&[("PATH", &path), ("ROULETTE_PEBBLE", "/nonexistent/pebble")]);
    assert!(message.contains("ROULETTE_PEBBLE names /nonexistent/pebble, but"), "{message}");
}

#[test]
fn a_pebble_that_went_away_is_said() {
    let host = Host::start(programs_or_skip!());
    run(async {
        let account = host.account().await.unwrap();
        host.ca.health().unwrap();
        let is_pebble = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains("pebble.json"))
        };
        for pid in of_folder(host.scratch.path()).into_iter().filter(is_pebble) {
            let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        let deadline = Clock::now() + Duration::from_secs(10);
        let message = loop {
            match host.ca.health() {
                Err(CaError(message)) => break message,
                Ok(()) => assert!(Clock::now() < deadline, "its death was not seen"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(message.contains("was killed by signal 9 while the world was in use"), "{message}");
        assert!(message.contains("ACME directory available at"), "{message}");
        assert!(order(&account).await.is_err());
        assert_eq!(host.ca.take_requests().last().unwrap().status, Some(502));
    });
}

#[test]
fn dropping_it_leaves_no_process() {
    let host = Host::start(programs_or_skip!());
    let Host { ca, scratch, .. } = host;
    assert_eq!(of_folder(scratch.path()).len(), 2);
    drop(ca);
    assert_eq!(of_folder(scratch.path()), [0; 0]);
}

#[test]
fn a_sigkill_to_its_holder_leaves_no_process() {
    drop(programs_or_skip!());
    let scratch = tempfile::tempdir().unwrap();
    let mut holder = Command::new(env!("CARGO_BIN_EXE_ca-host"))
        .arg(scratch.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut url).unwrap();
    assert!(url.starts_with("https://localhost:"), "{url:?}");
    assert_eq!(of_folder(scratch.path()).len(), 2);
    holder.kill().unwrap();
    holder.wait().unwrap();
    let deadline = Clock::now() + Duration::from_secs(10);
    while !of_folder(scratch.path()).is_empty() {
        assert!(Clock::now() < deadline, "left behind: {:?}", of_folder(scratch.path()));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn in_a_network_namespace_it_is_reached_only_from_there() {
    let programs = programs_or_skip!();
    let skip = |why: String| {
        eprintln!("SKIPPED in_a_network_namespace_it_is_reached_only_from_there: {why}");
    };
    // On a thread of its own: the namespace is the thread's.
    let test = std::thread::spawn(move || {
        if let Err(errno) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            return skip(format!("no network namespace for this user: {errno}"));
        }
        match Command::new("ip").args(["link", "set", "lo", "up"]).status() {
            Ok(status) if status.success() => {}
            other => return skip(format!("loopback cannot be set up with `ip`: {other:?}")),
        }
        let namespace = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let mut spec = spec(programs, scratch.path(), 80);
        (spec.front_port, spec.dns_port) = (443, 53);
        spec.names.swap(0, 1);
        // Started from outside, as a world does.
        let ca = std::thread::spawn(move || {
            let outside = std::fs::File::open("/proc/1/ns/net")
                .and_then(|net| Ok(nix::sched::setns(net, nix::sched::CloneFlags::CLONE_NEWNET)?));
            let ca = Ca::start(CaSpec { namespace: Some(namespace.into()), ..spec }).unwrap();
            let reached = std::net::TcpStream::connect(ca.front()).is_ok();
            assert!(outside.is_err() || !reached, "it is reached from the host's namespace");
            ca
        });
        let ca = ca.join().unwrap();
        assert_eq!(ca.directory_url(), "https://acme-v02.api.letsencrypt.org/directory");
        assert_eq!((ca.front().port(), ca.dns().port()), (443, 53));
        let mut stream = std::net::TcpStream::connect(ca.front()).unwrap();
        stream.write_all(b"not TLS\n").unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        drop(ca);
        assert_eq!(of_folder(scratch.path()), [0; 0]);
    });
    test.join().unwrap();
}
