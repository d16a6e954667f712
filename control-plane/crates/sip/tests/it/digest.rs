//! Digest from end to end: our client's answers at our server, and what must not get in.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use sans_io::{Random, Timestamp};
use sip::digest::{
    Account, Algorithm, Authenticator, Challenge, Config, Credentials, CredentialsError, Front, Ha1, Qop,
    Refusal, Request, Users, answer,
};
use sip::message::ResponseBuilder;
use sip::{HeaderName, Message};

const REALM: &str = "example.com";
const BODY: &str = "v=0\r\n";

/// alice, and bob who has only MD5.
struct Table;

impl Users for Table {
    fn ha1(&self, username: &str, algorithm: Algorithm) -> Option<Ha1> {
        match username {
            "alice" => Some(Ha1::new(algorithm, username, REALM, "wonderland")),
            "bob" if algorithm == Algorithm::Md5 => Some(Ha1::new(algorithm, username, REALM, "builder")),
            _ => None,
        }
    }
}

fn authenticator(change: impl FnOnce(&mut Config)) -> Authenticator {
    let mut config = Config::new(REALM);
    change(&mut config);
    Authenticator::new(config, Random::from_number(7))
}

fn source(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn register(fields: &str) -> Message {
    register_with(fields, BODY)
}

fn register_with(fields: &str, body: &str) -> Message {
    let text = format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
         From: <sip:alice@example.com>;tag=1\r\nTo: <sip:alice@example.com>\r\nCall-ID: x\r\nCSeq: 1 REGISTER\r\n\
         {fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Message::parse_datagram(Bytes::from(text)).unwrap()
}

/// The response that challenges `request`.
fn challenged(server: &mut Authenticator, now: Timestamp, source: IpAddr, refusal: Refusal) -> Message {
    let request = register("");
    let mut response = ResponseBuilder::for_request(&request, 401, "Unauthorized").to_tag("t");
    for challenge in server.challenges(now, source, refusal) {
        response = response.header(HeaderName::WwwAuthenticate, challenge);
    }
    response.build().unwrap()
}

fn client(response: &Message, username: &str, password: &str) -> String {
    let request = Request {
        method: "REGISTER",
        uri: "sip:example.com",
        body: BODY.as_bytes(),
    };
    let answers = answer(response, request, Account { username, password }, "c0ffee", false).unwrap();
    let [(HeaderName::Authorization, value)] = &answers[..] else {
        panic!("{answers:?}");
    };
    value.clone()
}

fn check(
    server: &mut Authenticator,
    now: Timestamp,
    source: IpAddr,
    credentials: &str,
) -> Result<String, Refusal> {
    let request = register(&format!("Authorization: {credentials}\r\n"));
    server.check(now, source, &request, Front::Server, &Table)
}

#[test]
fn our_client_gets_in_with_every_algorithm() {
    for algorithm in Algorithm::ALL {
        let mut server = authenticator(|config| config.algorithms = vec![algorithm]);
        let response = challenged(&mut server, at(1), source(1), Refusal::None);
        let credentials = client(&response, "alice", "wonderland");
        assert!(credentials.contains(&format!("algorithm={algorithm}")));
        assert_eq!(
            check(&mut server, at(2), source(1), &credentials),
            Ok("alice".into())
        );
        assert_eq!(server.nonces_in_use(), 1);
    }
}

#[test]
fn auth_int_protects_the_body() {
    let mut server = authenticator(|_| {});
    let nonce = |server: &mut Authenticator| {
        let text = server.challenges(at(1), source(1), Refusal::None).remove(0);
        Challenge::parse(&text).unwrap().nonce.into_owned()
    };
    let credentials = |nonce: &str| {
        let ha1 = Ha1::new(Algorithm::Sha256, "alice", REALM, "wonderland");
        let request = Request {
            method: "REGISTER",
            uri: "sip:example.com",
            body: BODY.as_bytes(),
        };
        let protection = Some((Qop::AuthInt, 1, "c"));
        let proof = sip::digest::request_digest(Algorithm::Sha256, &ha1.to_hex(), nonce, protection, request);
        format!(
            "Authorization: Digest username=\"alice\", realm=\"{REALM}\", nonce=\"{nonce}\", uri=\"sip:example.com\", \
             response=\"{proof}\", algorithm=SHA-256, qop=auth-int, nc=00000001, cnonce=\"c\"\r\n"
        )
    };
    let mut check = |fields: &str, body: &str| {
        let request = register_with(fields, body);
        server.check(at(1), source(1), &request, Front::Server, &Table)
    };
    let mut other = authenticator(|_| {});
    let first = credentials(&nonce(&mut other));
    assert_eq!(
        check(&first, BODY),
        Err(Refusal::Stale),
        "no nonce was given by this one"
    );
    let fields = credentials(&nonce(&mut server));
    let changed = register_with(&fields, "v=1\r\n");
    assert_eq!(
        server.check(at(1), source(1), &changed, Front::Server, &Table),
        Err(Refusal::Wrong)
    );
    let mut server = authenticator(|_| {});
    let fields = credentials(&nonce(&mut server));
    let request = register(&fields);
    assert!(
        server
            .check(at(1), source(1), &request, Front::Server, &Table)
            .is_ok()
    );
    let mut without = authenticator(|config| config.offers_auth_int = false);
    let fields = credentials(&nonce(&mut without));
    let refused = without.check(at(1), source(1), &register(&fields), Front::Server, &Table);
    assert_eq!(refused, Err(Refusal::NotOffered));
}

#[test]
fn a_nonce_is_for_its_source_its_time_and_one_use_a_count() {
    let mut server = authenticator(|config| config.nonce_lifetime = Duration::from_secs(60));
    let response = challenged(&mut server, at(1), source(1), Refusal::None);
    let credentials = client(&response, "alice", "wonderland");
    assert_eq!(
        check(&mut server, at(2), source(2), &credentials),
        Err(Refusal::Stale)
    );
    assert_eq!(
        check(&mut server, at(62), source(1), &credentials),
        Err(Refusal::Stale)
    );
    assert!(check(&mut server, at(61), source(1), &credentials).is_ok());
    assert_eq!(
        check(&mut server, at(61), source(1), &credentials),
        Err(Refusal::Replayed)
    );
    let again = server.challenges(at(61), source(1), Refusal::Replayed);
    assert!(again.iter().all(|challenge| challenge.contains("stale=true")));
    let first = server.challenges(at(61), source(1), Refusal::Wrong);
    assert!(!first.iter().any(|challenge| challenge.contains("stale")));
}

#[test]
fn nobody_learns_who_exists() {
    let mut server = authenticator(|_| {});
    let mut told = Vec::new();
    for (username, password) in [("alice", "wrong"), ("nobody", "wonderland"), ("nobody", "")] {
        let response = challenged(&mut server, at(1), source(1), Refusal::None);
        let credentials = client(&response, username, password);
        let refusal = check(&mut server, at(1), source(1), &credentials).unwrap_err();
        let nonce_less = |challenge: &String| challenge.split("nonce").next().unwrap().to_owned();
        let challenges: Vec<String> = server
            .challenges(at(1), source(1), refusal)
            .iter()
            .map(nonce_less)
            .collect();
        told.push((refusal, challenges));
    }
    assert_eq!(told[0].0, Refusal::Wrong);
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:?}");
    assert_eq!(server.nonces_in_use(), 0, "nothing is kept of those who fail");
}

#[test]
fn a_realm_without_md5_takes_none() {
    let mut server = authenticator(|config| config.algorithms = vec![Algorithm::Sha256]);
    let response = challenged(&mut server, at(1), source(1), Refusal::None);
    let right = client(&response, "alice", "wonderland");
    let nonce = Credentials::parse(&right).unwrap().nonce.into_owned();
    let md5 = format!("WWW-Authenticate: Digest realm=\"{REALM}\", nonce=\"{nonce}\", qop=\"auth\"\r\n");
    let request = register("");
    let text = String::from_utf8(
        ResponseBuilder::for_request(&request, 401, "Unauthorized")
            .build()
            .unwrap()
            .bytes()
            .to_vec(),
    );
    let text = text
        .unwrap()
        .replace("Content-Length", &format!("{md5}Content-Length"));
    let downgraded = client(
        &Message::parse_datagram(Bytes::from(text)).unwrap(),
        "alice",
        "wonderland",
    );
    assert_eq!(
        check(&mut server, at(1), source(1), &downgraded),
        Err(Refusal::NotOffered)
    );
    for algorithm in ["MD5-sess", "SHA-1", "AKAv1-MD5"] {
        let other = right.replace("algorithm=SHA-256", &format!("algorithm={algorithm}"));
        assert_eq!(
            check(&mut server, at(1), source(1), &other),
            Err(Refusal::NotOffered)
        );
    }
    assert!(check(&mut server, at(1), source(1), &right).is_ok());
}

#[test]
fn a_user_without_a_hash_of_the_algorithm_is_nobody() {
    let mut server = authenticator(|_| {});
    let response = challenged(&mut server, at(1), source(1), Refusal::None);
    let credentials = client(&response, "bob", "builder");
    assert_eq!(
        check(&mut server, at(1), source(1), &credentials),
        Err(Refusal::Wrong)
    );
}

#[test]
fn credentials_are_for_the_place_that_is_asked_for() {
    let mut server = authenticator(|_| {});
    let response = challenged(&mut server, at(1), source(1), Refusal::None);
    let credentials = client(&response, "alice", "wonderland");
    let elsewhere = credentials.replace("uri=\"sip:example.com\"", "uri=\"sip:evil.example\"");
    assert_eq!(
        check(&mut server, at(1), source(1), &elsewhere),
        Err(Refusal::Uri)
    );
    assert!(Refusal::Uri.is_bad_request());
    let broken = credentials.replace("nc=00000001", "nc=1");
    let expected = Refusal::Malformed(CredentialsError::Count);
    assert_eq!(check(&mut server, at(1), source(1), &broken), Err(expected));
    let other_realm = credentials.replace(REALM, "elsewhere");
    assert_eq!(
        check(&mut server, at(1), source(1), &other_realm),
        Err(Refusal::None)
    );
    assert_eq!(
        check(&mut server, at(1), source(1), "Basic YTpi"),
        Err(Refusal::None)
    );
    let two = format!("{other_realm}\r\nAuthorization: {credentials}");
    assert_eq!(check(&mut server, at(1), source(1), &two), Ok("alice".into()));
}

/// Whatever one byte becomes, nobody gets in whose credentials mean something else.
#[test]
fn no_changed_byte_gets_in() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(3);
    let mut random = Random::from_number(seed);
    let mut server = authenticator(|config| config.guesses_max = 0);
    let response = challenged(&mut server, at(1), source(1), Refusal::None);
    let right = client(&response, "alice", "wonderland");
    let meaning = |text: &str| {
        let credentials = Credentials::parse(text).ok()?;
        let lower = |text: &str| text.to_ascii_lowercase();
        Some((
            credentials.username.into_owned(),
            lower(&credentials.nonce),
            lower(&credentials.response),
            credentials.algorithm,
            credentials
                .protection
                .map(|p| (p.qop, p.cnonce.into_owned(), p.count)),
        ))
    };
    let mut refused = 0;
    for _ in 0..5_000 {
        let mut bytes = right.clone().into_bytes();
        let place = usize::try_from(random.below(bytes.len() as u64)).unwrap();
        bytes[place] = u8::try_from(0x20 + random.below(0x5f)).unwrap();
        let changed = String::from_utf8(bytes).unwrap();
        if meaning(&changed) == meaning(&right) {
            continue;
        }
        let result = check(&mut server, at(1), source(1), &changed);
        assert!(result.is_err(), "{changed} got in, SEED={seed}");
        refused += 1;
    }
    assert!(refused > 4_000, "{refused}");
    assert!(check(&mut server, at(1), source(1), &right).is_ok());
}

