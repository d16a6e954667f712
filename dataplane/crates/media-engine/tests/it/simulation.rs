//! A call between two parties over bad networks while strangers shoot at its ports.
//!
//! Invariants: what reaches a party is exactly what the other one's network carried to us, in the order in which it
//! came; nothing of a stranger is ever forwarded; every datagram has one fate; the statistics are those of a naive
//! model; every port is closed in the end.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use media_engine::Verdict;
use media_types::{Latching, LineSpec, LocalLine, StreamReport};
use rtp::{Header, PayloadType, RtpTimestamp, Seq, Ssrc};
use sans_io::network::{Conditions, Network};
use sans_io::{Random, Timestamp};

use crate::bench::{Bench, call, config, hand_over, line, rtcp};
use crate::relay::locals;
use crate::seeds;

const PACKETS: u32 = 400;
const PTIME: Duration = Duration::from_millis(20);

/// What a party sent: the number of an RTP packet, or RTCP.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Rtp(u32),
    Rtcp,
}

/// One party, with what the test knows of it.
struct Party {
    signalled: SocketAddr,
    /// Where its packets come from: the signalled address, or what its NAT makes of it.
    source: SocketAddr,
    rtcp_source: SocketAddr,
    local: LocalLine,
    header: Header,
    /// Its RTP packets that were forwarded, by their numbers, with the time at which they came.
    taken: Vec<(Timestamp, u32)>,
    /// Its RTP packets that were not, while its source was being learned.
    before_lock: u64,
}

struct World {
    bench: Bench,
    random: Random,
    parties: [Party; 2],
    network: Network<SocketAddr, (usize, Kind, Vec<u8>)>,
    handed_over: u64,
}

