//! Connections of an HTTP server, as many as may be, none silent for long.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// A connection on which nothing moves for so long is closed, so that silence keeps no place.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A listener that closes connections beyond a number at once, and counts them.
#[derive(Debug)]
pub(crate) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    refused: Counter,
    silence_max: Duration,
}

impl Bounded {
    pub(crate) fn new(listener: TcpListener, connections_max: usize, refused: Counter) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(connections_max)),
            refused,
            silence_max: SILENCE_MAX,
        }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            // Rests after an error, such as no file left.
            let (stream, peer) = Listener::accept(&mut self.listener).await;
            match self.places.clone().try_acquire_owned() {
                Ok(place) => {
                    let connection = Connection {
                        stream,
                        silence: Box::pin(tokio::time::sleep(self.silence_max)),
                        silence_max: self.silence_max,
                        _place: place,
                    };
                    return (connection, peer);
                }
                Err(_) => {
                    self.refused.inc();
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection and its place among those that are allowed.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    silence_max: Duration,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// What moved puts the end off; what waits does so until then.
    fn watched<T>(&mut self, cx: &mut Context<'_>, moved: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match moved {
            Poll::Ready(_) => {
                let end = Instant::now() + self.silence_max;
                self.silence.as_mut().reset(end);
                moved
            }
            Poll::Pending => match self.silence.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.watched(cx, read)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watched(cx, written)
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Bound of every wait; reached only when something is broken.
    const LIMIT: Duration = Duration::from_secs(10);

    async fn within<T>(what: impl Future<Output = T>) -> T {
        tokio::time::timeout(LIMIT, what).await.expect("in time")
    }

    #[tokio::test]
    async fn a_connection_too_many_is_closed_and_counted_and_a_silent_one_makes_room() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let refused = Counter::default();
        let mut bounded = Bounded::new(listener, 1, refused.clone());
        bounded.silence_max = Duration::from_millis(200);
        let address = bounded.local_addr().expect("bound");
        let mut first = TcpStream::connect(address).await.expect("connects");
        let (mut kept, _) = within(bounded.accept()).await;
        let mut second = TcpStream::connect(address).await.expect("connects");
        let accepting = tokio::spawn(async move { bounded.accept().await });
        let mut nothing = vec![];
        let end = within(second.read_to_end(&mut nothing)).await;
        assert!(end.is_err() || nothing.is_empty(), "closed without an answer");
        assert_eq!(refused.get(), 1);
        // What was said is read; then there is silence.
        first.write_all(b"GET").await.expect("written");
        let mut said = vec![];
        let error = within(kept.read_to_end(&mut said)).await.expect_err("silence");
        assert_eq!((error.kind(), &said[..]), (io::ErrorKind::TimedOut, &b"GET"[..]));
        drop(kept);
        let _third = TcpStream::connect(address).await.expect("connects");
        within(accepting).await.expect("a place again");
    }
}
