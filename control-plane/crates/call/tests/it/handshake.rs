//! Parties with DTLS and ICE (RFC 5763, RFC 8839): what they are offered and answered, and what the media node is told.

use call::{Config, Dtls, KeysOver, NextHop, Route, Routes, Srtp, SrtpPolicy};
use media_types::{DtlsRole, IceMode, LineSpec};
use sans_io::network::Conditions;

use crate::ua::{BROWSER, key};
use crate::world::{B, B2, B3, World, config, contact, hop};

/// The fingerprint of the simulated node.
const NODE: &str = "a=fingerprint:sha-256 4D:4D:4D:";

fn srtp(policy: SrtpPolicy, dtls: Dtls) -> Srtp {
    Srtp {
        policy,
        over: KeysOver::Tls,
        dtls,
    }
}

fn with(caller: Srtp, callee: Srtp) -> Config {
    let next_hop = NextHop {
        srtp: callee,
        ..hop(B)
    };
    Config {
        caller_srtp: caller,
        routes: Routes::new([Route {
            prefix: "1".into(),
            weight: None,
            next_hops: vec![next_hop],
        }]),
        ..config(&[B])
    }
}

/// A call by these rules; who of them is a browser.
fn world(caller: Srtp, callee: Srtp, browsers: (bool, bool)) -> World {
    let mut world = World::with(with(caller, callee), Conditions::PERFECT, 1);
    world.a.browser = browsers.0.then_some("aaaa");
    world.b.browser = browsers.1.then_some("bbbb");
    world
}

const ALLOW: Srtp = Srtp {
    policy: SrtpPolicy::Allow,
    over: KeysOver::Tls,
    dtls: Dtls::Allow,
};

fn call(world: &mut World) {
    world.a.invite(world.now, true);
    world.run_ms(20);
    if world.b.incoming.is_some() {
        world.b.answer(world.now);
        world.run_ms(100);
    }
}

/// What the node is told of a leg of the only call.
fn told(world: &World, leg: usize) -> LineSpec {
    world.node.calls.values().next().expect("a call")[leg].lines[0].clone()
}

fn count(world: &World, reason: &str) -> u64 {
    world.b2bua.srtp_refusals().get(reason).copied().unwrap_or(0)
}

/// The value of an attribute in a description.
fn value<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let prefix = format!("a={name}:");
    body.lines().find_map(|line| line.strip_prefix(prefix.as_str()))
}

/// The line is that of a browser named `ufrag`, whose description we gave it is `body`.
fn assert_browser(spec: &LineSpec, ufrag: &str, body: &str, role: DtlsRole) {
    let dtls = spec.dtls.as_ref().expect("with DTLS");
    assert_eq!(
        (dtls.role, dtls.fingerprints[0].to_string().as_str()),
        (role, BROWSER)
    );
    assert!(spec.rtcp_mux && spec.srtp.is_none());
    let ice = spec.ice.as_ref().expect("with ICE");
    assert_eq!(
        (ice.mode, ice.remote.as_ref().expect("known").ufrag()),
        (IceMode::Lite, ufrag)
    );
    assert_eq!(
        ice.candidates,
        ["candidate:1 1 udp 2122260223 203.0.113.77 50000 typ host"]
    );
    assert_eq!(value(body, "ice-ufrag"), Some(ice.local.ufrag()), "{body}");
    assert_eq!(value(body, "ice-pwd"), Some(ice.local.password()), "{body}");
    assert!(body.contains(NODE) && body.contains("a=ice-lite\r\n"), "{body}");
    assert!(
        body.contains(" UDP/TLS/RTP/SAVPF ") && body.contains("a=rtcp-mux\r\n"),
        "{body}"
    );
    assert!(
        value(body, "candidate").is_some_and(|it| it.ends_with("typ host")),
        "{body}"
    );
}

/// Nothing of a browser's is in it.
fn assert_plain(spec: &LineSpec, body: &str) {
    assert!(spec.dtls.is_none() && spec.ice.is_none() && spec.srtp.is_none());
    for word in [
        "ice-",
        "fingerprint",
        "setup",
        "candidate",
        "BUNDLE",
        "rtcp-fb",
        "SAVP",
    ] {
        assert!(!body.contains(word), "{word}: {body}");
    }
    assert!(body.contains(" RTP/AVP "), "{body}");
}

