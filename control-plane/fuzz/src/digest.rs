use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use sans_io::{Random, Timestamp};
use sip::digest::{
    Account, Algorithm, AuthParams, Authenticator, Challenge, Config, Front, Ha1, Request, Users, answer,
};
use sip::message::RequestBuilder;
use sip::{HeaderName, Message};

/// One user with a password that no input knows.
struct OneUser;

impl Users for OneUser {
    fn ha1(&self, username: &str, algorithm: Algorithm) -> Option<Ha1> {
        (username == "alice").then(|| Ha1::new(algorithm, username, "example.com", "a secret of 128 bits"))
    }
}

/// The value of an authentication header field: of one that challenges us, and of one that shall let its sender in.
///
/// Asserts: no input panics; nobody gets in; a refusal of broken credentials is counted under a name; a challenge is the
/// same when it is printed and read; our answer to it can be read, and has no line of the challenge's making.
///
/// # Panics
/// When one of these does not hold.
pub fn digest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let _ = AuthParams::parse(text);
    if let Ok(challenge) = Challenge::parse(text) {
        let printed = challenge.to_string();
        assert_eq!(Challenge::parse(&printed).as_ref(), Ok(&challenge), "{printed:?}");
    }
    let start = "From: <sip:alice@example.com>;tag=1\r\nTo: <sip:alice@example.com>;tag=2\r\nCall-ID: x\r\n\
        Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nCSeq: 1 REGISTER\r\n";

    let request = format!("REGISTER sip:example.com SIP/2.0\r\n{start}Authorization: {text}\r\n\r\n");
    if let Ok(request) = Message::parse_datagram(Bytes::from(request)) {
        let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut server = Authenticator::new(Config::new("example.com"), Random::from_number(1));
        let result = server.check(Timestamp::ZERO, source, &request, Front::Server, &OneUser);
        let refusal = result.expect_err("nobody knows the password");
        assert!(!refusal.reason().is_empty());
        for challenge in server.challenges(Timestamp::ZERO, source, refusal) {
            Challenge::parse(&challenge).expect("our challenges can be read");
        }
    }

    let response = format!("SIP/2.0 401 Unauthorized\r\n{start}WWW-Authenticate: {text}\r\n\r\n");
    let Ok(response) = Message::parse_datagram(Bytes::from(response)) else {
        return;
    };
    let request = Request {
        method: "REGISTER",
        uri: "sip:example.com",
        body: b"",
    };
    let account = Account {
        username: "us",
        password: "ours",
    };
    if let Ok(fields) = answer(&response, request, account, "c", false) {
        for (name, value) in fields {
            let built = RequestBuilder::new("REGISTER", "sip:example.com")
                .header(name, &value)
                .build();
            let built = built.expect("the message of a challenge has no line break in a value");
            assert_eq!(
                built.fields(HeaderName::Authorization).count()
                    + built.fields(HeaderName::ProxyAuthorization).count(),
                1
            );
            AuthParams::parse(&value).expect("our credentials can be read");
        }
    }
}
