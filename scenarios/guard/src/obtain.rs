//! Obtaining a certificate, with retries: everything but the two final files stays in memory.

use std::path::PathBuf;

use rcgen::KeyPair;

use crate::acme::Progress;
use crate::backoff;
use crate::certificate::Pair;
use crate::config::{AcmeConfig, ChallengeConfig, Config, KeyType};
use crate::error::Error;
use crate::http::Https;
use crate::store::Store;

/// What to obtain, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// DNS names.
    pub domains: Vec<String>,
    /// The CA.
    pub acme: AcmeConfig,
    /// How to answer its challenge.
    pub challenge: ChallengeConfig,
    /// Where the account is, or will be.
    pub account_file: PathBuf,
    /// PEM of a key to use again; `None` makes a new one.
    pub key_pem: Option<String>,
}

impl Request {
    /// As a scheduled run wants it: always a new key.
    pub fn from_config(config: &Config) -> Self {
        Self {
            domains: config.domains.clone(),
            acme: config.acme.clone(),
            challenge: config.challenge.clone(),
            account_file: Store::new(&config.directory).account_path(),
            key_pem: None,
        }
    }
}

/// A key and the certificate chain for it, both PEM, checked to belong together.
pub struct Issued {
    /// PKCS #8.
    pub key_pem: String,
    /// Leaf first.
    pub chain_pem: String,
}

/// Obtain a certificate, with back-off.
pub fn obtain(request: &Request) -> Result<Issued, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::Obtain(format!("failed to start the network runtime: {e}")))?;
    let key = match &request.key_pem {
        Some(pem) => KeyPair::from_pem(pem).map_err(|e| {
            Error::Config(format!("the key to use again is not usable (it must be PKCS #8): {e}"))
        })?,
        None => KeyPair::generate_for(algorithm(request.acme.key_type))
            .map_err(|e| Error::Obtain(format!("failed to make a key: {e}")))?,
    };
    let https = Https::new(request.acme.ca_bundle.as_deref(), request.acme.request_timeout.0)
        .map_err(Error::Config)?;
    let chain_pem = runtime.block_on(with_retries(request, &https, &key));
    // A name that is still being looked up in a thread must not hold up the exit.
    runtime.shutdown_background();
    let issued = Issued { key_pem: key.serialize_pem(), chain_pem: chain_pem? };
    check(request, &issued)?;
    Ok(issued)
}

async fn with_retries(request: &Request, https: &Https, key: &KeyPair) -> Result<String, Error> {
    let acme = &request.acme;
    let mut progress = Progress::new(request, https.clone(), key);
    let mut pauses = acme.retries.iter();
    loop {
        let failure = match progress.attempt().await {
            Ok(chain) => return Ok(chain),
            Err(failure) => failure,
        };
        let Some(base) = pauses.next().filter(|_| failure.retry) else {
            return Err(Error::Obtain(failure.what));
        };
        let asked = https.last().retry_after;
        let Some(pause) = backoff::pause(base.0, acme.jitter, rand::random(), asked, acme.retry_after_max.0)
        else {
            let asked = asked.unwrap_or_default();
            return Err(Error::Obtain(format!("{}; the CA asks to come back in {asked:?}", failure.what)));
        };
        tracing::warn!(pause_ms = pause.as_millis(), "{}; trying again", failure.what);
        tokio::time::sleep(pause).await;
    }
}

/// Nothing is put in place that a server could not use: whatever the CA sent.
fn check(request: &Request, issued: &Issued) -> Result<(), Error> {
    let pair = Pair::parse(Some(issued.chain_pem.as_bytes()), Some(issued.key_pem.as_bytes()))
        .map_err(|problem| Error::Obtain(format!("the CA's certificate is not usable: {problem}")))?;
    if let Some(why) = pair.leaf.wrong_names(&request.domains) {
        return Err(Error::Obtain(format!("the CA's certificate is not the one ordered: {why}")));
    }
    Ok(())
}

fn algorithm(kind: KeyType) -> &'static rcgen::SignatureAlgorithm {
    match kind {
        KeyType::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        KeyType::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
    }
}
