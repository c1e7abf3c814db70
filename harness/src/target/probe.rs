//! Asks a server which certificate it serves.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::{Arc, OnceLock},
    time::Instant,
};

use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::{artifact, limits};

/// What a server answered to one TLS handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// SHA-256 of the leaf's DER, lower-case hex.
    pub fingerprint: String,
    /// DNS names in the leaf.
    pub names: Vec<String>,
    /// End of the leaf's validity, seconds since the epoch.
    pub not_after: i64,
}

/// Asks `address` for the certificate it serves for `name`: one whole handshake, the key proven,
/// the chain not judged. Of a wildcard name, some host under it is asked for. The error is a
/// fragment such as `connection refused`.
pub fn served(address: SocketAddr, name: &str) -> Result<Served, String> {
    let host = match name.strip_prefix("*.") {
        Some(domain) => format!("any.{domain}"),
        None => name.to_owned(),
    };
    let host = ServerName::try_from(host).map_err(|_| format!("`{name}` is not a host name"))?;
    let config = config().ok_or("TLS cannot be set up here")?;
    let mut tls = ClientConnection::new(config, host).map_err(|error| error.to_string())?;
    let until = Instant::now() + limits::HANDSHAKE;
    let mut stream =
        TcpStream::connect_timeout(&address, limits::HANDSHAKE).map_err(|error| fragment(&error))?;
    while tls.is_handshaking() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(fragment(&io::ErrorKind::TimedOut.into()));
        }
        stream
            .set_read_timeout(Some(left))
            .and_then(|()| stream.set_write_timeout(Some(left)))
            .map_err(|error| fragment(&error))?;
        step(&mut tls, &mut stream)?;
    }
    tls.send_close_notify();
    // The answer is complete; whether the farewell still arrives does not matter.
    let _ = tls.write_tls(&mut stream);
    let leaf =
        tls.peer_certificates().and_then(|chain| chain.first()).ok_or("no certificate was presented")?;
    let (_, certificate) =
        X509Certificate::from_der(leaf).map_err(|_| "the certificate served is not X.509".to_owned())?;
    Ok(Served {
        fingerprint: artifact::fingerprint(leaf),
        names: artifact::dns_names(&certificate),
        not_after: certificate.validity().not_after.timestamp(),
    })
}

/// Sends what is to be sent, then reads once.
fn step(tls: &mut ClientConnection, stream: &mut TcpStream) -> Result<(), String> {
    while tls.wants_write() {
        tls.write_tls(stream).map_err(|error| fragment(&error))?;
    }
    if tls.is_handshaking() && tls.wants_read() {
        if tls.read_tls(stream).map_err(|error| fragment(&error))? == 0 {
            return Err("closed before the handshake was over".to_owned());
        }
        tls.process_new_packets().map_err(|error| error.to_string())?;
        while tls.wants_write() {
            tls.write_tls(stream).map_err(|error| fragment(&error))?;
        }
    }
    Ok(())
}

fn fragment(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("no answer within {} s", limits::HANDSHAKE.as_secs())
        }
        _ => error.to_string(),
    }
}

/// Without session resumption: a resumed session would not show the certificate of now.
fn config() -> Option<Arc<ClientConfig>> {
    static CONFIG: OnceLock<Option<Arc<ClientConfig>>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let provider = Arc::new(ring::default_provider());
            let verifier = AnyChain { algorithms: provider.signature_verification_algorithms };
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .ok()?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_no_client_auth();
            config.resumption = Resumption::disabled();
            Some(Arc::new(config))
        })
        .clone()
}

/// Accepts every chain; the server still has to prove that it holds the leaf's key.
#[derive(Debug)]
struct AnyChain {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyChain {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match X509Certificate::from_der(leaf) {
            Ok(_) => Ok(ServerCertVerified::assertion()),
            Err(_) => Err(Error::InvalidCertificate(CertificateError::BadEncoding)),
        }
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
