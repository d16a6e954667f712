use std::net::SocketAddr;

use bytes::Bytes;
use sip::message::{HeaderName, Message, Method};

use super::script::Script;

/// How many messages a party remembers to answer or to refer to.
const MEMORY: usize = 8;

const METHODS: &[&str] = &[
    "BYE",
    "INVITE",
    "UPDATE",
    "INFO",
    "OPTIONS",
    "PRACK",
    "REFER",
    "MESSAGE",
    "NOTIFY",
    "X",
    "SUBSCRIBE",
];
const STATUSES: &[u16] = &[
    180, 200, 183, 100, 486, 487, 404, 302, 401, 408, 481, 491, 500, 503, 600, 603, 202, 199, 300, 699,
];
const TAGS: &[&str] = &[";tag=x1", ";tag=x2", ""];
const FIELDS: &[&str] = &[
    "",
    "Max-Forwards: 1\r\n",
    "Max-Forwards: 0\r\n",
    "Record-Route: <sip:p.example;lr>,<sip:q.example>\r\n",
    "Require: 100rel\r\nRSeq: 1\r\n",
    "Supported: timer\r\nSession-Expires: 90\r\n",
    "Retry-After: 7 (busy)\r\n",
    "Reason: Q.850;cause=17\r\n",
    "X-Own: 1\r\nSubject: \"\\\0\"\r\n",
    "Expires: 0\r\n",
    "Contact: <sip:other@10.9.9.9:5099;transport=tcp>\r\n",
    "Route: <sip:198.51.100.1;lr>\r\n",
    "Replaces: c0;to-tag=x1;from-tag=f0\r\n",
];
const BODIES: &[&str] = &[
    "v=0\r\no=- 1 1 IN IP4 10.1.0.1\r\ns=-\r\nc=IN IP4 10.1.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8\r\n",
    "",
    "v=0\r\no=- 1 2 IN IP4 10.1.0.1\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=sendonly\r\n",
    "v=0\r\no=- 1 3 IN IP4 10.1.0.1\r\ns=-\r\nc=IN IP4 10.1.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\nm=video 4002 RTP/AVP 31\r\n",
    "v=0\r\no=- 1 4 IN IP4 10.1.0.1\r\ns=-\r\nc=IN IP4 10.1.0.1\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\n",
    "v=0\r\no=- 1 5 IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 0\r\n",
    "v=0\r\no=- 1 6 IN IP4 10.1.0.1\r\ns=-\r\nt=0 0\r\n",
    "nothing of the kind",
];

/// A user agent that follows no rule but the form of messages.
pub(super) struct Party {
    address: SocketAddr,
    us: String,
    received: Vec<Message>,
    sent: Vec<Message>,
    branches: u32,
}

impl Party {
    pub(super) fn new(address: &str, us: &str) -> Self {
        let address = super::address(address);
        Self {
            address,
            us: us.to_owned(),
            received: Vec::new(),
            sent: Vec::new(),
            branches: 0,
        }
    }

    pub(super) fn receive(&mut self, message: Message) {
        self.received.insert(0, message);
        self.received.truncate(MEMORY);
    }

    pub(super) fn repetition(&mut self) -> Option<Bytes> {
        self.sent.first().map(|message| message.bytes().clone())
    }

    /// An INVITE, of one of few names so that they meet again.
    pub(super) fn invite(&mut self, script: &mut Script<'_>) -> Option<Bytes> {
        let name = script.below(3);
        let user = script.one_of(&["1", "2", "1%00", "*"]);
        let (address, via) = (self.address, self.via(script));
        let head = format!(
            "INVITE sip:{user}@{us} SIP/2.0\r\n{via}From: <sip:a@{address}>;tag=f{name}\r\nTo: <sip:{user}@{us}>\r\n\
             Call-ID: c{name}\r\nCSeq: {} INVITE\r\n",
            script.below(3),
            us = self.us,
        );
        self.finished(head, script)
    }

