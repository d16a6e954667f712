//! Who calls and who has sent a call on, within trust and beyond it (RFC 3323, RFC 3325, RFC 5806, RFC 7044, RFC 7544).

use std::sync::Arc;

use call::{Config, History, Named, NextHop, Peer, Redirect, Route, Routes};
use sans_io::network::Conditions;
use sip::HeaderName;
use sip::Message;

use crate::world::{B, B2, World, config, hop};

const ASSERTED: (&str, &str) = (
    "P-Asserted-Identity",
    "\"Alice\" <sip:+4930@10.1.0.1:5060;user=phone>, <tel:+4930>",
);

fn world(caller_is_trusted: bool, peer: Peer) -> World {
    let peer = Some(Arc::new(peer));
    let route = |prefix: &str, address| Route {
        prefix: prefix.into(),
        weight: None,
        next_hops: vec![NextHop {
            peer: peer.clone(),
            ..hop(address)
        }],
    };
    let config = Config {
        routes: Routes::new([route("1", B), route("49", B2)]),
        trusted: caller_is_trusted
            .then(|| "10.1.0.0/24".parse().unwrap())
            .into_iter()
            .collect(),
        ..config(&[])
    };
    World::with(config, Conditions::PERFECT, 1)
}

fn trusted(history: History) -> Peer {
    Peer {
        trusted: true,
        history,
        ..Peer::default()
    }
}

/// The INVITE that a callee gets when the caller's has these fields.
fn called(mut world: World, fields: &[(&str, &str)]) -> (World, Message) {
    let body = world.a.body();
    let builder = world.a.invite_builder("1000");
    let builder = fields
        .iter()
        .fold(builder, |builder, (name, value)| builder.header(*name, value));
    world
        .a
        .send_invite(world.now, builder.body("application/sdp", body.as_bytes()));
    world.run_ms(20);
    let invite = world.b.last_invite.clone().expect("the callee has the call");
    (world, invite)
}

fn end(mut world: World) {
    world.a.cancel(world.now);
    world.run_ms(500);
    world.finish();
}

fn all(invite: &Message, name: HeaderName) -> Vec<&str> {
    invite.values(name).collect()
}

#[test]
fn an_asserted_identity_passes_within_trust_and_nowhere_else() {
    for (caller, callee) in [(true, true), (true, false), (false, true), (false, false)] {
        let (world, invite) = called(
            world(
                caller,
                Peer {
                    trusted: callee,
                    ..Peer::default()
                },
            ),
            &[ASSERTED],
        );
        let expected: &[&str] = match caller && callee {
            true => &[
                "\"Alice\" <sip:+4930@198.51.100.1:5060;user=phone>",
                "<sip:+4930@198.51.100.1:5060;user=phone>",
            ],
            false => &[],
        };
        assert_eq!(
            all(&invite, HeaderName::PAssertedIdentity),
            expected,
            "{caller} {callee}"
        );
        end(world);
    }
}

/// Attack 21: who is not trusted says who it is, in every way there is.
#[test]
fn attack_21_identities_that_anybody_makes_up_are_stripped() {
    let fields = [
        ASSERTED,
        ("P-Preferred-Identity", "<sip:+4930@bank.example>"),
        ("Remote-Party-ID", "<sip:+4930@bank.example>;party=calling"),
        ("Diversion", "<sip:+4930@bank.example>;reason=user-busy"),
        ("History-Info", "<sip:+4930@bank.example>;index=1"),
        ("P-Charging-Vector", "icid-value=1"),
    ];
    for history in [History::Pass, History::Diversion, History::HistoryInfo] {
        let (world, invite) = called(world(false, trusted(history)), &fields);
        let text = String::from_utf8_lossy(invite.bytes()).into_owned();
        assert!(!text.contains("4930") && !text.contains("icid"), "{text}");
        end(world);
    }
}

