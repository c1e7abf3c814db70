//! The ACME front: takes requests from clients, asks the gate, passes them on to Pebble, asks the
//! gate again, and answers.

use std::{
    collections::HashSet,
    convert::Infallible,
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
    http::request,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::limits;

use super::{
    Decision, Gate, Instant, Request, Step,
    step::{DIRECTORY_PATH, PEBBLE_DIRECTORY_PATH, Paths, nonce_of, only_asks},
    upstream::Upstream,
};

type Answer = Response<Full<Bytes>>;

/// RFC 8555 section 6.5.1.
const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");

/// Header fields that are about one connection (RFC 9110 section 7.6.1), or that hyper writes.
const PER_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
];

/// The service gives no answer: hyper then closes the connection, which is what is wanted.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
struct Cut;

/// What the caller's threads share with the front.
#[derive(Default)]
pub(super) struct Ledger {
    gate: Mutex<Option<Arc<dyn Gate>>>,
    requests: Mutex<Vec<Request>>,
    last_number: AtomicU64,
    reused: AtomicBool,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("requests", &self.requests).finish_non_exhaustive()
    }
}

impl Ledger {
    pub fn set_gate(&self, gate: Option<Arc<dyn Gate>>) {
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = gate;
    }

    pub fn take_requests(&self) -> Vec<Request> {
        let mut requests = std::mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner));
        requests.sort_by_key(|request| request.number);
        requests
    }

    pub fn take_reused(&self) -> bool {
        self.reused.swap(false, Ordering::Relaxed)
    }

    /// Forgets everything: what the harness itself asked while it started does not count.
    pub fn reset(&self) {
        self.take_requests();
        self.last_number.store(0, Ordering::Relaxed);
    }

    fn next_number(&self) -> u64 {
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn record(&self, request: Request) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    }

    /// Asks the gate and waits as it wants.
    async fn ask(&self, request: &Request, instant: Instant) -> Asked {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(gate) = gate else { return Asked::GoOn };
        let mut decision = gate.at(request, instant);
        loop {
            match decision {
                Decision::Pass => return Asked::GoOn,
                Decision::Hold(receiver) => decision = receiver.await.unwrap_or(Decision::Pass),
                Decision::Delay(time) => {
                    tokio::time::sleep(time).await;
                    return Asked::GoOn;
                }
                Decision::Answer { status, headers, body } => {
                    return Asked::Instead(Ok(injected(status, &headers, body)));
                }
                Decision::Cut => return Asked::Instead(Err(Cut)),
                Decision::Processing => return Asked::Processing,
            }
        }
    }
}

/// What the gate has decided.
enum Asked {
    GoOn,
    Instead(Result<Answer, Cut>),
    Processing,
}

/// The front of one CA.
pub(super) struct Front {
    pub ledger: Arc<Ledger>,
    pebble: Upstream,
    paths: RwLock<Paths>,
    /// Hashes of the authorizations handed out so far: 8 bytes each, for the CA's lifetime.
    authorizations: Mutex<HashSet<u64>>,
    /// Nonces of requests that a fault answered in the CA's stead. Pebble has not seen them, and to
    /// the client they are used all the same.
    used_nonces: Mutex<HashSet<String>>,
}

impl Front {
    pub fn new(ledger: Arc<Ledger>, pebble: Upstream, paths: Paths) -> Front {
        Front {
            ledger,
            pebble,
            paths: RwLock::new(paths),
            authorizations: Mutex::default(),
            used_nonces: Mutex::default(),
        }
    }

