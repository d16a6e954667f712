//! A registrar with two users, and a user agent that speaks to it.

use std::net::SocketAddr;

use bytes::Bytes;
use registrar::{Config, Registrar, Users};
use sans_io::{Random, Timestamp};
use sip::digest::{Account, Request, answer};
use sip::message::Uri;
use sip::{FlowId, HeaderName, Message, Source, Transport};

pub const DOMAIN: &str = "example.com";

pub struct World {
    pub registrar: Registrar,
    pub now: Timestamp,
    pub source: Source,
    /// Where the user agent says that it is.
    cseq: u32,
}

pub fn source(transport: Transport, address: &str, flow: u64) -> Source {
    Source {
        transport,
        flow: FlowId(flow),
        remote: address.parse().unwrap(),
        local: "198.51.100.1:5060".parse::<SocketAddr>().unwrap(),
    }
}

/// Without passwords: what is tested is the rest.
pub fn open(change: impl FnOnce(&mut Config)) -> World {
    let mut config = Config::new(DOMAIN);
    config.authentication = None;
    change(&mut config);
    World::new(config)
}

/// With passwords.
pub fn closed(change: impl FnOnce(&mut Config)) -> World {
    let mut config = Config::new(DOMAIN);
    change(&mut config);
    World::new(config)
}

impl World {
    fn new(config: Config) -> Self {
        let mut registrar = Registrar::new(config, Random::from_number(1));
        let mut users = Users::default();
        users.add_with_password("alice", DOMAIN, "wonderland");
        users.add_with_password("bob", DOMAIN, "builder");
        registrar.set_users(users);
        Self {
            registrar,
            now: Timestamp::from_millis(1_000_000),
            source: source(Transport::Udp, "192.0.2.1:5060", 1),
            cseq: 0,
        }
    }

    pub fn after(&mut self, seconds: u64) {
        self.now = self.now + std::time::Duration::from_secs(seconds);
        while self.registrar.poll_timeout().is_some_and(|at| at <= self.now) {
            self.registrar.handle_timeout(self.now);
        }
    }

    /// A REGISTER of alice with the next CSeq and these further fields, each with its line break.
    pub fn request(&mut self, fields: &str) -> Message {
        self.cseq += 1;
        let cseq = self.cseq;
        self.request_with("alice", "call-1", cseq, fields)
    }

    pub fn request_with(&self, user: &str, call_id: &str, cseq: u32, fields: &str) -> Message {
        let text = format!(
            "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{cseq}\r\n\
             From: <sip:{user}@{DOMAIN}>;tag=1\r\nTo: <sip:{user}@{DOMAIN}>\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} REGISTER\r\n{fields}Content-Length: 0\r\n\r\n"
        );
        Message::parse_datagram(Bytes::from(text)).unwrap()
    }

    pub fn send(&mut self, request: &Message) -> Message {
        let response = self
            .registrar
            .register(self.now, &self.source, request, "t")
            .unwrap();
        // What is sent must be what the parser reads.
        Message::parse_datagram(response.bytes().clone()).unwrap()
    }

    /// Registers with these fields and gives the response.
    pub fn register(&mut self, fields: &str) -> Message {
        let request = self.request(fields);
        self.send(&request)
    }

    pub fn status(&mut self, fields: &str) -> u16 {
        self.register(fields).status().unwrap()
    }

    /// The fields of `request` and the credentials that answer `challenge`.
    pub fn credentials(
        &self,
        challenge: &Message,
        method: &str,
        uri: &str,
        user: &str,
        password: &str,
    ) -> String {
        let request = Request {
            method,
            uri,
            body: b"",
        };
        let account = Account {
            username: user,
            password,
        };
        let fields = answer(challenge, request, account, "c0ffee", false).unwrap();
        fields
            .iter()
            .map(|(name, value)| format!("{}: {value}\r\n", name.as_str()))
            .collect()
    }

    pub fn locate(&self, uri: &str) -> registrar::Located {
        self.registrar.locate(self.now, &Uri::parse(uri).unwrap())
    }

    /// Request URI and address of each target of `uri`.
    pub fn targets(&self, uri: &str) -> Vec<(String, String)> {
        match self.locate(uri) {
            registrar::Located::At(targets) => targets
                .into_iter()
                .map(|target| (target.uri, target.destination.remote.to_string()))
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// The contacts in a response.
pub fn contacts(response: &Message) -> Vec<String> {
    let mut contacts: Vec<String> = response.values(HeaderName::Contact).map(str::to_owned).collect();
    contacts.sort();
    contacts
}
