use std::time::Instant;

use srtp::{MasterKey, OVERHEAD_MAX, Receiver, Sender, Suite};

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
    let mut protect_ns = Vec::with_capacity(TURNS);
    let mut unprotect_ns = Vec::with_capacity(TURNS);
    for turn in 0..TURNS {
        for buffer in buffers.chunks_exact_mut(room) {
            write(&mut buffer[..bytes], seq);
            seq = seq.wrapping_add(1);
        }
        let mut len = 0;
        let start = now();
        for buffer in buffers.chunks_exact_mut(room) {
            len = sender.protect_rtp(buffer, bytes).expect("protected");
        }
        let protected = now();
        if turn == 0 {
            first = buffers[..len].to_vec();
        }
        let restart = now();
        for buffer in buffers.chunks_exact_mut(room) {
            receiver.unprotect_rtp(&mut buffer[..len]).expect("unprotected");
        }
        let end = now();
        protect_ns.push(per_packet(start, protected));
        unprotect_ns.push(per_packet(restart, end));
        let mut last = vec![0; bytes];
        write(&mut last, seq.wrapping_sub(1));
        assert_eq!(buffers[(PACKETS - 1) * room..][..bytes], last, "{}", suite.name());
    }
    Reading {
        suite: suite.name().to_owned(),
        bytes,
        protect_ns: median(protect_ns),
        unprotect_ns: median(unprotect_ns),
        first,
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
