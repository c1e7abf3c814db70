//! HTTP-01 (RFC 8555 section 8.3): showing the CA's tokens, and taking them away again.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::{OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::config::ChallengeConfig;
use crate::error::Error;
use crate::files;
use crate::limits::{LISTENER_ACCEPT_PAUSE, LISTENER_HEAD_TIMEOUT, TOKEN_FILE_BYTES_MAX};

const URL_PREFIX: &str = "/.well-known/acme-challenge/";

/// One token and what must be answered for it.
#[derive(Debug, Clone)]
pub struct Token {
    /// Last part of the URL.
    pub token: String,
    /// `TOKEN.THUMBPRINT`
    pub key_authorization: String,
}

/// Tokens that are being shown. Dropping it takes them away.
pub enum Shown {
    /// Files in a webroot.
    Files(Vec<PathBuf>),
    /// Our own listener, which ends with the task.
    Listener {
        /// Serves until aborted, which dropping it does.
        _task: JoinSet<()>,
    },
}

impl Shown {
    /// Show the tokens in the configured way. `account` is the account key's thumbprint.
    pub async fn start(config: &ChallengeConfig, account: &str, tokens: Vec<Token>) -> Result<Self, Error> {
        match (&config.webroot, config.listen) {
            (Some(webroot), _) => {
                let mut shown = Vec::with_capacity(tokens.len());
                for token in tokens {
                    match write_token(webroot, account, &token) {
                        Ok(path) => shown.push(path),
                        Err(error) => {
                            drop(Self::Files(shown));
                            return Err(error);
                        }
                    }
                }
                Ok(Self::Files(shown))
            }
            (None, Some(address)) => listen(address, tokens).await,
            (None, None) => Err(Error::Config("no way to answer a challenge is configured".to_owned())),
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Self::Files(paths) = self {
            for path in paths {
                // An error of the disk may be over at once; a run that obtains may not come again for months.
                let tries = (0..REMOVE_TRIES).map(|_| files::remove_if_there(path));
                let failed = tries.take_while(Result::is_err).last();
                if let Some(Err(error)) = failed.filter(|_| path.exists()) {
                    tracing::warn!("{error}; the next run that obtains tries again");
                }
            }
        }
    }
}

/// How often a token's removal is tried.
const REMOVE_TRIES: u32 = 3;

/// Remove the tokens that killed runs of this account left. Only under the lock. A file is ours if it says so: either its name is
/// that of our temporary files, or it holds its own name and our account's thumbprint.
pub fn sweep(webroot: &Path, account: &str) -> Result<usize, Error> {
    let folder = folder(webroot);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(Error::file("list", &folder)(e)),
    };
    let mut swept = 0;
    for entry in entries {
        let entry = entry.map_err(Error::file("list", &folder))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        let ours = if name.starts_with('.') {
            name.starts_with(&temporary_prefix(account))
        } else {
            entry.file_type().is_ok_and(|kind| kind.is_file()) && holds(&path, &format!("{name}.{account}"))
        };
        if ours && files::remove_if_there(&path)? {
            swept += 1;
        }
    }
    Ok(swept)
}

fn folder(webroot: &Path) -> PathBuf {
    webroot.join(URL_PREFIX.trim_matches('/'))
}

/// Names of temporary files carry the account, because several guards may share a webroot.
fn temporary_prefix(account: &str) -> String {
    format!(".guard-{}-", account.get(..16).unwrap_or(account))
}

/// Whether the file holds exactly this text. Anything unreadable does not.
fn holds(path: &Path, text: &str) -> bool {
    let mut found = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(TOKEN_FILE_BYTES_MAX as u64).read_to_end(&mut found));
    read.is_ok() && found == text.as_bytes()
}

/// Written under another name and renamed: a validator never reads half a token, and a killed run's rest is known by its name.
fn write_token(webroot: &Path, account: &str, token: &Token) -> Result<PathBuf, Error> {
    let folder = folder(webroot);
    // The CA chooses the token, and it becomes a file name.
    let safe = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if token.token.is_empty() || token.token.len() > 128 || !token.token.bytes().all(safe) {
        return Err(Error::Obtain(format!("the CA's token {:?} is not base64url", token.token)));
    }
    let path = folder.join(&token.token);
    let temporary = folder.join(temporary_prefix(account) + &token.token);
    let create = || OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary);
    let mut file = match create() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(&folder)
                .map_err(Error::file("make the directory", &folder))?;
            create()
        }
        result => result,
    }
    .map_err(Error::file("create", &temporary))?;
    let mut write = || -> io::Result<()> {
        let mode = file.metadata()?.permissions().mode();
        if mode & 0o044 != 0o044 {
            // A strict umask: but the web server must be able to read it, and it is no secret.
            file.set_permissions(Permissions::from_mode(0o644))?;
        }
        file.write_all(token.key_authorization.as_bytes())?;
        std::fs::rename(&temporary, &path)
    };
    if let Err(error) = write() {
        drop(files::remove_if_there(&temporary));
        return Err(Error::file("write the challenge token", &path)(error));
    }
    Ok(path)
}

async fn listen(address: SocketAddr, tokens: Vec<Token>) -> Result<Shown, Error> {
    let listener = TcpListener::bind(address).await.map_err(|e| {
        let hint = match e.kind() {
            io::ErrorKind::AddrInUse => {
                "; a web server already listens there: use `webroot` instead of `listen`"
            }
            io::ErrorKind::PermissionDenied => "; ports below 1024 need root or CAP_NET_BIND_SERVICE",
            _ => "",
        };
        Error::Obtain(format!("failed to listen on {address} for the challenge: {e}{hint}"))
    })?;
    let answers: HashMap<String, String> =
        tokens.into_iter().map(|t| (format!("{URL_PREFIX}{}", t.token), t.key_authorization)).collect();
    let answers = Arc::new(answers);
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut visitors = JoinSet::new();
        loop {
            let Ok((stream, peer)) = listener.accept().await else {
                tokio::time::sleep(LISTENER_ACCEPT_PAUSE).await;
                continue;
            };
            tracing::debug!(%peer, "challenge visitor");
            while visitors.try_join_next().is_some() {}
            let answers = Arc::clone(&answers);
            visitors.spawn(async move {
                let service = service_fn(move |request| answer(Arc::clone(&answers), request));
                let mut http = hyper::server::conn::http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(LISTENER_HEAD_TIMEOUT);
                // A visitor that goes away is its own loss.
                drop(http.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    Ok(Shown::Listener { _task: task })
}

#[expect(clippy::unused_async, reason = "hyper wants a future")]
async fn answer(
    answers: Arc<HashMap<String, String>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let found = answers.get(request.uri().path()).cloned();
    let mut response = Response::new(Full::from(found.clone().unwrap_or_default()));
    if found.is_none() {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}
