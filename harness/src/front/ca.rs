//! The CA's host as its users see it: started, asked, dropped.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Instant as Clock,
};

use http_body_util::Full;
use hyper::{Request as HttpRequest, header};
use nix::sched::{CloneFlags, setns};
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::limits;

use super::{
    CaSpec, Gate, Request,
    certificates::{Identity, Root},
    child::Child,
    dns,
    proxy::{Front, Ledger},
    settings,
    step::{DIRECTORY_PATH, PEBBLE_DIRECTORY_PATH, Paths},
    upstream::Upstream,
};

/// The CA's host, running. Dropping it ends Pebble, pebble-challtestsrv and the front.
#[derive(Debug)]
pub struct Ca {
    started: Started,
    ledger: Arc<Ledger>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A CA that did not start or went away: what was tried, what it printed, what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CaError(pub String);

/// What is known of a CA once it runs.
#[derive(Debug)]
struct Started {
    directory_url: String,
    front: SocketAddr,
    dns: SocketAddr,
    dns_management: SocketAddr,
    roots_pem: String,
    children: [Arc<Child>; 2],
}

impl Ca {
    /// Starts everything and waits until the directory answers through the front.
    pub fn start(spec: CaSpec) -> Result<Ca, CaError> {
        let ledger = Arc::new(Ledger::default());
        let (stop, stopped) = oneshot::channel();
        let (report, reported) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("ca".to_owned())
            .spawn({
                let ledger = ledger.clone();
                move || run(&spec, ledger, stopped, &report)
            })
            .map_err(|error| CaError(format!("failed to start the CA's thread: {error}")))?;
        match reported.recv() {
            Ok(Ok(started)) => Ok(Ca { started, ledger, stop: Some(stop), thread: Some(thread) }),
            Ok(Err(error)) => {
                // It has ended its programs by the time the thread is over.
                let _ = thread.join();
                Err(error)
            }
            Err(_) => Err(CaError("the CA's thread ended without a word: this is a bug".to_owned())),
        }
    }

    /// The directory URL clients are pointed at.
    pub fn directory_url(&self) -> &str {
        &self.started.directory_url
    }

    /// Address and port of the front.
    pub fn front(&self) -> SocketAddr {
        self.started.front
    }

    /// Address and port of the DNS server.
    pub fn dns(&self) -> SocketAddr {
        self.started.dns
    }

    /// Address and port of the DNS server's management interface (plain HTTP): where a DNS hook
    /// sets and clears the TXT records of DNS-01 (`/set-txt`, `/clear-txt`).
    pub fn dns_management(&self) -> SocketAddr {
        self.started.dns_management
    }

    /// PEM of the roots clients must trust: the front's own and the one Pebble issues under.
    pub fn roots_pem(&self) -> &str {
        &self.started.roots_pem
    }

    /// Replaces the gate that decides about requests; `None`: everything passes.
    pub fn set_gate(&self, gate: Option<Arc<dyn Gate>>) {
        self.ledger.set_gate(gate);
    }

    /// Takes the requests that were completed (or cut) since the last call, in the order of their
    /// arrival. One that is still held comes with a later call.
    pub fn take_requests(&self) -> Vec<Request> {
        self.ledger.take_requests()
    }

    /// Whether, since the last call, an order named an authorization that an earlier one had, so that
    /// there was no challenge to meet.
    pub fn take_reused(&self) -> bool {
        self.ledger.take_reused()
    }

    /// Whether its programs still run; if not, the error says which ended, how, and what they
    /// printed last. Ask when a baseline fails: a Pebble that went away explains it.
    pub fn health(&self) -> Result<(), CaError> {
        let ended = self.started.children.iter().filter_map(|child| {
            let end = child.exited()?;
            Some(format!("{} {end} while the world was in use; {}", child.name(), child.last_words()))
        });
        let ended: Vec<String> = ended.collect();
        if ended.is_empty() { Ok(()) } else { Err(CaError(ended.join("\n"))) }
    }
}

impl Drop for Ca {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; the programs are gone either way.
            let _ = thread.join();
        }
    }
}

