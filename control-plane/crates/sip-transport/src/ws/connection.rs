use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use sip::message::framing::DatagramKind;
use sip::{Message, Source, Transmit};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio::time::error::Elapsed;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message as Frame};
use tokio_tungstenite::tungstenite::{Error, Utf8Bytes};

use super::metered::Metered;
use crate::counters::Drop;
use crate::intake::Intake;
use crate::outgoing::{Otherwise, Outgoing};
use crate::tcp::{Entered, LAST_WORDS};
use crate::transport::Shared;

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

impl End {
    /// What the peer is told (RFC 6455 §7.4.1); `None` when it cannot hear it, or knows.
    const fn code(self) -> Option<CloseCode> {
        match self {
            Self::Peer | Self::Dropped(Drop::ConnectionError | Drop::ConnectionStuck) => None,
            Self::Told | Self::Dropped(Drop::ConnectionIdle) => Some(CloseCode::Away),
            Self::Dropped(Drop::WebSocketTooLong) => Some(CloseCode::Size),
            Self::Dropped(Drop::WebSocketProtocol) => Some(CloseCode::Protocol),
            Self::Dropped(_) => Some(CloseCode::Policy),
        }
    }
}

/// What is heard of a peer.
enum Heard {
    /// A frame of control, or a message; nothing more to come if `None`.
    Frame(Option<Result<Frame, Error>>),
    /// A part of what is yet to be complete.
    Part,
}

struct Connection {
    shared: Arc<Shared>,
    stream: Box<WebSocketStream<Metered>>,
    source: Source,
    /// What there was no room for. While it waits nothing is read, which slows its sender.
    held: Option<Message>,
    /// When something last came.
    heard: Instant,
    /// When the peer was last asked whether it is there.
    asked: Instant,
}

/// Serves a connection until it ends.
pub(crate) async fn run(
    shared: Arc<Shared>,
    source: Source,
    stream: Box<WebSocketStream<Metered>>,
    entered: Entered,
) {
    let Entered {
        flow,
        mut queue,
        close,
    } = entered;
    let now = Instant::now();
    let mut connection = Connection {
        shared,
        stream,
        source,
        held: None,
        heard: now,
        asked: now,
    };
    let mut unwritten = None;
    let end = tokio::select! {
        end = connection.serve(&mut queue, &mut unwritten) => end,
        () = close.notified() => End::Told,
    };
    connection.shared.close(flow);
    if let End::Dropped(reason) = end {
        connection.shared.counters.drop(reason);
    }
    tracing::debug!(remote = %source.remote, ?end, "WebSocket connection ended");
    // When it does not take that, so be it.
    let _ = tokio::time::timeout(LAST_WORDS, connection.part(end)).await;
    queue.close();
    unwritten
        .into_iter()
        .for_each(|outgoing: Box<Outgoing>| connection.shared.unsent(*outgoing));
    while let Ok(outgoing) = queue.try_recv() {
        connection.shared.unsent(*outgoing);
    }
}