#[test]
fn a_user_is_asserted_by_its_account() {
    for callee_is_trusted in [true, false] {
        let peer = Peer {
            trusted: callee_is_trusted,
            ..Peer::default()
        };
        let mut of_user = World::with_contacts(
            &[NextHop {
                peer: Some(Arc::new(peer)),
                ..hop(B)
            }],
            Conditions::PERFECT,
            1,
        );
        of_user.account = Some("sip:alice@example.com".into());
        let (world, invite) = called(of_user, &[("P-Asserted-Identity", "<sip:bank@h>")]);
        let expected: &[&str] = match callee_is_trusted {
            true => &["<sip:alice@198.51.100.1:5060>"],
            false => &[],
        };
        assert_eq!(all(&invite, HeaderName::PAssertedIdentity), expected);
        end(world);
    }
}

#[test]
fn privacy_is_kept_at_the_border_and_asked_for_within_trust() {
    for (privacy, is_trusted, from, left) in [
        ("id", true, "\"Alice\" <sip:alice@", Some("id")),
        (
            "id",
            false,
            "\"Anonymous\" <sip:anonymous@anonymous.invalid>",
            Some("id"),
        ),
        ("user;id", true, "\"Alice\" <sip:alice@", Some("user;id")),
        (
            "user;header",
            false,
            "\"Anonymous\" <sip:anonymous@anonymous.invalid>",
            None,
        ),
        ("header;session", false, "\"Alice\" <sip:alice@", None),
        ("none", false, "\"Alice\" <sip:alice@", Some("none")),
    ] {
        let peer = Peer {
            trusted: is_trusted,
            ..Peer::default()
        };
        let (world, invite) = called(
            world(true, peer),
            &[ASSERTED, ("Privacy", privacy), ("Subject", "Alice calls")],
        );
        let told = invite.header(HeaderName::From).unwrap();
        assert!(told.starts_with(from), "{privacy}: {told}");
        assert_eq!(invite.header(HeaderName::Privacy), left, "{privacy}");
        let hides_user = privacy.contains("user") && !is_trusted;
        assert_eq!(invite.has(HeaderName::Subject), !hides_user, "{privacy}");
        assert_eq!(invite.has(HeaderName::PAssertedIdentity), is_trusted);
        end(world);
    }
}

const DIVERSIONS: (&str, &str) = (
    "Diversion",
    "<sip:bob@10.1.0.1>;reason=no-answer;privacy=full, <tel:+4930>;reason=user-busy",
);
const HISTORY: (&str, &str) = (
    "History-Info",
    "<sip:+4930@10.1.0.1;user=phone>;index=1, <sip:bob@10.1.0.1;cause=486?Privacy=history>;index=1.1;mp=1, \
     <sip:1000@198.51.100.1;cause=408>;index=1.1.1;mp=1.1",
);

const AS_DIVERSION: &[&str] = &[
    "<sip:bob@198.51.100.1:5060>;reason=no-answer;privacy=full;counter=1",
    "<sip:+4930@198.51.100.1:5060;user=phone>;reason=user-busy;privacy=off;counter=1",
];
const AS_HISTORY: &[&str] = &[
    "<sip:+4930@198.51.100.1:5060;user=phone>;index=1",
    "<sip:bob@198.51.100.1:5060;cause=486?Privacy=history>;index=1.1;mp=1",
    "<sip:1000@198.51.100.1:5060;cause=408>;index=1.1.1;mp=1.1",
];

#[test]
fn who_has_sent_a_call_on_is_told_in_the_form_that_is_wanted() {
    for came in [DIVERSIONS, HISTORY] {
        for (form, diversion, history) in [
            (History::Pass, came == DIVERSIONS, came == HISTORY),
            (History::Diversion, true, false),
            (History::HistoryInfo, false, true),
            (History::Off, false, false),
        ] {
            let (world, invite) = called(world(true, trusted(form)), &[came]);
            let expected = |is_told: bool, values: &'static [&str]| if is_told { values } else { &[] };
            let told = all(&invite, HeaderName::Diversion);
            assert_eq!(told, expected(diversion, AS_DIVERSION), "{form:?}");
            let told = all(&invite, HeaderName::HistoryInfo);
            assert_eq!(told, expected(history, AS_HISTORY), "{form:?}");
            end(world);
        }
    }
}