/// A line's specification, and the addresses that its party really uses.
fn party_line(random: &mut Random, host: u8) -> (LineSpec, SocketAddr, SocketAddr) {
    let signalled = SocketAddr::from(([192, 0, 2, host], 4_000));
    let (latching, source) = match random.below(4) {
        0 => (Latching::Off, signalled),
        1 => (Latching::SameAddress, signalled),
        2 => (
            Latching::SameAddress,
            SocketAddr::from(([192, 0, 2, host], 61_000)),
        ),
        _ => (
            Latching::AnyAddress,
            SocketAddr::from(([203, 0, 113, host], 50_000)),
        ),
    };
    let rtcp_mux = random.chance_permille(300);
    let rtcp_source = SocketAddr::new(source.ip(), source.port() + u16::from(!rtcp_mux));
    (
        LineSpec {
            latching,
            rtcp_mux,
            ..line(&signalled.to_string())
        },
        source,
        rtcp_source,
    )
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::from_number(seed);
        let mut bench = Bench::seeded(config(), seed);
        let sides = [party_line(&mut random, 1), party_line(&mut random, 2)];
        let (local_a, local_b) = locals(&bench.create(&call("c", sides[0].0.clone(), sides[1].0.clone())));
        let mut party = |side: &(LineSpec, SocketAddr, SocketAddr), local| Party {
            signalled: side.0.remote.expect("it was signalled"),
            source: side.1,
            rtcp_source: side.2,
            local,
            header: Header {
                payload_type: PayloadType::PCMA,
                // So near to the end of the numbers that most calls wrap.
                seq: Seq(65_535 - random.below(500) as u16),
                timestamp: RtpTimestamp(random.next_u64() as u32),
                ssrc: Ssrc(random.next_u64() as u32),
                marker: true,
            },
            taken: Vec::new(),
            before_lock: 0,
        };
        let parties = [party(&sides[0], local_a), party(&sides[1], local_b)];
        let conditions = Conditions {
            loss_permille: random.below(200),
            duplication_permille: random.below(100),
            delay_min: Duration::from_millis(5),
            delay_max: Duration::from_millis(5 + random.below(120)),
        };
        let network = Network::new(conditions, random.fork());
        Self {
            bench,
            random,
            parties,
            network,
            handed_over: 0,
        }
    }

    fn run(&mut self) {
        let start = self.bench.now;
        for n in 0..PACKETS {
            let now = start + PTIME * n;
            self.deliver(now);
            self.bench.now = now;
            for at in 0..2 {
                self.speak(n, at);
                self.shoot(at);
            }
        }
        self.deliver(Timestamp::MAX);
    }

    /// A party sends a packet, and RTCP once a second.
    fn speak(&mut self, n: u32, at: usize) {
        let party = &mut self.parties[at];
        let (now, ssrc) = (self.bench.now, party.header.ssrc);
        let packet = [&party.header.to_bytes()[..], &[n as u8; 160]].concat();
        party.header = party.header.next(160);
        self.network
            .send(now, party.source, party.local.rtp, (at, Kind::Rtp(n), packet));
        if n % 50 == 49 {
            self.network.send(
                now,
                party.rtcp_source,
                party.local.rtcp,
                (at, Kind::Rtcp, rtcp(ssrc.0)),
            );
        }
    }

    /// Hands over what has landed by `until` and judges the verdicts.
    fn deliver(&mut self, until: Timestamp) {
        while let Some(at) = self.network.poll_timeout().filter(|at| *at <= until)
            && let Some((from, to, (sender, kind, bytes))) = self.network.receive(at)
        {
            self.bench.now = at;
            self.handed_over += 1;
            let port = self.bench.ports.open[&to];
            let verdict = hand_over(&mut self.bench.engine, at, port, from, &bytes);
            self.judge(sender, kind, verdict);
        }
    }

    fn judge(&mut self, sender: usize, kind: Kind, verdict: Verdict) {
        let (now, other) = (self.bench.now, 1 - sender);
        let behind_nat = |party: &Party| party.source != party.signalled;
        match (kind, verdict) {
            (Kind::Rtp(n), Verdict::Forward { port, to, .. }) => {
                let listener = &self.parties[other];
                assert_eq!(self.bench.ports.local(port), listener.local.rtp);
                let expected = if listener.taken.is_empty() {
                    listener.signalled
                } else {
                    listener.source
                };
                assert_eq!(to, expected, "party {other}");
                self.parties[sender].taken.push((now, n));
            }
            (Kind::Rtp(n), Verdict::Drop(reason)) => {
                let party = &mut self.parties[sender];
                let learning = behind_nat(party) && party.taken.is_empty();
                assert!(
                    learning && reason.reason() == "source_learning",
                    "packet {n}: {reason:?}"
                );
                party.before_lock += 1;
            }
            (Kind::Rtcp, Verdict::Forward { port, .. }) => {
                assert_eq!(self.bench.ports.local(port), self.parties[other].local.rtcp);
            }
            (Kind::Rtcp, Verdict::Drop(reason)) => match reason.reason() {
                "rtcp_source" => assert!(self.parties[sender].taken.is_empty()),
                "no_destination" => assert!(behind_nat(&self.parties[other])),
                reason => panic!("RTCP of party {sender} was dropped: {reason}"),
            },
            (kind, Verdict::SetUp(_)) => panic!("{kind:?} is nothing of a line's setting up"),
        }
    }

    /// Strangers send to both ports of a party's line. They may know everything but cannot receive.
    fn shoot(&mut self, at: usize) {
        for _ in 0..self.random.below(4) {
            let (datagram, only_own_source_is_safe) = self.ammunition(at);
            // One that keeps its address and sends as a party does could be taken for one behind a NAT as long as
            // the party itself has not been found: the policy allows that.
            let found = !self.parties[at].taken.is_empty();
            let stranger = match self.random.below(4) {
                0 if found => SocketAddr::from(([198, 51, 100, 66], 6_666)),
                1 if only_own_source_is_safe => self.parties[at].source,
                2 => SocketAddr::new(
                    self.parties[at].source.ip(),
                    1_024 + self.random.below(20_000) as u16,
                ),
                _ => SocketAddr::from((
                    [198, 51, 100, self.random.below(256) as u8],
                    1_024 + self.random.below(60_000) as u16,
                )),
            };
            if [4_000, 4_001].contains(&stranger.port()) {
                continue;
            }
            let local = self.parties[at].local;
            let to = if self.random.chance_permille(700) {
                local.rtp
            } else {
                local.rtcp
            };
            let port = self.bench.ports.open[&to];
            self.handed_over += 1;
            let verdict = hand_over(&mut self.bench.engine, self.bench.now, port, stranger, &datagram);
            assert!(
                matches!(verdict, Verdict::Drop(_)),
                "from {stranger} to {to}: {datagram:02x?}"
            );
        }
    }

    /// A datagram to shoot with, and whether it must be dropped even if it comes from the party's own source.
    fn ammunition(&mut self, at: usize) -> (Vec<u8>, bool) {
        let random = &mut self.random;
        // A perfect forgery of the next packet but for where it comes from; or of another stream.
        let forgery = [&self.parties[at].header.to_bytes()[..], &[0xee; 160]].concat();
        match random.below(8) {
            0 => (forgery, false),
            1 => {
                let header = Header {
                    ssrc: Ssrc(random.next_u64() as u32),
                    ..self.parties[at].header
                };
                (header.to_bytes().to_vec(), false)
            }
            2 => (
                vec![[0, 0, 1, 1], [16, 0, 0, 0], [22, 254, 253, 0], [64, 0, 0, 4]][random.below(4) as usize]
                    .into(),
                true,
            ),
            3 => (forgery[..random.below(12) as usize].to_vec(), true),
            4 => (forgery[..random.below(173) as usize].to_vec(), false),
            5 => {
                let mut wrong = forgery;
                wrong[0] = [0x40, 0xc0, 0xa0, 0x90, 0x8f][random.below(5) as usize];
                let cut = wrong[0] == 0x8f || wrong[0] == 0x90;
                wrong.truncate(if cut { 13 } else { 172 });
                (wrong, true)
            }
            6 => {
                let mut noise = vec![0; random.below(1_500) as usize];
                random.fill(&mut noise);
                (noise, false)
            }
            _ => (rtcp(random.next_u64() as u32), false),
        }
    }

    fn check(mut self) {
        let counters = self.bench.engine.counters().clone();
        assert_eq!(counters.received(), self.handed_over);
        let report = self.bench.delete("c");
        let mut fates = 0;
        for (at, leg) in report.legs.iter().enumerate() {
            let (party, line) = (&self.parties[at], &leg.lines[0]);
            assert_eq!(line.learned, Some(party.source), "party {at} was found");
            assert!(
                party.before_lock < 60,
                "and soon: {} packets were dropped",
                party.before_lock
            );
            fates += line.drops.iter().map(|drop| drop.1).sum::<u64>() + line.rtcp_forwarded;
            fates += party.taken.len() as u64;
            assert_eq!(line.streams.len(), 1, "strangers make no streams");
            compare(&line.streams[0], party);
        }
        assert_eq!(
            fates, self.handed_over,
            "every datagram is counted on its line once"
        );
        assert_eq!(
            counters.rtp_forwarded,
            self.parties.iter().map(|party| party.taken.len() as u64).sum()
        );
        assert_eq!(self.bench.ports.opened, self.bench.ports.closed);
        assert!(self.bench.ports.open.is_empty());
    }
}