/// The CA's thread.
fn run(
    spec: &CaSpec,
    ledger: Arc<Ledger>,
    stopped: oneshot::Receiver<()>,
    report: &mpsc::Sender<Result<Started, CaError>>,
) {
    if let Some(namespace) = &spec.namespace
        && let Err(error) = setns(namespace, CloneFlags::CLONE_NEWNET)
    {
        let _ = report.send(Err(CaError(format!("failed to enter the CA's network namespace: {error}"))));
        return;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = report.send(Err(CaError(format!("failed to start the CA's event loop: {error}"))));
            return;
        }
    };
    let children = runtime.block_on(async {
        let (started, front) = match start(spec, ledger).await {
            Ok(started) => started,
            Err(error) => {
                let _ = report.send(Err(error));
                return None;
            }
        };
        let children = started.children.clone();
        let _ = report.send(Ok(started));
        let _ = stopped.await;
        front.abort();
        Some(children)
    });
    // The `Ca` that is being dropped holds the children too: they end here, on their own thread.
    for child in children.iter().flatten() {
        child.end();
    }
}

async fn start(
    spec: &CaSpec,
    ledger: Arc<Ledger>,
) -> Result<(Started, tokio::task::JoinHandle<()>), CaError> {
    let name = spec.names.first().ok_or_else(|| CaError("the CA has no host name".to_owned()))?;
    let root = Root::new().map_err(|error| failed("make the front's root certificate", &error))?;
    let tls = root.client_config().map_err(|error| failed("set up TLS towards Pebble", &error))?;

    let listener = TcpListener::bind((spec.address, spec.front_port)).map_err(|error| {
        failed(&format!("listen on {} port {} for the ACME front", spec.address, spec.front_port), &error)
    })?;
    let front_address = listener.local_addr().map_err(|error| failed("ask for the front's port", &error))?;
    // What Pebble is about to do with its DNS server, and what fails with the loopback device down.
    std::net::TcpStream::connect_timeout(&front_address, limits::HANDSHAKE).map_err(|error| {
        CaError(format!(
            "failed to reach {front_address} from its own host: {error}; is the loopback device of the CA's \
             network namespace up (`ip link set lo up`)?"
        ))
    })?;
    let identity = root
        .identity(&spec.names, spec.address)
        .map_err(|error| failed(&format!("make a certificate for {}", spec.names.join(", ")), &error))?;
    let acceptor = TlsAcceptor::from(
        identity.server_config().map_err(|error| failed("set up TLS for the front", &error))?,
    );

    let (challtestsrv, dns, dns_management) = again_on_clash(|| start_dns(spec)).await?;
    let (pebble, listen, management, directory) =
        again_on_clash(|| start_pebble(spec, &root, &tls, dns)).await?;
    let issuing_root =
        get(&upstream(management, &tls), &management.to_string(), "/roots/0").await.map_err(|error| {
            failed(&format!("fetch Pebble's root from its management port {management}"), &*error)
        })?;
    let issuing_root = String::from_utf8_lossy(&issuing_root).into_owned();

    let paths = Paths::from_directory(&directory);
    let front = Arc::new(Front::new(ledger.clone(), upstream(listen, &tls), paths));
    listener.set_nonblocking(true).map_err(|error| failed("make the front's socket non-blocking", &error))?;
    let listener = tokio::net::TcpListener::from_std(listener)
        .map_err(|error| failed("hand the front's socket to the event loop", &error))?;
    let serving = tokio::spawn(async move {
        front.serve(listener, acceptor).await;
    });

    // The whole way, as a client will go it.
    let host = match (name.parse(), front_address.port()) {
        (Ok(IpAddr::V6(address)), port) => SocketAddr::from((address, port)).to_string(),
        (_, 443) => name.clone(),
        (_, port) => format!("{name}:{port}"),
    };
    let server = ServerName::try_from(name.clone())
        .map_err(|error| failed(&format!("use `{name}` as the front's host name"), &error))?;
    get(&Upstream::new(front_address, server, tls.clone()), &host, DIRECTORY_PATH).await.map_err(
        |error| failed(&format!("fetch the directory through the front at {front_address}"), &*error),
    )?;
    ledger.reset();

    let roots_pem = [root.pem(), issuing_root].map(|pem| pem.trim_end().to_owned() + "\n").concat();
    let directory_url = format!("https://{host}{DIRECTORY_PATH}");
    let children = [Arc::new(pebble), Arc::new(challtestsrv)];
    Ok((Started { directory_url, front: front_address, dns, dns_management, roots_pem, children }, serving))
}