#[test]
fn who_has_sent_a_call_on_is_nobody_in_particular_at_the_border() {
    for came in [DIVERSIONS, HISTORY] {
        let (world, invite) = called(world(true, Peer::default()), &[came]);
        let text = String::from_utf8_lossy(invite.bytes()).into_owned();
        assert!(!text.contains("bob") && !text.contains("4930"), "{text}");
        let told = all(&invite, HeaderName::Diversion).len() + all(&invite, HeaderName::HistoryInfo).len();
        assert_eq!(told, if came == DIVERSIONS { 2 } else { 3 });
        end(world);
    }
}

#[test]
fn a_redirection_that_is_followed_is_told() {
    for (form, diversion, history) in [
        (
            History::Pass,
            &["<sip:1000@198.51.100.1:5060>;reason=unconditional;privacy=off;counter=1"][..],
            &[][..],
        ),
        (
            History::HistoryInfo,
            &[],
            &[
                "<sip:1000@198.51.100.1:5060>;index=1",
                "<sip:490@198.51.100.1:5060;cause=302>;index=1.1;mp=1",
            ],
        ),
    ] {
        let peer = Peer {
            redirect: Redirect::Follow,
            redirect_to: vec!["49".into()],
            ..trusted(form)
        };
        let (mut world, _) = called(world(false, peer), &[]);
        world.b.response_field = Some(("Contact", "<sip:490@h>"));
        world.b.respond(world.now, 302, "b1", None);
        world.run_ms(20);
        let invite = world.b2.last_invite.clone().unwrap();
        assert_eq!(all(&invite, HeaderName::Diversion), diversion);
        assert_eq!(all(&invite, HeaderName::HistoryInfo), history);
        end(world);
    }
}

/// What carriers want to see: a number that is the caller's, whatever its phone is told to show.
#[test]
fn a_user_is_named_by_its_account_where_the_route_says_so() {
    for (from, account, privacy, expected) in [
        (
            Named::Caller,
            Some("sip:+4977@example.com"),
            "none",
            "\"Alice\" <sip:alice@198.51.100.1:5060>",
        ),
        (
            Named::Account,
            Some("sip:+4977@example.com"),
            "none",
            "<sip:+4977@198.51.100.1:5060>",
        ),
        (
            Named::Account,
            Some("sip:+4977@example.com"),
            "id",
            "\"Anonymous\" <sip:anonymous@anonymous.invalid>",
        ),
        (
            Named::Account,
            None,
            "none",
            "\"Alice\" <sip:alice@198.51.100.1:5060>",
        ),
    ] {
        let peer = Peer {
            from,
            ..Peer::default()
        };
        let hop = NextHop {
            peer: Some(Arc::new(peer)),
            ..hop(B)
        };
        let mut of_user = World::with_contacts(&[hop], Conditions::PERFECT, 1);
        of_user.account = account.map(str::to_owned);
        let (world, invite) = called(of_user, &[("Privacy", privacy)]);
        let told = invite.header(HeaderName::From).unwrap();
        assert!(told.starts_with(expected), "{from:?} {privacy}: {told}");
        end(world);
    }
}

/// The INVITE to the target when the callee, or the caller, sends the other party to it.
fn referred(caller_is_trusted: bool, peer: Peer, fields: &[(&str, &str)]) -> (World, Message) {
    let (mut world, _) = called(world(caller_is_trusted, peer), fields);
    world.b.answer(world.now);
    world.run_ms(100);
    world.b.refer(world.now, "<sip:490@198.51.100.1>", None);
    world.run_ms(50);
    let invite = world.b2.last_invite.clone().expect("the target has the call");
    (world, invite)
}

