use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ops::connection::Connection;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Sleep;
use tokio_stream::Stream;

use crate::Counters;

/// Rest after an error of accepting (no file left): the connections wait in the kernel meanwhile.
const REST: Duration = Duration::from_millis(100);

/// The connections that come in, at most so many at once.
#[derive(Debug)]
pub struct Incoming {
    listener: TcpListener,
    places: Arc<Semaphore>,
    counters: Arc<Counters>,
    rest: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    pub fn new(listener: TcpListener, connections_max: usize, counters: Arc<Counters>) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(connections_max)),
            counters,
            rest: None,
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(rest) = &mut self.rest {
                ready!(rest.as_mut().poll(cx));
                self.rest = None;
            }
            let (stream, peer) = match ready!(self.listener.poll_accept(cx)) {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.counters.count_connection(false);
                    tracing::warn!(%error, "an operator's connection cannot be accepted");
                    self.rest = Some(Box::pin(tokio::time::sleep(REST)));
                    continue;
                }
            };
            let place = self.places.clone().try_acquire_owned();
            self.counters.count_connection(place.is_ok());
            let Ok(place) = place else { continue };
            tracing::debug!(%peer, "an operator's connection");
            // Small answers must not wait for each other; where it fails they merely come later.
            let _ = stream.set_nodelay(true);
            return Poll::Ready(Some(Ok(Connection::new(stream, place))));
        }
    }
}
