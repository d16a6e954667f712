//! Redirections of a callee (RFC 3261 §8.1.3.4).

use std::sync::Arc;

use call::{Config, NextHop, Peer, Redirect, Route, Routes};
use sans_io::network::Conditions;
use sip::HeaderName;

use crate::world::{B, B2, B3, World, config, contact, hop};

/// Numbers with 1 are at B, those with 49 at B2, and those with 900, which cost money, at B3.
fn world(redirect: Redirect) -> World {
    let peer = Arc::new(Peer {
        redirect,
        redirect_to: vec!["49".into(), "1".into()],
        ..Peer::default()
    });
    let route = |prefix: &str, address| Route {
        prefix: prefix.into(),
        weight: None,
        next_hops: vec![NextHop {
            peer: Some(peer.clone()),
            ..hop(address)
        }],
    };
    let routes = Routes::new([route("1", B), route("49", B2), route("900", B3)]);
    let config = Config {
        routes,
        ..config(&[])
    };
    World::with(config, Conditions::PERFECT, 1)
}

fn redirected(redirect: Redirect, status: u16, contacts: &'static str) -> World {
    let mut world = world(redirect);
    world.a.invite(world.now, true);
    world.run_ms(20);
    world.b.response_field = Some(("Contact", contacts));
    world.b.respond(world.now, status, "b1", None);
    world.b.response_field = None;
    world.run_ms(20);
    world
}

/// RFC 5359 §2.7, "Call Forwarding - Unconditional".
#[test]
fn call_forwarding_unconditional() {
    let mut world = redirected(Redirect::Follow, 302, "<sip:4930@10.2.0.2;user=phone>");
    let invite = world.b2.last_invite.clone().expect("the target has the call");
    assert_eq!(invite.request_uri(), Some("sip:4930@10.2.0.2:5060;user=phone"));
    world.b2.answer(world.now);
    world.run_ms(100);
    assert_eq!(world.a.log, ["200 INVITE"]);
    world.a.bye(world.now);
    world.finish();
    assert_eq!(world.ended().next_hop, Some(B2.parse().unwrap()));
    assert_eq!(world.b2bua.counters().redirects_followed, 1);
}

#[test]
fn targets_are_called_by_their_preference() {
    let contacts = "<sip:491@h>;q=0.2, <tel:492>;q=0.7, <sip:900@h>;q=1.0, <mailto:a@h>, <sip:10.2.0.3>";
    let mut world = redirected(Redirect::Follow, 300, contacts);
    let uri = |world: &World| {
        world
            .b2
            .last_invite
            .clone()
            .unwrap()
            .request_uri()
            .unwrap()
            .to_owned()
    };
    assert!(uri(&world).starts_with("sip:492@"), "{}", uri(&world));
    world.b2.respond(world.now, 503, "b1", None);
    world.run_ms(20);
    assert!(uri(&world).starts_with("sip:491@"), "{}", uri(&world));
    world.b2.respond(world.now, 486, "b1", None);
    world.finish();
    assert_eq!(world.a.log, ["486 INVITE"]);
    assert!(world.b3.log.is_empty());
}

/// Attack 18: a callee, or who has taken its place, sends calls to where they cost money.
#[test]
fn attack_18_a_redirection_to_a_number_that_is_not_allowed_is_not_followed() {
    for contacts in [
        "<sip:9001234@10.2.0.3>",
        "<tel:+9001234>",
        "<sip:1000@10.2.0.1>",
        "<sip:77@10.2.0.3>",
    ] {
        let mut world = redirected(Redirect::Follow, 302, contacts);
        world.finish();
        assert_eq!(world.a.log, ["480 INVITE"], "{contacts}");
        assert!(world.b2.log.is_empty() && world.b3.log.is_empty(), "{contacts}");
        let refused = world.b2bua.counters().redirects_refused;
        assert_eq!(refused, 1, "{contacts}");
    }
}

