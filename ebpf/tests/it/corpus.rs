//! The C parser against the crate `rtp`.

use ebpf::{Action, FlowSpec, Reason, Relay};
use rtp::{Class, Packet, PacketError, classify};
use sans_io::Random;

use crate::bench;
use crate::frame;

/// What the crate says of a payload: refused for a reason, or forwarded.
fn expected(payload: &[u8]) -> Option<Reason> {
    match classify(payload) {
        Class::Stun => Some(Reason::Stun),
        Class::Zrtp => Some(Reason::Zrtp),
        Class::Dtls => Some(Reason::Dtls),
        Class::TurnChannel => Some(Reason::TurnChannel),
        Class::Unknown => Some(Reason::NotMedia),
        Class::Rtcp => match payload {
            [_, _, high, low, ..] => {
                let length = 4 * (usize::from(u16::from_be_bytes([*high, *low])) + 1);
                (length > payload.len()).then_some(Reason::RtcpLength)
            }
            _ => Some(Reason::RtcpTruncated),
        },
        Class::Rtp => match Packet::parse(payload) {
            Err(PacketError::Truncated) => Some(Reason::RtpTruncated),
            Err(PacketError::Version) => Some(Reason::RtpVersion),
            Err(PacketError::Extension) => Some(Reason::RtpExtension),
            Err(PacketError::Padding) => Some(Reason::RtpPadding),
            Ok(packet) => {
                let known = |(ours, _): &(u8, u32)| *ours == packet.payload_type().value();
                (!bench::TYPES.iter().any(known)).then_some(Reason::PayloadType)
            }
        },
    }
}

/// Runs the payload and compares the flow's counters with what the crate says.
fn compare(relay: &Relay, spec: &FlowSpec, payload: &[u8]) {
    let before = bench::reading(relay, spec);
    let ran = bench::run(relay, &bench::datagram(spec, payload).build());
    let after = bench::reading(relay, spec);
    let refused: Vec<_> = Reason::ALL
        .iter()
        .copied()
        .filter(|reason| after.refused(*reason) != before.refused(*reason))
        .collect();
    let wanted: Vec<_> = expected(payload).into_iter().collect();
    assert_eq!(refused, wanted, "{payload:02x?}");
    assert_eq!(
        ran.action == Action::SendBack,
        wanted.is_empty(),
        "{payload:02x?}"
    );
}

fn relay_and_spec(name: &str) -> Option<(Relay, FlowSpec)> {
    let relay = bench::relay(name)?;
    let spec = bench::spec(false, false);
    relay.table().install(&spec, &[]).unwrap();
    Some((relay, spec))
}

/// Every first byte that can begin RTP, at every length.
#[test]
fn both_parsers_agree_on_every_length_up_to_200() {
    let Some((relay, spec)) = relay_and_spec("lengths") else {
        return;
    };
    for length in 0..=200usize {
        for first in [
            0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xa1, 0xb0, 0xbf, 0xb2, 0x00, 0x40, 0xc0,
        ] {
            for fill in [0u8, 1, 3, 200] {
                let mut payload = vec![fill; length];
                for (byte, value) in payload.iter_mut().zip([first, 0]) {
                    *byte = value;
                }
                compare(&relay, &spec, &payload);
            }
        }
        let mut rtcp = vec![0; length];
        for (byte, value) in rtcp.iter_mut().zip([0x80, 201, 0, (length / 4) as u8]) {
            *byte = value;
        }
        compare(&relay, &spec, &rtcp);
    }
}

#[test]
fn both_parsers_agree_on_all_first_two_bytes() {
    let Some((relay, spec)) = relay_and_spec("first bytes") else {
        return;
    };
    for first in 0..=255u8 {
        for second in [0u8, 8, 64, 95, 101, 127, 128, 191, 192, 200, 223, 224, 255] {
            let mut payload = frame::rtp(second, 1, 1, 1, &[4; 60]);
            payload[0] = first;
            compare(&relay, &spec, &payload);
        }
    }
}

/// Headers whose extension lengths and paddings are near their borders, from a printed seed.
#[test]
fn both_parsers_agree_on_random_headers() {
    let Some((relay, spec)) = relay_and_spec("random headers") else {
        return;
    };
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) => 0x5eed_0001,
    };
    println!("SEED={seed}");
    let mut random = Random::from_number(seed);
    for _ in 0..20_000 {
        let length = random.below(201) as usize;
        let mut payload = vec![0u8; length];
        random.fill(&mut payload);
        if let Some(first) = payload.first_mut() {
            *first = 0x80 | *first & 0x3f;
        }
        if let Some(second) = payload.get_mut(1) {
            *second &= 0x8f;
        }
        // The extension's length lies within the packet now and then.
        let at = 12 + 4 * usize::from(payload.first().map_or(0, |first| first & 0x0f)) + 2;
        if let Some(words) = payload.get_mut(at..at + 2) {
            words.copy_from_slice(&(random.below(40) as u16).to_be_bytes());
        }
        compare(&relay, &spec, &payload);
    }
}
