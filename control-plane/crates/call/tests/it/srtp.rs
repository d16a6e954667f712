//! SRTP by keys in descriptions (RFC 4568): what each party is offered and answered by the policy for it, and what the media
//! node is told.

use std::sync::Arc;

use call::{Config, Dtls, KeysOver, NextHop, Peer, Redirect, Route, Routes, Srtp, SrtpPolicy};
use media_types::SrtpSpec;
use sans_io::network::Conditions;

use crate::transfers;
use crate::ua::{Manner, Ua, key};
use crate::world::{B, B2, World, config, hop};

const PLAIN: &str = "m=audio 4000 RTP/AVP 0 8\r\na=sendrecv\r\n";

fn over_any(policy: SrtpPolicy) -> Srtp {
    Srtp {
        policy,
        over: KeysOver::Any,
        dtls: Dtls::Allow,
    }
}

/// The policies for caller and callee; keys may go over UDP.
fn policies(caller: SrtpPolicy, callee: SrtpPolicy) -> Config {
    let next_hop = |address| NextHop {
        srtp: over_any(callee),
        ..hop(address)
    };
    let to = |prefix: &str, address| Route {
        prefix: prefix.into(),
        weight: None,
        next_hops: vec![next_hop(address)],
    };
    Config {
        caller_srtp: over_any(caller),
        routes: Routes::new([to("1", B), to("2", B2)]),
        ..config(&[B])
    }
}

/// A call whose parties protect their media, or not.
fn world(caller: SrtpPolicy, callee: SrtpPolicy, keys: (bool, bool)) -> World {
    let mut world = World::with(policies(caller, callee), Conditions::PERFECT, 1);
    world.a.key = keys.0.then(|| key(1));
    world.b.key = keys.1.then(|| key(2));
    world
}

fn call(world: &mut World) {
    world.a.invite(world.now, true);
    world.run_ms(20);
    if world.b.incoming.is_some() {
        world.b.answer(world.now);
        world.run_ms(100);
    }
}

/// What the node is told of the first line of the only call, caller first.
fn told(world: &World) -> [Option<SrtpSpec>; 2] {
    let legs = world.node.calls.values().next().expect("a call");
    [0, 1].map(|leg| legs[leg].lines[0].srtp.clone())
}

/// The material of a key in a description that somebody got.
fn ours(ua: &Ua) -> String {
    let line = ua.last_body.lines().find(|line| line.starts_with("a=crypto:"));
    let line = line.unwrap_or_else(|| panic!("no key in {}", ua.last_body));
    line.rsplit("inline:").next().unwrap().to_owned()
}

fn base64(key: &media_types::SrtpKey) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |bytes: &[u8]| {
        let bits = bytes.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte));
        [18, 12, 6, 0].map(|shift| char::from(alphabet[(bits >> shift & 63) as usize]))
    };
    key.key_and_salt().chunks(3).flat_map(group).collect()
}

/// The node protects towards `ua` with the key that it was told, and takes what `ua` protects with its own.
fn assert_secured(spec: Option<&SrtpSpec>, ua: &Ua) {
    let spec = spec.expect("a secured line");
    let theirs = String::from_utf8(ua.key.unwrap().to_vec()).unwrap();
    assert_eq!(spec.receive.iter().map(base64).collect::<Vec<_>>(), [theirs]);
    assert_eq!(base64(spec.send.as_ref().expect("a key of ours")), ours(ua));
}

fn count(world: &World, reason: &str) -> u64 {
    world.b2bua.srtp_refusals().get(reason).copied().unwrap_or(0)
}

#[test]
fn each_party_has_the_security_that_it_asked_for() {
    use SrtpPolicy::{Allow, Prefer, Require};
    for (policies, keys, profiles) in [
        ((Allow, Allow), (true, false), ["RTP/SAVP", "RTP/AVP"]),
        ((Allow, Require), (false, true), ["RTP/AVP", "RTP/SAVP"]),
        ((Require, Require), (true, true), ["RTP/SAVP", "RTP/SAVP"]),
        ((Allow, Prefer), (true, true), ["RTP/SAVP", "RTP/AVP"]),
        ((Allow, Prefer), (false, false), ["RTP/AVP", "RTP/AVP"]),
    ] {
        let mut world = world(policies.0, policies.1, keys);
        call(&mut world);
        assert_eq!(world.a.log, ["200 INVITE"], "{policies:?} {keys:?}");
        let told = told(&world);
        for (ua, told, profile) in [
            (&world.a, &told[0], profiles[0]),
            (&world.b, &told[1], profiles[1]),
        ] {
            let line = format!("{profile} 0 8\r\n");
            assert!(ua.last_body.contains(&line), "{policies:?}: {}", ua.last_body);
            match ua.key {
                Some(_) => assert_secured(told.as_ref(), ua),
                None => assert_eq!(*told, None),
            }
        }
        if keys == (true, true) {
            assert_ne!(ours(&world.a), ours(&world.b), "each leg has keys of its own");
        }
        world.a.bye(world.now);
        world.finish();
        assert!(world.b2bua.srtp_refusals().is_empty());
    }
}

