mod reliable;

use std::net::SocketAddr;

use sans_io::{Random, Timestamp};
use sip::dialog::{AcceptRetransmit, AcceptStep, Dialog, new_call_id, new_tag};
use sip::message::{RequestBuilder, ResponseBuilder, reason_phrase};
use sip::transaction::{ClientKey, Config, Event, Layer, Listener, ServerKey, Timers, response_destination};
use sip::{Destination, FlowId, HeaderName, Message, Method, Source, Transmit, Transport};

use reliable::{Early, Sending};

/// What a user agent does with a re-INVITE, UPDATE or INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// 200, with an answer or an offer where one is due.
    Accept,
    /// This status.
    Reject(u16),
    /// Nothing (INVITE: the layer's 100).
    Ignore,
}

/// One dialog of a user agent.
#[derive(Debug)]
pub struct Talk {
    pub dialog: Dialog,
    pub alive: bool,
    accept: Option<AcceptRetransmit>,
    /// The re-INVITE of ours that waits for its final response.
    pub reinvite: Option<ClientKey>,
}

/// A scripted user agent on the stack of `sip`: answers what comes in by its manners, does what a test tells it, and
/// keeps a log of what it got.
#[derive(Debug)]
pub struct Ua {
    pub address: SocketAddr,
    pub peer: SocketAddr,
    layer: Layer,
    random: Random,
    pub log: Vec<String>,
    /// The INVITE we sent: its transaction and text, until its final failure.
    pub calling: Option<(ClientKey, Message)>,
    pub invites_sent: Vec<(ClientKey, Message)>,
    /// The INVITE we got and have not finally answered.
    pub incoming: Option<(ServerKey, Source, Message)>,
    pub talks: Vec<Talk>,
    pub manner: Manner,
    /// Whether 2xx are acknowledged.
    pub acknowledges: bool,
    /// The direction in our answers and offers.
    pub direction: &'static str,
    sdp_version: u32,
    pub last_invite: Option<Message>,
    pub last_body: String,
    /// `Recv-Info` of the last message with a body.
    pub receives: Option<String>,
    outbox: Vec<Transmit>,
    /// The INVITE that was answered with a 2xx, for forks that are late.
    pub answered: Option<(ServerKey, Source, Message)>,
    /// Our peer's tag in the latest provisional response.
    pub early_tag: Option<String>,
    pub retry_after: Option<String>,
    pub allow: Option<String>,
    pub unsupported: Option<String>,
    pub bye_reason: Option<String>,
    /// `X-Session` of the latest response.
    pub field: Option<String>,
    /// A header field for our responses to an INVITE.
    pub response_field: Option<(&'static str, &'static str)>,
    /// Said in the Via of responses to the INVITE (RFC 7339).
    pub overload: Option<sip::message::Overload>,
    /// `WWW-Authenticate` of a 401 to every request within a dialog that has no `Authorization`.
    pub asks: Option<&'static str>,
    /// `Session-Expires` and `Allow` of our 2xx to INVITE and UPDATE.
    pub session: Option<&'static str>,
    pub allows: Option<&'static str>,
    /// A header field for our requests within a dialog.
    pub extra_field: Option<(&'static str, &'static str)>,
    /// Header fields for our requests within a dialog.
    pub extra_fields: Vec<(&'static str, &'static str)>,
    /// `Session-Expires` and `Min-SE` of the latest response.
    pub session_told: Option<String>,
    pub min_se: Option<String>,
    /// More media lines in our descriptions.
    pub extra: &'static str,
    unacknowledged: Option<Message>,
    /// CSeq numbers of re-INVITEs that we sent without an offer.
    late_reinvites: Vec<u32>,
    /// Whether we acknowledge reliable provisional responses at once, and those that we took.
    pub pracks: bool,
    pub rseqs: Vec<u32>,
    pub early: Vec<Early>,
    sending: Vec<Sending>,
    /// The status of every response with the body that it had.
    pub bodies: Vec<(u16, String)>,
    /// An answer that waits for a PRACK, as that fork.
    held: Option<String>,
    /// The first line of each NOTIFY, its `Event` and its `Subscription-State`.
    pub notified: Vec<(String, String, String)>,
    /// The REFER that we got.
    pub referred: Option<Message>,
    /// The re-INVITE that we did not answer.
    ignored: Option<(ServerKey, Source, Message)>,
    /// Our responses have no Contact.
    pub has_no_contact: bool,
    /// What we protect our media with, in `inline:` form; without one it is in clear.
    pub key: Option<[u8; 40]>,
    /// It speaks as a browser does, under this name of ICE.
    pub browser: Option<&'static str>,
    /// As a browser: the name of its association.
    pub tls_id: Option<&'static str>,
    /// Its transport, unless it is one that the peer's description asks for.
    pub profile: Option<&'static str>,
}