/// The statistics of RFC 3550 by sets and floating point, from the numbers of the packets alone.
fn compare(stream: &StreamReport, party: &Party) {
    let mut seen: HashSet<u32> = HashSet::new();
    let (mut newest, mut valid) = (party.taken[0].1, false);
    seen.insert(newest);
    let (mut duplicates, mut reordered, mut jitter_ms, mut jitter_ms_max) = (0, 0, 0.0f64, 0.0f64);
    let mut before = party.taken[0];
    for &(arrived, n) in &party.taken[1..] {
        if seen.contains(&n) {
            duplicates += 1;
            continue;
        }
        if !valid && n != newest + 1 {
            // On probation the sequence begins anew until two packets follow each other (§A.1).
            (seen, newest, before) = (HashSet::from([n]), n, (arrived, n));
            continue;
        }
        valid = true;
        reordered += u64::from(n < newest);
        newest = newest.max(n);
        seen.insert(n);
        let arrived_ms = arrived.as_nanos() as f64 / 1e6 - before.0.as_nanos() as f64 / 1e6;
        let sent_ms = 20.0 * (f64::from(n) - f64::from(before.1));
        jitter_ms += ((arrived_ms - sent_ms).abs() - jitter_ms) / 16.0;
        jitter_ms_max = jitter_ms_max.max(jitter_ms);
        before = (arrived, n);
    }
    let oldest = seen.iter().min().expect("there was a packet");
    let packets = party.taken.len() as u64;
    assert_eq!((stream.ssrc, stream.payload_type), (party.header.ssrc.0, 8));
    assert_eq!((stream.packets, stream.bytes), (packets, packets * 172));
    assert_eq!(stream.lost, u64::from(newest - oldest + 1) - seen.len() as u64);
    assert_eq!((stream.duplicates, stream.reordered), (duplicates, reordered));
    for (reported_us, model_ms) in [
        (stream.jitter_us, jitter_ms),
        (stream.jitter_us_max, jitter_ms_max),
    ] {
        let difference_us = f64::from(reported_us) - model_ms * 1e3;
        assert!(
            difference_us.abs() < 2.0,
            "{reported_us} µs, the model says {model_ms} ms"
        );
    }
    assert!((100..=441).contains(&stream.mos_x100));
}

#[test]
fn a_call_survives_bad_networks_and_strangers() {
    seeds::for_each("simulation", 60, |seed| {
        let mut world = World::new(seed);
        world.run();
        world.check();
    });
}
