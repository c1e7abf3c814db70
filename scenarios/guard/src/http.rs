//! The HTTPS client: one kept connection, a bound on every request, and a record of what the CA last answered.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::RETRY_AFTER;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::limits::ANSWER_BYTES_MAX;

/// What the CA's last answer said, apart from its body.
#[derive(Debug, Clone, Copy, Default)]
pub struct LastAnswer {
    /// HTTP status; `None` if there was no answer.
    pub status: Option<u16>,
    /// Its Retry-After, as a pause from now.
    pub retry_after: Option<Duration>,
}

/// Cheap to clone; clones share the connection and the record.
#[derive(Clone)]
pub struct Https {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    timeout: Duration,
    last: Arc<Mutex<LastAnswer>>,
}

impl Https {
    /// A client that trusts the roots in `ca_bundle`, or the system's. `timeout` bounds one request and its answer.
    pub fn new(ca_bundle: Option<&Path>, timeout: Duration) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| format!("TLS is not usable here: {e}"))?
            .with_root_certificates(roots(ca_bundle)?)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeout));
        let https =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().wrap_connector(tcp);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(https), timeout, last: Arc::default() })
    }

    /// What the last answer said. Forgotten when the next request starts.
    pub fn last(&self) -> LastAnswer {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_last(&self, answer: LastAnswer) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    async fn exchange(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        self.set_last(LastAnswer::default());
        tracing::debug!(method = %request.method(), uri = %request.uri(), "asking the CA");
        let response =
            self.client.request(request).await.map_err(|e| Error::Other(Box::new(Chain::of(&e))))?;
        let (parts, body) = response.into_parts();
        let retry_after =
            parts.headers.get(RETRY_AFTER).and_then(|value| parse_retry_after(value.to_str().ok()?));
        self.set_last(LastAnswer { status: Some(parts.status.as_u16()), retry_after });
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(Error::Other)?.to_bytes();
        Ok(BytesResponse::from(hyper::Response::from_parts(parts, Full::new(body))))
    }
}

impl HttpClient for Https {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let this = self.clone();
        Box::pin(async move {
            let timeout = this.timeout;
            match tokio::time::timeout(timeout, this.exchange(request)).await {
                Ok(result) => result,
                Err(_) => Err(Error::Other(format!("no answer within {timeout:?}").into())),
            }
        })
    }
}

/// An error with all its causes in one line: hyper's own text says only "client error (Connect)".
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Chain(String);

impl Chain {
    fn of(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        Self(text)
    }
}

/// Seconds, or an HTTP date (RFC 9110 section 10.2.3).
fn parse_retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO))
}

fn roots(ca_bundle: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_bundle else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map(|e| format!(" ({e})")).unwrap_or_default();
            return Err(format!(
                "the system has no CA certificates{why}; install the ca-certificates package or set `ca_bundle`"
            ));
        }
        return Ok(roots);
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| format!("failed to read the CA bundle {}: {e}", path.display()))?;
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|e| format!("a certificate in the CA bundle {} is not usable: {e}", path.display()))?;
    }
    if roots.is_empty() {
        return Err(format!("the CA bundle {} holds no certificate", path.display()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_a_date_that_has_passed_is_now() {
        assert_eq!(parse_retry_after(" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(1000));
        assert!(parse_retry_after(&later).is_some_and(|pause| pause > Duration::from_secs(900)));
        assert_eq!(parse_retry_after("soon"), None);
        assert_eq!(parse_retry_after("-1"), None);
    }
}
