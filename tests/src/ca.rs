//! A real CA's host on loopback, and a client for it.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::LazyLock,
};

use instant_acme::{
    Account, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use process_roulette::{
    front::{Ca, CaSpec},
    pebble::{self, Programs},
};
use tempfile::TempDir;

/// Found once for all tests; `Err` where this machine has none to be had.
pub static PROGRAMS: LazyLock<Result<Programs, String>> =
    LazyLock::new(|| pebble::find(None, &mut |line| eprintln!("{line}")).map_err(|e| e.to_string()));

/// The programs, or a loud skip.
#[macro_export]
macro_rules! programs_or_skip {
    () => {
        match &*$crate::ca::PROGRAMS {
            Ok(programs) => programs.clone(),
            Err(why) => {
                eprintln!("SKIPPED a test of the CA: {why}");
                return;
            }
        }
    };
}

/// A CA on loopback, its files, and the port on which it validates HTTP-01.
pub struct Host {
    /// The CA.
    pub ca: Ca,
    /// Its files.
    pub scratch: TempDir,
    /// Where it validates HTTP-01.
    pub http_port: u16,
}

/// A CA on loopback.
pub fn spec(programs: Programs, scratch: &Path, http_port: u16) -> CaSpec {
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
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Host {
    /// One that validates HTTP-01 where nobody listens yet.
    pub fn start(programs: Programs) -> Host {
        Host::with_http_port(programs, free_port())
    }

    /// One that validates HTTP-01 at `http_port`.
    pub fn with_http_port(programs: Programs, http_port: u16) -> Host {
        let scratch = tempfile::tempdir().unwrap();
        let ca = Ca::start(spec(programs, scratch.path(), http_port)).unwrap();
        std::fs::write(scratch.path().join("roots.pem"), ca.roots_pem()).unwrap();
        Host { ca, scratch, http_port }
    }

    /// The CA bundle clients need.
    pub fn roots(&self) -> PathBuf {
        self.scratch.path().join("roots.pem")
    }

    /// A new account.
    pub async fn account(&self) -> Result<Account, Error> {
        let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
        let builder = Account::builder_with_root(self.roots())?;
        Ok(builder.create(&new, self.ca.directory_url().to_owned(), None).await?.0)
    }
}

/// Orders a certificate for `example.com`.
pub async fn order(account: &Account) -> Result<Order, Error> {
    account.new_order(&NewOrder::new(&[Identifier::Dns("example.com".to_owned())])).await
}

/// Answers every request on `listener` with `body`, as long as the test runs.
pub fn serve_http01(listener: TcpListener, body: String) {
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
pub async fn obtain(account: &Account, listener: TcpListener) -> String {
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

/// Runs a test's future.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

/// Live processes that were started in `folder`, as those of a CA are.
pub fn of_folder(folder: &Path) -> Vec<u32> {
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