/// A key and salt of 30 equal bytes as `inline:` has it.
pub fn key(letter: u8) -> [u8; 40] {
    let [a, b, c] = [
        letter >> 2,
        (letter & 3) << 4 | letter >> 4,
        (letter & 15) << 2 | letter >> 6,
    ];
    let digits = [a, b, c, letter & 63].map(|digit| {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        alphabet[usize::from(digit)]
    });
    std::array::from_fn(|place| digits[place % 4])
}

/// `body` with SRTP as `last`, which came from the other side, wants it: its profile and tag, or those of an offer.
fn secured(body: &str, key: &[u8; 40], last: &str) -> String {
    const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
    let tag = last
        .lines()
        .filter_map(|line| line.strip_prefix("a=crypto:"))
        .find_map(|value| value.split_once(' ').filter(|(_, rest)| rest.starts_with(SUITE)));
    let tag = tag.map_or("1", |(tag, _)| tag);
    let profile = match last.contains("RTP/AVP ") && last.contains("a=crypto:") {
        true => "RTP/AVP ",
        false => "RTP/SAVP ",
    };
    let key = std::str::from_utf8(key).unwrap();
    let body = body.replace("RTP/AVP ", profile);
    format!("{body}a=crypto:{tag} {SUITE} inline:{key}\r\n")
}

/// What a browser shows in its handshakes.
pub const BROWSER: &str =
    "sha-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF";

/// A description as a browser has it, or as a gateway that does ICE lite when its name begins so: without an address of use, with ICE and DTLS. It offers to do either role, and begins where that
/// was offered to it.
fn as_browser(body: &str, ufrag: &str, last: &str) -> String {
    let is_answer = last.contains("a=setup:actpass");
    let setup = if is_answer { "active" } else { "actpass" };
    let body = body.replace("m=audio 4000 RTP/AVP", "m=audio 9 UDP/TLS/RTP/SAVPF");
    let connection = body
        .lines()
        .find(|line| line.starts_with("c="))
        .expect("a connection");
    let body = body.replace(connection, "c=IN IP4 0.0.0.0\r\na=group:BUNDLE 0");
    // The session's attribute comes after its time.
    let body = body.replace(
        "\r\na=group:BUNDLE 0\r\nt=0 0\r\n",
        "\r\nt=0 0\r\na=group:BUNDLE 0\r\n",
    );
    let body = match ufrag.starts_with("lite") {
        true => body.replace("\r\nt=0 0\r\n", "\r\nt=0 0\r\na=ice-lite\r\n"),
        false => body,
    };
    format!(
        "{body}a=mid:0\r\na=rtcp-mux\r\na=rtcp-fb:0 nack\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{ufrag}0123456789012345678901\r\n\
         a=candidate:1 1 udp 2122260223 203.0.113.77 50000 typ host\r\na=fingerprint:{BROWSER}\r\na=setup:{setup}\r\n"
    )
}

pub fn sdp(ip: &str, version: u32, direction: &str) -> String {
    format!(
        "v=0\r\no=ua 77 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio 4000 RTP/AVP 0 8\r\na={direction}\r\n"
    )
}

fn session_fields<'a>(
    response: ResponseBuilder<'a>,
    session: Option<&str>,
    allows: Option<&str>,
) -> ResponseBuilder<'a> {
    let fields = [(HeaderName::SessionExpires, session), (HeaderName::Allow, allows)];
    fields
        .iter()
        .fold(response, |response, (name, value)| match value {
            Some(value) => response.header(*name, value),
            None => response,
        })
}

