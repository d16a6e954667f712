//! One transaction layer under the hands of a test.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sans_io::{Random, Timestamp};
use sip::transaction::{Config, Event, Layer, Listener};
use sip::{Destination, FlowId, Message, Source, Transport};

/// Where the layer under test listens.
pub const LOCAL: &str = "192.0.2.1:5060";
/// The one it talks with.
pub const PEER: &str = "198.51.100.7:5070";

/// A message from text whose lines end in LF. Without a body, it gets its `Content-Length`.
pub fn message(text: &str) -> Message {
    let text: String = text
        .trim()
        .lines()
        .map(|line| format!("{}\r\n", line.trim()))
        .collect();
    let bytes = Bytes::from(format!("{text}Content-Length: 0\r\n\r\n"));
    Message::parse_datagram(bytes).unwrap_or_else(|failure| panic!("{failure}: {text}"))
}

/// An INVITE as the peer sends it. `branch` without the cookie is of RFC 2543.
pub fn request(method: &str, branch: &str) -> Message {
    message(&format!(
        "{method} sip:bob@192.0.2.1 SIP/2.0
        Via: SIP/2.0/UDP {PEER};branch={branch}
        Max-Forwards: 70
        From: <sip:alice@example.com>;tag=a1
        To: <sip:bob@example.com>
        Call-ID: call-1
        CSeq: 1 {method}
        Contact: <sip:alice@{PEER}>"
    ))
}

/// A response as the peer or the user makes it: what §8.2.6 says, with `tag` in To.
pub fn response(request: &Message, status: u16, tag: &str) -> Message {
    sip::message::ResponseBuilder::for_request(request, status, "Reason")
        .to_tag(tag)
        .record_routes()
        .header("Contact", format_args!("<sip:bob@{PEER}>"))
        .build()
        .expect("a well-formed response")
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub fn from(transport: Transport, remote: &str) -> Source {
    Source {
        transport,
        flow: FlowId(1),
        remote: address(remote),
        local: address(LOCAL),
    }
}

pub fn to(transport: Transport, remote: &str) -> Destination {
    Destination {
        transport,
        remote: address(remote),
        flow: None,
    }
}

/// A layer with its clock.
pub struct Bench {
    pub layer: Layer,
    pub now: Timestamp,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let listeners =
            [Transport::Udp, Transport::Tcp].map(|transport| Listener::new(transport, address(LOCAL)));
        let mut config = Config::new(listeners.into());
        change(&mut config);
        Self {
            layer: Layer::new(config, Random::from_number(1)),
            now: Timestamp::from_millis(1_000),
        }
    }

    /// A message from the peer over UDP.
    pub fn receive(&mut self, message: &Message) {
        self.receive_from(from(Transport::Udp, PEER), message);
    }

    pub fn receive_from(&mut self, source: Source, message: &Message) {
        self.layer.handle_message(self.now, source, message.clone());
    }

    /// Lets time pass, firing each timer at its moment, and tells when each message left, in milliseconds from now.
    pub fn pass(&mut self, time: Duration) -> Vec<(u128, Message)> {
        let start = self.now;
        let end = start + time;
        let mut sent = Vec::new();
        while let Some(at) = self.layer.poll_timeout().filter(|&at| at <= end) {
            self.now = at;
            self.layer.handle_timeout(at);
            sent.extend(
                self.sent()
                    .into_iter()
                    .map(|message| (at.saturating_since(start).as_millis(), message)),
            );
        }
        self.now = end;
        sent
    }

    /// What the layer has sent since the last look.
    pub fn sent(&mut self) -> Vec<Message> {
        self.transmits().into_iter().map(|(_, message)| message).collect()
    }

    pub fn transmits(&mut self) -> Vec<(Destination, Message)> {
        std::iter::from_fn(|| self.layer.poll_transmit())
            .map(|transmit| {
                (
                    transmit.destination,
                    Message::parse_datagram(transmit.bytes).expect("well-formed"),
                )
            })
            .collect()
    }

    /// The one message that the layer has sent since the last look.
    pub fn sent_one(&mut self) -> Message {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "sent {sent:?}");
        sent.remove(0)
    }

    /// What the layer has told since the last look.
    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.layer.poll_event()).collect()
    }

    /// The same, a word an event.
    pub fn told(&mut self) -> Vec<String> {
        self.events().iter().map(word).collect()
    }
}

fn word(event: &Event) -> String {
    match event {
        Event::Request { message, .. } => format!("request {}", message.method().expect("a request")),
        Event::Ack { .. } => "ack".into(),
        Event::Cancelled { .. } => "cancelled".into(),
        Event::Response { message, .. } => format!("response {}", message.status().expect("a response")),
        Event::TimedOut { .. } => "timed out".into(),
        Event::TransportFailed { .. } => "transport failed".into(),
        Event::ClientTerminated { .. } => "client terminated".into(),
        Event::Unacknowledged { .. } => "unacknowledged".into(),
        Event::ResponseUndelivered { .. } => "response undelivered".into(),
        Event::Abandoned { .. } => "abandoned".into(),
        Event::ServerTerminated { .. } => "server terminated".into(),
    }
}