#[test]
fn nothing_passes_a_line_that_must_be_secured_before_its_keys_are_known() {
    let mut world = world(SrtpPolicy::Allow, SrtpPolicy::Require, (false, true));
    world.a.invite(world.now, true);
    world.run_ms(20);
    assert_eq!(told(&world), [None, Some(SrtpSpec::default())]);
    assert_eq!(
        world.b.last_body.matches("a=crypto:").count(),
        6,
        "a choice of suites"
    );
    world.b.answer(world.now);
    world.run_ms(100);
    assert_secured(told(&world)[1].as_ref(), &world.b);
    world.b.bye(world.now);
    world.finish();
}

#[test]
fn a_target_of_a_redirection_that_must_be_secured_is_so_before_it_has_the_call() {
    let mut config = policies(SrtpPolicy::Allow, SrtpPolicy::Allow);
    let peer = Peer {
        redirect: Redirect::Follow,
        redirect_to: vec!["2".into()],
        ..Peer::default()
    };
    let to = |prefix: &str, address, policy| Route {
        prefix: prefix.into(),
        weight: None,
        next_hops: vec![NextHop {
            srtp: over_any(policy),
            peer: Some(Arc::new(peer.clone())),
            ..hop(address)
        }],
    };
    config.routes = Routes::new([to("1", B, SrtpPolicy::Allow), to("2", B2, SrtpPolicy::Require)]);
    let mut world = World::with(config, Conditions::PERFECT, 1);
    world.b2.key = Some(key(3));
    world.a.invite(world.now, true);
    world.run_ms(20);
    assert_eq!(told(&world), [None, None]);
    world.b.response_field = Some(("Contact", "<sip:2000@10.2.0.2>"));
    world.b.respond(world.now, 302, "b1", None);
    world.run_ms(20);
    assert!(world.b2.last_body.contains("RTP/SAVP"), "{}", world.b2.last_body);
    assert_eq!(told(&world), [None, Some(SrtpSpec::default())]);
    world.b2.answer_as(world.now, "b2");
    world.run_ms(100);
    assert_secured(told(&world)[1].as_ref(), &world.b2);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn offers_that_are_not_to_be_had_are_refused_with_their_reason() {
    let tls_only = Srtp::default();
    let unusable = "1 F8_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";
    let usable = "1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";
    let any = over_any;
    for (srtp, profile, crypto, reason) in [
        (any(SrtpPolicy::Forbid), "RTP/SAVP", usable, "srtp_forbidden"),
        (any(SrtpPolicy::Require), "RTP/AVP", "", "srtp_required"),
        (tls_only, "RTP/SAVP", usable, "srtp_signalling"),
        (any(SrtpPolicy::Allow), "RTP/SAVP", "", "srtp_no_key"),
        (any(SrtpPolicy::Allow), "RTP/SAVP", unusable, "srtp_no_usable_key"),
    ] {
        let mut config = policies(SrtpPolicy::Allow, SrtpPolicy::Allow);
        config.caller_srtp = srtp;
        let mut world = World::with(config, Conditions::PERFECT, 1);
        let mut body = world.a.body().replace("RTP/AVP", profile);
        if !crypto.is_empty() {
            body += &format!("a=crypto:{crypto}\r\n");
        }
        let invite = world.a.invite_builder("1000");
        world
            .a
            .send_invite(world.now, invite.body("application/sdp", body.as_bytes()));
        world.run_ms(50);
        assert_eq!(world.a.log, ["488 INVITE"], "{reason}");
        assert!(world.b.log.is_empty() && world.node.creates == 0);
        assert_eq!(count(&world, reason), 1, "{:?}", world.b2bua.srtp_refusals());
        world.finish();
        let cause = &world.ended().cause.as_ref().unwrap().text;
        assert!(cause.starts_with("SRTP: "), "{cause}");
    }
}

#[test]
fn a_line_that_is_refused_for_its_security_leaves_the_others() {
    let mut world = World::with(
        policies(SrtpPolicy::Forbid, SrtpPolicy::Allow),
        Conditions::PERFECT,
        1,
    );
    let usable = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR\r\n";
    let body = world.a.body() + "m=audio 4002 RTP/SAVP 0\r\n" + usable;
    let invite = world.a.invite_builder("1000");
    world
        .a
        .send_invite(world.now, invite.body("application/sdp", body.as_bytes()));
    world.run_ms(20);
    let lines: Vec<_> = world
        .b
        .last_body
        .lines()
        .filter(|it| it.starts_with("m="))
        .collect();
    assert!(lines[1].starts_with("m=audio 0 "), "{lines:?}");
    assert_eq!(count(&world, "srtp_forbidden"), 1);
    let answer = world.b.body() + "m=audio 0 RTP/SAVP 0\r\n";
    world.b.respond(world.now, 200, "b1", Some(&answer));
    world.b.incoming = None;
    world.run_ms(100);
    let legs = world.node.calls.values().next().unwrap();
    let enabled = |leg: usize| {
        legs[leg]
            .lines
            .iter()
            .map(|line| line.enabled)
            .collect::<Vec<_>>()
    };
    assert_eq!([enabled(0), enabled(1)], [[true, false], [true, false]]);
    world.a.bye(world.now);
    world.finish();
}

/// What an answer may do to the security that it was offered, and the reason that is told.
#[test]
fn answers_that_weaken_what_was_offered_end_the_call_and_no_media_flows() {
    let other = "inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";
    type Forge = fn(&str, &str) -> String;
    let forgeries: [(&str, Forge); 6] = [
        ("srtp_stripped", |_, _| PLAIN.replace("RTP/AVP", "RTP/SAVP")),
        ("srtp_profile", |_, _| PLAIN.to_owned()),
        ("srtp_other_suite", |_, other| {
            secured(&format!("a=crypto:1 AES_CM_128_HMAC_SHA1_32 {other}\r\n"))
        }),
        ("srtp_unknown_tag", |_, other| {
            secured(&format!("a=crypto:77 AES_CM_128_HMAC_SHA1_80 {other}\r\n"))
        }),
        ("srtp_our_key", |offered, _| secured(&format!("{offered}\r\n"))),
        ("srtp_several", |offered, other| {
            let one = offered.split(" inline").next().unwrap();
            secured(&format!(
                "{one} {other}\r\na=crypto:2 AES_CM_128_HMAC_SHA1_32 {other}\r\n"
            ))
        }),
    ];
    for (reason, forge) in forgeries {
        let mut config = policies(SrtpPolicy::Allow, SrtpPolicy::Require);
        config.srtp_suites = vec![call::SrtpSuite::AesCm128HmacSha1_80];
        let mut world = World::with(config, Conditions::PERFECT, 1);
        world.a.invite(world.now, true);
        world.run_ms(20);
        let offered = world
            .b
            .last_body
            .lines()
            .find(|line| line.starts_with("a=crypto:"));
        let media = forge(offered.unwrap(), other);
        let head = "v=0\r\no=ua 77 1 IN IP4 10.2.0.1\r\ns=-\r\nc=IN IP4 10.2.0.1\r\nt=0 0\r\n";
        world
            .b
            .respond(world.now, 200, "b1", Some(&format!("{head}{media}")));
        world.b.incoming = None;
        world.run_ms(5);
        let was_told = world.requests.iter().any(|request| match &request.kind {
            call::MediaKind::Update(legs) => legs[1].lines.iter().any(|line| line.remote.is_some()),
            _ => false,
        });
        assert!(!was_told, "{reason}: the node relays to the callee");
        world.finish();
        assert_eq!(world.a.log, ["502 INVITE"], "{reason}");
        assert_eq!(count(&world, reason), 1, "{:?}", world.b2bua.srtp_refusals());
        let cause = &world.ended().cause.as_ref().unwrap().text;
        assert!(cause.starts_with("SRTP: "), "{cause}");
    }
}

fn secured(crypto: &str) -> String {
    PLAIN.replace("RTP/AVP", "RTP/SAVP") + crypto
}

#[test]
fn hold_and_resume_change_no_key_and_a_new_key_changes_its_leg_alone() {
    let mut world = world(SrtpPolicy::Require, SrtpPolicy::Require, (true, true));
    call(&mut world);
    let before = told(&world);
    for (direction, other) in [("sendonly", "recvonly"), ("sendrecv", "sendrecv")] {
        world.b.direction = other;
        world.a.reinvite(world.now, direction, true);
        world.run_ms(100);
        assert!(world.b.last_body.contains(direction), "{}", world.b.last_body);
        assert_eq!(told(&world), before, "{direction}");
    }
    world.a.key = Some(key(9));
    world.a.reinvite(world.now, "sendrecv", true);
    world.run_ms(100);
    let after = told(&world);
    assert_eq!(after[1], before[1]);
    assert_secured(after[0].as_ref(), &world.a);
    let sent = |told: &[Option<SrtpSpec>; 2]| told[0].as_ref().unwrap().send.clone();
    assert_ne!(
        sent(&after),
        sent(&before),
        "who has a new key gets one (RFC 4568 §7.1.4)"
    );
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_new_key_that_comes_to_nothing_leaves_the_old_ones() {
    let mut world = world(SrtpPolicy::Require, SrtpPolicy::Require, (true, true));
    call(&mut world);
    let before = told(&world);
    world.b.manner = Manner::Reject(488);
    world.a.key = Some(key(9));
    world.a.reinvite(world.now, "sendrecv", true);
    world.run_ms(200);
    assert_eq!(told(&world), before);
    world.b.manner = Manner::Accept;
    world.a.key = Some(key(1));
    world.a.reinvite(world.now, "sendonly", true);
    world.run_ms(200);
    assert_eq!(told(&world), before, "and the next one finds them");
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn an_offer_in_clear_within_a_call_that_must_be_secured_is_refused() {
    let mut world = world(SrtpPolicy::Require, SrtpPolicy::Allow, (true, false));
    call(&mut world);
    let before = told(&world);
    world.a.key = None;
    world.a.reinvite(world.now, "sendrecv", true);
    world.run_ms(200);
    assert_eq!(world.a.log.last().unwrap(), "488 INVITE");
    assert_eq!((told(&world), count(&world, "srtp_required")), (before, 1));
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn forks_have_their_own_keys_and_the_caller_one_answer() {
    let mut world = world(SrtpPolicy::Require, SrtpPolicy::Require, (true, true));
    world.a.invite(world.now, true);
    world.run_ms(20);
    let first = world.b.body();
    world.b.respond(world.now, 183, "b1", Some(&first));
    world.run_ms(20);
    assert_secured(told(&world)[1].as_ref(), &world.b);
    let told_first = ours(&world.a);
    world.b.key = Some(key(7));
    let second = world.b.body();
    world.b.respond(world.now, 183, "b2", Some(&second));
    world.run_ms(20);
    assert_eq!(
        ours(&world.a),
        told_first,
        "our key is the offer's, not the fork's"
    );
    world.b.respond(world.now, 200, "b2", Some(&second));
    world.b.incoming = None;
    world.run_ms(100);
    assert_eq!(ours(&world.a), told_first);
    let told = told(&world);
    assert_secured(told[0].as_ref(), &world.a);
    assert_secured(told[1].as_ref(), &world.b);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn the_next_hop_after_one_that_failed_gets_keys_of_its_own() {
    let mut config = policies(SrtpPolicy::Allow, SrtpPolicy::Require);
    let next_hops = [B, B2].map(|address| NextHop {
        srtp: over_any(SrtpPolicy::Require),
        ..hop(address)
    });
    config.routes = Routes::new([Route {
        prefix: "1".into(),
        weight: None,
        next_hops: next_hops.to_vec(),
    }]);
    let mut world = World::with(config, Conditions::PERFECT, 1);
    world.a.invite(world.now, true);
    world.run_ms(20);
    let first = ours(&world.b);
    world.b.respond(world.now, 503, "b1", None);
    world.run_ms(20);
    assert_ne!(ours(&world.b2), first);
    world.b2.key = Some(key(3));
    world.b2.answer_as(world.now, "b2");
    world.run_ms(100);
    let theirs = String::from_utf8(key(3).to_vec()).unwrap();
    let spec = told(&world)[1].clone().unwrap();
    assert_eq!(base64(&spec.receive[0]), theirs);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_next_hop_that_cannot_be_offered_srtp_is_passed_over() {
    let mut config = policies(SrtpPolicy::Allow, SrtpPolicy::Allow);
    let unreachable = NextHop {
        srtp: Srtp {
            policy: SrtpPolicy::Require,
            over: KeysOver::Tls,
            dtls: Dtls::Allow,
        },
        ..hop(B)
    };
    config.routes = Routes::new([Route {
        prefix: "1".into(),
        weight: None,
        next_hops: vec![unreachable.clone(), hop(B2)],
    }]);
    let mut world = World::with(config.clone(), Conditions::PERFECT, 1);
    world.a.invite(world.now, true);
    world.run_ms(20);
    assert!(world.b.log.is_empty());
    world.b2.answer_as(world.now, "b2");
    world.run_ms(100);
    world.a.bye(world.now);
    world.finish();
    assert_eq!(
        (world.a.log[0].as_str(), count(&world, "srtp_cannot_offer")),
        ("200 INVITE", 1)
    );

    config.routes = Routes::new([Route {
        prefix: "1".into(),
        weight: None,
        next_hops: vec![unreachable],
    }]);
    let mut world = World::with(config, Conditions::PERFECT, 1);
    world.a.invite(world.now, true);
    world.finish();
    assert_eq!(world.a.log, ["503 INVITE"]);
    assert!(world.ended().cause.as_ref().unwrap().text.contains("SRTP"));
}

#[test]
fn late_offers_are_secured_on_each_side() {
    let mut world = world(SrtpPolicy::Require, SrtpPolicy::Require, (true, true));
    world.a.invite(world.now, false);
    world.run_ms(20);
    world.b.answer(world.now);
    world.run_ms(100);
    let told = told(&world);
    assert_secured(told[0].as_ref(), &world.a);
    assert_secured(told[1].as_ref(), &world.b);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_transfer_takes_the_keys_of_who_comes() {
    let mut config = policies(SrtpPolicy::Require, SrtpPolicy::Require);
    config.caller_transfer = call::TransferPolicy::Local;
    let mut world = World::with(config, Conditions::PERFECT, 1);
    for (letter, ua) in [&mut world.a, &mut world.b, &mut world.b2]
        .into_iter()
        .enumerate()
    {
        ua.key = Some(key(letter as u8 + 1));
    }
    call(&mut world);
    let before = told(&world);
    world.b.refer(world.now, "<sip:2000@198.51.100.1>", None);
    world.run_ms(100);
    world.b2.answer_as(world.now, "b2");
    world.run_ms(8_000);
    transfers::assert_hear(&world, &world.a, &world.b2);
    let after = told(&world);
    assert_eq!(after[0], before[0], "who stays keeps its keys");
    assert_secured(after[1].as_ref(), &world.b2);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn an_update_in_an_early_dialog_keeps_the_keys() {
    for by_callee in [false, true] {
        early_update(by_callee);
    }
}

fn early_update(by_callee: bool) {
    let mut world = world(SrtpPolicy::Require, SrtpPolicy::Require, (true, true));
    world.a.pracks = true;
    let body = world.a.body();
    let invite = world
        .a
        .invite_builder("1000")
        .header(sip::HeaderName::Supported, "100rel");
    world
        .a
        .send_invite(world.now, invite.body("application/sdp", body.as_bytes()));
    world.run_ms(20);
    let answer = world.b.body();
    world.b.respond_reliably(world.now, 183, "b1", Some(&answer));
    world.run_ms(100);
    let before = told(&world);
    assert_secured(before[0].as_ref(), &world.a);
    assert_secured(before[1].as_ref(), &world.b);
    let (by, other) = match by_callee {
        true => (&mut world.b, &mut world.a),
        false => (&mut world.a, &mut world.b),
    };
    other.direction = "recvonly";
    let held = by.body().replace("sendrecv", "sendonly");
    by.update_early(world.now, Some(&held));
    world.run_ms(100);
    let heard = if by_callee { &world.a } else { &world.b };
    assert!(
        heard.last_body.contains("sendonly"),
        "{by_callee}: {}",
        heard.last_body
    );
    assert_eq!(told(&world), before);
    world.b.answer(world.now);
    world.run_ms(200);
    assert_eq!(told(&world), before);
    world.a.bye(world.now);
    world.finish();
}
