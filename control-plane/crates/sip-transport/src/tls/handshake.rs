use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Tls;
use crate::counters::Drop;
use crate::tcp::Stream;

/// A handshake that failed: its counter, and what to log.
pub(crate) type Failure = (Drop, io::Error);

impl Tls {
    /// Waits for the client's handshake. The certificate, if it has shown one that the CA signed.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        limit: Duration,
    ) -> Result<(Stream, Option<CertificateDer<'static>>), Failure> {
        let acceptor = TlsAcceptor::from(self.credentials().server.clone());
        let stream = within(limit, acceptor.accept(stream)).await?;
        let shown = stream.get_ref().1.peer_certificates();
        let certificate = shown.and_then(|chain| chain.first()).cloned();
        Ok((Stream::Tls(Box::new(stream.into())), certificate))
    }

    /// Makes the handshake with a server that has to be `name`.
    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        name: ServerName<'static>,
        limit: Duration,
    ) -> Result<Stream, Failure> {
        let Some(client) = self.credentials().client.clone() else {
            return Err((Drop::NoListener, io::Error::other("no CA to verify servers by")));
        };
        let stream = within(limit, TlsConnector::from(client).connect(name, stream)).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

async fn within<T>(limit: Duration, handshake: impl Future<Output = io::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(limit, handshake).await {
        Ok(result) => result.map_err(|error| (Drop::HandshakeError, error)),
        Err(_elapsed) => Err((Drop::HandshakeTimeout, io::ErrorKind::TimedOut.into())),
    }
}