fn end_referred(mut world: World) {
    world.a.bye(world.now);
    world.finish();
}

/// RFC 3325 §5, RFC 3323 §4.2, RFC 3892 §5: trust is the same for whom a call is transferred to.
#[test]
fn the_target_of_a_transfer_is_told_who_calls_by_trust() {
    for (caller, target) in [(true, true), (true, false), (false, true), (false, false)] {
        let peer = Peer {
            trusted: target,
            ..Peer::default()
        };
        let (world, invite) = referred(caller, peer, &[ASSERTED, ("Privacy", "id")]);
        let expected: &[&str] = match caller && target {
            true => &[
                "\"Alice\" <sip:+4930@198.51.100.1:5060;user=phone>",
                "<sip:+4930@198.51.100.1:5060;user=phone>",
            ],
            false => &[],
        };
        assert_eq!(all(&invite, HeaderName::PAssertedIdentity), expected);
        assert_eq!(invite.header(HeaderName::Privacy), Some("id"));
        let user = if target {
            "alice@198.51.100.1"
        } else {
            "anonymous@anonymous.invalid"
        };
        assert!(invite.from().unwrap().uri.contains(user), "{:?}", invite.from());
        let referred_by = invite.header(HeaderName::ReferredBy);
        assert_eq!(referred_by, target.then_some("<sip:1000@198.51.100.1:5060>"));
        end_referred(world);
    }
}

#[test]
fn a_user_is_asserted_and_named_by_its_account_at_the_target_too() {
    let peer = Peer {
        trusted: true,
        from: Named::Account,
        ..Peer::default()
    };
    let of = |address: &str| NextHop {
        peer: Some(Arc::new(peer.clone())),
        ..hop(address)
    };
    let settings = Config {
        has_registrar: true,
        ..config(&[])
    };
    let mut world = World::with(settings, Conditions::PERFECT, 1);
    world.account = Some("sip:+4977@example.com".into());
    world.contacts = vec![of(B)];
    let (mut world, _) = called(world, &[]);
    world.b.answer(world.now);
    world.run_ms(100);
    world.located = vec![("490", vec![of(B2)])];
    world.b.refer(world.now, "<sip:490@198.51.100.1>", None);
    world.run_ms(50);
    let invite = world.b2.last_invite.clone().expect("the target has the call");
    let account = "<sip:+4977@198.51.100.1:5060>";
    assert_eq!(all(&invite, HeaderName::PAssertedIdentity), [account]);
    assert!(invite.header(HeaderName::From).unwrap().starts_with(account));
    end_referred(world);
}

/// Who takes a place with `Replaces` and hides is nobody to those who are called after it.
#[test]
fn the_privacy_of_who_takes_a_place_is_kept() {
    let (mut world, _) = called(world(false, Peer::default()), &[]);
    world.b.answer(world.now);
    world.run_ms(100);
    let replaces = world.a.dialog_ids(0);
    let body = world.b3.body();
    let builder = world
        .b3
        .invite_builder("1000")
        .header(HeaderName::Replaces, replaces)
        .header(HeaderName::Privacy, "id")
        .body("application/sdp", body.as_bytes());
    world.b3.send_invite(world.now, builder);
    world.run_ms(300);
    assert_eq!(world.b3.log, ["200 INVITE"]);
    world.b.refer(world.now, "<sip:490@198.51.100.1>", None);
    world.run_ms(50);
    let invite = world.b2.last_invite.clone().expect("the target has the call");
    assert_eq!(invite.from().unwrap().uri, "sip:anonymous@anonymous.invalid");
    assert_eq!(invite.header(HeaderName::Privacy), Some("id"));
    world.b3.bye(world.now);
    world.finish();
}
