//! Lines that are secured: what each party gets, what is refused and why, and what keys change.

use std::net::SocketAddr;
use std::time::Duration;

use ::srtp::{MasterKey, Receiver, Sender};
use media_engine::{EngineConfig, Restored, Verdict};
use media_types::{CallSpec, Direction, LineSpec, LocalLine, SrtpKey, SrtpSpec, SrtpSuite};
use sans_io::Random;

use crate::allocation::allocations;
use crate::bench::{Bench, at, call, call_id, config, leg, line, rtcp, rtp};
use crate::relay::locals;
use crate::seeds;

const A: &str = "192.0.2.1:4000";
const A_RTCP: &str = "192.0.2.1:4001";
const B: &str = "192.0.2.2:5000";
const B_RTCP: &str = "192.0.2.2:5001";

/// Room behind a packet, as frames have it.
const ROOM: usize = 128;

fn key(suite: SrtpSuite, byte: u8) -> SrtpKey {
    let len = suite.key_len() + suite.salt_len();
    let material: Vec<u8> = (0..len).map(|place| byte ^ place as u8).collect();
    SrtpKey::new(suite, &material).expect("as long as the suite wants it")
}

fn master(key: &SrtpKey) -> MasterKey {
    MasterKey::new(key.suite(), key.key_and_salt())
        .and_then(|made| made.with_mki(key.mki()))
        .expect("a key")
}

/// A party: what it protects with, and what the node does. Without keys it speaks in clear.
struct Party {
    keys: Option<(SrtpKey, SrtpKey)>,
    sender: Option<Sender>,
    receiver: Option<Receiver>,
}

impl Party {
    fn new(suite: Option<SrtpSuite>, byte: u8) -> Self {
        Self::with(suite.map(|suite| (key(suite, byte), key(suite, byte ^ 0x80))))
    }

    fn with(keys: Option<(SrtpKey, SrtpKey)>) -> Self {
        Self {
            sender: keys
                .as_ref()
                .map(|(own, _)| Sender::new(&master(own), 8).expect("a sender")),
            receiver: keys
                .as_ref()
                .map(|(_, node)| Receiver::new(&master(node), 8).expect("a receiver")),
            keys,
        }
    }

    fn spec(&self) -> Option<SrtpSpec> {
        self.keys.as_ref().map(|(own, node)| SrtpSpec {
            receive: vec![own.clone()],
            send: Some(node.clone()),
        })
    }

    fn line(&self, remote: &str) -> LineSpec {
        LineSpec {
            srtp: self.spec(),
            ..line(remote)
        }
    }

    /// What it puts on the wire.
    fn protect(&mut self, packet: &[u8], is_rtcp: bool) -> Vec<u8> {
        let Some(sender) = &mut self.sender else {
            return packet.to_vec();
        };
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + ROOM, 0);
        let len = match is_rtcp {
            true => sender.protect_rtcp(&mut buffer, packet.len()),
            false => sender.protect_rtp(&mut buffer, packet.len()),
        };
        buffer.truncate(len.expect("protected"));
        buffer
    }

    /// What it makes of what comes by the wire.
    fn unprotect(&mut self, wire: &[u8], is_rtcp: bool) -> Result<Vec<u8>, ::srtp::Error> {
        let Some(receiver) = &mut self.receiver else {
            return Ok(wire.to_vec());
        };
        let mut packet = wire.to_vec();
        let len = match is_rtcp {
            true => receiver.unprotect_rtcp(&mut packet),
            false => receiver.unprotect_rtp(&mut packet),
        }?;
        packet.truncate(len);
        Ok(packet)
    }
}

/// A call of two parties.
struct Talk {
    bench: Bench,
    parties: [Party; 2],
    locals: [LocalLine; 2],
}

impl Talk {
    fn new(parties: [Party; 2]) -> Self {
        Self::on(Bench::new(config()), parties)
    }

    fn on(mut bench: Bench, parties: [Party; 2]) -> Self {
        let spec = call("c", parties[0].line(A), parties[1].line(B));
        let (a, b) = locals(&bench.create(&spec));
        Self {
            bench,
            parties,
            locals: [a, b],
        }
    }

