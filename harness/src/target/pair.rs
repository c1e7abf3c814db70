//! A pair as a server loads it.

use std::{fs, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
};

use crate::artifact;

/// A pair that can be served.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub config: Arc<ServerConfig>,
    /// SHA-256 of the leaf's DER, lower-case hex.
    pub fingerprint: String,
}

impl Pair {
    /// Reads both files and takes them only if they parse and belong together, as nginx and
    /// Apache do. The error says why not.
    pub fn load(certificate: &str, key: &str) -> Result<Pair, String> {
        let text = fs::read(certificate).map_err(|error| format!("cannot read {certificate}: {error}"))?;
        let chain = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("{certificate} is not a PEM chain: {error}"))?;
        let Some(leaf) = chain.first() else { return Err(format!("{certificate} holds no certificate")) };
        let fingerprint = artifact::fingerprint(leaf);
        let text = fs::read(key).map_err(|error| format!("cannot read {key}: {error}"))?;
        let key_der = PrivateKeyDer::from_pem_slice(&text)
            .map_err(|error| format!("{key} holds no private key: {error}"))?;
        let provider = ring::default_provider();
        let certified = CertifiedKey::from_der(chain, key_der, &provider)
            .map_err(|error| format!("{certificate} and {key} cannot be used together: {error}"))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        // Every handshake is to show the certificate of now.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Pair { config: Arc::new(config), fingerprint })
    }
}
