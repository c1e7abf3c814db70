//! The front's side towards Pebble: HTTP/1.1 over TLS, connections kept and sessions resumed.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response, body::Bytes, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::limits;

type Sender = SendRequest<Full<Bytes>>;
type Error = Box<dyn std::error::Error + Send + Sync>;

/// A server and the idle connections to it.
pub(super) struct Upstream {
    address: SocketAddr,
    name: ServerName<'static>,
    tls: TlsConnector,
    idle: Mutex<Vec<Sender>>,
}

impl Upstream {
    /// Connections are made when they are needed.
    pub fn new(address: SocketAddr, name: ServerName<'static>, tls: Arc<ClientConfig>) -> Upstream {
        Upstream { address, name, tls: TlsConnector::from(tls), idle: Mutex::default() }
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Error> {
        tokio::time::timeout(limits::CA_ANSWER, self.exchange(request)).await.map_err(|_| {
            format!("no answer from {} within {} s", self.address, limits::CA_ANSWER.as_secs())
        })?
    }

    async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Error> {
        while let Some(mut sender) = self.take() {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return self.finish(sender, response).await,
                // The connection was closed before anything was sent: safe to send again.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(request).await?;
        self.finish(sender, response).await
    }

    async fn finish(
        &self,
        sender: Sender,
        response: Response<hyper::body::Incoming>,
    ) -> Result<Response<Bytes>, Error> {
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, limits::ACME_MESSAGE).collect().await?.to_bytes();
        if !sender.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        }
        Ok(Response::from_parts(parts, body))
    }

    fn take(&self) -> Option<Sender> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    async fn connect(&self) -> Result<Sender, Error> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let tls = self.tls.connect(self.name.clone(), tcp).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
        // Its errors reach whoever waits for an answer on it.
        tokio::spawn(connection);
        Ok(sender)
    }
}