    /// Hands over what comes by the wire from the party at `from`; what leaves, or why it does not.
    fn wire(&mut self, from: usize, is_rtcp: bool, wire: &[u8]) -> Result<Vec<u8>, &'static str> {
        let source = match (from, is_rtcp) {
            (0, false) => A,
            (0, true) => A_RTCP,
            (_, false) => B,
            (_, true) => B_RTCP,
        };
        self.wire_from(at(source), from, is_rtcp, wire)
    }

    fn wire_from(
        &mut self,
        source: SocketAddr,
        from: usize,
        is_rtcp: bool,
        wire: &[u8],
    ) -> Result<Vec<u8>, &'static str> {
        let to = match is_rtcp {
            true => self.locals[from].rtcp,
            false => self.locals[from].rtp,
        };
        let port = self.bench.ports.open[&to];
        let mut buffer = wire.to_vec();
        buffer.resize(wire.len() + ROOM, 0xaa);
        let bench = &mut self.bench;
        match bench
            .engine
            .handle_packet(bench.now, port, source, &mut buffer, wire.len())
        {
            Verdict::Forward { len, .. } => Ok(buffer[..len].to_vec()),
            Verdict::Drop(reason) => Err(reason.reason()),
            Verdict::SetUp(_) => Err("set_up"),
        }
    }

    /// A packet of one party to the other; both judge it.
    fn say(&mut self, from: usize, is_rtcp: bool, packet: &[u8]) -> Result<(), &'static str> {
        let wire = self.parties[from].protect(packet, is_rtcp);
        let out = self.wire(from, is_rtcp, &wire)?;
        let other = &mut self.parties[1 - from];
        if other.keys.is_some() && !is_rtcp {
            assert!(
                !out.windows(8).any(|window| window == &packet[20..28]),
                "payload in clear"
            );
        }
        assert_eq!(other.unprotect(&out, is_rtcp), Ok(packet.to_vec()));
        Ok(())
    }

    fn drops(&mut self, leg: usize, reason: &str) -> u64 {
        let report = self.bench.query("c").expect("the call");
        let drops = &report.legs[leg].lines[0].drops;
        drops
            .iter()
            .find(|(label, _)| *label == reason)
            .map_or(0, |drop| drop.1)
    }

    fn update(&mut self, leg_at: usize, line: LineSpec) {
        let name = ["a", "b"][leg_at];
        self.bench.update("c", &[leg(name, vec![line])]);
    }
}

fn voice(seq: u16, ssrc: u32) -> Vec<u8> {
    let mut packet = rtp(8, seq, u32::from(seq) * 160, ssrc);
    for (place, byte) in packet[12..].iter_mut().enumerate() {
        *byte = (place as u8).wrapping_mul(7) ^ seq as u8;
    }
    packet
}

#[test]
fn every_pair_of_suites_and_clear_speaks_both_ways() {
    let mut suites: Vec<Option<SrtpSuite>> = SrtpSuite::ALL.into_iter().map(Some).collect();
    suites.push(None);
    for a in &suites {
        for b in &suites {
            let mut talk = Talk::new([Party::new(*a, 1), Party::new(*b, 2)]);
            for seq in 0..20 {
                for from in 0..2 {
                    assert_eq!(talk.say(from, false, &voice(seq, 7 + from as u32)), Ok(()));
                    if seq % 5 == 1 {
                        assert_eq!(
                            talk.say(from, true, &rtcp(7 + from as u32)),
                            Ok(()),
                            "{a:?} {b:?}"
                        );
                    }
                }
            }
            let report = talk.bench.query("c").expect("the call");
            for (leg, suite) in report.legs.iter().zip([a, b]) {
                let line = &leg.lines[0];
                assert_eq!(
                    line.srtp.map(|it| (it.receive, it.send)),
                    suite.map(|it| (Some(it), Some(it)))
                );
                assert_eq!(line.drops, [], "{a:?} {b:?}");
                // Counted as it is in clear: what encryption adds is not media.
                assert_eq!(line.streams[0].packets, 20);
                assert_eq!(line.streams[0].bytes, 20 * 172);
            }
        }
    }
}