impl Connection {
    /// Reads and writes in turn. What could not be written is left in `unwritten`.
    async fn serve(
        &mut self,
        queue: &mut mpsc::Receiver<Box<Outgoing>>,
        unwritten: &mut Option<Box<Outgoing>>,
    ) -> End {
        loop {
            let until = self.due();
            let known = self.stream.get_ref().unfinished();
            let heard = poll_fn(|context| poll_heard(&mut self.stream, known, context));
            let done = tokio::select! {
                heard = heard, if self.held.is_none() => self.take(heard).await,
                () = self.shared.inbox.room(), if self.held.is_some() => self.offer_again().await,
                outgoing = queue.recv() => match outgoing {
                    None => Err(End::Told),
                    Some(outgoing) => self.write(unwritten.insert(outgoing)).await.map(|()| *unwritten = None),
                },
                () = tokio::time::sleep_until(until) => self.look().await,
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// When [`Self::look`] has something to do next.
    fn due(&self) -> Instant {
        let config = &self.shared.config;
        let asks = self.heard.max(self.asked) + config.websocket.ping_interval;
        // While nothing is read nobody is silent or slow.
        if self.held.is_some() {
            return asks;
        }
        let unfinished = self.stream.get_ref().unfinished();
        let slow = unfinished.map(|since| since + config.message_timeout);
        asks.min(self.heard + config.idle_timeout)
            .min(slow.unwrap_or(asks))
    }

    /// The peer has been silent for long, or at one message: asks it whether it is there, or ends.
    async fn look(&mut self) -> Result<(), End> {
        let config = &self.shared.config;
        if self.held.is_none() {
            let known = self.stream.get_ref().unfinished();
            // What came while something was written waits to be read: it is not late.
            let here = poll_fn(|context| Poll::Ready(poll_heard(&mut self.stream, known, context))).await;
            if let Poll::Ready(heard) = here {
                return self.take(heard).await;
            }
            if known.is_some_and(|since| since.elapsed() >= config.message_timeout) {
                return Err(End::Dropped(Drop::ConnectionSlow));
            }
            if self.heard.elapsed() >= config.idle_timeout {
                return Err(End::Dropped(Drop::ConnectionIdle));
            }
        }
        self.asked = Instant::now();
        self.send(Frame::Ping(Bytes::new())).await
    }

    async fn take(&mut self, heard: Heard) -> Result<(), End> {
        // Each frame counts for its source, those that end no message as well.
        for _ in 0..self.stream.get_mut().count() {
            self.shared
                .lets_in(self.source.remote.ip())
                .map_err(End::Dropped)?;
        }
        let frame = match heard {
            Heard::Part => return Ok(()),
            Heard::Frame(None) => return Err(End::Peer),
            Heard::Frame(Some(Ok(frame))) => frame,
            Heard::Frame(Some(Err(_))) if self.stream.get_ref().is_exceeded() => {
                return Err(End::Dropped(Drop::WebSocketTooLong));
            }
            Heard::Frame(Some(Err(error))) => return Err(ended_by(&error)),
        };
        self.heard = Instant::now();
        match frame {
            Frame::Text(text) => self.take_message(text.into()).await,
            Frame::Binary(bytes) => self.take_message(bytes).await,
            // It has been answered by the library: who does not take the answers is not read any longer.
            Frame::Ping(_) => {
                self.shared.counters.keep_alive();
                self.flush().await
            }
            Frame::Pong(_) => {
                self.shared.counters.keep_alive();
                Ok(())
            }
            Frame::Close(_) => Err(End::Peer),
            Frame::Frame(_) => Ok(()),
        }
    }

    /// RFC 7118 §5: one message of SIP, whole; its body ends where that does.
    async fn take_message(&mut self, bytes: Bytes) -> Result<(), End> {
        match DatagramKind::of(&bytes) {
            DatagramKind::KeepAlive => {
                self.shared.counters.keep_alive();
                // RFC 5626 §3.5.1: a pong for a ping, which is two line ends; nothing for a pong.
                match bytes.len() >= 4 {
                    true => self.send(text(Bytes::from_static(b"\r\n"))).await,
                    false => Ok(()),
                }
            }
            DatagramKind::Stun => {
                self.shared.counters.drop(Drop::Stun);
                Ok(())
            }
            // Copied to its own size: a message kept for a transaction's life shall not keep what it was read into.
            _ => match Message::parse_datagram_with(
                Bytes::copy_from_slice(&bytes),
                &self.shared.config.message,
            ) {
                Ok(message) => {
                    let intake = self.shared.well_formed(self.source, message);
                    self.offer(intake).await
                }
                Err(failure) => {
                    let answer = self.shared.malformed(&self.source, &failure);
                    self.answer(answer).await
                }
            },
        }
    }

    /// Hands a message over, or holds it until there is room for it.
    async fn offer(&mut self, intake: Intake) -> Result<(), End> {
        match intake {
            Intake::Queued => Ok(()),
            Intake::Answered(answer) => self.answer(answer).await,
            Intake::NoRoom(message) => {
                self.held = Some(message);
                Ok(())
            }
        }
    }

    async fn offer_again(&mut self) -> Result<(), End> {
        let Some(message) = self.held.take() else {
            return Ok(());
        };
        let intake = self.shared.offer(self.source, message);
        self.offer(intake).await?;
        if self.held.is_none() {
            self.stream.get_mut().read_again();
        }
        Ok(())
    }

    async fn answer(&mut self, answer: Option<Transmit>) -> Result<(), End> {
        match answer {
            None => Ok(()),
            Some(transmit) => {
                let bytes = self.shared.tell_overload(transmit).bytes;
                let outgoing = self.shared.outgoing(bytes, Otherwise::Forget);
                self.write(&outgoing).await
            }
        }
    }

    async fn write(&mut self, outgoing: &Outgoing) -> Result<(), End> {
        self.send(text(outgoing.bytes.clone())).await?;
        self.shared.counters.sent(&outgoing.bytes);
        Ok(())
    }

    async fn send(&mut self, frame: Frame) -> Result<(), End> {
        let sent = tokio::time::timeout(self.shared.config.write_timeout, self.stream.send(frame));
        taken(sent.await)
    }

    async fn flush(&mut self) -> Result<(), End> {
        let flushed = tokio::time::timeout(self.shared.config.write_timeout, self.stream.flush());
        taken(flushed.await)
    }

    /// Says goodbye, or answers the peer's (RFC 6455 §5.5.1, §7.1.1), and that nothing more is coming.
    async fn part(&mut self, end: End) {
        if let Some(code) = end.code() {
            let reason = Utf8Bytes::default();
            // Where it fails the peer has gone.
            let _ = WebSocketStream::close(&mut self.stream, Some(CloseFrame { code, reason })).await;
        }
        if end.code().is_some() || end == End::Peer {
            while let Some(Ok(_)) = self.stream.next().await {}
        }
        let _ = self.stream.get_mut().shutdown().await;
    }
}

/// The next frame of the peer's; or that there is a part of one more since `known`.
fn poll_heard(
    stream: &mut WebSocketStream<Metered>,
    known: Option<Instant>,
    context: &mut Context<'_>,
) -> Poll<Heard> {
    match stream.poll_next_unpin(context) {
        Poll::Ready(frame) => Poll::Ready(Heard::Frame(frame)),
        Poll::Pending if stream.get_ref().unfinished() != known => Poll::Ready(Heard::Part),
        Poll::Pending => Poll::Pending,
    }
}

/// What became of something written, within its time or not.
fn taken(written: Result<Result<(), Error>, Elapsed>) -> Result<(), End> {
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(ended_by(&error)),
        Err(_elapsed) => Err(End::Dropped(Drop::ConnectionStuck)),
    }
}

/// As text where it is text, which every client takes (RFC 7118 §5).
fn text(bytes: Bytes) -> Frame {
    match Utf8Bytes::try_from(bytes.clone()) {
        Ok(text) => Frame::Text(text),
        Err(_) => Frame::Binary(bytes),
    }
}

fn ended_by(error: &Error) -> End {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => End::Peer,
        Error::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => End::Peer,
        Error::Capacity(_) => End::Dropped(Drop::WebSocketTooLong),
        Error::Protocol(_) | Error::Utf8(_) | Error::AttackAttempt => End::Dropped(Drop::WebSocketProtocol),
        _ => End::Dropped(Drop::ConnectionError),
    }
}
