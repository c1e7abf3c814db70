//! The ACME front before a real Pebble: what clients see, what the front remembers, and what a
//! gate can do.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, TcpListener},
    process::Command,
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant as Clock},
};

use instant_acme::{Error, OrderStatus};
use process_roulette::front::{Ca, Decision, Gate, Instant, Issuance, Request, Step, issuance};
use process_roulette_tests::{
    ca::{Host, obtain, order, run},
    programs_or_skip,
};
use tokio::sync::oneshot;

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
fn an_order_that_comes_with_an_authorization_of_an_earlier_one_is_told() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = Host::with_http_port(programs_or_skip!(), port);
    run(async {
        let account = host.account().await.unwrap();
        obtain(&account, listener).await;
        assert!(!host.ca.take_reused());
        // Pebble re-uses one in a hundred: the chance that it does in none is one in five hundred million.
        let mut reused = 0;
        for _ in 0..2000 {
            // With its one authorization valid there is no challenge to meet.
            let ready = order(&account).await.unwrap().state().status == OrderStatus::Ready;
            assert_eq!(host.ca.take_reused(), ready);
            reused += u32::from(ready);
            if reused == 3 {
                return;
            }
        }
        assert!(reused > 0, "Pebble re-uses none any more: this is in nobody's way now");
    });
}