#[test]
fn what_is_forged_replayed_cut_or_in_clear_is_refused_with_its_reason() {
    for suite in SrtpSuite::ALL {
        let mut talk = Talk::new([Party::new(Some(suite), 1), Party::new(None, 2)]);
        let good = talk.parties[0].protect(&voice(1, 7), false);
        // In clear, and under another key, before anything was learned: nothing is.
        assert_eq!(talk.wire(0, false, &voice(1, 7)), Err("srtp_authentication"));
        let forged = Party::new(Some(suite), 9).protect(&voice(1, 7), false);
        assert_eq!(talk.wire(0, false, &forged), Err("srtp_authentication"));
        let report = talk.bench.query("c").expect("the call");
        assert_eq!(report.legs[0].lines[0].learned, None, "{suite:?}");
        assert!(report.legs[0].lines[0].streams.is_empty());
        for len in 12..good.len() {
            let cut = talk.wire(0, false, &good[..len]);
            assert!(
                matches!(cut, Err("srtp_authentication" | "srtp_malformed")),
                "{suite:?} {len}: {cut:?}"
            );
        }
        for place in 12..good.len() {
            let mut changed = good.clone();
            changed[place] ^= 0x10;
            assert_eq!(talk.wire(0, false, &changed), Err("srtp_authentication"));
        }
        assert_eq!(talk.wire(0, false, &good), Ok(voice(1, 7)));
        assert_eq!(talk.wire(0, false, &good), Err("srtp_replayed"));
        // Strangers are not worth a tag any more.
        let next = talk.parties[0].protect(&voice(2, 7), false);
        assert_eq!(
            talk.wire_from(at("203.0.113.9:1"), 0, false, &next),
            Err("source_locked")
        );
        assert_eq!(talk.wire(0, false, &next), Ok(voice(2, 7)));
        // RTCP alike.
        let report = talk.parties[0].protect(&rtcp(7), true);
        assert_eq!(talk.wire(0, true, &rtcp(7)), Err("srtp_malformed"));
        let mut changed = report.clone();
        changed[8] ^= 1;
        assert_eq!(talk.wire(0, true, &changed), Err("srtp_authentication"));
        assert_eq!(talk.wire(0, true, &report), Ok(rtcp(7)));
        assert_eq!(talk.wire(0, true, &report), Err("srtp_replayed"));
        assert_eq!(talk.drops(0, "srtp_replayed"), 2);
        let counted: u64 = talk.bench.engine.counters().dropped_total();
        let told = talk.bench.query("c").expect("the call");
        let told: u64 = told.legs[0].lines[0].drops.iter().map(|drop| drop.1).sum();
        assert_eq!(told, counted, "all of them on its line");
    }
}

#[test]
fn without_a_key_nothing_passes_in_its_direction() {
    let suite = SrtpSuite::AesCm128HmacSha1_80;
    let mut talk = Talk::new([Party::new(None, 1), Party::new(None, 2)]);
    talk.parties[0] = Party::new(Some(suite), 1);
    let (own, node) = talk.parties[0].keys.clone().expect("keys");
    let with = |receive: Vec<SrtpKey>, send: Option<SrtpKey>| LineSpec {
        srtp: Some(SrtpSpec { receive, send }),
        ..line(A)
    };
    talk.update(0, with(Vec::new(), None));
    let wire = talk.parties[0].protect(&voice(1, 7), false);
    assert_eq!(talk.wire(0, false, &wire), Err("no_key"));
    assert_eq!(talk.wire(0, false, &voice(1, 7)), Err("no_key"));
    assert_eq!(talk.wire(1, false, &voice(1, 8)), Err("no_key"));
    assert_eq!(talk.wire(1, true, &rtcp(8)), Err("no_key"));
    talk.update(0, with(vec![own.clone()], None));
    assert_eq!(talk.wire(0, false, &wire), Ok(voice(1, 7)));
    assert_eq!(talk.wire(1, false, &voice(2, 8)), Err("no_key"));
    talk.update(0, with(vec![own], Some(node)));
    assert_eq!(talk.say(1, false, &voice(3, 8)), Ok(()));
    assert_eq!(talk.drops(1, "no_key"), 3);
}

#[test]
fn a_refreshed_description_keeps_rollover_counters_and_windows() {
    let mut talk = Talk::new([
        Party::new(Some(SrtpSuite::AeadAes128Gcm), 1),
        Party::new(Some(SrtpSuite::AesCm256HmacSha1_32), 2),
    ]);
    for seq in 65_500..=65_535 {
        assert_eq!(talk.say(0, false, &voice(seq, 7)), Ok(()));
        assert_eq!(talk.say(1, false, &voice(seq, 8)), Ok(()));
    }
    for seq in 0..10 {
        assert_eq!(talk.say(0, false, &voice(seq, 7)), Ok(()), "after the wrap");
        assert_eq!(talk.say(1, false, &voice(seq, 8)), Ok(()));
    }
    let replayed = talk.parties[0].protect(&voice(10, 7), false);
    assert!(talk.wire(0, false, &replayed).is_ok());
    // Hold and resume, with the keys that were.
    for direction in [Direction::SendOnly, Direction::SendRecv] {
        let held = LineSpec {
            direction,
            ..talk.parties[0].line(A)
        };
        talk.update(0, held);
    }
    assert_eq!(talk.wire(0, false, &replayed), Err("srtp_replayed"));
    for seq in 11..20 {
        assert_eq!(talk.say(0, false, &voice(seq, 7)), Ok(()));
        assert_eq!(talk.say(1, false, &voice(seq, 8)), Ok(()));
    }
}

