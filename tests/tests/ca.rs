//! The CA's host with a real Pebble: what clients see through the front, what the front
//! remembers, what a gate can do, how it fails and what it leaves behind.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, LazyLock, Mutex, mpsc},
    time::{Duration, Instant as Clock},
};

use instant_acme::{
    Account, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use process_roulette::{
    front::{Ca, CaError, CaSpec, Decision, Gate, Instant, Issuance, Request, Step, issuance},
    pebble::{self, Programs},
};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// Found once for all tests; `Err` where this machine has none to be had.
static PROGRAMS: LazyLock<Result<Programs, String>> =
    LazyLock::new(|| pebble::find(None, &mut |line| eprintln!("{line}")).map_err(|e| e.to_string()));

/// The programs, or a loud skip.
macro_rules! programs_or_skip {
    () => {
        match &*PROGRAMS {
            Ok(programs) => programs.clone(),
            Err(why) => {
                eprintln!("SKIPPED a test of the CA: {why}");
                return;
            }
        }
    };
}

/// A CA on loopback, its files, and the port on which it validates HTTP-01.
struct Host {
    ca: Ca,
    scratch: TempDir,
    http_port: u16,
}

fn spec(programs: Programs, scratch: &Path, http_port: u16) -> CaSpec {
    CaSpec {
        programs,
        namespace: None,
        address: Ipv4Addr::LOCALHOST.into(),
        front_port: 0,
        dns_port: 0,
        names: vec!["localhost".to_owned(), "acme-v02.api.letsencrypt.org".to_owned()],
        subject: Ipv4Addr::LOCALHOST.into(),
        http_port,
        tls_port: 5001,
        scratch: scratch.to_owned(),
    }
}

/// A port nobody listens on now. Whoever needs it binds it soon.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Host {
    fn start(programs: Programs) -> Host {
        Host::with_http_port(programs, free_port())
    }

    fn with_http_port(programs: Programs, http_port: u16) -> Host {
        let scratch = tempfile::tempdir().unwrap();
        let ca = Ca::start(spec(programs, scratch.path(), http_port)).unwrap();
        std::fs::write(scratch.path().join("roots.pem"), ca.roots_pem()).unwrap();
        Host { ca, scratch, http_port }
    }

    fn roots(&self) -> PathBuf {
        self.scratch.path().join("roots.pem")
    }

    async fn account(&self) -> Result<Account, Error> {
        let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
        let builder = Account::builder_with_root(self.roots())?;
        Ok(builder.create(&new, self.ca.directory_url().to_owned(), None).await?.0)
    }
}

async fn order(account: &Account) -> Result<Order, Error> {
    account.new_order(&NewOrder::new(&[Identifier::Dns("example.com".to_owned())])).await
}

/// Answers every request on `listener` with `body`, as long as the test runs.
fn serve_http01(listener: TcpListener, body: String) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                line.clear();
            }
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
}

/// Orders a certificate and has it validated over HTTP-01 on the port of `listener`.
async fn obtain(account: &Account, listener: TcpListener) -> String {
    let mut order = order(account).await.unwrap();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.unwrap();
        let mut challenge = authorization.challenge(ChallengeType::Http01).unwrap();
        serve_http01(listener.try_clone().unwrap(), challenge.key_authorization().as_str().to_owned());
        challenge.set_ready().await.unwrap();
    }
    assert_eq!(order.poll_ready(&RetryPolicy::default()).await.unwrap(), OrderStatus::Ready);
    order.finalize().await.unwrap();
    order.poll_certificate(&RetryPolicy::default()).await.unwrap()
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

/// Decides about the requests of one step at one instant, one decision after the other; then and
/// otherwise everything passes. Says what it saw.
struct Script {
    step: Step,
    instant: Instant,
    decisions: Mutex<VecDeque<Decision>>,
    seen: mpsc::Sender<Request>,
}

impl Gate for Script {
    fn at(&self, request: &Request, instant: Instant) -> Decision {
        if request.step != self.step || instant != self.instant {
            return Decision::Pass;
        }
        let _ = self.seen.send(request.clone());
        self.decisions.lock().unwrap().pop_front().unwrap_or(Decision::Pass)
    }
}

fn gate(host: &Host, step: Step, instant: Instant, decision: Decision) -> mpsc::Receiver<Request> {
    let (seen, saw) = mpsc::channel();
    let decisions = Mutex::new(VecDeque::from([decision]));
    host.ca.set_gate(Some(Arc::new(Script { step, instant, decisions, seen })));
    saw
}

fn statuses(requests: &[Request], step: Step) -> Vec<Option<u16>> {
    requests.iter().filter(|r| r.step == step).map(|r| r.status).collect()
}