/// alice, who is known at source 1.
struct KnownTable;

impl Users for KnownTable {
    fn ha1(&self, username: &str, algorithm: Algorithm) -> Option<Ha1> {
        Table.ha1(username, algorithm)
    }

    fn is_known_at(&self, username: &str, from: IpAddr) -> bool {
        username == "alice" && from == source(1)
    }
}

/// A datagram under another's address has no nonce that was given there: it keeps nobody out.
#[test]
fn attack_04_forged_guesses_count_for_nobody() {
    let mut server = authenticator(|config| config.guesses_max = 5);
    let seen_elsewhere = challenged(&mut server, at(10), source(66), Refusal::None);
    let guess = client(&seen_elsewhere, "alice", "guess");
    let forged = register(&format!("Authorization: {guess}\r\n"));
    for from in 100..120 {
        let result = server.check(at(10), source(from), &forged, Front::Server, &KnownTable);
        assert_eq!(result, Err(Refusal::Stale));
    }
    let challenge = challenged(&mut server, at(10), source(50), Refusal::None);
    let own = client(&challenge, "alice", "wonderland");
    let request = register(&format!("Authorization: {own}\r\n"));
    let result = server.check(at(10), source(50), &request, Front::Server, &KnownTable);
    assert_eq!(result, Ok("alice".into()));
}