#[test]
fn other_keys_take_over_without_a_gap() {
    let suite = SrtpSuite::AesCm128HmacSha1_80;
    let mut talk = Talk::new([Party::new(Some(suite), 1), Party::new(None, 2)]);
    assert_eq!(talk.say(0, false, &voice(1, 7)), Ok(()));
    assert_eq!(talk.say(1, false, &voice(1, 8)), Ok(()));
    let mut after = Party::with(Some((key(suite, 3), key(suite, 4))));
    talk.update(0, after.line(A));
    // Under way when the answer came.
    assert_eq!(talk.say(0, false, &voice(2, 7)), Ok(()));
    let late = talk.parties[0].protect(&voice(3, 7), false);
    std::mem::swap(&mut talk.parties[0], &mut after);
    assert_eq!(
        talk.say(1, false, &voice(2, 8)),
        Ok(()),
        "the node uses its new key at once"
    );
    assert_eq!(talk.say(0, false, &voice(4, 7)), Ok(()));
    // The party has used the new one: the old one is over.
    assert_eq!(talk.wire(0, false, &late), Err("srtp_authentication"));

    // A party that never uses it has ten seconds.
    let third = Party::with(Some((key(suite, 5), key(suite, 6))));
    talk.update(0, third.line(A));
    let (one, other) = (
        talk.parties[0].protect(&voice(5, 7), false),
        talk.parties[0].protect(&voice(6, 7), false),
    );
    talk.bench.pass(Duration::from_millis(9_900));
    assert_eq!(talk.wire(0, false, &one), Ok(voice(5, 7)));
    talk.bench.pass(Duration::from_millis(200));
    assert_eq!(talk.wire(0, false, &other), Err("srtp_authentication"));
}

#[test]
fn a_party_with_several_keys_names_the_one_that_it_uses() {
    let suite = SrtpSuite::AesCm128HmacSha1_80;
    let keys: Vec<SrtpKey> = (1..=3u8).map(|n| key(suite, n).with_mki(&[0, n])).collect();
    let spec = LineSpec {
        srtp: Some(SrtpSpec {
            receive: keys.clone(),
            send: None,
        }),
        ..line(A)
    };
    let mut talk = Talk::new([Party::new(None, 1), Party::new(None, 2)]);
    talk.update(0, spec);
    for (seq, key) in (1..).zip(&keys) {
        let mut party = Party::with(Some((key.clone(), key.clone())));
        let wire = party.protect(&voice(seq, 7), false);
        assert_eq!(talk.wire(0, false, &wire), Ok(voice(seq, 7)));
    }
    let unknown = key(suite, 9).with_mki(&[0, 9]);
    let wire = Party::with(Some((unknown.clone(), unknown))).protect(&voice(9, 7), false);
    assert_eq!(talk.wire(0, false, &wire), Err("srtp_malformed"));
}

#[test]
fn ssrcs_beyond_the_limit_are_refused_and_those_within_go_on() {
    let mut config = config();
    config.limits.srtp_ssrcs_per_line_max = 4;
    let suite = Some(SrtpSuite::AeadAes128Gcm);
    let mut talk = Talk::on(Bench::new(config), [Party::new(None, 1), Party::new(suite, 2)]);
    for ssrc in 0..4 {
        assert_eq!(talk.say(0, false, &voice(1, ssrc)), Ok(()));
    }
    assert_eq!(talk.wire(0, false, &voice(1, 4)), Err("srtp_streams"));
    assert_eq!(talk.say(0, false, &voice(2, 3)), Ok(()));
}

