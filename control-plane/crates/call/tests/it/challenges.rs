//! Next hops that ask who we are (RFC 3261 §22).

use std::sync::Arc;

use call::{Account, Config, NextHop, Route, Routes};
use sans_io::network::Conditions;
use sip::digest::Credentials;
use sip::{HeaderName, Message};

use crate::world::{A, B, World, config, hop};

const CHALLENGE: &str = "Digest realm=\"trunk\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth\"";

fn trunk(account: Option<Account>) -> Config {
    let next_hop = NextHop {
        account: account.map(Arc::new),
        ..hop(B)
    };
    Config {
        routes: Routes::new([Route {
            prefix: "1".into(),
            next_hops: vec![next_hop],
        }]),
        ..config(&[B])
    }
}

fn ours() -> Option<Account> {
    Some(Account {
        username: "us".into(),
        password: "secret".into(),
    })
}

/// A call whose INVITE the trunk has challenged.
fn challenged(account: Option<Account>, status: u16, header: HeaderName) -> World {
    let mut world = World::with(trunk(account), Conditions::PERFECT, 1);
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