impl Ua {
    pub fn new(address: &str, peer: SocketAddr, mut random: Random) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let config = Config::new(vec![Listener::new(Transport::Udp, address)]);
        Self {
            address,
            peer,
            layer: Layer::new(config, random.fork()),
            random,
            log: Vec::new(),
            calling: None,
            invites_sent: Vec::new(),
            incoming: None,
            talks: Vec::new(),
            manner: Manner::Accept,
            acknowledges: true,
            direction: "sendrecv",
            sdp_version: 1,
            last_invite: None,
            last_body: String::new(),
            receives: None,
            outbox: Vec::new(),
            answered: None,
            early_tag: None,
            retry_after: None,
            allow: None,
            unsupported: None,
            bye_reason: None,
            field: None,
            response_field: None,
            overload: None,
            asks: None,
            session: None,
            allows: None,
            extra_field: None,
            extra_fields: Vec::new(),
            session_told: None,
            min_se: None,
            extra: "",
            unacknowledged: None,
            late_reinvites: Vec::new(),
            pracks: true,
            rseqs: Vec::new(),
            early: Vec::new(),
            sending: Vec::new(),
            bodies: Vec::new(),
            held: None,
            notified: Vec::new(),
            referred: None,
            ignored: None,
            has_no_contact: false,
            key: None,
            browser: None,
            tls_id: None,
            profile: None,
        }
    }

    pub fn body(&mut self) -> String {
        self.sdp_version += 1;
        let body = sdp(&self.address.ip().to_string(), self.sdp_version, self.direction) + self.extra;
        match (self.browser, self.key) {
            (Some(ufrag), _) => {
                let tls_id = self.tls_id.map(|it| format!("a=tls-id:{it}\r\n"));
                as_browser(&body, ufrag, &self.last_body) + &tls_id.unwrap_or_default()
            }
            (None, Some(key)) => secured(&body, &key, &self.last_body),
            (None, None) => {
                let asked = if self.last_body.contains("RTP/AVPF ") {
                    "RTP/AVPF"
                } else {
                    "RTP/AVP"
                };
                body.replace("RTP/AVP ", &format!("{} ", self.profile.unwrap_or(asked)))
            }
        }
    }

    fn destination(&self) -> Destination {
        Destination {
            transport: Transport::Udp,
            remote: self.peer,
            flow: None,
        }
    }

    fn contact(&self) -> String {
        format!("<sip:ua@{}>", self.address)
    }

    /// Begins an INVITE; the test may change it before it is sent.
    pub fn invite_builder(&mut self, user: &str) -> RequestBuilder {
        let (call_id, tag) = (new_call_id(&mut self.random), new_tag(&mut self.random));
        RequestBuilder::new("INVITE", &format!("sip:{user}@{}", self.peer))
            .header(HeaderName::MaxForwards, 70)
            .header(
                HeaderName::From,
                format_args!("\"Alice\" <sip:alice@{}>;tag={tag}", self.address),
            )
            .header(HeaderName::To, format_args!("<sip:{user}@{}>", self.peer))
            .header(
                HeaderName::CallId,
                format_args!("{call_id}@{}", self.address.ip()),
            )
            .header(HeaderName::CSeq, "1 INVITE")
            .header(HeaderName::Contact, self.contact())
    }

    pub fn send_invite(&mut self, now: Timestamp, builder: RequestBuilder) {
        let invite = builder.build().unwrap();
        let key = self
            .layer
            .send_request(now, invite.clone(), self.destination())
            .unwrap();
        self.calling = Some((key, invite.clone()));
        self.invites_sent.push((key, invite));
    }

    pub fn invite(&mut self, now: Timestamp, with_offer: bool) {
        let builder = self.invite_builder("1000");
        let body = self.body();
        let builder = if with_offer {
            builder.body("application/sdp", body.as_bytes())
        } else {
            builder
        };
        self.send_invite(now, builder);
    }

    /// A request outside of any dialog, and without transaction state in the test's way.
    pub fn request(&mut self, now: Timestamp, builder: RequestBuilder) {
        self.layer
            .send_request(now, builder.build().unwrap(), self.destination())
            .unwrap();
    }

    pub fn cancel(&mut self, now: Timestamp) {
        if let Some((key, _)) = &self.calling {
            let _ = self
                .layer
                .cancel(now, *key, Some("SIP;cause=200;text=\"elsewhere\""));
        }
    }

    /// A BYE in the early dialog of our INVITE, as RFC 3261 §15 lets a caller send it.
    pub fn bye_early(&mut self, now: Timestamp) {
        let (Some((_, invite)), Some(tag)) = (self.calling.clone(), self.early_tag.clone()) else {
            return;
        };
        let bye = RequestBuilder::new("BYE", &format!("sip:{}", self.peer))
            .header(HeaderName::MaxForwards, 70)
            .header(HeaderName::From, invite.header(HeaderName::From).unwrap())
            .header(
                HeaderName::To,
                format_args!("{};tag={tag}", invite.header(HeaderName::To).unwrap()),
            )
            .header(HeaderName::CallId, invite.call_id().unwrap())
            .header(HeaderName::CSeq, "2 BYE");
        self.request(now, bye);
    }

    /// A response to the INVITE that we got, as fork `tag`.
    pub fn respond(&mut self, now: Timestamp, status: u16, tag: &str, body: Option<&str>) {
        let Some((key, source, invite)) = self.incoming.clone() else {
            return;
        };
        let contact = self.contact();
        let mut response = ResponseBuilder::for_request(&invite, status, reason_phrase(status))
            .to_tag(tag)
            .record_routes();
        if status < 300 && !self.has_no_contact {
            response = response.header(HeaderName::Contact, contact);
        }
        if (200..300).contains(&status) {
            response = self.session_fields(response);
        }
        if let Some((name, value)) = self.response_field {
            response = response.header(name, value);
        }
        if let Some(body) = body {
            response = response.body("application/sdp", body.as_bytes());
        }
        let response = response.build().unwrap();
        let told = self
            .overload
            .map(|overload| response.with_overload(&overload).unwrap());
        let response = told.unwrap_or(response);
        let _ = self.layer.respond(now, key, response.clone());
        let early = self.take_early_dialog_of(key, status, tag);
        if (200..300).contains(&status) {
            self.answered = Some((key, source, invite.clone()));
            let known = |talk: &Talk| {
                let id = talk.dialog.id();
                &*id.local_tag == tag && Some(&*id.call_id) == invite.call_id().ok()
            };
            if self.talks.iter().any(known) {
                return;
            }
            let mut dialog = early.unwrap_or_else(|| Dialog::of_server(&invite, tag).unwrap());
            dialog.confirm();
            let destination = response_destination(&source, &invite).unwrap();
            let transmit = Transmit {
                destination,
                bytes: response.bytes().clone(),
            };
            let accept = AcceptRetransmit::new(now, &Timers::default(), transmit);
            self.talks.push(Talk {
                dialog,
                alive: true,
                accept: Some(accept),
                reinvite: None,
            });
        }
        if status >= 300 {
            self.incoming = None;
        }
    }

    pub fn answer(&mut self, now: Timestamp) {
        self.answer_as(now, "b1");
    }

    /// Answers as fork `tag`, once its description is acknowledged (RFC 3262 §3).
    pub fn answer_as(&mut self, now: Timestamp, tag: &str) {
        let Some((key, ..)) = self.incoming else { return };
        if self.holds_success(key, tag) {
            self.held = Some(tag.to_owned());
            return;
        }
        let body = self.body();
        let body = (!self.is_described(key, tag)).then_some(body.as_str());
        self.respond(now, 200, tag, body);
        self.incoming = None;
    }

    pub fn is_talking(&self) -> bool {
        self.talks.iter().any(|talk| talk.alive)
    }

    /// The ids by which the B2BUA's dialog with us is replaced (RFC 3891), as they stand in `Replaces`: our `n`th dialog as we
    /// know it.
    pub fn dialog_ids(&self, n: usize) -> String {
        let id = self.talks[n].dialog.id();
        format!(
            "{};to-tag={};from-tag={}",
            id.call_id,
            id.remote_tag.as_deref().unwrap_or(""),
            id.local_tag
        )
    }

    /// An INVITE that takes the place of a dialog.
    pub fn replace(&mut self, now: Timestamp, replaces: &str) {
        let body = self.body();
        let builder = self
            .invite_builder("1000")
            .header(HeaderName::Replaces, replaces)
            .body("application/sdp", body.as_bytes());
        self.send_invite(now, builder);
    }

    /// A request in the first dialog that stands.
    pub fn in_dialog(&mut self, now: Timestamp, method: &str, body: Option<&str>) -> Option<ClientKey> {
        let (contact, destination) = (self.contact(), self.destination());
        let talk = self.talks.iter_mut().find(|talk| talk.alive)?;
        let mut builder = talk
            .dialog
            .request(method, 70)
            .header(HeaderName::Contact, contact);
        if let Some((name, value)) = self.extra_field {
            builder = builder.header(name, value).header(HeaderName::Supported, "timer");
        }
        for (name, value) in &self.extra_fields {
            builder = builder.header(*name, *value);
        }
        if let Some(body) = body {
            builder = builder.body("application/sdp", body.as_bytes());
        }
        let key = self
            .layer
            .send_request(now, builder.build().unwrap(), destination)
            .unwrap();
        if method == "INVITE" {
            talk.reinvite = Some(key);
            if body.is_none() {
                self.late_reinvites.extend(talk.dialog.local_seq());
            }
        }
        Some(key)
    }

    /// An INFO of an Info Package (RFC 6086) in the first dialog that stands.
    pub fn inform(&mut self, now: Timestamp, package: &str, (content_type, body): (&str, &str)) {
        let (contact, destination) = (self.contact(), self.destination());
        let Some(talk) = self.talks.iter_mut().find(|talk| talk.alive) else {
            return;
        };
        let builder = talk
            .dialog
            .request("INFO", 70)
            .header(HeaderName::Contact, contact)
            .header(HeaderName::InfoPackage, package)
            .body(content_type, body.as_bytes());
        self.layer
            .send_request(now, builder.build().unwrap(), destination)
            .unwrap();
    }

    /// A REFER in the first dialog that stands, with a header field of the test's.
    pub fn refer(&mut self, now: Timestamp, to: &str, field: Option<(&str, &str)>) {
        let (contact, destination) = (self.contact(), self.destination());
        let Some(talk) = self.talks.iter_mut().find(|talk| talk.alive) else {
            return;
        };
        let mut builder = talk
            .dialog
            .request("REFER", 70)
            .header(HeaderName::Contact, contact)
            .header(HeaderName::ReferTo, to);
        if let Some((name, value)) = field {
            builder = builder.header(name, value);
        }
        self.layer
            .send_request(now, builder.build().unwrap(), destination)
            .unwrap();
    }

    /// The `Replaces` that names our `n`th dialog, as it stands in a URI.
    pub fn replaces(&self, n: usize) -> String {
        let id = self.talks[n].dialog.id();
        let remote_tag = id.remote_tag.as_deref().unwrap_or("");
        let call_id = id.call_id.replace('@', "%40");
        format!("{call_id}%3Bto-tag%3D{remote_tag}%3Bfrom-tag%3D{}", id.local_tag)
    }

    fn session_fields<'a>(&self, response: ResponseBuilder<'a>) -> ResponseBuilder<'a> {
        session_fields(response, self.session, self.allows)
    }

    /// An UPDATE that refreshes our session.
    pub fn refresh(&mut self, now: Timestamp, session: &'static str) {
        let before = self.extra_field.replace(("Session-Expires", session));
        self.in_dialog(now, "UPDATE", None);
        self.extra_field = before;
    }

    pub fn bye(&mut self, now: Timestamp) {
        if self.in_dialog(now, "BYE", None).is_some()
            && let Some(talk) = self.talks.iter_mut().find(|talk| talk.alive)
        {
            talk.alive = false;
            talk.accept = None;
        }
    }

    /// A callee says no BYE before the ACK for its 2xx (RFC 3261 §15).
    pub fn bye_if_acknowledged(&mut self, now: Timestamp) {
        if self
            .talks
            .iter()
            .find(|talk| talk.alive)
            .is_some_and(|talk| talk.accept.is_none())
        {
            self.bye(now);
        }
    }

    pub fn has_answered(&self, key: ServerKey) -> bool {
        self.answered
            .as_ref()
            .is_some_and(|(answered, ..)| *answered == key)
    }

    /// Acknowledges the latest 2xx that was not.
    pub fn acknowledge(&mut self) {
        if let Some(response) = self.unacknowledged.take() {
            let seq = response.cseq().unwrap().seq;
            let invite = self.invites_sent.last().map(|(_, invite)| invite.clone());
            let invite = invite.filter(|invite| invite.cseq().unwrap().seq == seq);
            self.send_ack(&response, invite.as_ref());
        }
    }

    pub fn acknowledge_without_body(&mut self) {
        if let Some(response) = self.unacknowledged.take() {
            self.send_ack(&response, None);
            let Some(ack) = self.outbox.pop() else { return };
            let ack = Message::parse_datagram(ack.bytes)
                .unwrap()
                .edit()
                .without_body()
                .build()
                .unwrap();
            self.outbox.push(Transmit {
                destination: self.destination(),
                bytes: ack.bytes().clone(),
            });
        }
    }

    pub fn reinvite(&mut self, now: Timestamp, direction: &'static str, with_offer: bool) {
        self.direction = direction;
        let body = self.body();
        if self
            .talks
            .iter()
            .any(|talk| talk.alive && talk.reinvite.is_none())
        {
            self.in_dialog(now, "INVITE", with_offer.then_some(body.as_str()));
        }
    }

    /// Answers, late, the re-INVITE that was ignored.
    pub fn answer_ignored(&mut self, now: Timestamp) {
        if let Some((key, source, request)) = self.ignored.take() {
            self.manner = Manner::Accept;
            let body = self.body();
            self.accept_within(now, key, &source, &request, &body);
        }
    }

    pub fn cancel_reinvite(&mut self, now: Timestamp) {
        if let Some(key) = self.talks.iter().find_map(|talk| talk.reinvite) {
            let _ = self.layer.cancel(now, key, None);
        }
    }

    pub fn handle_datagram(&mut self, now: Timestamp, from: SocketAddr, bytes: bytes::Bytes) {
        let message = Message::parse_datagram(bytes).expect("the B2BUA sends readable messages");
        let source = Source {
            transport: Transport::Udp,
            flow: FlowId(0),
            remote: from,
            local: self.address,
        };
        self.layer.handle_message(now, source, message);
        self.run(now);
    }

    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.layer.handle_timeout(now);
        self.repeat_provisionals(now);
        for talk in &mut self.talks {
            let step = talk.accept.as_mut().and_then(|accept| accept.handle_timeout(now));
            match step {
                Some(AcceptStep::Send(transmit)) => self.outbox.push(transmit),
                Some(AcceptStep::GiveUp) => {
                    talk.accept = None;
                    if talk.alive {
                        talk.alive = false;
                        let destination = Destination {
                            transport: Transport::Udp,
                            remote: self.peer,
                            flow: None,
                        };
                        let bye = talk.dialog.request("BYE", 70).build().unwrap();
                        self.layer.send_request(now, bye, destination).unwrap();
                    }
                }
                None => {}
            }
        }
        self.run(now);
    }

    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let accepts = self
            .talks
            .iter()
            .filter_map(|talk| talk.accept.as_ref())
            .map(AcceptRetransmit::poll_timeout);
        accepts
            .chain(self.layer.poll_timeout())
            .chain(self.next_provisional())
            .min()
    }

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop().or_else(|| self.layer.poll_transmit())
    }

    fn run(&mut self, now: Timestamp) {
        while let Some(event) = self.layer.poll_event() {
            match event {
                Event::Request { key, source, message } => self.handle_request(now, key, source, message),
                Event::Ack { message, .. } => self.handle_ack(&message),
                Event::Cancelled { invite, message, .. } => {
                    self.log.push(
                        format!("CANCEL {}", message.header(HeaderName::Reason).unwrap_or(""))
                            .trim()
                            .into(),
                    );
                    self.stop_provisionals(invite);
                    if let Some((key, _, request)) = self.incoming.take_if(|(key, ..)| *key == invite) {
                        self.finish(now, key, &request, 487);
                    } else if let Some(request) = self.layer.request(invite).cloned() {
                        self.finish(now, invite, &request, 487);
                    }
                }
                Event::Response { key, message, .. } => self.handle_response(now, key, &message),
                Event::TimedOut { key } => {
                    self.log.push("timeout".into());
                    self.failed(key);
                }
                Event::TransportFailed { key } => self.failed(key),
                _ => {}
            }
        }
    }

    fn failed(&mut self, key: ClientKey) {
        self.calling.take_if(|(calling, _)| *calling == key);
        for talk in &mut self.talks {
            talk.reinvite.take_if(|reinvite| *reinvite == key);
        }
    }

    fn finish(&mut self, now: Timestamp, key: ServerKey, request: &Message, status: u16) {
        let response = ResponseBuilder::for_request(request, status, reason_phrase(status))
            .to_tag("b1")
            .build()
            .unwrap();
        let _ = self.layer.respond(now, key, response);
    }

    /// The early dialog that a final response ends or confirms; the others of the INVITE are over.
    fn take_early_dialog_of(&mut self, key: ServerKey, status: u16, tag: &str) -> Option<Dialog> {
        let early = (200..300)
            .contains(&status)
            .then(|| self.take_early_dialog(key, tag))
            .flatten();
        if status >= 200 {
            self.stop_provisionals(key);
        }
        early
    }

    fn take_early_update(&mut self, now: Timestamp, key: ServerKey, request: &Message) {
        let answer = self.body();
        let contact = self.contact();
        match self.manner {
            Manner::Accept => {
                let mut response =
                    ResponseBuilder::for_request(request, 200, "OK").header(HeaderName::Contact, contact);
                if !request.body().is_empty() {
                    response = response.body("application/sdp", answer.as_bytes());
                }
                let _ = self.layer.respond(now, key, response.build().unwrap());
            }
            Manner::Reject(status) => self.finish(now, key, request, status),
            Manner::Ignore => {}
        }
    }

    fn talk(&mut self, message: &Message) -> Option<&mut Talk> {
        let call_id = message.call_id().ok()?;
        let tag = message.to().ok()?.tag()?;
        self.talks
            .iter_mut()
            .find(|talk| &*talk.dialog.id().call_id == call_id && &*talk.dialog.id().local_tag == tag)
    }

    fn handle_request(&mut self, now: Timestamp, key: ServerKey, source: Source, request: Message) {
        let method = request.method().unwrap();
        self.log.push(method.to_string());
        if !request.body().is_empty() && method != Method::Notify {
            self.last_body = String::from_utf8_lossy(request.body()).into_owned();
            self.receives = request.header(HeaderName::RecvInfo).map(str::to_owned);
        }
        let is_new = request.to().unwrap().tag().is_none();
        if is_new && method == Method::Invite {
            self.last_invite = Some(request.clone());
            self.incoming = Some((key, source, request));
            return;
        }
        if let Some(challenge) = self.asks.filter(|_| !request.has(HeaderName::Authorization)) {
            let response = ResponseBuilder::for_request(&request, 401, "Unauthorized")
                .header(HeaderName::WwwAuthenticate, challenge);
            let _ = self.layer.respond(now, key, response.build().unwrap());
            return;
        }
        if method == Method::Notify {
            let line = String::from_utf8_lossy(request.body());
            let line = line.lines().next().unwrap_or("").to_owned();
            let text = |name| request.header(name).unwrap_or("").to_owned();
            let state = text(HeaderName::SubscriptionState);
            self.notified.push((line, text(HeaderName::Event), state));
        }
        if method == Method::Refer {
            self.referred = Some(request.clone());
        }
        if method == Method::Prack {
            let status = self.take_prack(now, &request);
            self.finish(now, key, &request, status);
            if let Some(tag) = self.held.take() {
                self.answer_as(now, &tag);
            }
            return;
        }
        if method == Method::Update && self.is_early(&request) {
            self.take_early_update(now, key, &request);
            return;
        }
        let manner = self.manner;
        let reoffer = self.body();
        let Some(talk) = self
            .talk(&request)
            .filter(|talk| talk.alive || method == Method::Bye)
        else {
            self.finish(now, key, &request, 481);
            return;
        };
        if talk.dialog.handle_request(&request).is_err() {
            self.finish(now, key, &request, 500);
            return;
        }
        match (method, manner) {
            (Method::Bye, _) => {
                talk.alive = false;
                talk.accept = None;
                self.bye_reason = request.header(HeaderName::Reason).map(str::to_owned);
                self.finish(now, key, &request, 200);
            }
            (Method::Invite, _) if talk.reinvite.is_some() => self.finish(now, key, &request, 491),
            (Method::Invite, Manner::Ignore) => self.ignored = Some((key, source, request)),
            (Method::Invite | Method::Update, Manner::Accept) => {
                self.accept_within(now, key, &source, &request, &reoffer);
            }
            (_, Manner::Accept) => self.finish(now, key, &request, 200),
            (_, Manner::Reject(status)) => self.finish(now, key, &request, status),
            (_, Manner::Ignore) => {}
        }
    }

    /// 200 to a re-INVITE or UPDATE, with an answer or an offer where one is due.
    fn accept_within(
        &mut self,
        now: Timestamp,
        key: ServerKey,
        source: &Source,
        request: &Message,
        body: &str,
    ) {
        let method = request.method().unwrap();
        let contact = self.contact();
        let response = ResponseBuilder::for_request(request, 200, "OK").header(HeaderName::Contact, contact);
        let response = self.session_fields(response);
        let response = match method {
            Method::Update if request.body().is_empty() => response,
            _ => response.body("application/sdp", body.as_bytes()),
        };
        let response = response.build().unwrap();
        if method == Method::Invite
            && let Some(talk) = self.talk(request)
        {
            let destination = response_destination(source, request).unwrap();
            let transmit = Transmit {
                destination,
                bytes: response.bytes().clone(),
            };
            talk.accept = Some(AcceptRetransmit::new(now, &Timers::default(), transmit));
        }
        let _ = self.layer.respond(now, key, response);
    }

    fn handle_ack(&mut self, ack: &Message) {
        let body = String::from_utf8_lossy(ack.body()).into_owned();
        let mut first = false;
        if let Some(talk) = self.talk(ack) {
            first = talk.accept.take().is_some();
        }
        if first {
            self.log.push("ACK".into());
            if !body.is_empty() {
                self.last_body = body;
            }
        }
    }

    fn handle_response(&mut self, now: Timestamp, key: ClientKey, response: &Message) {
        let status = response.status().unwrap();
        let method = response.cseq().unwrap().method;
        if status == 100 {
            return;
        }
        let text = |name| response.header(name).map(str::to_owned);
        self.retry_after = text(HeaderName::RetryAfter);
        self.session_told = text(HeaderName::SessionExpires);
        self.min_se = text(HeaderName::MinSe);
        self.allow = text(HeaderName::Allow);
        self.field = response.header("X-Session").map(str::to_owned);
        self.unsupported = text(HeaderName::Unsupported);
        if method != Method::Invite {
            self.log.push(format!("{status} {method}"));
            return;
        }
        if !response.body().is_empty() {
            self.last_body = String::from_utf8_lossy(response.body()).into_owned();
            self.receives = response.header(HeaderName::RecvInfo).map(str::to_owned);
        }
        let invite = self
            .invites_sent
            .iter()
            .find(|(sent, _)| *sent == key)
            .map(|(_, invite)| invite.clone());
        let is_success = (200..300).contains(&status);
        if let Some(invite) = &invite
            && status < 200
            && !self.take_provisional(now, invite, response)
        {
            return;
        }
        let body = String::from_utf8_lossy(response.body()).into_owned();
        self.bodies.push((status, body));
        if is_success {
            let tag = response.to().unwrap().tag().unwrap_or_default().to_owned();
            let known = |talk: &&mut Talk| talk.dialog.id().remote_tag.as_deref() == Some(tag.as_str());
            let call_id = response.call_id().unwrap();
            let known = self
                .talks
                .iter_mut()
                .filter(|talk| &*talk.dialog.id().call_id == call_id)
                .find(known);
            if let Some(again) = known.as_ref().and_then(|talk| talk.dialog.repeat_ack(response)) {
                self.outbox.push(again);
                return;
            }
            self.log.push(format!("{status} INVITE"));
            if let Some(talk) = known {
                // A re-INVITE of ours.
                talk.reinvite.take_if(|reinvite| *reinvite == key);
                let _ = talk.dialog.handle_response(response);
            } else {
                let early = self.early.iter().position(|it| {
                    it.dialog.id().remote_tag.as_deref() == Some(tag.as_str())
                        && &*it.dialog.id().call_id == call_id
                });
                let dialog = match early {
                    Some(place) => {
                        let mut early = self.early.remove(place);
                        early.dialog.handle_response(response).unwrap();
                        early.dialog
                    }
                    None => Dialog::of_client(&invite.clone().unwrap(), response).unwrap(),
                };
                self.talks.push(Talk {
                    dialog,
                    alive: true,
                    accept: None,
                    reinvite: None,
                });
            }
            self.calling.take_if(|(calling, _)| *calling == key);
            if self.acknowledges {
                self.send_ack(response, invite.as_ref());
            } else {
                self.unacknowledged = Some(response.clone());
            }
            return;
        }
        self.log.push(format!("{status} INVITE"));
        self.early_tag = response.to().unwrap().tag().map(str::to_owned);
        if status >= 300 {
            self.failed(key);
        }
    }

    /// Acknowledges a 2xx, with an answer if it had the offer.
    pub fn send_ack(&mut self, response: &Message, invite: Option<&Message>) {
        let answer = self.body();
        let destination = self.destination();
        let seq = response.cseq().unwrap().seq;
        let had_offer = invite.is_some_and(|invite| !invite.body().is_empty()) || self.reoffered(seq);
        let tag = response.to().unwrap().tag().unwrap_or_default();
        let Some(talk) = self
            .talks
            .iter_mut()
            .find(|talk| talk.dialog.id().remote_tag.as_deref() == Some(tag))
        else {
            return;
        };
        let mut ack = talk.dialog.ack(seq, 70);
        if !had_offer && !response.body().is_empty() {
            ack = ack.body("application/sdp", answer.as_bytes());
        }
        let transmit = self.layer.ack(&ack.build().unwrap(), destination).unwrap();
        talk.dialog.keep_ack(seq, transmit.clone());
        self.outbox.push(transmit);
    }

    /// Whether our re-INVITE of that number had an offer: ours always do, but for the ones that `late` notes.
    fn reoffered(&self, seq: u32) -> bool {
        seq > 1 && !self.late_reinvites.contains(&seq)
    }
}