#[test]
fn secured_lines_stay_out_of_the_kernel() {
    let config = EngineConfig {
        kernel: true,
        ..config()
    };
    let suite = Some(SrtpSuite::AeadAes128Gcm);
    let mut talk = Talk::on(Bench::new(config), [Party::new(None, 1), Party::new(suite, 2)]);
    for seq in 0..5 {
        assert_eq!(talk.say(0, false, &voice(seq, 7)), Ok(()));
        assert_eq!(talk.say(1, false, &voice(seq, 8)), Ok(()));
        talk.bench.pass(Duration::from_millis(20));
    }
    let report = talk.bench.query("c").expect("the call");
    for leg in &report.legs {
        assert_eq!(leg.lines[0].path_reason, "SRTP: the payload changes");
    }
    // In clear again, by another description, it may go there.
    talk.update(1, line(B));
    let report = talk.bench.query("c").expect("the call");
    assert_eq!(report.legs[0].lines[0].srtp, None);
    assert_ne!(report.legs[0].lines[0].path_reason, "SRTP: the payload changes");
}

#[test]
fn another_process_goes_on_with_the_same_indexes_or_not_at_all() {
    let suites = [SrtpSuite::AesCm128HmacSha1_80, SrtpSuite::AeadAes256Gcm];
    let parties = || suites.map(Some).map(|suite| Party::new(suite, 1));
    let mut talk = Talk::new(parties());
    for seq in (65_530..=65_535).chain(0..5) {
        assert_eq!(talk.say(0, false, &voice(seq, 7)), Ok(()));
        assert_eq!(talk.say(1, false, &voice(seq, 8)), Ok(()));
    }
    assert_eq!(talk.say(1, true, &rtcp(8)), Ok(()));
    let seen = talk.parties[0].protect(&voice(5, 7), false);
    assert!(talk.wire(0, false, &seen).is_ok());
    let state = talk
        .bench
        .engine
        .state(talk.bench.now, &call_id("c"))
        .expect("the call");
    let spec: CallSpec = call("c", talk.parties[0].line(A), talk.parties[1].line(B));
    let legs: [_; 2] = spec.legs.try_into().expect("two legs");
    let restore = |state: media_engine::CallState| {
        let mut bench = Bench::new(config());
        bench.now = talk.bench.now;
        let restored = Restored {
            id: call_id("c"),
            legs: legs.clone(),
            state,
        };
        let report = bench.engine.restore(bench.now, &mut bench.ports, &restored);
        let (a, b) = locals(&report.expect("restored"));
        (bench, [a, b])
    };
    let (bench, locals) = restore(state.clone());
    let mut next = Talk {
        bench,
        locals,
        parties: talk.parties,
    };
    assert_eq!(next.wire(0, false, &seen), Err("srtp_replayed"));
    for seq in 6..20 {
        assert_eq!(next.say(0, false, &voice(seq, 7)), Ok(()));
        assert_eq!(next.say(1, false, &voice(seq, 8)), Ok(()));
    }
    assert_eq!(next.say(1, true, &rtcp(8)), Ok(()));

    // Without the indexes a keystream would be used twice.
    let mut bare = state;
    for line in bare.lines.iter_mut().flatten() {
        line.security = None;
    }
    let mut bench = Bench::new(config());
    bench.now = next.bench.now;
    let restored = Restored {
        id: call_id("c"),
        legs,
        state: bare,
    };
    let report = bench.engine.restore(bench.now, &mut bench.ports, &restored);
    let (a, b) = crate::relay::locals(&report.expect("restored"));
    let mut silent = Talk {
        bench,
        locals: [a, b],
        parties: next.parties,
    };
    let wire = silent.parties[0].protect(&voice(30, 7), false);
    assert_eq!(silent.wire(0, false, &wire), Err("no_key"));
}