/// Why a program is not there.
enum Refusal {
    /// Somebody else had taken a port between its choice and its use.
    Clash(CaError),
    /// Anything else.
    Final(CaError),
}

/// Pebble and challtestsrv cannot choose ports themselves, so that one chosen for them may be
/// gone again when they come to it.
async fn again_on_clash<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, CaError>
where
    F: Future<Output = Result<T, Refusal>>,
{
    let mut tries = 1;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(Refusal::Clash(_)) if tries < limits::PORT_TRIES => tries += 1,
            Err(Refusal::Clash(error) | Refusal::Final(error)) => return Err(error),
        }
    }
}

async fn start_dns(spec: &CaSpec) -> Result<(Child, SocketAddr, SocketAddr), Refusal> {
    let program = &spec.programs.challtestsrv;
    let help = help_of(program, &spec.scratch).await?;
    let dns = match spec.dns_port {
        0 => free_port(spec.address).map_err(Refusal::Final)?,
        port => SocketAddr::new(spec.address, port),
    };
    let management = free_port(spec.address).map_err(Refusal::Final)?;
    let arguments = settings::challtestsrv_arguments(&help, spec, dns, management);
    let child = spawn(program, &arguments, &[], &spec.scratch)?;
    wait_until(&child, "answer DNS queries", async || {
        let answers = dns::answers(dns, spec.subject).await.unwrap_or(false);
        answers && tokio::net::TcpStream::connect(management).await.is_ok()
    })
    .await?;
    // It goes on without a socket it did not get; what answered was then somebody else's.
    if clashed(&child) {
        return Err(Refusal::Clash(not_started(&child, "did not get its ports")));
    }
    Ok((child, dns, management))
}

async fn start_pebble(
    spec: &CaSpec,
    root: &Root,
    tls: &Arc<ClientConfig>,
    dns: SocketAddr,
) -> Result<(Child, SocketAddr, SocketAddr, Value), Refusal> {
    let listen = free_port(spec.address).map_err(Refusal::Final)?;
    let management = free_port(spec.address).map_err(Refusal::Final)?;
    let config = write_settings(spec, root, listen, management).map_err(Refusal::Final)?;
    let arguments = ["-config".to_owned(), config, "-dnsserver".to_owned(), dns.to_string()];
    let child = spawn(&spec.programs.pebble, &arguments, &settings::PEBBLE_ENVIRONMENT, &spec.scratch)?;
    let pebble = upstream(listen, tls);
    let admin = upstream(management, tls);
    let mut directory = Value::Null;
    // "Listening" is logged before it listens: only an answer counts.
    wait_until(&child, "answer with its directory", async || {
        if let Ok(body) = get(&pebble, &listen.to_string(), PEBBLE_DIRECTORY_PATH).await
            && get(&admin, &management.to_string(), "/roots/0").await.is_ok()
        {
            directory = serde_json::from_slice(&body).unwrap_or(Value::Null);
        }
        directory["newOrder"].is_string()
    })
    .await?;
    Ok((child, listen, management, directory))
}

/// Pebble's files; the configuration's path.
fn write_settings(
    spec: &CaSpec,
    root: &Root,
    listen: SocketAddr,
    management: SocketAddr,
) -> Result<String, CaError> {
    let Identity { certificate_pem, key_pem, .. } = root
        .identity(&["localhost".to_owned()], spec.address)
        .map_err(|error| failed("make Pebble's own TLS certificate", &error))?;
    let certificate = absolute(&spec.scratch.join("pebble.crt"))?;
    let key = absolute(&spec.scratch.join("pebble.key"))?;
    let config = absolute(&spec.scratch.join("pebble.json"))?;
    let settings = settings::pebble_config(spec, listen, management, &certificate, &key);
    for (path, text) in [(&certificate, certificate_pem), (&key, key_pem), (&config, settings)] {
        let write = || {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
            std::io::Write::write_all(&mut file, text.as_bytes())
        };
        write().map_err(|error| failed(&format!("write {}", path.display()), &error))?;
    }
    config.to_str().map(str::to_owned).ok_or_else(|| CaError(format!("{} is not UTF-8", config.display())))
}

