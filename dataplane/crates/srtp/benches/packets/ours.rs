use std::collections::BTreeMap;
use std::time::Instant;

use srtp::{Expected, MasterKey, OVERHEAD_MAX, Receiver, Sender, Suite, Unsigned};

use crate::{BYTES, PACKETS, Reading, TURNS, median};

/// One round of all suites and lengths.
pub fn round() -> Vec<Reading> {
    let cases = Suite::ALL
        .into_iter()
        .flat_map(|suite| BYTES.map(|bytes| (suite, bytes)));
    cases.map(|(suite, bytes)| reading(suite, bytes)).collect()
}

fn reading(suite: Suite, bytes: usize) -> Reading {
    let material: Vec<u8> = (0..suite.key_len() + suite.salt_len())
        .map(|n| (n * 7 + 1) as u8)
        .collect();
    let key = MasterKey::new(suite, &material).expect("a key");
    let mut sender = Sender::new(&key, 1).expect("a sender");
    let mut receiver = Receiver::new(&key, 1).expect("a receiver");
    let room = (bytes + OVERHEAD_MAX).next_multiple_of(64);
    let mut buffers = vec![0; PACKETS * room];
    let mut first = Vec::new();
    let mut seq = 0u16;
    let mut ns: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for turn in 0..TURNS * 2 {
        let is_batch = turn % 2 == 1;
        for buffer in buffers.chunks_exact_mut(room) {
            write(&mut buffer[..bytes], seq);
            seq = seq.wrapping_add(1);
        }
        let start = now();
        let len = match is_batch {
            false => protect(&mut sender, &mut buffers, room, bytes),
            true => protect_batch(&mut sender, &mut buffers, room, bytes),
        };
        let protected = now();
        if turn == 0 {
            first = buffers[..len].to_vec();
        }
        let restart = now();
        match is_batch {
            false => unprotect(&mut receiver, &mut buffers, room, len),
            true => unprotect_batch(&mut receiver, &mut buffers, room, len),
        }
        let end = now();
        let names = match is_batch {
            false => ["protect", "unprotect"],
            true => ["protect_batch", "unprotect_batch"],
        };
        ns.entry(names[0]).or_default().push(per_packet(start, protected));
        ns.entry(names[1]).or_default().push(per_packet(restart, end));
        let mut last = vec![0; bytes];
        write(&mut last, seq.wrapping_sub(1));
        assert_eq!(buffers[(PACKETS - 1) * room..][..bytes], last, "{}", suite.name());
    }
    Reading {
        suite: suite.name().to_owned(),
        bytes,
        ns: ns
            .into_iter()
            .map(|(name, values)| (name, median(values)))
            .collect(),
        first,
    }
}

fn protect(sender: &mut Sender, buffers: &mut [u8], room: usize, bytes: usize) -> usize {
    let mut len = 0;
    for buffer in buffers.chunks_exact_mut(room) {
        len = sender.protect_rtp(buffer, bytes).expect("protected");
    }
    len
}

/// Two at once.
fn protect_batch(sender: &mut Sender, buffers: &mut [u8], room: usize, bytes: usize) -> usize {
    let mut len = 0;
    for two in buffers.chunks_exact_mut(2 * room) {
        let (first, second) = two.split_at_mut(room);
        let packets =
            [&mut *first, &mut *second].map(|buffer| sender.encrypt_rtp(buffer, bytes).expect("encrypted"));
        [len, _] = Unsigned::sign_two(packets, [first, second]);
    }
    len
}

fn unprotect(receiver: &mut Receiver, buffers: &mut [u8], room: usize, len: usize) {
    for buffer in buffers.chunks_exact_mut(room) {
        receiver.unprotect_rtp(&mut buffer[..len]).expect("unprotected");
    }
}

/// Two at once, where the suite has something to gain by it.
fn unprotect_batch(receiver: &mut Receiver, buffers: &mut [u8], room: usize, len: usize) {
    for two in buffers.chunks_exact_mut(2 * room) {
        let (first, second) = two.split_at_mut(room);
        let mut packets = [&mut first[..len], &mut second[..len]];
        let expected = packets.each_ref().map(|packet| receiver.expect_rtp(packet));
        let codes = match expected {
            [Some(a), Some(b)] => Expected::two([a, b], [&*packets[0], &*packets[1]]).map(Some),
            _ => [None, None],
        };
        for (packet, code) in packets.iter_mut().zip(&codes) {
            let unprotected = receiver.unprotect_rtp_with(packet, code.as_ref());
            unprotected.expect("unprotected");
        }
    }
}

/// An RTP packet; libsrtp2.c writes the same.
fn write(packet: &mut [u8], seq: u16) {
    let [high, low] = seq.to_be_bytes();
    packet[..12].copy_from_slice(&[0x80, 8, high, low, 0, 0, high, low, 0xca, 0xfe, 0xba, 0xbe]);
    for (at, byte) in packet[12..].iter_mut().enumerate() {
        *byte = at as u8;
    }
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Instant {
    Instant::now()
}

fn per_packet(from: Instant, to: Instant) -> f64 {
    to.duration_since(from).as_nanos() as f64 / PACKETS as f64
}
