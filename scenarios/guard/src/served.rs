//! Which certificate a TLS server serves, asked by a handshake.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::certificate::Fingerprint;
use crate::limits::{HANDSHAKE_TIMEOUT, SERVED_PAUSE_MAX, SERVED_PAUSE_MIN};

/// A server that can be asked.
pub struct Served {
    address: String,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
}

impl Served {
    /// `address` is HOST:PORT, `name` what is asked for (SNI).
    pub fn new(address: &str, name: &str) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| format!("TLS is not usable here: {e}"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth();
        let name =
            ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is no server name"))?;
        Ok(Self { address: address.to_owned(), name, tls: Arc::new(tls) })
    }

    /// One handshake. The server has proven that it has the key; whether the certificate is valid is not looked at.
    pub fn fingerprint(&self) -> Result<Fingerprint, String> {
        let failed =
            |what: &str, e: &dyn std::fmt::Display| format!("failed to {what} {}: {e}", self.address);
        let mut stream = self.connect()?;
        let mut tls = ClientConnection::new(Arc::clone(&self.tls), self.name.clone())
            .map_err(|e| failed("talk TLS to", &e))?;
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).map_err(|e| failed("talk TLS to", &e))?;
            if Instant::now() > deadline {
                return Err(failed(
                    "talk TLS to",
                    &format!("no end of the handshake within {HANDSHAKE_TIMEOUT:?}"),
                ));
            }
        }
        let leaf = tls.peer_certificates().and_then(<[_]>::first).map(|leaf| Fingerprint::of(leaf));
        // Say good-bye, so that the server's log does not fill with broken connections. Whether it arrives does not matter.
        tls.send_close_notify();
        drop(tls.write_tls(&mut stream));
        leaf.ok_or_else(|| format!("{} showed no certificate", self.address))
    }

    /// Look again and again until `wanted` is served; the last answer if it is not within `bound`.
    pub fn wait_for(&self, wanted: Fingerprint, bound: Duration) -> Result<(), String> {
        let deadline = Instant::now() + bound;
        let mut pause = SERVED_PAUSE_MIN;
        loop {
            let seen = match self.fingerprint() {
                Ok(found) if found == wanted => return Ok(()),
                Ok(found) => format!("{} still serves {found}", self.address),
                Err(error) => error,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("{seen}, after {bound:?}"));
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(SERVED_PAUSE_MAX);
        }
    }

    fn connect(&self) -> Result<TcpStream, String> {
        let addresses = self
            .address
            .to_socket_addrs()
            .map_err(|e| format!("{:?} is no HOST:PORT that can be reached: {e}", self.address))?;
        let mut last = format!("{:?} has no address", self.address);
        for address in addresses {
            let stream = TcpStream::connect_timeout(&address, HANDSHAKE_TIMEOUT).and_then(|stream| {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
                stream.set_write_timeout(Some(HANDSHAKE_TIMEOUT))?;
                Ok(stream)
            });
            match stream {
                Ok(stream) => return Ok(stream),
                Err(error) => last = format!("failed to connect to {address}: {error}"),
            }
        }
        Err(last)
    }
}

/// Takes any certificate, and checks only that the server has its key: the question is which one it is.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