/// Attack 4: each guess comes from another source, so that no source is conspicuous.
#[test]
fn attack_04_guesses_from_many_sources_are_limited_for_each_user() {
    let mut server = authenticator(|config| {
        config.guesses_max = 5;
        config.guess_window = Duration::from_secs(100);
    });
    let mut attempt = |now, from: u8, username: &str, password: &str| {
        let challenge = challenged(&mut server, now, source(from), Refusal::None);
        let credentials = client(&challenge, username, password);
        let request = register(&format!("Authorization: {credentials}\r\n"));
        let result = server.check(now, source(from), &request, Front::Server, &KnownTable);
        let answer = result.clone().err().map(|refusal| {
            let challenges = server.challenges(now, source(from), refusal);
            (
                refusal.is_bad_request(),
                challenges.len(),
                challenges[0].contains("stale"),
            )
        });
        (result, answer)
    };
    // A user that there is and one that there is not.
    for (username, from) in [("alice", 10), ("mallory", 100)] {
        let mut answers = Vec::new();
        for n in 0..5 {
            let (result, answer) = attempt(at(10), from + n, username, "guess");
            assert_eq!(result, Err(Refusal::Wrong), "{username} {n}");
            answers.push(answer);
        }
        for (n, password) in ["guess", "wonderland"].into_iter().enumerate() {
            let (result, answer) = attempt(at(10), from + 10 + n as u8, username, password);
            assert_eq!(result, Err(Refusal::Guessed), "{username} {password}");
            answers.push(answer);
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{username}: {answers:?}");
    }
    assert_eq!(
        attempt(at(11), 1, "alice", "wonderland").0,
        Ok("alice".into()),
        "where it is known"
    );
    assert_eq!(attempt(at(11), 1, "alice", "guess").0, Err(Refusal::Wrong));
    assert_eq!(
        attempt(at(11), 50, "alice", "wonderland").0,
        Err(Refusal::Guessed)
    );
    assert_eq!(
        attempt(at(30), 50, "alice", "wonderland").0,
        Ok("alice".into()),
        "one more look"
    );
}
