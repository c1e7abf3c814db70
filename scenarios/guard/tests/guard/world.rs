//! One RAII world for a test: a real Pebble with its DNS, a web server for challenges, and a TLS server that reloads.
//! Every port is ephemeral; everything ends when it is dropped.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rustls::{ServerConfig, ServerConnection};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

pub const DOMAIN: &str = "example.com";
/// A bound for everything that should take milliseconds: long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The built binary.
pub const GUARD: &str = env!("CARGO_BIN_EXE_guard");

pub struct World {
    pub root: TempDir,
    pub pebble: Pebble,
    pub tls: TlsServer,
    _web: Option<Server>,
}

impl World {
    /// `None`, said loudly, when this machine has no Pebble.
    pub fn start() -> Option<Self> {
        Self::start_with(true)
    }

    /// Without a web server: the guard's own listener must answer.
    pub fn start_without_web() -> Option<Self> {
        Self::start_with(false)
    }

    fn start_with(web: bool) -> Option<Self> {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("www")).unwrap();
        let pebble = Pebble::start(root.path())?;
        let web = web.then(|| serve_files(pebble.http_port, root.path().join("www")));
        let tls = TlsServer::start(&root.path().join("state"), &root.path().join("reloads"));
        Some(Self { root, pebble, tls, _web: web })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The usual configuration; `challenge` is the line of `[challenge]`.
    pub fn write_config(&self, challenge: &str, more_acme: &str) -> PathBuf {
        let root = self.root.path().display();
        let text = format!(
            r#"domains = ["{DOMAIN}"]
directory = "{root}/state"

[challenge]
{challenge}

[acme]
directory_url = "{}"
ca_bundle = "{root}/pebble.pem"
retries = ["10ms", "20ms", "40ms"]
poll = "20ms"
poll_timeout = "10s"
{more_acme}

[served]
address = "{}"
settle = "300ms"
within = "5s"

[reload]
command = ["/bin/sh", "-c", "printf x >> {root}/reloads"]
"#,
            self.pebble.directory_url(),
            self.tls.address,
        );
        let path = self.path("guard.toml");
        fs::write(&path, text).unwrap();
        path
    }

    pub fn webroot_config(&self) -> PathBuf {
        self.write_config(&format!("webroot = \"{}/www\"", self.root.path().display()), "")
    }

    pub fn reloads(&self) -> usize {
        fs::read(self.path("reloads")).map(|bytes| bytes.len()).unwrap_or(0)
    }

    /// Let the server take up what is on disk, as if it had been so all along.
    pub fn reload_by_hand(&self) {
        let mut reloads =
            fs::OpenOptions::new().append(true).create(true).open(self.path("reloads")).unwrap();
        reloads.write_all(b"x").unwrap();
        let served = guard(["served", "--address", &self.tls.address.to_string(), "--name", DOMAIN]);
        assert!(served.status.success(), "{served:?}");
    }

    pub fn status(&self, config: &Path) -> serde_json::Value {
        let output = guard(["status", "--format", "json", "--config", config.to_str().unwrap()]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("no status: {e}: {output:?}"))
    }

    /// Every file of the state and the webroot with everything that would tell a write.
    pub fn snapshot(&self) -> Vec<String> {
        let mut out = Vec::new();
        list(&self.path("state"), &mut out);
        list(&self.path("www"), &mut out);
        out
    }

    /// The names below state and webroot, relative.
    pub fn names(&self) -> Vec<String> {
        let strip = format!("{}/", self.root.path().display());
        self.snapshot().iter().map(|line| line.split('|').next().unwrap().replace(&strip, "")).collect()
    }
}

fn list(path: &Path, out: &mut Vec<String>) {
    use std::os::unix::fs::MetadataExt;
    let meta = path.symlink_metadata().unwrap();
    out.push(format!(
        "{}|{:o}|{}|{}|{}.{}|{}.{}",
        path.display(),
        meta.mode(),
        meta.ino(),
        meta.size(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec()
    ));
    if meta.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| list(entry, out));
    }
}

/// Re-sign the certificate in place with the same key and little time left: what the world looks like before a renewal.
pub fn age(world: &World) {
    let key_pem = fs::read_to_string(world.path("state/current/privkey.pem")).unwrap();
    let key = rcgen::KeyPair::from_pem(&key_pem).unwrap();
    let mut params = rcgen::CertificateParams::new([DOMAIN.to_owned()]).unwrap();
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(80 * 86_400)).into();
    params.not_after = (now + Duration::from_secs(10 * 86_400)).into();
    let old = params.self_signed(&key).unwrap();
    fs::write(world.path("state/current/fullchain.pem"), old.pem()).unwrap();
}

/// Run `guard` to its end.
pub fn guard<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(args: I) -> Output {
    Command::new(GUARD).args(args).stdin(Stdio::null()).output().unwrap()
}

/// `guard run` to its end.
pub fn run(config: &Path) -> Output {
    guard(["run", "--config", config.to_str().unwrap()])
}