/// A network that loses, doubles and reorders, over the wrap of the sequence number: what arrives is what was said, once.
#[test]
fn loss_and_reordering_around_the_wrap_change_nothing() {
    seeds::for_each("loss_and_reordering_around_the_wrap_change_nothing", 40, |seed| {
        let mut random = Random::from_number(seed);
        let mut pick = || SrtpSuite::ALL[random.below(6) as usize];
        let suites = [pick(), pick()];
        let mut talk = Talk::new([Party::new(Some(suites[0]), 1), Party::new(Some(suites[1]), 2)]);
        let first = 65_000 + random.below(600) as u32;
        let mut window: Vec<(u16, Vec<u8>)> = Vec::new();
        let mut forwarded = 0;
        for number in first..first + 900 {
            let packet = voice(number as u16, 7);
            let wire = talk.parties[0].protect(&packet, false);
            // The first one fixes the rollover counter for both.
            if number > first && random.chance_permille(100) {
                continue;
            }
            window.push((number as u16, wire.clone()));
            if random.chance_permille(50) {
                window.push((number as u16, wire));
            }
            while window.len() > if number == first { 0 } else { 20 } {
                let at = random.below(window.len() as u64) as usize;
                let (seq, wire) = window.swap_remove(at);
                match talk.wire(0, false, &wire) {
                    Ok(out) => {
                        forwarded += 1;
                        assert_eq!(
                            talk.parties[1].unprotect(&out, false),
                            Ok(voice(seq, 7)),
                            "SEED={seed} {suites:?} {seq}"
                        );
                    }
                    Err(reason) => assert_eq!(reason, "srtp_replayed", "SEED={seed} {suites:?} {seq}"),
                }
            }
        }
        assert!(forwarded > 700, "SEED={seed}: {forwarded}");
        assert!(talk.drops(0, "srtp_replayed") > 0, "SEED={seed}");
    });
}

/// How a sending key may leave and come back: each time by the updates that lead there and back.
fn detours(own: &Party, other: &SrtpKey) -> Vec<(&'static str, Vec<LineSpec>)> {
    let (receive, send) = own.keys.clone().expect("keys");
    let with = |send: SrtpKey| LineSpec {
        srtp: Some(SrtpSpec {
            receive: vec![receive.clone()],
            send: Some(send),
        }),
        ..line(A)
    };
    let disabled = LineSpec {
        enabled: false,
        ..own.line(A)
    };
    let silent = LineSpec {
        srtp: Some(SrtpSpec {
            receive: vec![receive.clone()],
            send: None,
        }),
        ..line(A)
    };
    vec![
        ("another key", vec![with(other.clone()), own.line(A)]),
        ("no key", vec![silent, own.line(A)]),
        ("in clear", vec![line(A), own.line(A)]),
        ("disabled", vec![disabled, own.line(A)]),
        (
            "another lifetime",
            vec![with(send.with_lifetime(1 << 40)), own.line(A)],
        ),
    ]
}

/// RFC 3711 §9.1: one key, one use of each index. The party, whose own windows go on, would refuse what comes twice.
#[test]
fn a_sending_key_that_comes_back_goes_on_with_its_indexes() {
    for suite in [SrtpSuite::AesCm128HmacSha1_80, SrtpSuite::AeadAes128Gcm] {
        let own = Party::new(Some(suite), 1);
        for (way, updates) in detours(&own, &key(suite, 77)) {
            let mut talk = Talk::new([Party::new(Some(suite), 1), Party::new(None, 2)]);
            for seq in (65_500..=65_535).chain(0..50) {
                assert_eq!(talk.say(1, false, &voice(seq, 8)), Ok(()));
            }
            for _ in 0..5 {
                assert_eq!(talk.say(1, true, &rtcp(8)), Ok(()));
            }
            for update in updates {
                talk.update(0, update);
            }
            // A line that was disabled has other ports.
            let report = talk.bench.query("c").expect("the call");
            let (a, b) = locals(&report);
            talk.locals = [a, b];
            assert_eq!(talk.say(1, true, &rtcp(8)), Ok(()), "{suite:?}, {way}");
            assert_eq!(talk.say(1, false, &voice(50, 8)), Ok(()), "{suite:?}, {way}");
        }
    }
}

