use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use sip::message::framing::DatagramKind;
use sip::{Message, Source, Transmit};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message as Frame};
use tokio_tungstenite::tungstenite::{Error, Utf8Bytes};

use crate::counters::Drop;
use crate::intake::Intake;
use crate::outgoing::{Otherwise, Outgoing};
use crate::tcp::{Entered, LAST_WORDS, Stream};
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

struct Connection {
    shared: Arc<Shared>,
    stream: WebSocketStream<Stream>,
    source: Source,
    /// When something last came.
    heard: Instant,
    /// When the peer was last asked whether it is there.
    asked: Instant,
}

/// Serves a connection until it ends.
pub(crate) async fn run(
    shared: Arc<Shared>,
    source: Source,
    stream: WebSocketStream<Stream>,
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
    if let Some(code) = end.code() {
        let goodbye = connection.stream.close(Some(CloseFrame {
            code,
            reason: Utf8Bytes::default(),
        }));
        // When it does not take that, so be it.
        let _ = tokio::time::timeout(LAST_WORDS, goodbye).await;
    }
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
            let (idle, ask) = (
                self.shared.config.idle_timeout,
                self.shared.config.websocket.ping_interval,
            );
            let until = (self.heard + idle).min(self.heard.max(self.asked) + ask);
            let done = tokio::select! {
                frame = self.stream.next() => self.take(frame).await,
                outgoing = queue.recv() => match outgoing {
                    None => Err(End::Told),
                    Some(outgoing) => self.write(unwritten.insert(outgoing)).await.map(|()| *unwritten = None),
                },
                () = tokio::time::sleep_until(until) => self.ask().await,
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// The peer was silent for long: asks it whether it is there, or ends.
    async fn ask(&mut self) -> Result<(), End> {
        if self.heard.elapsed() >= self.shared.config.idle_timeout {
            return Err(End::Dropped(Drop::ConnectionIdle));
        }
        self.asked = Instant::now();
        self.send(Frame::Ping(Bytes::new())).await
    }

    async fn take(&mut self, frame: Option<Result<Frame, Error>>) -> Result<(), End> {
        let frame = match frame {
            None => return Err(End::Peer),
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Err(ended_by(&error)),
        };
        self.heard = Instant::now();
        self.shared
            .lets_in(self.source.remote.ip())
            .map_err(End::Dropped)?;
        match frame {
            Frame::Text(text) => self.take_message(text.into()).await,
            Frame::Binary(bytes) => self.take_message(bytes).await,
            // It has been answered by the library, or answers one of ours.
            Frame::Ping(_) | Frame::Pong(_) => {
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
            _ => match Message::parse_datagram_with(bytes, &self.shared.config.message) {
                Ok(message) => self.offer(message).await,
                Err(failure) => {
                    let answer = self.shared.malformed(&self.source, &failure);
                    self.answer(answer).await
                }
            },
        }
    }

    /// Hands a message over. While there is no room for it the connection is not read, which slows its sender.
    async fn offer(&mut self, message: Message) -> Result<(), End> {
        let mut intake = self.shared.well_formed(self.source, message);
        loop {
            match intake {
                Intake::Queued => return Ok(()),
                Intake::Answered(answer) => return self.answer(answer).await,
                Intake::NoRoom(message) => {
                    self.shared.inbox.room().await;
                    intake = self.shared.offer(self.source, message);
                }
            }
        }
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
        match sent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ended_by(&error)),
            Err(_elapsed) => Err(End::Dropped(Drop::ConnectionStuck)),
        }
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
