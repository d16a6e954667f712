use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use sip::message::framing::{StreamFramer, StreamItem};
use sip::{Message, Source, Transmit, Transport};
use tokio::io::ReadBuf;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Stream;
use super::connect::Entered;
use crate::counters::Drop;
use crate::intake::Intake;
use crate::outgoing::{Otherwise, Outgoing};
use crate::transport::Shared;

/// Bytes read at once. On the stack while reading: an idle connection holds no buffer.
const READ_BYTES: usize = 8 * 1024;

/// How long the last answers may take to be written before a connection is closed for being out of step.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(500);

struct Connection {
    shared: Arc<Shared>,
    /// Read and written by the one task that polls both in turn: the lock is never waited for.
    stream: Mutex<Stream>,
    source: Source,
    started: Instant,
    /// When something last came or went, in milliseconds from `started`.
    active_ms: AtomicU64,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The peer closed it.
    Peer,
    /// We were told to.
    Told,
    /// For this reason.
    Dropped(Drop),
}

/// Serves a connection until it ends.
pub(crate) async fn run(shared: Arc<Shared>, remote: SocketAddr, stream: Stream, entered: Entered) {
    let Entered {
        flow,
        mut queue,
        close,
    } = entered;
    let (tcp, transport) = match &stream {
        Stream::Tcp(tcp) => (tcp, Transport::Tcp),
        Stream::Tls(tls) => (tls.get_ref().0, Transport::Tls),
    };
    // Without it small messages wait for acknowledgements; when it cannot be set they do, and arrive all the same.
    let _ = tcp.set_nodelay(true);
    let local = tcp.local_addr().unwrap_or(remote);
    let source = Source {
        transport,
        flow,
        remote,
        local,
    };
    let connection = Connection {
        shared,
        stream: Mutex::new(stream),
        source,
        started: Instant::now(),
        active_ms: AtomicU64::new(0),
    };
    let mut writing = None;
    let end = tokio::select! {
        end = connection.read() => end,
        end = connection.write(&mut queue, &mut writing) => end,
        () = close.notified() => End::Told,
    };
    connection.shared.close(flow);
    if let End::Dropped(reason) = end {
        connection.shared.counters.drop(reason);
    }
    tracing::debug!(%remote, ?end, "connection ended");
    if end == End::Dropped(Drop::ConnectionFraming) {
        // It has the answer that says why. Nothing else is written after it: the queue is closed by now.
        let last = tokio::time::timeout(LAST_WORDS, connection.write(&mut queue, &mut writing));
        let _ = last.await;
    }
    if transport == Transport::Tls {
        // So that the peer knows that nothing was cut off. When it does not take that, so be it.
        let goodbye = poll_fn(|context| connection.stream().poll_shutdown(context));
        let _ = tokio::time::timeout(LAST_WORDS, goodbye).await;
    }
    queue.close();
    writing
        .into_iter()
        .for_each(|outgoing| connection.shared.unsent(*outgoing));
    while let Ok(outgoing) = queue.try_recv() {
        connection.shared.unsent(*outgoing);
    }
}

