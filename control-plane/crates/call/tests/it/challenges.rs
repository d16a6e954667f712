//! Next hops that ask who we are (RFC 3261 §22).

use std::sync::Arc;

use call::{Config, Login, NextHop, Route, Routes};
use sans_io::network::Conditions;
use sip::digest::Credentials;
use sip::{HeaderName, Message};

use crate::world::{A, B, World, config, hop};

const CHALLENGE: &str = "Digest realm=\"trunk\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth\"";

fn trunk(login: Option<Login>) -> Config {
    let next_hop = NextHop {
        logins: login.map(|login| Arc::from([login])),
        ..hop(B)
    };
    Config {
        routes: Routes::new([Route {
            prefix: "1".into(),
            weight: None,
            next_hops: vec![next_hop],
        }]),
        ..config(&[B])
    }
}

fn ours() -> Option<Login> {
    Some(Login {
        username: "us".into(),
        password: "secret".into(),
        realms: vec!["trunk".into(), "beyond".into()],
    })
}

/// A call whose INVITE the trunk has challenged.
fn challenged(login: Option<Login>, status: u16, header: HeaderName) -> World {
    let mut world = World::with(trunk(login), Conditions::PERFECT, 1);
    world.a.invite(world.now, true);
    world.run_ms(20);
    world.b.response_field = Some((header.as_str(), CHALLENGE));
    world.b.respond(world.now, status, "b1", None);
    world.b.response_field = None;
    world.run_ms(20);
    world
}

/// The INVITEs that the trunk got, in order and without repetitions.
fn invites(world: &World) -> Vec<Message> {
    let mut invites: Vec<Message> = Vec::new();
    for sent in world
        .sent
        .iter()
        .filter(|sent| sent.destination.remote == B.parse().unwrap())
    {
        let message = Message::parse_datagram(sent.bytes.clone()).unwrap();
        if message.method() == Some(sip::Method::Invite) && !invites.contains(&message) {
            invites.push(message);
        }
    }
    invites
}

#[test]
fn a_challenge_is_answered_with_the_next_cseq_and_the_caller_hears_nothing() {
    for (status, challenge, credentials) in [
        (401, HeaderName::WwwAuthenticate, HeaderName::Authorization),
        (407, HeaderName::ProxyAuthenticate, HeaderName::ProxyAuthorization),
    ] {
        let mut world = challenged(ours(), status, challenge);
        world.b.answer(world.now);
        world.run_ms(100);
        assert_eq!(world.a.log, ["200 INVITE"], "{status}");
        let [first, second] = &invites(&world)[..] else {
            panic!("two INVITEs: {:?}", invites(&world))
        };
        assert!(!first.has(credentials));
        let proof = Credentials::parse(second.header(credentials).unwrap()).unwrap();
        assert_eq!(
            (&*proof.username, &*proof.realm, &*proof.nonce),
            ("us", "trunk", "n1")
        );
        assert_eq!((first.cseq().unwrap().seq, second.cseq().unwrap().seq), (1, 2));
        for same in [
            HeaderName::CallId,
            HeaderName::From,
            HeaderName::To,
            HeaderName::Contact,
        ] {
            assert_eq!(first.header(same), second.header(same));
        }
        assert_eq!(first.body(), second.body());
        world.a.bye(world.now);
        world.finish();
        for sent in world
            .sent
            .iter()
            .filter(|sent| sent.destination.remote == A.parse().unwrap())
        {
            let text = String::from_utf8_lossy(&sent.bytes);
            assert!(!text.contains("Digest") && !text.contains("trunk"), "{text}");
        }
    }
}

#[test]
fn refused_credentials_and_no_account_end_the_call() {
    let mut world = challenged(ours(), 407, HeaderName::ProxyAuthenticate);
    world.b.response_field = Some(("Proxy-Authenticate", CHALLENGE));
    world.b.respond(world.now, 407, "b2", None);
    world.finish();
    assert_eq!(world.a.log, ["502 INVITE"]);
    assert_eq!(invites(&world).len(), 2, "what is refused is not repeated");
    let mut world = challenged(None, 407, HeaderName::ProxyAuthenticate);
    world.finish();
    assert_eq!(
        (world.a.log.clone(), invites(&world).len()),
        (vec!["502 INVITE".to_owned()], 1)
    );
}

#[test]
fn a_caller_who_leaves_after_the_challenge_is_heard() {
    let mut world = challenged(ours(), 401, HeaderName::WwwAuthenticate);
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    world.a.cancel(world.now);
    world.finish();
    assert_eq!(world.ended().cause.as_ref().unwrap().sip_status, 487);
}

/// Challenges the INVITE once more.
fn challenge_again(world: &mut World, tag: &str, challenge: &'static str) {
    world.b.response_field = Some(("Proxy-Authenticate", challenge));
    world.b.respond(world.now, 407, tag, None);
    world.b.response_field = None;
    world.run_ms(20);
}