    /// Serves clients for ever. A connection has no time limit: a client may be stopped for as
    /// long as a fault wants, and dies with its world.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, tls: TlsAcceptor) -> Infallible {
        loop {
            match listener.accept().await {
                Ok((tcp, client)) => {
                    tokio::spawn(self.clone().connection(tcp, client, tls.clone()));
                }
                // Out of descriptors, mostly: others must be given back first.
                Err(error) => {
                    tracing::warn!(%error, "the ACME front failed to accept a connection");
                    tokio::time::sleep(limits::ACCEPT_AGAIN).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, tcp: TcpStream, client: SocketAddr, tls: TlsAcceptor) {
        let _ = tcp.set_nodelay(true);
        // Clients hang up, in mid handshake too: that is what faults do.
        let Ok(stream) = tls.accept(tcp).await else { return };
        let service = service_fn(|request| self.clone().request(client, request));
        let _ =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    /// A request that has arrived whole goes its way to the end even if its client is gone: the
    /// CA of a killed client acts on what was sent, too. So it is a task of its own, which hyper
    /// does not drop with the connection.
    async fn request(
        self: Arc<Self>,
        client: SocketAddr,
        request: hyper::Request<Incoming>,
    ) -> Result<Answer, Cut> {
        let (head, body) = request.into_parts();
        let body = match Limited::new(body, limits::ACME_MESSAGE).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return Err(Cut),
        };
        tokio::spawn(async move { self.carry(client, head, body).await }).await.unwrap_or(Err(Cut))
    }

    async fn carry(&self, client: SocketAddr, head: request::Parts, body: Bytes) -> Result<Answer, Cut> {
        let path = head.uri.path();
        let mut step = self.paths.read().unwrap_or_else(PoisonError::into_inner).step(path);
        // Some clients poll the challenge itself: only the one that says "ready" makes the CA act.
        if step == Step::Challenge && only_asks(&body) {
            step = Step::ChallengeStatus;
        }
        let mut request = Request { number: self.ledger.next_number(), step, client, status: None };
        let outcome = self.decide(&mut request, head, body).await;
        self.ledger.record(request);
        outcome
    }

    async fn decide(&self, request: &mut Request, head: request::Parts, body: Bytes) -> Result<Answer, Cut> {
        let post_from = (head.method == Method::POST).then(|| head.headers.get(header::HOST).cloned());
        let nonce = nonce_of(&body);
        let outcome = if nonce.as_ref().is_some_and(|nonce| self.is_used(nonce)) {
            let detail = "the nonce was used before";
            Asked::Instead(Ok(problem(StatusCode::BAD_REQUEST, "badNonce", detail, HeaderMap::new())))
        } else {
            self.ledger.ask(request, Instant::Arrived).await
        };
        if let Asked::Instead(outcome) = outcome {
            request.status = outcome.as_ref().ok().map(|answer| answer.status().as_u16());
            if outcome.is_ok() {
                self.use_up(nonce);
            }
            return match post_from {
                Some(host) => Ok(self.with_nonce(outcome?, host).await),
                None => outcome,
            };
        }
        let answer = self.pass_on(request.step, head, body).await;
        request.status = Some(answer.status().as_u16());
        let nonce = answer.headers().get(REPLAY_NONCE).cloned();
        match self.ledger.ask(request, Instant::Answered).await {
            Asked::GoOn => Ok(answer),
            Asked::Processing => Ok(still_processing(answer).await),
            Asked::Instead(outcome) => {
                let mut instead = outcome?;
                if let Some(nonce) = nonce {
                    instead.headers_mut().entry(REPLAY_NONCE).or_insert(nonce);
                }
                Ok(instead)
            }
        }
    }

    /// Asks Pebble. A Pebble that does not answer is a 502 that says so.
    async fn pass_on(&self, step: Step, head: request::Parts, body: Bytes) -> Answer {
        let request = match towards_pebble(head, body) {
            Ok(request) => request,
            Err(error) => {
                return problem(StatusCode::BAD_REQUEST, "malformed", &error.to_string(), HeaderMap::new());
            }
        };
        let method = request.method().clone();
        match self.pebble.send(request).await {
            Ok(answer) => self.towards_client(step, &method, answer),
            Err(error) => {
                let detail = format!("the ACME front got no answer from Pebble: {error}");
                tracing::warn!("{detail}");
                problem(StatusCode::BAD_GATEWAY, "serverInternal", &detail, HeaderMap::new())
            }
        }
    }

    fn towards_client(&self, step: Step, method: &Method, answer: Response<Bytes>) -> Answer {
        let (mut head, body) = answer.into_parts();
        PER_CONNECTION.iter().for_each(|name| drop(head.headers.remove(name)));
        if method != Method::HEAD {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        if head.status.is_success()
            && matches!(
                step,
                Step::NewAccount | Step::NewOrder | Step::Order | Step::Finalize | Step::Authorization
            )
        {
            let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let location = head.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
            self.paths.write().unwrap_or_else(PoisonError::into_inner).learn(step, location, &json);
            if step == Step::NewOrder && self.hands_out_again(&json) {
                self.ledger.reused.store(true, Ordering::Relaxed);
            }
        }
        Response::from_parts(head, Full::new(body))
    }

    /// Whether an order has an authorization that an earlier one had. At `PEBBLE_AUTHZREUSE=0`
    /// Pebble still does this once in a hundred times: it rolls 0 to 99 and re-uses when the
    /// roll is not *above* the setting (wfe/wfe.go, 2.4 to 2.10). The run then meets no
    /// challenge, and is not the one that was planned.
    fn hands_out_again(&self, order: &Value) -> bool {
        let mut known = self.authorizations.lock().unwrap_or_else(PoisonError::into_inner);
        let urls = order["authorizations"].as_array().into_iter().flatten().filter_map(Value::as_str);
        // All of them are noted, also after the first known one.
        urls.fold(false, |again, url| {
            let mut hasher = DefaultHasher::new();
            url.hash(&mut hasher);
            !known.insert(hasher.finish()) || again
        })
    }

    /// A nonce is good for one request (RFC 8555 section 6.5).
    fn is_used(&self, nonce: &str) -> bool {
        self.used_nonces.lock().unwrap_or_else(PoisonError::into_inner).contains(nonce)
    }

    fn use_up(&self, nonce: Option<String>) {
        self.used_nonces.lock().unwrap_or_else(PoisonError::into_inner).extend(nonce);
    }

    /// An answer that a fault gives to a POST has a fresh nonce, as a CA's has (RFC 8555 section
    /// 6.5): without it a client has nothing to try again with.
    async fn with_nonce(&self, mut answer: Answer, host: Option<HeaderValue>) -> Answer {
        if answer.headers().contains_key(REPLAY_NONCE) {
            return answer;
        }
        let path = {
            let paths = self.paths.read().unwrap_or_else(PoisonError::into_inner);
            paths.resource(Step::NewNonce).map(str::to_owned)
        };
        let (Some(path), Some(host)) = (path, host) else { return answer };
        let request = hyper::Request::head(path)
            .header(header::HOST, host)
            .header(header::USER_AGENT, "process-roulette")
            .body(Full::default());
        if let Ok(request) = request
            && let Ok(fresh) = self.pebble.send(request).await
            && let Some(nonce) = fresh.headers().get(REPLAY_NONCE)
        {
            answer.headers_mut().insert(REPLAY_NONCE, nonce.clone());
        }
        answer
    }
}

/// The request as Pebble gets it: everything as the client sent it, `Host` above all (Pebble
/// builds its URLs from it and compares them with the JWS), but production's directory path.
fn towards_pebble(
    head: request::Parts,
    body: Bytes,
) -> Result<hyper::Request<Full<Bytes>>, hyper::http::Error> {
    let path = match head.uri.path_and_query() {
        Some(path) if path.path() == DIRECTORY_PATH => PEBBLE_DIRECTORY_PATH,
        Some(path) => path.as_str(),
        None => "/",
    };
    let mut request =
        hyper::Request::builder().method(head.method).uri(path.parse::<Uri>()?).body(Full::new(body))?;
    let headers = request.headers_mut();
    *headers = head.headers;
    PER_CONNECTION.iter().for_each(|name| drop(headers.remove(name)));
    headers.remove(header::CONTENT_LENGTH);
    Ok(request)
}

/// An error as RFC 8555 section 6.7 wants it. Of `headers` the nonce is kept.
fn problem(status: StatusCode, kind: &str, detail: &str, mut headers: HeaderMap) -> Answer {
    let body = json!({
        "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail, "status": status.as_u16(),
    });
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(nonce) = headers.remove(REPLAY_NONCE) {
        answer.headers_mut().insert(REPLAY_NONCE, nonce);
    }
    answer
}

/// The CA's answer, with an order that is being finalized or is done put back to `processing`: there
/// is no certificate yet, and the client is to ask again (RFC 8555 sections 7.1.6 and 7.4).
async fn still_processing(answer: Answer) -> Answer {
    let (mut head, body) = answer.into_parts();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes);
    let mut order: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let finalized = matches!(order["status"].as_str(), Some("processing" | "valid"));
    let Some(fields) = order.as_object_mut().filter(|_| finalized && head.status.is_success()) else {
        return Response::from_parts(head, Full::new(body));
    };
    fields.insert("status".to_owned(), "processing".into());
    fields.remove("certificate");
    head.headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    Response::from_parts(head, Full::new(Bytes::from(order.to_string())))
}

/// The answer a fault wants. What is not HTTP in it is left out, with a warning.
fn injected(status: u16, headers: &[(String, String)], body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    match StatusCode::from_u16(status) {
        Ok(status) => *answer.status_mut() = status,
        Err(_) => {
            tracing::warn!(status, "a fault's answer has no HTTP status; 500 is sent");
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
    }
    for (name, value) in headers {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => drop(answer.headers_mut().append(name, value)),
            _ => {
                tracing::warn!(name, value, "a fault's answer has a header field that is not HTTP; left out");
            }
        }
    }
    answer
}