#[test]
fn a_receiving_key_that_stays_or_comes_back_keeps_its_window_and_counter() {
    let suite = SrtpSuite::AesCm128HmacSha1_80;
    let keys: Vec<SrtpKey> = (1..=2u8).map(|n| key(suite, n).with_mki(&[n])).collect();
    let with = |receive: &[SrtpKey]| LineSpec {
        srtp: Some(SrtpSpec {
            receive: receive.to_vec(),
            send: None,
        }),
        ..line(A)
    };
    for (way, updates) in [
        ("one more", vec![with(&keys)]),
        (
            "another order",
            vec![with(&keys), with(&[keys[1].clone(), keys[0].clone()])],
        ),
        ("away and back", vec![with(&[]), with(&keys[..1])]),
        ("another and back", vec![with(&keys[1..]), with(&keys[..1])]),
        ("in clear and back", vec![line(A), with(&keys[..1])]),
    ] {
        let mut talk = Talk::new([Party::new(None, 1), Party::new(None, 2)]);
        talk.update(0, with(&keys[..1]));
        let mut party = Party::with(Some((keys[0].clone(), keys[0].clone())));
        let mut recorded = Vec::new();
        for seq in (65_500..=65_535).chain(0..50) {
            let wire = party.protect(&voice(seq, 7), false);
            assert_eq!(talk.wire(0, false, &wire), Ok(voice(seq, 7)));
            recorded.push(wire);
        }
        for update in updates {
            talk.update(0, update);
        }
        for wire in &recorded {
            assert_eq!(talk.wire(0, false, wire), Err("srtp_replayed"), "{way}");
        }
        let wire = party.protect(&voice(50, 7), false);
        assert_eq!(talk.wire(0, false, &wire), Ok(voice(50, 7)), "{way}");
        talk.bench.pass(Duration::from_secs(11));
        let wire = party.protect(&voice(51, 7), false);
        assert_eq!(talk.wire(0, false, &wire), Ok(voice(51, 7)), "{way}, later");
    }
}

#[test]
fn the_keys_before_last_have_their_ten_seconds_too_when_there_was_none_between() {
    let suite = SrtpSuite::AesCm128HmacSha1_80;
    let mut talk = Talk::new([Party::new(Some(suite), 1), Party::new(None, 2)]);
    assert_eq!(talk.say(0, false, &voice(1, 7)), Ok(()));
    let without = LineSpec {
        srtp: Some(SrtpSpec::default()),
        ..line(A)
    };
    talk.update(0, without);
    talk.update(0, Party::new(Some(suite), 9).line(A));
    assert_eq!(talk.say(0, false, &voice(2, 7)), Ok(()));
}

/// A replay is judged by the keys that are signalled: what they have seen, the keys before cannot take again.
#[test]
fn what_the_new_keys_have_seen_the_keys_before_do_not_take_again() {
    let suite = SrtpSuite::AesCm128HmacSha1_80;
    let keys: Vec<SrtpKey> = (1..=2u8).map(|n| key(suite, n).with_mki(&[n])).collect();
    let with = |receive: &[SrtpKey]| LineSpec {
        srtp: Some(SrtpSpec {
            receive: receive.to_vec(),
            send: None,
        }),
        ..line(A)
    };
    let mut talk = Talk::new([Party::new(None, 1), Party::new(None, 2)]);
    talk.update(0, with(&keys));
    talk.update(0, with(&keys[1..]));
    let mut party = Party::with(Some((keys[1].clone(), keys[1].clone())));
    let wire = party.protect(&voice(1, 7), false);
    assert_eq!(talk.wire(0, false, &wire), Ok(voice(1, 7)));
    assert_eq!(talk.wire(0, false, &wire), Err("srtp_replayed"));
}

#[test]
fn more_keys_than_a_line_remembers_are_refused() {
    let mut config = config();
    config.limits.srtp_keys_per_line_max = 3;
    let suite = SrtpSuite::AesCm128HmacSha1_80;
    let mut talk = Talk::on(
        Bench::new(config),
        [Party::new(Some(suite), 1), Party::new(None, 2)],
    );
    let with = |byte: u8| LineSpec {
        srtp: Some(SrtpSpec {
            receive: Vec::new(),
            send: Some(key(suite, byte)),
        }),
        ..line(A)
    };
    let node = |talk: &mut Talk, byte: u8| {
        let key = talk.bench.fresh_key();
        let legs = [leg("a", vec![with(byte)])];
        let bench = &mut talk.bench;
        let id = call_id("c");
        bench
            .engine
            .update(bench.now, &mut bench.ports, &key, &id, &legs)
            .is_ok()
    };
    assert!(node(&mut talk, 21));
    assert!(node(&mut talk, 22));
    assert!(!node(&mut talk, 23), "a fourth one");
    assert!(node(&mut talk, 21), "known ones may come back");
}