/// What `program -h` prints.
async fn help_of(program: &Path, folder: &Path) -> Result<String, Refusal> {
    let child = spawn(program, &["-h".to_owned()], &[], folder)?;
    let deadline = Clock::now() + limits::PEBBLE_START;
    while child.exited().is_none() {
        if Clock::now() > deadline {
            return Err(Refusal::Final(not_started(&child, "was asked for its help (-h) and did not end")));
        }
        tokio::time::sleep(limits::CA_POLL).await;
    }
    child.drained().await;
    Ok(child.output())
}

fn spawn(
    program: &Path,
    arguments: &[String],
    environment: &[(&str, &str)],
    folder: &Path,
) -> Result<Child, Refusal> {
    Child::start(program, arguments, environment, folder)
        .map_err(|error| Refusal::Final(cannot_run(program, &error)))
}

/// Asks until the answer is yes, the program is gone or [`limits::PEBBLE_START`] is over.
async fn wait_until(child: &Child, what: &str, mut ready: impl AsyncFnMut() -> bool) -> Result<(), Refusal> {
    let deadline = Clock::now() + limits::PEBBLE_START;
    loop {
        // Something else at that port may take the question and never answer.
        if tokio::time::timeout(limits::HANDSHAKE, ready()).await.unwrap_or(false) {
            return Ok(());
        }
        if let Some(end) = child.exited() {
            // Its last words may still be in the pipe.
            child.drained().await;
            let error = not_started(child, &format!("{end} and did not {what}"));
            return Err(if clashed(child) { Refusal::Clash(error) } else { Refusal::Final(error) });
        }
        if Clock::now() > deadline {
            let waited = limits::PEBBLE_START.as_secs();
            return Err(Refusal::Final(not_started(
                child,
                &format!("runs, but did not {what} within {waited} s"),
            )));
        }
        tokio::time::sleep(limits::CA_POLL).await;
    }
}

/// Go's words for EADDRINUSE.
fn clashed(child: &Child) -> bool {
    child.output().contains("address already in use")
}

fn not_started(child: &Child, how: &str) -> CaError {
    CaError(format!(
        "failed to start the test CA: {} {how}; {}\n\
         is it Pebble, of version 2.4 or later? `--pebble PATH` (or ROULETTE_PEBBLE) names another one",
        child.name(),
        child.last_words()
    ))
}

fn cannot_run(program: &Path, error: &std::io::Error) -> CaError {
    CaError(format!(
        "failed to start the test CA: {} cannot be run: {error}; \
         `--pebble PATH` (or ROULETTE_PEBBLE) names another one",
        program.display()
    ))
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> CaError {
    CaError(format!("failed to {what}: {error}"))
}

fn absolute(path: &Path) -> Result<PathBuf, CaError> {
    std::path::absolute(path).map_err(|error| failed(&format!("resolve {}", path.display()), &error))
}

fn upstream(address: SocketAddr, tls: &Arc<ClientConfig>) -> Upstream {
    Upstream::new(address, ServerName::IpAddress(address.ip().into()), tls.clone())
}

/// GETs `path`; an error unless the answer is 200.
async fn get(
    from: &Upstream,
    host: &str,
    path: &str,
) -> Result<hyper::body::Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let request = HttpRequest::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "process-roulette")
        .body(Full::default())?;
    let answer = from.send(request).await?;
    match answer.status().as_u16() {
        200 => Ok(answer.into_body()),
        status => Err(format!("the answer was HTTP {status}").into()),
    }
}

/// A port that is free for TCP and UDP now.
fn free_port(address: IpAddr) -> Result<SocketAddr, CaError> {
    let pick = || {
        let tcp = TcpListener::bind((address, 0))?.local_addr()?;
        UdpSocket::bind(tcp)?;
        Ok::<_, std::io::Error>(tcp)
    };
    let mut tries = 1;
    loop {
        match pick() {
            Ok(address) => return Ok(address),
            Err(_) if tries < limits::PORT_TRIES => tries += 1,
            Err(error) => return Err(failed(&format!("find a free port on {address}"), &error)),
        }
    }
}