/// Run it, and it must succeed.
pub fn run_ok(config: &Path) {
    let output = run(config);
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// Wait until `condition` holds; panics when it does not in time.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn find(name: &str) -> Option<PathBuf> {
    if let Some(pebble) = std::env::var_os("ROULETTE_PEBBLE").map(PathBuf::from) {
        let beside = pebble.with_file_name(name);
        return beside.is_file().then_some(beside);
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| path.is_file())
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Ends its process when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub struct Pebble {
    directory: PathBuf,
    port: u16,
    management_port: u16,
    dns_port: u16,
    pub http_port: u16,
    tls_port: u16,
    process: Option<Process>,
    _dns: Process,
}

impl Pebble {
    fn start(directory: &Path) -> Option<Self> {
        let (Some(pebble), Some(dns)) = (find("pebble"), find("pebble-challtestsrv")) else {
            eprintln!(
                "SKIPPED: no pebble and pebble-challtestsrv; set ROULETTE_PEBBLE to the pebble binary, or put them on PATH"
            );
            return None;
        };
        make_certificate(&directory.join("pebble.pem"), &directory.join("pebble.key"), "localhost");
        // A port may be taken between being found free and being used: then all over again with others.
        for attempt in 0..10 {
            let dns_port = free_port();
            // The flags of 2.4 and of 2.10 differ, and it does not tell its version.
            let flags: &[&str] = if attempt % 2 == 0 { &["-dns01"] } else { &["-doh", "", "-dnsserver"] };
            let mut dns_process = spawn_dns(&dns, flags, dns_port);
            if !wait_for_port(&mut dns_process, dns_port) {
                continue;
            }
            let mut this = Self {
                directory: directory.to_owned(),
                port: free_port(),
                management_port: free_port(),
                dns_port,
                http_port: free_port(),
                tls_port: free_port(),
                process: None,
                _dns: dns_process,
            };
            this.write_config();
            if this.spawn(&pebble) {
                return Some(this);
            }
        }
        panic!("pebble did not start in ten attempts");
    }

    fn write_config(&self) {
        let directory = self.directory.display();
        let config = serde_json::json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.port),
            "managementListenAddress": format!("127.0.0.1:{}", self.management_port),
            "certificate": format!("{directory}/pebble.pem"),
            "privateKey": format!("{directory}/pebble.key"),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "ocspResponderURL": "",
            "certificateValidityPeriod": 90 * 86_400,
        }});
        fs::write(self.directory.join("pebble.json"), config.to_string()).unwrap();
    }

    fn spawn(&mut self, pebble: &Path) -> bool {
        let child = Command::new(pebble)
            .arg("-config")
            .arg(self.directory.join("pebble.json"))
            .args(["-dnsserver", &format!("127.0.0.1:{}", self.dns_port)])
            .envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "0"), ("PEBBLE_AUTHZREUSE", "0")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut process = Process(child);
        let up = wait_for_port(&mut process, self.port);
        self.process = Some(process);
        up
    }

    /// A CA restored from nothing: it knows no account any more.
    pub fn restart(&mut self) {
        self.process = None;
        assert!(self.spawn(&find("pebble").unwrap()), "pebble did not start again");
    }

    /// A CA that is down until [`Pebble::restart`].
    pub fn stop(&mut self) {
        self.process = None;
    }

    pub fn directory_url(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }
}

fn spawn_dns(dns: &Path, flags: &[&str], port: u16) -> Process {
    let management = free_port();
    let child = Command::new(dns)
        .args(flags)
        .arg(format!("127.0.0.1:{port}"))
        .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
        .args(["-management", &format!("127.0.0.1:{management}")])
        .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Process(child)
}

/// Whether the port answers before the process ends.
fn wait_for_port(process: &mut Process, port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let deadline = Instant::now() + PATIENCE;
    loop {
        if process.0.try_wait().unwrap().is_some() {
            return false;
        }
        if TcpStream::connect(address).is_ok() {
            return true;
        }
        assert!(Instant::now() < deadline, "nothing answers at {address}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A self-signed certificate and its key.
pub fn make_certificate(certificate: &Path, key: &Path, name: &str) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    fs::write(certificate, made.cert.pem()).unwrap();
    fs::write(key, made.signing_key.serialize_pem()).unwrap();
}

/// A thread that accepts until dropped.
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(listener: TcpListener, mut serve: impl FnMut(TcpStream) + Send + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopping.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                drop(stream.set_read_timeout(Some(Duration::from_secs(5))));
                serve(stream);
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accept.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// What a web server with this document root answers.
fn serve_files(port: u16, root: PathBuf) -> Server {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    Server::start(listener, move |mut stream| {
        let mut request = [0; 4096];
        let n = stream.read(&mut request).unwrap_or(0);
        let text = String::from_utf8_lossy(&request[..n]).into_owned();
        let path = text.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
        let (code, body) = match fs::read(root.join(path)) {
            Ok(body) => ("200 OK", body),
            Err(_) => ("404 Not Found", Vec::new()),
        };
        let head = format!("HTTP/1.1 {code}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        drop(stream.write_all(&[head.as_bytes(), &body].concat()));
    })
}

/// Serves `STATE/current/*.pem` as it was when the reload file last grew, as a server that reloads on request does.
pub struct TlsServer {
    pub address: SocketAddr,
    server: Option<Server>,
}

impl TlsServer {
    fn start(state: &Path, reloads: &Path) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let current = state.join("current");
        let reloads = reloads.to_owned();
        let scratch = tempfile::tempdir().unwrap();
        let (first, first_key) = (scratch.path().join("c"), scratch.path().join("k"));
        make_certificate(&first, &first_key, DOMAIN);
        let mut config = tls_config(&first, &first_key);
        let mut seen = 0;
        let server = Server::start(listener, move |mut stream| {
            let now = fs::read(&reloads).map(|bytes| bytes.len()).unwrap_or(0);
            if now != seen {
                seen = now;
                config = tls_config(&current.join("fullchain.pem"), &current.join("privkey.pem"));
            }
            let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            while tls.is_handshaking() {
                if tls.complete_io(&mut stream).is_err() {
                    return;
                }
            }
        });
        Self { address, server: Some(server) }
    }

    pub fn stop(&mut self) {
        self.server = None;
    }
}

/// Panics in the server's thread on a pair that does not load, as a real server would refuse.
pub fn tls_config(certificate: &Path, key: &Path) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}