#[test]
fn redirections_in_a_circle_and_without_end_stop() {
    let mut world = redirected(Redirect::Follow, 302, "<sip:490@h>");
    let contacts = [
        "<sip:490@h>",
        "<sip:491@h>",
        "<sip:492@h>",
        "<sip:493@h>",
        "<sip:494@h>",
        "<sip:495@h>",
    ];
    for (n, contact) in contacts.iter().enumerate().skip(1) {
        world.b2.response_field = Some(("Contact", contact));
        world.b2.respond(world.now, 302, "b1", None);
        world.run_ms(20);
        assert_eq!(world.b2.incoming.is_some(), n < 5, "{n}");
    }
    world.finish();
    assert_eq!(world.a.log, ["480 INVITE"]);
    assert_eq!(world.b2bua.counters().redirects_followed, 5);

    let mut world = redirected(Redirect::Follow, 302, "<sip:490@h>");
    world.b2.response_field = Some(("Contact", "<sip:1000@h>, <sip:490@h>"));
    world.b2.respond(world.now, 302, "b1", None);
    world.finish();
    assert_eq!(world.a.log, ["480 INVITE"]);
    assert_eq!(world.b.log, ["INVITE"], "who was asked first is not asked again");
}

#[test]
fn a_redirection_is_refused_unless_the_route_says_otherwise() {
    let mut world = redirected(Redirect::Refuse, 302, "<sip:490@10.2.0.2>");
    world.finish();
    assert_eq!(world.a.log, ["480 INVITE"]);
    assert!(world.b2.log.is_empty());
}

#[test]
fn a_redirection_that_is_passed_leads_the_caller_to_us() {
    let contacts = "<sip:490@10.2.0.2;user=phone>;q=0.5, \"Bob\" <sip:bob@10.2.0.3>";
    let mut world = redirected(Redirect::Pass, 302, contacts);
    world.finish();
    assert_eq!(world.a.log, ["302 INVITE"]);
    let sent = world
        .sent
        .iter()
        .map(|sent| String::from_utf8_lossy(&sent.bytes).into_owned());
    let response = sent
        .filter(|text| text.starts_with("SIP/2.0 302"))
        .last()
        .unwrap();
    assert!(
        response.contains("<sip:bob@198.51.100.1:5060>;q=1.000"),
        "{response}"
    );
    assert!(
        response.contains("<sip:490@198.51.100.1:5060;user=phone>;q=0.500"),
        "{response}"
    );
    assert!(!response.contains("Bob"));
}

#[test]
fn what_is_no_redirection_is_neither_followed_nor_passed() {
    for redirect in [Redirect::Follow, Redirect::Pass] {
        for status in [305, 380] {
            let mut world = redirected(redirect, status, "<sip:490@10.2.0.2>");
            world.finish();
            assert_eq!(world.a.log, ["480 INVITE"], "{status}");
        }
    }
}

#[test]
fn an_early_dialog_of_who_redirects_is_over() {
    let mut world = world(Redirect::Follow);
    let body = world.a.body();
    let builder = world
        .a
        .invite_builder("1000")
        .header(HeaderName::Supported, "100rel, 199")
        .body("application/sdp", body.as_bytes());
    world.a.send_invite(world.now, builder);
    world.run_ms(20);
    let body = world.b.body();
    world.b.respond_reliably(world.now, 183, "b1", Some(&body));
    world.run_ms(20);
    world.b.response_field = Some(("Contact", "<sip:490@h>"));
    world.b.respond(world.now, 302, "b1", None);
    world.run_ms(20);
    world.b2.answer(world.now);
    world.run_ms(100);
    assert_eq!(
        world.a.log,
        ["183 INVITE", "200 PRACK", "199 INVITE", "200 INVITE"]
    );
    world.a.bye(world.now);
    world.finish();
}