/// RFC 3261 §22.3: both are shown who we are, and so is the ACK's reader (§22.1).
#[test]
fn two_proxies_in_a_row_may_challenge() {
    let mut world = challenged(ours(), 407, HeaderName::ProxyAuthenticate);
    challenge_again(
        &mut world,
        "b2",
        "Digest realm=\"beyond\", nonce=\"n2\", qop=\"auth\"",
    );
    world.b.answer(world.now);
    world.run_ms(100);
    assert_eq!(world.a.log, ["200 INVITE"]);
    let sent = invites(&world);
    assert_eq!(sent.len(), 3);
    let shown = |message: &Message| -> Vec<String> {
        let fields = message.fields(HeaderName::ProxyAuthorization);
        fields
            .map(|field| Credentials::parse(field).unwrap().realm.into_owned())
            .collect()
    };
    assert_eq!(shown(&sent[2]), ["trunk", "beyond"]);
    assert_eq!(sent[2].cseq().unwrap().seq, 3);
    let acks: Vec<Message> = world
        .sent
        .iter()
        .map(|sent| Message::parse_datagram(sent.bytes.clone()).unwrap())
        .filter(|message| message.method() == Some(sip::Method::Ack) && message.cseq().unwrap().seq == 3)
        .collect();
    assert!(!acks.is_empty() && acks.iter().all(|ack| shown(ack) == ["trunk", "beyond"]));
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_realm_without_an_account_is_told_nothing() {
    let mut world = challenged(ours(), 407, HeaderName::ProxyAuthenticate);
    challenge_again(
        &mut world,
        "b2",
        "Digest realm=\"stranger\", nonce=\"n2\", qop=\"auth\"",
    );
    world.finish();
    assert_eq!(world.a.log, ["502 INVITE"]);
    assert_eq!(invites(&world).len(), 2);
}

/// `limits.request_retries_max`.
#[test]
fn a_next_hop_that_challenges_for_ever_is_left() {
    let mut world = challenged(ours(), 407, HeaderName::ProxyAuthenticate);
    for _ in 0..20 {
        if world.b.incoming.is_none() {
            break;
        }
        challenge_again(
            &mut world,
            "b3",
            "Digest realm=\"trunk\", nonce=\"n9\", stale=true, qop=\"auth\"",
        );
    }
    world.finish();
    assert_eq!(world.a.log, ["502 INVITE"]);
    assert_eq!(invites(&world).len(), 6, "the first, and five again");
}

#[test]
fn a_next_hop_that_wants_ever_longer_sessions_is_left() {
    let mut world = World::with(trunk(None), Conditions::PERFECT, 1);
    world.a.invite(world.now, true);
    world.run_ms(20);
    for min_se in ["2000", "2001", "2002", "2003", "2004", "2005", "2006", "2007"] {
        if world.b.incoming.is_none() {
            break;
        }
        world.b.response_field = Some(("Min-SE", min_se));
        world.b.respond(world.now, 422, "b1", None);
        world.run_ms(20);
    }
    world.finish();
    assert_eq!(invites(&world).len(), 6);
    assert_eq!(world.ended().cause.as_ref().unwrap().sip_status, 502);
}

/// Requests within the dialog are challenged and answered, whatever is lost on the way; the caller hears nothing of it.
#[test]
fn requests_within_a_call_are_answered_with_the_account() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (0..40).collect(),
    };
    for seed in seeds {
        println!("SEED={seed}");
        let loss = Conditions {
            loss_permille: 100,
            ..Conditions::PERFECT
        };
        let conditions = if seed == 0 { Conditions::PERFECT } else { loss };
        let mut world = World::with(trunk(ours()), conditions, seed);
        world.a.invite(world.now, true);
        world.run_ms(40_000);
        if world.b.incoming.is_none() {
            world.finish();
            continue;
        }
        world.b.answer(world.now);
        world.run_ms(40_000);
        if !world.a.is_talking() {
            world.finish();
            continue;
        }
        world.b.asks = Some(CHALLENGE);
        world.a.reinvite(world.now, "sendonly", true);
        world.run_ms(40_000);
        world.a.in_dialog(world.now, "INFO", Some("x"));
        world.run_ms(40_000);
        world.a.bye(world.now);
        world.finish();
        let reached = |what: &str| world.b.log.iter().filter(|line| *line == what).count();
        if seed == 0 {
            assert_eq!(world.a.log, ["200 INVITE", "200 INVITE", "200 INFO", "200 BYE"]);
            assert_eq!([reached("INFO"), reached("BYE")], [2, 2]);
        }
        for sent in &world.sent {
            let message = Message::parse_datagram(sent.bytes.clone()).unwrap();
            let shows = message.has(HeaderName::Authorization) || message.has(HeaderName::WwwAuthenticate);
            assert!(!shows || sent.destination.remote == B.parse().unwrap());
        }
    }
}