    /// A response to something that came.
    pub(super) fn response(&mut self, script: &mut Script<'_>) -> Option<Bytes> {
        let requests: Vec<&Message> = self
            .received
            .iter()
            .filter(|message| message.is_request())
            .collect();
        let request = requests.get(script.below(MEMORY).min(requests.len().checked_sub(1)?))?;
        let status = script.one_of(STATUSES);
        let mut head = format!("SIP/2.0 {status} Whatever\r\n");
        for via in request.fields(HeaderName::Via) {
            head.push_str(&format!("Via: {via}\r\n"));
        }
        let to = request.header(HeaderName::To)?;
        let tag = if to.contains("tag=") {
            ""
        } else {
            script.one_of(TAGS)
        };
        head.push_str(&format!(
            "From: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n",
            request.header(HeaderName::From)?,
            request.call_id().ok()?,
            request.header(HeaderName::CSeq)?
        ));
        self.finished(head, script)
    }

    /// The ACK for a response that came.
    pub(super) fn ack(&mut self, script: &mut Script<'_>) -> Option<Bytes> {
        let is_answer = |message: &&Message| {
            message.status().is_some_and(|status| status >= 200)
                && message.cseq().is_ok_and(|cseq| cseq.method == Method::Invite)
        };
        let answer = self.received.iter().find(is_answer)?.clone();
        let via = match script.below(2) {
            0 => self.via(script),
            _ => format!("Via: {}\r\n", answer.header(HeaderName::Via)?),
        };
        let head = format!(
            "ACK sip:{} SIP/2.0\r\n{via}From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} ACK\r\n",
            self.us,
            answer.header(HeaderName::From)?,
            answer.header(HeaderName::To)?,
            answer.call_id().ok()?,
            answer.cseq().ok()?.seq
        );
        self.finished(head, script)
    }

    /// A request in the dialog of something that came.
    pub(super) fn request_in_dialog(&mut self, script: &mut Script<'_>) -> Option<Bytes> {
        let message = self
            .received
            .get(script.below(MEMORY).min(self.received.len().checked_sub(1)?))?
            .clone();
        let method = script.one_of(METHODS);
        let (mut from, mut to) = (message.header(HeaderName::From)?, message.header(HeaderName::To)?);
        if message.is_request() {
            (from, to) = (to, from);
        }
        let tag = if from.contains("tag=") {
            ""
        } else {
            script.one_of(TAGS)
        };
        let via = self.via(script);
        let head = format!(
            "{method} sip:{} SIP/2.0\r\n{via}From: {from}{tag}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n",
            self.us,
            message.call_id().ok()?,
            script.below(6) + 1,
        );
        self.finished(head, script)
    }

    /// The CANCEL of an INVITE that was sent.
    pub(super) fn cancel(&mut self, script: &mut Script<'_>) -> Option<Bytes> {
        let is_invite = |message: &&Message| message.method() == Some(Method::Invite);
        let invite = self.sent.iter().find(is_invite)?.clone();
        let head = format!(
            "CANCEL {} SIP/2.0\r\nVia: {}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} CANCEL\r\n",
            invite.request_uri()?,
            invite.header(HeaderName::Via)?,
            invite.header(HeaderName::From)?,
            invite.header(HeaderName::To)?,
            invite.call_id().ok()?,
            invite.cseq().ok()?.seq
        );
        self.finished(head, script)
    }

    fn via(&mut self, script: &mut Script<'_>) -> String {
        self.branches += 1;
        let rport = script.one_of(&[";rport", ""]);
        let cookie = script.one_of(&["z9hG4bK", "z9hG4bK", "z9hG4bK", ""]);
        format!(
            "Via: SIP/2.0/UDP {};branch={cookie}{}{rport}\r\n",
            self.address, self.branches
        )
    }

    fn finished(&mut self, mut text: String, script: &mut Script<'_>) -> Option<Bytes> {
        if script.below(16) != 15 {
            text.push_str(&format!("Contact: <sip:{}>\r\n", self.address));
        }
        text.push_str(script.one_of(FIELDS));
        let body = script.one_of(BODIES);
        if !body.is_empty() {
            text.push_str("Content-Type: application/sdp\r\n");
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        let bytes = Bytes::from(text);
        if let Ok(message) = Message::parse_datagram(bytes.clone()) {
            self.sent.insert(0, message);
            self.sent.truncate(MEMORY);
        }
        Some(bytes)
    }
}
