//! Retries: as many as configured, as late as the CA asks, and none that cannot help.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::{ServerConnection, Stream};

use crate::world::{DOMAIN, Server, World, guard, make_certificate, tls_config};

/// A CA that answers everything alike, over real TLS, and remembers when it was asked.
struct Refusing {
    root: tempfile::TempDir,
    port: u16,
    asked: Arc<Mutex<Vec<Instant>>>,
    _server: Server,
}

impl Refusing {
    fn start(status: &'static str, header: &'static str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (certificate, key) = (root.path().join("ca.pem"), root.path().join("ca.key"));
        make_certificate(&certificate, &key, "localhost");
        let tls = tls_config(&certificate, &key);
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let times = Arc::clone(&asked);
        let server = Server::start(listener, move |mut tcp| {
            let mut tls = ServerConnection::new(Arc::clone(&tls)).unwrap();
            let mut stream = Stream::new(&mut tls, &mut tcp);
            if !matches!(stream.read(&mut [0; 4096]), Ok(n) if n > 0) {
                return;
            }
            times.lock().unwrap().push(Instant::now());
            let body = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"not so fast"}"#;
            let answer = format!(
                "HTTP/1.1 {status}\r\n{header}Content-Type: application/problem+json\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
            drop(stream.write_all(answer.as_bytes()));
            drop(stream.flush());
            tls.send_close_notify();
            drop(tls.complete_io(&mut tcp));
        });
        Self { root, port, asked, _server: server }
    }

    fn path(&self, name: &str) -> String {
        self.root.path().join(name).display().to_string()
    }

    fn obtain(&self, retries: &str) -> std::process::Output {
        let url = format!("https://localhost:{}/dir", self.port);
        guard([
            "obtain",
            "--domain",
            DOMAIN,
            "--directory-url",
            &url,
            "--ca-bundle",
            &self.path("ca.pem"),
            "--webroot",
            &self.path("www"),
            "--account",
            &self.path("account.json"),
            "--certificate",
            &self.path("c.pem"),
            "--key",
            &self.path("k.pem"),
            "--retries",
            retries,
        ])
    }

    /// The pauses between the questions.
    fn pauses(&self) -> Vec<Duration> {
        let asked = self.asked.lock().unwrap();
        asked.windows(2).map(|two| two[1] - two[0]).collect()
    }
}

#[test]
fn a_retry_waits_as_long_as_the_ca_asks() {
    let ca = Refusing::start("429 Too Many Requests", "Retry-After: 1\r\n");
    let output = ca.obtain("5ms,5ms");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let pauses = ca.pauses();
    assert_eq!(pauses.len(), 2, "{output:?}");
    assert!(pauses.iter().all(|pause| *pause >= Duration::from_secs(1)), "{pauses:?}");
    let made: Vec<PathBuf> =
        ["account.json", "c.pem", "k.pem", "www"].map(|n| ca.root.path().join(n)).to_vec();
    assert!(made.iter().all(|path| !path.exists()), "a refused run leaves nothing");
}

#[test]
fn a_retry_after_that_is_too_far_away_ends_the_run_at_once() {
    let ca = Refusing::start("503 Service Unavailable", "Retry-After: 86400\r\n");
    let output = ca.obtain("5ms,5ms");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(ca.pauses().len(), 0);
    assert!(String::from_utf8_lossy(&output.stderr).contains("asks to come back in 86400s"), "{output:?}");
}

#[test]
fn pauses_are_as_configured_and_a_little_longer() {
    let ca = Refusing::start("500 Internal Server Error", "");
    assert_eq!(ca.obtain("50ms,100ms,200ms").status.code(), Some(1));
    let pauses = ca.pauses();
    assert_eq!(pauses.len(), 3);
    for (pause, least) in pauses.iter().zip([50, 100, 200]) {
        assert!(*pause >= Duration::from_millis(least), "{pauses:?}");
    }
}

#[test]
fn a_refusal_that_will_stay_is_not_retried() {
    let Some(world) = World::start() else { return };
    let config = world
        .write_config(&format!("webroot = \"{}/www\"", world.root.path().display()), "contact = [\"tel:1\"]");
    let output = guard(["run", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("failed to make an account") && !log.contains("trying again"), "{log}");
    assert!(!fs::exists(world.path("state/account.json")).unwrap());
}
