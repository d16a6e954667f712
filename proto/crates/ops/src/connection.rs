//! A connection of a gRPC client, from when it is accepted.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tonic::transport::server::Connected;

/// A connection whose client preface is not complete after this time is closed. HTTP/2 pings find later silence.
const PREFACE_TIME: Duration = Duration::from_secs(10);
/// Bytes of the client preface (RFC 9113 §3.4); a TLS client's hello is longer.
const PREFACE_BYTES: usize = 24;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An accepted TCP or Unix connection and its place among those that are allowed.
pub struct Connection {
    stream: Box<dyn Stream>,
    /// Until as many bytes as the preface has have come.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Bytes that came before the deadline was lifted.
    received: usize,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// A connection that was just accepted, which keeps its `place` until it ends; within a Tokio runtime.
    pub fn new(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self::within(PREFACE_TIME, stream, place)
    }

    fn within(
        preface_time: Duration,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let deadline = Some(Box::pin(tokio::time::sleep(preface_time)));
        Self {
            stream: Box::new(stream),
            deadline,
            received: 0,
            _place: place,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if self.deadline.is_none() {
            return read;
        }
        self.received += buffer.filled().len() - filled;
        if self.received >= PREFACE_BYTES {
            self.deadline = None;
        } else if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Semaphore;

    use super::*;

    const TIME: Duration = Duration::from_millis(100);

    fn connection() -> (Connection, tokio::io::DuplexStream) {
        let (near, far) = tokio::io::duplex(64);
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("a place");
        (Connection::within(TIME, near, place), far)
    }

    #[tokio::test]
    async fn a_part_of_the_preface_does_not_lift_the_deadline() {
        for said in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            let (mut connection, mut far) = connection();
            far.write_all(said).await.expect("written");
            let mut received = vec![];
            let read = connection.read_to_end(&mut received);
            let end = tokio::time::timeout(Duration::from_secs(10), read).await;
            let error = end.expect("within the limit").expect_err("too slow");
            assert_eq!((error.kind(), &received[..]), (io::ErrorKind::TimedOut, said));
        }
    }

    #[tokio::test]
    async fn a_whole_preface_does() {
        let (mut connection, mut far) = connection();
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
            far.write_all(&[*byte]).await.expect("written");
            assert_eq!(connection.read_u8().await.expect("read"), *byte);
        }
        let silent = tokio::time::timeout(TIME * 2, connection.read_u8()).await;
        assert!(silent.is_err(), "it waits for more");
    }
}