/// Waits until the CA has recorded a request of `step`.
async fn recorded(ca: &Ca, step: Step) -> Vec<Request> {
    let deadline = Clock::now() + Duration::from_secs(30);
    let mut requests = Vec::new();
    while !requests.iter().any(|r: &Request| r.step == step) {
        assert!(Clock::now() < deadline, "no {step:?} was recorded: {requests:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
        requests.extend(ca.take_requests());
    }
    requests
}

#[test]
fn a_client_gets_a_validated_certificate_and_every_step_has_its_name() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = Host::with_http_port(programs_or_skip!(), port);
    let chain = run(async { obtain(&host.account().await.unwrap(), listener).await });
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2, "leaf and one intermediate");
    let (_, leaf) = x509_parser::pem::parse_x509_pem(chain.as_bytes()).unwrap();
    let validity = leaf.parse_x509().unwrap().validity().clone();
    let seconds = validity.not_after.timestamp() - validity.not_before.timestamp();
    assert!((90 * 86400 - seconds).abs() <= 1, "valid for {seconds} s, not for 90 days");
    let requests = host.ca.take_requests();
    let steps: Vec<Step> = requests.iter().map(|r| r.step).collect();
    for step in [
        Step::Directory,
        Step::NewNonce,
        Step::NewAccount,
        Step::NewOrder,
        Step::Order,
        Step::Authorization,
        Step::Challenge,
        Step::Finalize,
        Step::Certificate,
    ] {
        assert!(steps.contains(&step), "{step:?} is not in {steps:?}");
    }
    assert!(!steps.contains(&Step::Other), "{requests:?}");
    assert_eq!(issuance(&requests), Issuance { orders: 1, certificates: 1 });
    let numbers: Vec<u64> = requests.iter().map(|r| r.number).collect();
    assert_eq!(numbers, (1..=requests.len() as u64).collect::<Vec<_>>());
    assert!(requests.iter().all(|r| r.client.ip() == Ipv4Addr::LOCALHOST && r.status.is_some()));
    assert_eq!(host.ca.take_requests(), [], "taken is taken");
    host.ca.health().unwrap();
}

#[test]
fn certbot_gets_a_certificate_through_the_front() {
    let programs = programs_or_skip!();
    if Command::new("certbot").arg("--version").output().is_err() {
        eprintln!("SKIPPED certbot_gets_a_certificate_through_the_front: certbot is not installed");
        return;
    }
    let host = Host::start(programs);
    let folder = host.scratch.path().join("certbot");
    let output = Command::new("certbot")
        .args(["certonly", "--standalone", "--non-interactive", "--agree-tos", "--email", "ops@example.com"])
        .args(["--domain", "example.com", "--server", host.ca.directory_url()])
        .args(["--http-01-port", &host.http_port.to_string()])
        .args(["--config-dir", &folder.join("etc").display().to_string()])
        .args(["--work-dir", &folder.join("work").display().to_string()])
        .args(["--logs-dir", &folder.join("log").display().to_string()])
        .env("REQUESTS_CA_BUNDLE", host.roots())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let certificate = folder.join("etc/live/example.com/fullchain.pem");
    assert!(std::fs::read_to_string(certificate).unwrap().contains("BEGIN CERTIFICATE"));
    let requests = host.ca.take_requests();
    assert_eq!(issuance(&requests), Issuance { orders: 1, certificates: 1 }, "{requests:?}");
    assert!(requests.iter().all(|r| r.step != Step::Other), "{requests:?}");
}

#[test]
fn an_answer_is_given_instead_of_the_ca_s() {
    let host = Host::start(programs_or_skip!());
    run(async {
        let account = host.account().await.unwrap();
        let answer = |kind: &str, status| Decision::Answer {
            status,
            headers: vec![("content-type".into(), "application/problem+json".into())],
            body: format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"by a fault"}}"#).into(),
        };
        gate(&host, Step::NewOrder, Instant::Arrived, answer("rateLimited", 429));
        host.ca.take_requests();
        let Err(Error::Api(problem)) = order(&account).await else { panic!("the order was made") };
        assert_eq!(problem.detail.as_deref(), Some("by a fault"));
        let requests = host.ca.take_requests();
        assert_eq!(statuses(&requests, Step::NewOrder), [Some(429)]);
        assert_eq!(issuance(&requests).orders, 0);

        // The nonce that comes with it is a good one: the client tries again and gets through.
        gate(&host, Step::NewOrder, Instant::Arrived, answer("badNonce", 400));
        order(&account).await.unwrap();
        assert_eq!(statuses(&host.ca.take_requests(), Step::NewOrder), [Some(400), Some(201)]);

        // After the CA has acted: the order counts, the client does not see it.
        gate(&host, Step::NewOrder, Instant::Answered, answer("serverInternal", 500));
        assert!(order(&account).await.is_err());
        assert_eq!(issuance(&host.ca.take_requests()).orders, 1);
    });
}

