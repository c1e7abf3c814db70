//! The built-in TLS server and the probe, as processes and sockets.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use process_roulette::target::{Server, ServerSpec, served, this_program};
use process_roulette_tracer::{Command, spawn_untraced};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm};

/// A folder with a pair in it and a server that serves it. Ports are held until the server takes
/// them, and asked for again when another test was faster.
struct Site {
    folder: tempfile::TempDir,
    spec: ServerSpec,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let spec = ServerSpec {
            program: env!("CARGO_BIN_EXE_roulette").into(),
            tls: free_port(),
            http: Some(free_port()),
            webroots: vec![at("www")],
            certificate: at("cert.pem"),
            key: at("key.pem"),
            pid_file: at("run/server.pid"),
            unit_file: None,
            allow_missing: false,
        };
        Site { folder, spec }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
    /// Puts a new pair on disk.
    fn pair(&self, algorithm: &'static SignatureAlgorithm) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate =
            CertificateParams::new(["example.com".to_owned()]).unwrap().self_signed(&key).unwrap();
        fs::write(self.path("cert.pem"), certificate.pem()).unwrap();
        fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
    }
    fn try_start(&self) -> Result<Server, String> {
        Server::start_as(Command::new(self.spec.argv()), &self.spec).map_err(|error| error.to_string())
    }
    /// Starts it, on other ports if these were taken meanwhile.
    fn start(&mut self) -> Server {
        for _ in 0..20 {
            match self.try_start() {
                Err(why) if why.contains("in use") => {
                    self.spec.tls = free_port();
                    self.spec.http = Some(free_port());
                }
                other => return other.unwrap(),
            }
        }
        panic!("no free port");
    }
    fn served(&self) -> Result<String, String> {
        served(self.spec.tls, "example.com").map(|served| served.fingerprint)
    }
    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.spec.http.unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: example.com\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn signal(server: &Server, signal: Signal) {
    kill(Pid::from_raw(server.pid()), signal).unwrap();
}

#[test]
fn a_new_pair_is_served_after_a_hangup_and_not_before() {
    let mut site = Site::new();
    site.pair(&PKCS_ED25519);
    let mut server = site.start();
    let first = site.served().unwrap();
    assert_eq!(server.state().fingerprint.as_deref(), Some(first.as_str()));
    let pid: i32 = fs::read_to_string(&site.spec.pid_file).unwrap().trim().parse().unwrap();
    assert_eq!(pid, server.pid());

    site.pair(&PKCS_ECDSA_P384_SHA384);
    assert_eq!(server.settle().unwrap().reloads, 0);
    assert_eq!(site.served().unwrap(), first);

    for round in 1..=50 {
        site.pair(&PKCS_ED25519);
        signal(&server, Signal::SIGHUP);
        let state = server.settle().unwrap().clone();
        assert_eq!((state.reloads, state.refused), (round, 0));
        assert_eq!(site.served().ok(), state.fingerprint);
    }
    assert_ne!(site.served().unwrap(), first);
}

#[test]
fn a_pair_that_is_torn_or_cut_is_refused_and_the_old_one_kept() {
    let mut site = Site::new();
    site.pair(&PKCS_ED25519);
    let mut server = site.start();
    let first = site.served().unwrap();
    let old_key = fs::read(site.path("key.pem")).unwrap();
    site.pair(&PKCS_ED25519);
    let new_key = fs::read(site.path("key.pem")).unwrap();
    for (round, key) in [&old_key[..], &new_key[..20], b""].into_iter().enumerate() {
        fs::write(site.path("key.pem"), key).unwrap();
        signal(&server, Signal::SIGHUP);
        let state = server.settle().unwrap();
        assert_eq!(state.refused, round as u64 + 1);
        assert!(state.refusal.as_ref().is_some_and(|why| why.contains("key.pem")), "{state:?}");
        assert_eq!(site.served().unwrap(), first);
    }
    fs::write(site.path("key.pem"), new_key).unwrap();
    signal(&server, Signal::SIGHUP);
    assert_eq!(server.settle().unwrap().refusal, None);
    assert_ne!(site.served().unwrap(), first);
}

#[test]
fn without_a_pair_it_starts_only_when_that_is_allowed() {
    let mut site = Site::new();
    let error = site.try_start().unwrap_err();
    assert!(error.contains("cert.pem") && error.contains("start"), "{error}");

    site.spec.allow_missing = true;
    let mut server = site.start();
    assert!(site.served().is_err());
    site.pair(&PKCS_ED25519);
    assert!(site.served().is_err(), "it must not look again by itself");
    signal(&server, Signal::SIGHUP);
    server.settle().unwrap();
    assert!(site.served().is_ok());
}

#[test]
fn challenges_are_answered_over_http_and_over_tls_nothing_hangs() {
    let mut site = Site::new();
    site.pair(&PKCS_ED25519);
    let challenges = site.path("www/.well-known/acme-challenge");
    fs::create_dir_all(&challenges).unwrap();
    fs::write(challenges.join("token"), "token.thumbprint").unwrap();
    let _server = site.start();
    assert!(site.get("/.well-known/acme-challenge/token").ends_with("\r\n\r\ntoken.thumbprint"));
    assert!(site.get("/../key.pem").starts_with("HTTP/1.1 404"));
    // A client that says nothing does not keep others waiting.
    let _silent = TcpStream::connect(site.spec.tls).unwrap();
    site.served().unwrap();
}

#[test]
fn sigterm_ends_it_and_removes_its_process_id() {
    let mut site = Site::new();
    site.pair(&PKCS_ED25519);
    let mut server = site.start();
    signal(&server, Signal::SIGTERM);
    assert!(server.settle().is_err());
    assert!(!site.path("run/server.pid").exists());
    assert_eq!(site.served().unwrap_err(), "connection refused");
    // The end of its output comes a moment before the end of the process.
    let ended = nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT;
    nix::sys::wait::waitid(nix::sys::wait::Id::Pid(Pid::from_raw(server.pid())), ended).unwrap();
    assert!(!server.is_alive());
}

#[test]
fn as_its_own_service_manager_it_stops_and_starts_in_one_process() {
    let mut site = Site::new();
    site.pair(&PKCS_ED25519);
    site.spec.unit_file = Some(site.path("run/unit.pid").to_str().unwrap().to_owned());
    let mut server = site.start();
    let first = site.served().unwrap();
    signal(&server, Signal::SIGTERM);
    assert!(!server.settle().unwrap().running);
    assert!(!site.path("run/server.pid").exists() && site.path("run/unit.pid").exists());
    assert_eq!(site.served().unwrap_err(), "connection refused");

    site.pair(&PKCS_ED25519);
    signal(&server, Signal::SIGUSR2);
    assert!(server.settle().unwrap().running);
    assert!(site.path("run/server.pid").exists());
    assert_ne!(site.served().unwrap(), first);
}

#[test]
fn dropping_the_handle_ends_the_process() {
    let mut site = Site::new();
    site.pair(&PKCS_ED25519);
    let server = site.start();
    assert!(server.is_alive());
    drop(server);
    assert_eq!(site.served().unwrap_err(), "connection refused");
}

#[test]
fn this_program_is_found_without_its_name() {
    let (answers, stdout) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let mut command = Command::new(["no such name", "--list"]);
    command.program = Some(this_program());
    command.stdout = Some(stdout);
    let pid = spawn_untraced(&command).unwrap();
    drop(command);
    let mut said = String::new();
    fs::File::from(answers).read_to_string(&mut said).unwrap();
    nix::sys::wait::waitpid(pid, None).unwrap();
    assert!(said.contains("this_program_is_found_without_its_name"), "{said}");
}
