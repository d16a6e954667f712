//! Live calls, and someone who can't see their packets, and guesses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU64;

use ebpf::{Action, Bucket, FlowSpec, Reason, ReasonSet, Relay};
use sans_io::Random;

use crate::bench;
use crate::frame::{self, Datagram};

/// Packets of each kind of attack.
const SPOOFED: u64 = 10_000;

/// A live call, and someone who can't see its packets, and guesses.
struct Attacked {
    relay: Relay,
    spec: FlowSpec,
    random: Random,
}

impl Attacked {
    /// `None` where there is no relay. The call has numbered its first packet 1.
    fn new(name: &str, v6: bool) -> Option<Self> {
        let seed = match std::env::var("SEED") {
            Ok(seed) => seed.parse().expect("SEED is a number"),
            Err(_) => 0x5eed_0004,
        };
        println!("{name}: SEED={seed}");
        let relay = bench::relay(name)?;
        let spec = FlowSpec {
            size: 32..=64,
            ..bench::spec(v6, !v6)
        };
        relay.table().install(&spec, &[]).unwrap();
        let attacked = Self {
            relay,
            spec,
            random: Random::from_number(seed),
        };
        bench::run(&attacked.relay, &attacked.good(1).build());
        Some(attacked)
    }

    fn good(&self, seq: u16) -> Datagram {
        bench::datagram(&self.spec, &frame::rtp(0, seq, 0, 7, &[9; 20]))
    }

    /// Spoils [`SPOOFED`] packets of random numbers, timestamps and SSRCs. All are dropped and counted for one of
    /// `reasons`, nothing else that was counted changes, and the call goes on, by both variants of the program.
    fn survives(mut self, reasons: &[Reason], mut spoil: impl FnMut(&mut Datagram, &mut Random)) {
        let before = bench::reading(&self.relay, &self.spec);
        for n in 0..SPOOFED {
            let mut spoofed = {
                let seq = self.random.below(65_536) as u16;
                self.good(seq)
            };
            self.random.fill(&mut spoofed.payload[4..12]);
            spoil(&mut spoofed, &mut self.random);
            let program = bench::variants(&self.relay)[(n % 2) as usize];
            let ran = program.run(&spoofed.build(), 1).unwrap();
            assert_eq!(ran.action, Action::Drop, "{spoofed:?}");
        }
        let after = bench::reading(&self.relay, &self.spec);
        let counted: u64 = reasons.iter().map(|reason| after.refused(*reason)).sum();
        assert_eq!((counted, after.refused_total()), (SPOOFED, SPOOFED));
        let totals = self.relay.totals().unwrap();
        let dropped: u64 = reasons.iter().map(|reason| totals.dropped(*reason)).sum();
        assert_eq!(
            (dropped, totals.sent_back(), totals.redirected()),
            (SPOOFED, 1, 0)
        );
        assert!(
            after.streams().eq(before.streams()),
            "nothing that was counted has changed"
        );
        assert_eq!(after.rtp_packets(), 1);
        let ran = bench::run(&self.relay, &self.good(2).build());
        assert_eq!(Datagram::parse(&ran.packet).destination, self.spec.destination);
    }
}

#[test]
fn ten_thousand_packets_from_other_sources_change_nothing_and_are_all_counted() {
    both_versions(|v6| {
        let Some(attacked) = Attacked::new("other sources", v6) else {
            return;
        };
        attacked.survives(&[Reason::Source], |spoofed, random| {
            if random.below(2) == 0 {
                spoofed.source.set_port(4_001 + random.below(60_000) as u16);
                return;
            }
            // One bit of the address differs, at least.
            let bit = random.below(if v6 { 128 } else { 32 });
            spoofed.source.set_ip(match spoofed.source.ip() {
                IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() ^ 1 << bit).into(),
                IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() ^ 1 << bit).into(),
            });
        });
    });
}

#[test]
fn ten_thousand_packets_of_other_sizes_change_nothing_and_are_all_counted() {
    both_versions(|v6| {
        let Some(attacked) = Attacked::new("other sizes", v6) else {
            return;
        };
        attacked.survives(&[Reason::TooShort, Reason::TooLong], |spoofed, random| {
            let length = match random.below(2) {
                0 => random.below(32),
                _ => 65 + random.below(1_300),
            };
            spoofed.payload.resize(length as usize, 0);
        });
    });
}