#[test]
fn a_key_whose_indexes_were_lost_passes_nothing_until_there_is_another() {
    let suite = SrtpSuite::AeadAes128Gcm;
    let mut talk = Talk::new([Party::new(Some(suite), 1), Party::new(None, 2)]);
    assert_eq!(talk.say(1, true, &rtcp(8)), Ok(()));
    let mut state = talk
        .bench
        .engine
        .state(talk.bench.now, &call_id("c"))
        .expect("the call");
    for line in state.lines.iter_mut().flatten() {
        line.security = None;
    }
    let spec: CallSpec = call("c", talk.parties[0].line(A), talk.parties[1].line(B));
    let restored = Restored {
        id: call_id("c"),
        legs: spec.legs.try_into().expect("two legs"),
        state,
    };
    let mut bench = Bench::new(config());
    let report = bench.engine.restore(bench.now, &mut bench.ports, &restored);
    let (a, b) = locals(&report.expect("restored"));
    let mut next = Talk {
        bench,
        locals: [a, b],
        parties: talk.parties,
    };
    // The same keys again, as a hold or a refresh names them.
    next.update(0, next.parties[0].line(A));
    assert_eq!(next.wire(1, true, &rtcp(8)), Err("no_key"));
    next.update(0, line(A));
    next.update(0, next.parties[0].line(A));
    assert_eq!(next.wire(1, true, &rtcp(8)), Err("no_key"));
    let fresh = Party::new(Some(suite), 99);
    next.update(0, fresh.line(A));
    next.parties[0] = fresh;
    assert_eq!(next.say(1, true, &rtcp(8)), Ok(()));
}

#[test]
fn encryption_does_not_allocate() {
    for suite in [SrtpSuite::AesCm128HmacSha1_80, SrtpSuite::AeadAes256Gcm] {
        let mut talk = Talk::new([Party::new(Some(suite), 1), Party::new(Some(suite), 2)]);
        let mut packets = Vec::new();
        for seq in 0..50u16 {
            let mut wire = talk.parties[0].protect(&voice(seq, u32::from(seq / 20)), false);
            let len = wire.len();
            wire.resize(len + ROOM, 0);
            packets.push((talk.locals[0].rtp, at(A), wire.clone(), len));
            packets.push((talk.locals[0].rtp, at(A), wire, len));
            let mut wire = talk.parties[1].protect(&rtcp(8), true);
            let len = wire.len();
            wire.resize(len + ROOM, 0);
            packets.push((talk.locals[1].rtcp, at(B_RTCP), wire, len));
        }
        let ports = packets.iter().map(|packet| talk.bench.ports.open[&packet.0]);
        let ports: Vec<_> = ports.collect();
        let (engine, now) = (&mut talk.bench.engine, talk.bench.now);
        let mut forwarded = 0;
        let count = allocations(|| {
            for ((_, source, buffer, len), port) in packets.iter_mut().zip(&ports) {
                let verdict = engine.handle_packet(now, *port, *source, buffer, *len);
                forwarded += u32::from(matches!(verdict, Verdict::Forward { .. }));
            }
        });
        assert_eq!(count, 0, "{suite:?}");
        assert_eq!(forwarded, 100, "{suite:?}");
    }
}

/// Two parties of one host: what comes under the keys of the one before moves the lock to nobody, and goes on from where the party is
/// said to be.
#[test]
fn packets_under_the_keys_before_teach_no_source() {
    let suite = SrtpSuite::AesCm128HmacSha1_80;
    let (elsewhere, moved) = ("192.0.2.1:4700", "192.0.2.1:4600");
    let line = |party: &Party, remote: &str| LineSpec {
        latching: media_types::Latching::SameAddress,
        ..party.line(remote)
    };
    let mut talk = Talk::new([Party::new(Some(suite), 1), Party::new(None, 2)]);
    assert_eq!(talk.say(0, false, &voice(1, 7)), Ok(()));
    let mut after = Party::with(Some((key(suite, 3), key(suite, 4))));
    talk.update(0, line(&after, moved));
    let learned = |talk: &mut Talk| talk.bench.query("c").expect("the call").legs[0].lines[0].learned;
    for number in 2..12 {
        let old = talk.parties[0].protect(&voice(number, 7), false);
        let fate = talk.wire_from(at(elsewhere), 0, false, &old);
        assert_eq!(fate, Err("source_learning"), "{number}");
        assert_eq!(learned(&mut talk), None);
    }
    let old = talk.parties[0].protect(&voice(12, 7), false);
    assert_eq!(
        talk.wire_from(at(moved), 0, false, &old),
        Ok(voice(12, 7)),
        "no gap"
    );
    assert_eq!(learned(&mut talk), None);
    for number in 13..16 {
        let new = after.protect(&voice(number, 7), false);
        let _ = talk.wire_from(at(elsewhere), 0, false, &new);
    }
    assert_eq!(learned(&mut talk), Some(at(elsewhere)));
}