#[test]
fn a_connection_is_cut_before_or_after_the_ca_has_acted() {
    let host = Host::start(programs_or_skip!());
    run(async {
        let account = host.account().await.unwrap();
        for (instant, status, orders) in [(Instant::Arrived, None, 0), (Instant::Answered, Some(201), 1)] {
            host.ca.take_requests();
            gate(&host, Step::NewOrder, instant, Decision::Cut);
            let Err(error) = order(&account).await else { panic!("a cut order was made") };
            assert!(!matches!(error, Error::Api(_)), "the client got an answer: {error:?}");
            let requests = host.ca.take_requests();
            assert_eq!(statuses(&requests, Step::NewOrder), [status], "{instant:?}");
            assert_eq!(issuance(&requests).orders, orders, "{instant:?}");
        }
        order(&account).await.unwrap();
    });
}

#[test]
fn a_request_is_delayed() {
    let host = Host::start(programs_or_skip!());
    run(async {
        let account = host.account().await.unwrap();
        let delay = Duration::from_millis(300);
        for instant in [Instant::Arrived, Instant::Answered] {
            gate(&host, Step::NewOrder, instant, Decision::Delay(delay));
            let start = Clock::now();
            order(&account).await.unwrap();
            assert!(start.elapsed() >= delay, "{instant:?}: {:?}", start.elapsed());
        }
    });
}

#[test]
fn a_held_request_waits_for_its_decision() {
    let host = Host::start(programs_or_skip!());
    run(async {
        let account = host.account().await.unwrap();
        for (instant, status_seen) in [(Instant::Arrived, None), (Instant::Answered, Some(201))] {
            let (release, held) = oneshot::channel();
            let saw = gate(&host, Step::NewOrder, instant, Decision::Hold(held));
            host.ca.take_requests();
            let (ordered, seen) = tokio::join!(order(&account), async {
                let seen = tokio::task::spawn_blocking(move || saw.recv().unwrap()).await.unwrap();
                assert_eq!(statuses(&host.ca.take_requests(), Step::NewOrder), [], "it is not over yet");
                release.send(Decision::Pass).unwrap();
                seen
            });
            ordered.unwrap();
            assert_eq!(seen.status, status_seen);
        }
        // Whoever holds it may go away.
        let (release, held) = oneshot::channel();
        drop(release);
        gate(&host, Step::NewOrder, Instant::Arrived, Decision::Hold(held));
        order(&account).await.unwrap();
    });
}

#[test]
fn the_ca_acts_on_the_request_of_a_client_that_is_gone() {
    let host = Host::start(programs_or_skip!());
    run(async {
        for (decision, status) in [(Decision::Pass, Some(201)), (Decision::Cut, None)] {
            let account = host.account().await.unwrap();
            host.ca.take_requests();
            let (release, held) = oneshot::channel();
            let saw = gate(&host, Step::NewOrder, Instant::Arrived, Decision::Hold(held));
            let client = tokio::spawn(async move { order(&account).await.map(drop) });
            tokio::task::spawn_blocking(move || saw.recv().unwrap()).await.unwrap();
            client.abort();
            assert!(client.await.unwrap_err().is_cancelled());
            release.send(decision).unwrap();
            let requests = recorded(&host.ca, Step::NewOrder).await;
            assert_eq!(statuses(&requests, Step::NewOrder), [status]);
        }
    });
}

#[test]
fn no_order_ever_comes_with_an_authorization_of_an_earlier_one() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = Host::with_http_port(programs_or_skip!(), port);
    run(async {
        let account = host.account().await.unwrap();
        obtain(&account, listener).await;
        host.ca.take_requests();
        // Pebble by itself re-uses one in a hundred: the chance that it does in none is 2 %.
        let start = Clock::now();
        for _ in 0..400 {
            assert_eq!(order(&account).await.unwrap().state().status, OrderStatus::Pending);
        }
        let requests = host.ca.take_requests();
        assert_eq!(issuance(&requests).orders, 400);
        let again = statuses(&requests, Step::NewOrder).iter().filter(|s| **s == Some(400)).count();
        eprintln!("400 orders in {:?}, {again} of them asked for again", start.elapsed());
    });
}

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

/// Live processes that were started in `folder`, as those of a CA are.
fn of_folder(folder: &Path) -> Vec<u32> {
    let folder = folder.canonicalize().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // A process that is dead and not reaped yet has no working directory.
            (std::fs::read_link(entry.path().join("cwd")).ok()? == folder).then_some(pid)
        })
        .collect()
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