#[test]
fn ten_thousand_packets_of_other_payload_types_change_nothing_and_are_all_counted() {
    both_versions(|v6| {
        let Some(attacked) = Attacked::new("other payload types", v6) else {
            return;
        };
        attacked.survives(&[Reason::PayloadType], |spoofed, random| {
            // 1 to 7 and 112 to 127 are no payload types of the flow; the marker is as it likes.
            let payload_type = match random.below(2) {
                0 => 1 + random.below(7),
                _ => 112 + random.below(16),
            };
            spoofed.payload[1] = (payload_type + 128 * random.below(2)) as u8;
        });
    });
}

#[test]
fn ten_thousand_packets_of_other_protocols_change_nothing_and_are_all_counted() {
    both_versions(|v6| {
        let Some(mut attacked) = Attacked::new("other protocols", v6) else {
            return;
        };
        attacked.spec.pass_up = ReasonSet::EMPTY;
        attacked.relay.table().replace(&attacked.spec, &[]).unwrap();
        let reasons = [
            Reason::Stun,
            Reason::Zrtp,
            Reason::Dtls,
            Reason::TurnChannel,
            Reason::NotMedia,
        ];
        attacked.survives(&reasons, |spoofed, random| {
            spoofed.payload[0] = match random.below(2) {
                0 => random.below(128),
                _ => 192 + random.below(64),
            } as u8;
        });
    });
}

#[test]
fn ten_thousand_packets_with_broken_headers_change_nothing_and_are_all_counted() {
    both_versions(|v6| {
        let Some(attacked) = Attacked::new("broken headers", v6) else {
            return;
        };
        let reasons = [
            Reason::RtpTruncated,
            Reason::RtpExtension,
            Reason::RtpPadding,
            Reason::RtcpLength,
        ];
        attacked.survives(&reasons, |spoofed, random| match random.below(4) {
            // More sources than there are bytes: 12 + 4 x 6 to 15 of 32.
            0 => spoofed.payload[0] = 0x86 + random.below(10) as u8,
            // An extension of more words than are left.
            1 => {
                spoofed.payload[0] = 0x90;
                spoofed.payload[14..16].copy_from_slice(&(5 + random.below(60_000) as u16).to_be_bytes());
            }
            // Padding of nothing, or of more than the payload.
            2 => {
                spoofed.payload[0] = 0xa0;
                spoofed.payload[31] = [0, 21 + random.below(200) as u8][random.below(2) as usize];
            }
            // A report longer than its datagram.
            _ => {
                spoofed.payload[1] = 200 + random.below(8) as u8;
                spoofed.payload[2..4].copy_from_slice(&(8 + random.below(60_000) as u16).to_be_bytes());
            }
        });
    });
}

/// From the right source nothing tells a guess from a new stream of the party (RFC 3550 §8.2): each goes where the flow
/// goes and nowhere else, at most at the flow's rate, and what was counted of the party's own stream stays.
#[test]
fn ten_thousand_guessed_ssrcs_from_the_partys_own_address_are_held_to_the_rate_and_redirect_nothing() {
    both_versions(|v6| {
        let Some(mut attacked) = Attacked::new("other ssrcs", v6) else {
            return;
        };
        const BURST: u64 = 100;
        attacked.spec.packets = Some(Bucket {
            per_second: NonZeroU64::MIN,
            burst: NonZeroU64::new(BURST).unwrap(),
        });
        attacked.relay.table().replace(&attacked.spec, &[]).unwrap();
        let began_ns = bench::reading(&attacked.relay, &attacked.spec).last_packet_ns();
        let mut forwarded = 0;
        for _ in 0..SPOOFED {
            let mut guessed = {
                let seq = attacked.random.below(65_536) as u16;
                attacked.good(seq)
            };
            attacked.random.fill(&mut guessed.payload[8..12]);
            let ran = bench::run(&attacked.relay, &guessed.build());
            if ran.action == Action::SendBack {
                forwarded += 1;
                let left = Datagram::parse(&ran.packet);
                assert_eq!(left.destination, attacked.spec.destination);
            }
        }
        let reading = bench::reading(&attacked.relay, &attacked.spec);
        let took_s = (reading.last_packet_ns() - began_ns) / 1_000_000_000;
        assert!(forwarded <= BURST + 1 + took_s, "{forwarded}");
        assert_eq!(reading.refused(Reason::PacketRate), SPOOFED - forwarded);
        assert_eq!(reading.rtp_packets(), 1 + forwarded);
        let kept: u64 = reading.streams().map(|stream| stream.packets()).sum();
        assert!(kept + reading.streams_evicted() <= 1 + forwarded);
    });
}

fn both_versions(mut check: impl FnMut(bool)) {
    check(false);
    check(true);
}