impl Connection {
    fn stream(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn active(&self) {
        self.active_ms
            .store(self.started.elapsed().as_millis() as u64, Relaxed);
    }

    /// Reads messages until the connection ends.
    async fn read(&self) -> End {
        let config = &self.shared.config;
        let mut framer = StreamFramer::new(config.message);
        // When the message that is incomplete began.
        let mut began: Option<Instant> = None;
        loop {
            let idle_at =
                self.started + Duration::from_millis(self.active_ms.load(Relaxed)) + config.idle_timeout;
            let until = began.map_or(idle_at, |began| began + config.message_timeout);
            let read = tokio::select! {
                read = poll_fn(|context| self.poll_fill(context, &mut framer)) => read,
                () = tokio::time::sleep_until(until) => {
                    let idle = Duration::from_millis(self.active_ms.load(Relaxed)) + config.idle_timeout;
                    match began {
                        Some(_) => return End::Dropped(Drop::ConnectionSlow),
                        None if self.started.elapsed() >= idle => return End::Dropped(Drop::ConnectionIdle),
                        // Something was written meanwhile.
                        None => continue,
                    }
                }
            };
            match read {
                // Many close TLS without a word; messages have their length, so nothing is taken for whole that is not.
                Ok(0) => return End::Peer,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return End::Peer,
                Ok(_) => {}
                Err(_) => return End::Dropped(Drop::ConnectionError),
            }
            self.active();
            let before = framer.buffered();
            if let Err(end) = self.take_all(&mut framer).await {
                return end;
            }
            began = match framer.buffered() {
                0 => None,
                // Nothing was complete: the clock of the message goes on.
                left if left == before => began.or_else(|| Some(Instant::now())),
                _ => Some(Instant::now()),
            };
        }
    }

    fn poll_fill(&self, context: &mut Context<'_>, framer: &mut StreamFramer) -> Poll<io::Result<usize>> {
        let mut chunk = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut chunk);
        ready!(self.stream().poll_read(context, &mut buffer))?;
        framer.push(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Takes every message that is complete.
    async fn take_all(&self, framer: &mut StreamFramer) -> Result<(), End> {
        loop {
            match framer.next() {
                Ok(None) => return Ok(()),
                Ok(Some(StreamItem::Message(message))) => {
                    self.shared
                        .lets_in(self.source.remote.ip())
                        .map_err(End::Dropped)?;
                    self.take(message).await;
                }
                Ok(Some(StreamItem::Malformed(failure))) => {
                    self.answer(self.shared.malformed(&self.source, &failure));
                }
                Ok(Some(StreamItem::KeepAlive)) => {
                    self.shared.counters.keep_alive();
                    self.reply(Bytes::from_static(b"\r\n"));
                }
                // The answer to a keep-alive, or something that a later parser knows.
                Ok(Some(_)) => {}
                Err(error) => {
                    self.answer(self.shared.malformed(&self.source, &error.0));
                    return Err(End::Dropped(Drop::ConnectionFraming));
                }
            }
        }
    }

    /// Hands a message over. While there is no room for it the connection is not read, which slows its sender.
    async fn take(&self, message: Message) {
        if self.source.transport == Transport::Tls {
            self.note_offer(&message);
        }
        let mut intake = self.shared.well_formed(self.source, message);
        loop {
            match intake {
                Intake::Queued => return,
                Intake::Answered(answer) => return self.answer(answer),
                Intake::NoRoom(message) => {
                    self.shared.inbox.room().await;
                    intake = self.shared.offer(self.source, message);
                }
            }
        }
    }

    /// Notes the port that a request's client serves at, if it offers this connection (RFC 5923 §5).
    fn note_offer(&self, message: &Message) {
        let is_request = message.method().is_some();
        if let Some(via) = message.via().ok().filter(|_| is_request)
            && via.params.contains("alias")
        {
            let port = via.port.unwrap_or(Transport::Tls.default_port());
            self.shared.table().offer(self.source.flow, port);
        }
    }

    fn answer(&self, answer: Option<Transmit>) {
        if let Some(transmit) = answer {
            self.reply(self.shared.tell_overload(transmit).bytes);
        }
    }

    /// Queues something that nobody waits for on this very connection.
    fn reply(&self, bytes: Bytes) {
        let handle = self.shared.table().find_flow(self.source.flow);
        if let Some(handle) = handle {
            // A full queue is dealt with when something that matters is queued.
            let _ = handle
                .queue
                .try_send(self.shared.outgoing(bytes, Otherwise::Forget));
        }
    }

    /// Writes what is queued until the connection ends or is forgotten. What is being written stays in `writing`.
    async fn write(
        &self,
        queue: &mut mpsc::Receiver<Box<Outgoing>>,
        writing: &mut Option<Box<Outgoing>>,
    ) -> End {
        loop {
            if writing.is_none() {
                *writing = queue.recv().await;
            }
            let Some(outgoing) = &*writing else {
                return End::Told;
            };
            let written =
                tokio::time::timeout(self.shared.config.write_timeout, self.write_all(&outgoing.bytes));
            match written.await {
                Ok(Ok(())) => {
                    if outgoing.bytes.len() > 2 {
                        self.shared.counters.sent(&outgoing.bytes);
                    }
                    *writing = None;
                    self.active();
                }
                Ok(Err(_)) => return End::Dropped(Drop::ConnectionError),
                Err(_elapsed) => return End::Dropped(Drop::ConnectionStuck),
            }
        }
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match poll_fn(|context| self.stream().poll_write(context, bytes)).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => bytes = &bytes[count..],
            }
        }
        poll_fn(|context| self.stream().poll_flush(context)).await
    }
}