/// A user's device sends its calls on (RFC 5359, "Call Forwarding - Unconditional"), while another one of the user rings.
#[test]
fn a_device_of_a_user_may_send_a_call_on() {
    for (redirect, to) in [
        (Redirect::Follow, "49"),
        (Redirect::Follow, "1"),
        (Redirect::Refuse, "49"),
    ] {
        let peer = Arc::new(Peer {
            redirect,
            redirect_to: vec![to.into()],
            ..Peer::default()
        });
        let settings = Config {
            has_registrar: true,
            routes: Routes::new([Route {
                prefix: "49".into(),
                weight: None,
                next_hops: vec![hop(B3)],
            }]),
            ..config(&[])
        };
        let mut world = World::with(settings, Conditions::PERFECT, 1);
        let device = |address, device| NextHop {
            peer: Some(peer.clone()),
            ..contact(address, 0, device)
        };
        world.contacts = vec![device(B, 0), device(B2, 1)];
        world.a.invite(world.now, true);
        world.run_ms(20);
        world.b2.respond(world.now, 180, "b2", None);
        world.b.response_field = Some(("Contact", "<sip:4930@h>"));
        world.b.respond(world.now, 302, "b1", None);
        world.run_ms(20);
        let is_followed = redirect == Redirect::Follow && to == "49";
        assert_eq!(world.b3.last_invite.is_some(), is_followed, "{redirect:?} {to}");
        let ua = if is_followed { &mut world.b3 } else { &mut world.b2 };
        ua.answer_as(world.now, "x");
        world.run_ms(100);
        assert_eq!(world.a.log, ["180 INVITE", "200 INVITE"]);
        world.a.bye(world.now);
        world.finish();
        assert_eq!(world.b2.log.last().unwrap().starts_with("CANCEL"), is_followed);
    }
}

/// RFC 3261 §19.1.4: one user has many ways to be written.
#[test]
fn a_user_written_with_escapes_is_no_other_user() {
    let mut world = redirected(
        Redirect::Follow,
        302,
        "<sip:%34930@h>, <sip:49%330@h>, <sip:%31000@h>",
    );
    let invite = world.b2.last_invite.clone().expect("the target has the call");
    assert!(invite.request_uri().unwrap().starts_with("sip:4930@"));
    world.b2.respond(world.now, 503, "b1", None);
    world.finish();
    assert_eq!(world.b2.log, ["INVITE"], "each is called once");
    assert_eq!(world.b.log, ["INVITE"]);
}

/// A user's phone sends its calls on to another user: to all phones of that one, and to no phone by chance of its place.
#[test]
fn a_device_may_send_a_call_on_to_another_user() {
    let peer = Arc::new(Peer {
        redirect: Redirect::Follow,
        redirect_to: vec!["carol".into(), "dave".into()],
        ..Peer::default()
    });
    let device = |address, rank, device| NextHop {
        peer: Some(peer.clone()),
        ..contact(address, rank, device)
    };
    let of_user = || {
        let mut world = World::with_contacts(&[device(B, 0, 0)], Conditions::PERFECT, 1);
        world.located = vec![
            ("carol", vec![device(B2, 0, 0), device(B3, 0, 1)]),
            ("dave", Vec::new()),
        ];
        world.a.invite(world.now, true);
        world.run_ms(20);
        world
    };
    let mut world = of_user();
    world.b.response_field = Some(("Contact", "<sip:dave@us>, <sip:carol@us>"));
    world.b.respond(world.now, 302, "b1", None);
    world.run_ms(20);
    let uri = |invite: &Option<sip::Message>| invite.clone().unwrap().request_uri().unwrap().to_owned();
    assert_eq!(uri(&world.b2.last_invite), "sip:phone@10.2.0.2:5060");
    assert_eq!(uri(&world.b3.last_invite), "sip:phone@10.2.0.3:5060");
    world.b2.respond(world.now, 180, "b2", None);
    world.run_ms(20);
    world.b3.answer_as(world.now, "b3");
    world.run_ms(100);
    assert!(world.b2.log.last().unwrap().starts_with("CANCEL"));
    assert_eq!(world.a.log, ["180 INVITE", "200 INVITE"]);
    world.a.bye(world.now);
    world.finish();
    assert_eq!(world.b2bua.counters().redirects_followed, 1);

    // That one is away, and the other one's phone sends the call back.
    for contacts in ["<sip:dave@us>", "<sip:carol@us>"] {
        let mut world = of_user();
        world.b.response_field = Some(("Contact", contacts));
        world.b.respond(world.now, 302, "b1", None);
        world.run_ms(20);
        for ua in [&mut world.b2, &mut world.b3] {
            ua.response_field = Some(("Contact", "<sip:carol@us>, <sip:1000@us>"));
            ua.respond(world.now, 302, "x", None);
        }
        world.finish();
        assert_eq!(world.a.log, ["480 INVITE"], "{contacts}");
        assert_eq!(world.b.log, ["INVITE"]);
    }
}