#[test]
fn a_browser_calls_a_phone() {
    let mut world = world(ALLOW, ALLOW, (true, false));
    call(&mut world);
    assert_eq!(world.a.log, ["200 INVITE"]);
    assert_browser(&told(&world, 0), "aaaa", &world.a.last_body, DtlsRole::Passive);
    assert_plain(&told(&world, 1), &world.b.last_body);
    assert_eq!(value(&world.a.last_body, "setup"), Some("passive"));
    assert_eq!(value(&world.a.last_body, "mid"), Some("0"));
    assert_eq!(value(&world.a.last_body, "group"), Some("BUNDLE 0"));
    assert_eq!(told(&world, 1).remote, Some("10.2.0.1:4000".parse().unwrap()));
    world.a.bye(world.now);
    world.finish();
    assert!(world.b2bua.srtp_refusals().is_empty());
}

#[test]
fn a_phone_calls_a_browser() {
    let offering = srtp(SrtpPolicy::Allow, Dtls::Offer);
    let mut world = world(ALLOW, offering, (false, true));
    world.node.is_secured = false;
    world.a.invite(world.now, true);
    world.run_ms(20);
    let offered = world.b.last_body.clone();
    assert_eq!(value(&offered, "setup"), Some("actpass"));
    // It may begin before its answer is here, and is met with what it was offered.
    let invited = told(&world, 1);
    let dtls = invited.dtls.as_ref().expect("nothing passes in clear");
    assert_eq!((dtls.role, dtls.fingerprints.len()), (DtlsRole::Passive, 0));
    let ice = invited.ice.as_ref().expect("with ICE");
    assert_eq!(
        (value(&offered, "ice-ufrag"), &ice.remote),
        (Some(ice.local.ufrag()), &None)
    );
    assert!(invited.rtcp_mux && invited.remote.is_none());
    world.b.answer(world.now);
    world.run_ms(100);
    assert_eq!(world.a.log, ["200 INVITE"]);
    assert_browser(&told(&world, 1), "bbbb", &offered, DtlsRole::Passive);
    assert_plain(&told(&world, 0), &world.a.last_body);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn two_browsers_have_handshakes_of_their_own() {
    let offering = srtp(SrtpPolicy::Require, Dtls::Offer);
    let mut world = world(srtp(SrtpPolicy::Require, Dtls::Allow), offering, (true, true));
    world.node.is_secured = true;
    call(&mut world);
    let (a, b) = (told(&world, 0), told(&world, 1));
    assert_browser(&a, "aaaa", &world.a.last_body, DtlsRole::Passive);
    assert_browser(&b, "bbbb", &world.b.last_body, DtlsRole::Passive);
    let local = |spec: &LineSpec| spec.ice.as_ref().map(|ice| ice.local.clone());
    assert_ne!(local(&a), local(&b));
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn hold_and_resume_keep_the_association_and_another_name_restarts_ice() {
    let mut world = world(ALLOW, ALLOW, (true, false));
    call(&mut world);
    let before = told(&world, 0);
    for direction in ["sendonly", "sendrecv"] {
        world.a.reinvite(world.now, direction, true);
        world.run_ms(200);
        let now = told(&world, 0);
        assert_eq!((&now.dtls, &now.ice), (&before.dtls, &before.ice), "{direction}");
    }
    // The phone holds: what the browser gets says again what it had.
    world.b.reinvite(world.now, "sendonly", true);
    world.run_ms(200);
    assert_eq!(value(&world.a.last_body, "setup"), Some("actpass"));
    let now = told(&world, 0);
    assert_eq!(
        (&now.dtls, &now.ice),
        (&before.dtls, &before.ice),
        "held by the other"
    );
    world.a.browser = Some("cccc");
    world.a.reinvite(world.now, "sendrecv", true);
    world.run_ms(200);
    let now = told(&world, 0);
    assert_eq!(now.dtls, before.dtls);
    assert_browser(&now, "cccc", &world.a.last_body, DtlsRole::Passive);
    assert_ne!(
        now.ice.unwrap().local,
        before.ice.unwrap().local,
        "a restart of ours, too"
    );
    world.a.bye(world.now);
    world.finish();
}

/// RFC 8842 §5: an offer of ours names its association, an answer to who does so likewise; the name stays as long as the association.
#[test]
fn an_association_has_a_name_of_ours_while_it_is_the_same() {
    let mut world = world(ALLOW, ALLOW, (true, false));
    call(&mut world);
    assert_eq!(value(&world.a.last_body, "tls-id"), None, "it has none itself");
    world.a.bye(world.now);
    world.run_ms(100);

    world.a.tls_id = Some("aaaaaaaaaaaaaaaaaaaa");
    call(&mut world);
    let ours = |world: &World| value(&world.a.last_body, "tls-id").expect("ours").to_owned();
    let first = ours(&world);
    assert!(
        (20..=255).contains(&first.len()) && first != "aaaaaaaaaaaaaaaaaaaa",
        "{first}"
    );
    world.a.reinvite(world.now, "sendonly", true);
    world.run_ms(200);
    assert_eq!(ours(&world), first, "on hold");
    world.b.reinvite(world.now, "sendrecv", true);
    world.run_ms(200);
    assert_eq!(ours(&world), first, "in an offer of ours");
    world.a.tls_id = Some("bbbbbbbbbbbbbbbbbbbb");
    world.a.reinvite(world.now, "sendrecv", true);
    world.run_ms(200);
    assert_ne!(ours(&world), first, "another association");
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_browser_that_is_called_hears_the_name_of_the_association() {
    let offer = Srtp {
        dtls: Dtls::Offer,
        ..ALLOW
    };
    let mut world = world(ALLOW, offer, (false, true));
    call(&mut world);
    let first = value(&world.b.last_body, "tls-id")
        .expect("in our offer")
        .to_owned();
    world.a.reinvite(world.now, "sendonly", true);
    world.run_ms(200);
    assert_eq!(value(&world.b.last_body, "tls-id"), Some(first.as_str()));
    world.a.bye(world.now);
    world.finish();
}

/// RFC 8285 §6: what is left out of a description nobody agrees on.
#[test]
fn header_extensions_pass_as_they_are_allowed_to() {
    const LEVEL: &str = "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=on";
    const TIME: &str = "a=extmap:3/sendonly http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
    let called_with = |kept: Option<&[&str]>| {
        let limited = Config {
            header_extensions: kept.map(|uris| uris.iter().map(|uri| (*uri).to_owned()).collect()),
            ..config(&[B])
        };
        let mut world = World::with(limited, Conditions::PERFECT, 1);
        let (builder, body) = (world.a.invite_builder("1000"), world.a.body());
        let body = format!("{body}{LEVEL}\r\n{TIME}\r\n");
        let builder = builder.body("application/sdp", body.as_bytes());
        world.a.send_invite(world.now, builder);
        world.run_ms(20);
        let heard = world.b.last_body.clone();
        world.b.answer(world.now);
        world.run_ms(50);
        world.a.bye(world.now);
        world.finish();
        [LEVEL, TIME].map(|line| heard.contains(line))
    };
    assert_eq!(called_with(None), [true, true]);
    assert_eq!(
        called_with(Some(&["URN:ietf:params:rtp-hdrext:ssrc-audio-level"])),
        [true, false]
    );
    assert_eq!(called_with(Some(&[])), [false, false]);
}

#[test]
fn what_is_not_to_be_had_is_refused_with_its_reason() {
    // By the rules for the caller.
    for (rules, reason) in [
        (srtp(SrtpPolicy::Allow, Dtls::Forbid), "dtls_forbidden"),
        (srtp(SrtpPolicy::Forbid, Dtls::Allow), "dtls_forbidden"),
    ] {
        let mut world = world(rules, ALLOW, (true, false));
        call(&mut world);
        assert_eq!(world.a.log, ["488 INVITE"], "{reason}");
        assert_eq!(count(&world, reason), 1);
        world.finish();
    }
    // By a phone that answers where a handshake was offered: taken out on the way.
    let offering = srtp(SrtpPolicy::Allow, Dtls::Offer);
    let mut world = world(ALLOW, offering, (false, false));
    call(&mut world);
    assert!(
        world.a.log.last().unwrap().starts_with("502 "),
        "{:?}",
        world.a.log
    );
    assert_eq!(count(&world, "dtls_transport"), 1);
    world.finish();
}

/// A node that does not know the field would relay in clear what it is told to secure.
#[test]
fn a_node_that_knows_no_handshakes_relays_for_none() {
    let offering = srtp(SrtpPolicy::Allow, Dtls::Offer);
    for (callee, browsers, status) in [
        (ALLOW, (true, false), "488 INVITE"),
        (offering, (false, true), "503 INVITE"),
    ] {
        let mut world = world(ALLOW, callee, browsers);
        world.node.fingerprint = None;
        call(&mut world);
        assert_eq!(world.a.log, [status]);
        assert!(world.b.incoming.is_none(), "nobody was called");
        assert_eq!((world.node.creates, world.node.deletes), (1, 1));
        world.finish();
    }
    // Of a call that it has in clear: the offer is refused, and never shown to it.
    let mut world = world(ALLOW, ALLOW, (false, false));
    world.node.fingerprint = None;
    call(&mut world);
    let updates = world.node.updates;
    world.a.browser = Some("aaaa");
    world.a.reinvite(world.now, "sendrecv", true);
    world.run_ms(200);
    assert_eq!(world.a.log, ["200 INVITE", "488 INVITE"]);
    assert_eq!(
        (world.node.updates, count(&world, "dtls_no_certificate")),
        (updates, 1)
    );
    assert!(world.a.is_talking() && world.b.is_talking());
    world.a.bye(world.now);
    world.finish();
}

/// Who called in clear is asked for a new answer in clear, though handshakes are offered when it is called.
#[test]
fn a_call_agreed_in_clear_stays_so() {
    let offering = srtp(SrtpPolicy::Allow, Dtls::Offer);
    let mut world = world(offering, ALLOW, (false, false));
    call(&mut world);
    assert_eq!(world.a.log, ["200 INVITE"]);
    world.b.reinvite(world.now, "sendonly", true);
    world.run_ms(200);
    assert_plain(&told(&world, 0), &world.a.last_body);
    assert!(world.a.is_talking() && world.b.is_talking());
    world.a.bye(world.now);
    world.finish();
}

/// RFC 8445 §6.1.1: towards a lite agent the node makes the checks, and does not say that it makes none.
#[test]
fn a_lite_party_is_met_by_a_full_agent() {
    let mut world = world(ALLOW, ALLOW, (true, false));
    world.a.browser = Some("lite1");
    call(&mut world);
    assert_eq!(world.a.log, ["200 INVITE"]);
    let ice = told(&world, 0).ice.expect("with ICE");
    assert_eq!(ice.mode, IceMode::Controlling);
    assert!(!world.a.last_body.contains("ice-lite"), "{}", world.a.last_body);
    world.b.reinvite(world.now, "sendonly", true);
    world.run_ms(200);
    assert!(!world.a.last_body.contains("ice-lite"), "{}", world.a.last_body);
    world.a.bye(world.now);
    world.finish();
}

/// Hops, each with what it is offered, one after the other or at once.
fn world_of(hops: &[(&str, Srtp)], at_once: bool) -> World {
    let rank = |place: usize| if at_once { 0 } else { place };
    let contacts: Vec<NextHop> = hops
        .iter()
        .enumerate()
        .map(|(place, &(address, srtp))| NextHop {
            srtp,
            ..contact(
                address,
                rank(place).try_into().unwrap(),
                place.try_into().unwrap(),
            )
        })
        .collect();
    let mut world = World::with_contacts(&contacts, Conditions::PERFECT, 1);
    world.node.is_secured = false;
    world.a.invite(world.now, true);
    world.run_ms(20);
    world
}

/// A party that has refused the call is met no more: whoever is called after it is another.
#[test]
fn who_has_refused_is_met_no_more() {
    let keys = Srtp {
        over: KeysOver::Any,
        ..srtp(SrtpPolicy::Require, Dtls::Forbid)
    };
    let clear = srtp(SrtpPolicy::Forbid, Dtls::Forbid);
    let offering = srtp(SrtpPolicy::Allow, Dtls::Offer);
    for next in [keys, clear, offering] {
        let mut world = world_of(&[(B, offering), (B2, next)], false);
        world.b2.key = (next == keys).then(|| key(7));
        world.b2.browser = (next == offering).then_some("bbbb");
        let first = world.b.last_body.clone();
        let ufrag = |spec: &LineSpec| spec.ice.as_ref().map(|ice| ice.local.ufrag().to_owned());
        assert_eq!(ufrag(&told(&world, 1)).as_deref(), value(&first, "ice-ufrag"));
        world.b.respond(world.now, 486, "b1", None);
        world.run_ms(20);
        let second = world.b2.last_body.clone();
        let pending = told(&world, 1);
        assert_eq!(ufrag(&pending).as_deref(), value(&second, "ice-ufrag"));
        assert_ne!(value(&first, "ice-ufrag"), value(&second, "ice-ufrag"));
        assert_eq!(pending.dtls.is_some(), next == offering);
        // Neither does anything pass in clear.
        assert_eq!(pending.srtp.is_some(), next != offering);
        world.b2.answer(world.now);
        world.run_ms(100);
        assert_eq!(world.a.log, ["200 INVITE"]);
        assert_eq!(told(&world, 1).srtp.is_some(), next == keys);
        assert_eq!(told(&world, 1).dtls.is_some(), next == offering);
        world.a.bye(world.now);
        world.finish();
    }
}

/// Of several that ring at once the first one that is offered a handshake is met, whatever its place is; and when it has refused,
/// the next one.
#[test]
fn of_several_at_once_the_first_that_shakes_hands_is_met() {
    let clear = srtp(SrtpPolicy::Forbid, Dtls::Forbid);
    let offering = srtp(SrtpPolicy::Allow, Dtls::Offer);
    let mut world = world_of(&[(B, clear), (B2, offering), (B3, offering)], true);
    world.b2.browser = Some("bbbb");
    world.b3.browser = Some("cccc");
    let second = world.b2.last_body.clone();
    let met = |world: &World| told(world, 1).ice.map(|ice| ice.local.ufrag().to_owned());
    assert_eq!(met(&world).as_deref(), value(&second, "ice-ufrag"));
    world.b2.respond(world.now, 486, "b2", None);
    world.run_ms(20);
    let third = world.b3.last_body.clone();
    assert_ne!(value(&third, "ice-ufrag"), value(&second, "ice-ufrag"));
    assert_eq!(met(&world).as_deref(), value(&third, "ice-ufrag"));
    let invited = told(&world, 1);
    assert!(invited.dtls.is_some_and(|dtls| dtls.fingerprints.is_empty()));
    world.b3.answer(world.now);
    world.run_ms(100);
    assert_eq!(met(&world).as_deref(), value(&third, "ice-ufrag"));
    world.a.bye(world.now);
    world.finish();
}

const FRAGMENT: &str = "a=ice-pwd:asd88fgpdd777uzjYhagZg\r\na=ice-ufrag:aaaa\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
    a=candidate:2 1 UDP 1658497328 203.0.113.88 50001 typ host\r\na=end-of-candidates\r\n";

#[test]
fn rfc_8840_candidates_that_come_later_are_for_us_alone() {
    let mut world = world(ALLOW, ALLOW, (true, false));
    call(&mut world);
    assert_eq!(value(&world.a.last_body, "ice-options"), Some("trickle"));
    let before = told(&world, 0);
    world.a.inform(
        world.now,
        "trickle-ice",
        ("application/trickle-ice-sdpfrag", FRAGMENT),
    );
    world.run_ms(50);
    assert_eq!(world.a.log, ["200 INVITE", "200 INFO"]);
    world
        .a
        .inform(world.now, "Trickle-ICE;x=y", ("application/sdp", FRAGMENT));
    world.run_ms(50);
    assert_eq!(world.a.log.last().unwrap(), "415 INFO");
    // The phone has no ICE, and was not told that it may.
    world.b.inform(
        world.now,
        "trickle-ice",
        ("application/trickle-ice-sdpfrag", FRAGMENT),
    );
    world.run_ms(50);
    assert_eq!(world.b.log, ["INVITE", "ACK", "469 INFO"]);
    assert_eq!(told(&world, 0), before, "nothing of it is used");
    // What is of another package goes on to the other party.
    world.a.inform(world.now, "x-notes", ("text/plain", "hello"));
    world.run_ms(50);
    assert_eq!(world.b.log.last().unwrap(), "INFO");
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn rfc_8840_who_is_described_ice_is_told_that_candidates_may_follow() {
    let offering = srtp(SrtpPolicy::Allow, Dtls::Offer);
    for (browsers, is_told) in [((true, false), [true, false]), ((false, true), [false, true])] {
        let mut world = world(ALLOW, if browsers.1 { offering } else { ALLOW }, browsers);
        call(&mut world);
        let told = [&world.a, &world.b].map(|party| party.receives.clone());
        assert_eq!(
            told,
            is_told.map(|is| is.then(|| "trickle-ice".to_owned())),
            "{browsers:?}"
        );
        world.a.bye(world.now);
        world.finish();
    }
}
