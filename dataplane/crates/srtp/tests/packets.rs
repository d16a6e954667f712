//! Sender and receiver beside a slow second implementation written from the RFCs, and what they do at every edge.

mod oracle;

use oracle::Oracle;
use sans_io::Random;
use srtp::{Error, ImportError, KeyError, MasterKey, OVERHEAD_MAX, Receiver, Sender, Suite};

fn seed() -> u64 {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(11);
    println!("SEED={seed}");
    seed
}

fn material(suite: Suite, first: u8) -> Vec<u8> {
    (0..suite.key_len() + suite.salt_len())
        .map(|n| first.wrapping_add((n * 7) as u8))
        .collect()
}

fn key(suite: Suite, first: u8) -> MasterKey {
    MasterKey::new(suite, &material(suite, first)).expect("a key")
}

fn pair(suite: Suite) -> (Sender, Receiver) {
    let key = key(suite, 1);
    (
        Sender::new(&key, 8).expect("a sender"),
        Receiver::new(&key, 8).expect("a receiver"),
    )
}

fn rtp(ssrc: u32, seq: u16, payload: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(seq.to_be_bytes());
    packet.extend([1, 2, 3, 4]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..payload).map(|n| n as u8 ^ seq as u8));
    packet
}

fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0x81, 202, 0, 2, 9, 9, 9, 9, 1, 1, b'a', 0]);
    packet
}

fn protect(sender: &mut Sender, packet: &[u8]) -> Result<Vec<u8>, Error> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + OVERHEAD_MAX, 0);
    let len = sender.protect_rtp(&mut buffer, packet.len())?;
    buffer.truncate(len);
    Ok(buffer)
}

fn protect_rtcp(sender: &mut Sender, packet: &[u8]) -> Result<Vec<u8>, Error> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + OVERHEAD_MAX, 0);
    let len = sender.protect_rtcp(&mut buffer, packet.len())?;
    buffer.truncate(len);
    Ok(buffer)
}

fn unprotect(receiver: &mut Receiver, packet: &[u8]) -> Result<Vec<u8>, Error> {
    let mut buffer = packet.to_vec();
    let before = (buffer.clone(), receiver.state());
    match receiver.unprotect_rtp(&mut buffer) {
        Ok(len) => {
            buffer.truncate(len);
            Ok(buffer)
        }
        Err(error) => {
            assert_eq!(
                (buffer, receiver.state()),
                before,
                "a refused packet changed something"
            );
            Err(error)
        }
    }
}

fn unprotect_rtcp(receiver: &mut Receiver, packet: &[u8]) -> Result<Vec<u8>, Error> {
    let mut buffer = packet.to_vec();
    let before = (buffer.clone(), receiver.state());
    match receiver.unprotect_rtcp(&mut buffer) {
        Ok(len) => {
            buffer.truncate(len);
            Ok(buffer)
        }
        Err(error) => {
            assert_eq!(
                (buffer, receiver.state()),
                before,
                "a refused packet changed something"
            );
            Err(error)
        }
    }
}

/// RTP of any shape, SRTCP, with and without MKI: the same bytes as the second implementation's, both ways.
#[test]
fn packets_are_those_of_the_second_implementation() {
    let seed = seed();
    let mut random = Random::from_number(seed);
    for suite in Suite::ALL {
        for mki in [&b""[..], &b"\x00\x01"[..]] {
            let key = key(suite, 90).with_mki(mki).expect("an MKI");
            let oracle = Oracle::new(suite, &material(suite, 90), mki);
            let mut sender = Sender::new(&key, 2).expect("a sender");
            let mut receiver = Receiver::new(&key, 2).expect("a receiver");
            let mut seq = 65_000u64;
            for number in 0..60u32 {
                seq += 1 + random.below(30);
                let csrcs = random.below(16) as usize;
                let extension = random.below(4) as usize;
                let mut packet = rtp(0xcafe_babe, seq as u16, 0);
                packet[0] |= csrcs as u8;
                packet.resize(12 + 4 * csrcs, 0x55);
                if extension > 0 {
                    packet[0] |= 0x10;
                    packet.extend([0xbe, 0xde, 0, extension as u8]);
                    packet.resize(packet.len() + 4 * extension, 0x66);
                }
                let clear = packet.len();
                let mut payload = vec![0; random.below(450) as usize];
                random.fill(&mut payload);
                packet.extend(payload);
                let protected = protect(&mut sender, &packet).expect("protected");
                assert_eq!(
                    protected,
                    oracle.rtp(&packet, clear, seq),
                    "SEED={seed} {}",
                    suite.name()
                );
                assert_eq!(
                    unprotect(&mut receiver, &protected),
                    Ok(packet),
                    "SEED={seed} {}",
                    suite.name()
                );

                let report = rtcp(0xcafe_babe);
                let protected = protect_rtcp(&mut sender, &report).expect("protected");
                assert_eq!(
                    protected,
                    oracle.rtcp(&report, number),
                    "SEED={seed} {}",
                    suite.name()
                );
                assert_eq!(unprotect_rtcp(&mut receiver, &protected), Ok(report));
            }
        }
    }
}

/// Loss, reordering and duplication over many wraps of the sequence number.
#[test]
fn each_packet_passes_once_under_loss_and_reordering_across_wraps() {
    let seed = seed();
    let mut random = Random::from_number(seed);
    let (mut sender, mut receiver) = pair(Suite::AesCm128HmacSha1_80);
    let mut waiting: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut passed = 0;
    for number in 0..8_000u64 {
        // Steps of up to 60 wrap the sequence about four times.
        let plain = rtp(5, (65_000 + number * 30) as u16, 20);
        let protected = protect(&mut sender, &plain).expect("protected");
        if random.chance_permille(300) {
            continue;
        }
        waiting.push((plain, protected));
        if waiting.len() > 3 {
            let (plain, protected) = waiting.swap_remove(random.below(4) as usize);
            match unprotect(&mut receiver, &protected) {
                Ok(received) => {
                    assert_eq!(received, plain, "SEED={seed}");
                    passed += 1;
                    assert_eq!(
                        unprotect(&mut receiver, &protected),
                        Err(Error::Replayed),
                        "SEED={seed}"
                    );
                }
                Err(error) => assert_eq!(error, Error::TooOld, "SEED={seed}"),
            }
        }
    }
    assert!(passed > 3_000, "SEED={seed} {passed}");
    assert!(receiver.state().streams[0].rtp.highest.expect("packets") >> 16 >= 3);
}

#[test]
fn every_truncation_and_every_flipped_bit_is_refused() {
    for suite in Suite::ALL {
        let key = key(suite, 3).with_mki(b"k1").expect("an MKI");
        let mut sender = Sender::new(&key, 8).expect("a sender");
        let mut receiver = Receiver::new(&key, 8).expect("a receiver");
        let plain = rtp(1, 1, 40);
        let report = rtcp(1);
        let protected = protect(&mut sender, &plain).expect("protected");
        let protected_report = protect_rtcp(&mut sender, &report).expect("protected");
        for len in 0..protected.len() {
            assert!(
                unprotect(&mut receiver, &protected[..len]).is_err(),
                "{} {len}",
                suite.name()
            );
        }
        for len in 0..protected_report.len() {
            assert!(unprotect_rtcp(&mut receiver, &protected_report[..len]).is_err());
        }
        for bit in 0..protected.len() * 8 {
            let mut bad = protected.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(
                unprotect(&mut receiver, &bad).is_err(),
                "{} bit {bit}",
                suite.name()
            );
        }
        for bit in 0..protected_report.len() * 8 {
            let mut bad = protected_report.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(
                unprotect_rtcp(&mut receiver, &bad).is_err(),
                "{} bit {bit}",
                suite.name()
            );
        }
        assert_eq!(unprotect(&mut receiver, &protected), Ok(plain));
        assert_eq!(unprotect_rtcp(&mut receiver, &protected_report), Ok(report));
        assert_eq!(
            unprotect_rtcp(&mut receiver, &protected_report),
            Err(Error::Replayed)
        );
    }
}

/// The reason says whose doing it is: the peer's where the tag is right, somebody's on the way where it is not.
#[test]
fn a_report_in_clear_is_refused_after_its_tag_is_checked() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = pair(suite);
        let oracle = Oracle::new(suite, &material(suite, 1), b"");
        // Of a length with and without a rest beyond whole blocks, with the four bytes of the index within one and in two.
        for report_len in [8, 12, 16, 20, 28, 32, 60] {
            let mut report = rtcp(7);
            report.resize(report_len, 0x3c);
            let clear = oracle.rtcp_in_clear(&report, 0);
            assert_eq!(
                unprotect_rtcp(&mut receiver, &clear),
                Err(Error::NotEncrypted),
                "{} {report_len}",
                suite.name()
            );
            for bit in 16..clear.len() * 8 {
                let mut bad = clear.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(
                    unprotect_rtcp(&mut receiver, &bad),
                    Err(Error::AuthenticationFailed),
                    "{} {report_len} bit {bit}",
                    suite.name()
                );
            }
        }
        let report = rtcp(7);
        let mut forged = protect_rtcp(&mut sender, &report).expect("protected");
        let protected = forged.clone();
        let word_at = if suite.is_aead() {
            forged.len() - 4
        } else {
            report.len()
        };
        forged[word_at] ^= 0x80;
        assert_eq!(
            unprotect_rtcp(&mut receiver, &forged),
            Err(Error::AuthenticationFailed),
            "{}",
            suite.name()
        );
        assert_eq!(
            unprotect_rtcp(&mut receiver, &protected),
            Ok(report),
            "{}",
            suite.name()
        );
    }
}

/// RFC 3711 §9.1: two payloads under one index would share a keystream.
#[test]
fn a_sender_protects_no_index_twice() {
    let (mut sender, _) = pair(Suite::AeadAes128Gcm);
    protect(&mut sender, &rtp(1, 500, 10)).expect("protected");
    assert_eq!(protect(&mut sender, &rtp(1, 500, 11)), Err(Error::Replayed));
    assert_eq!(protect(&mut sender, &rtp(1, 300, 11)), Err(Error::TooOld));
    protect(&mut sender, &rtp(2, 500, 10)).expect("another SSRC has a keystream of its own");
}

#[test]
fn forged_packets_take_no_place_in_the_table_of_ssrcs() {
    let key = key(Suite::AesCm128HmacSha1_80, 1);
    let mut sender = Sender::new(&key, 8).expect("a sender");
    let mut receiver = Receiver::new(&key, 2).expect("a receiver");
    for ssrc in 0..100 {
        assert_eq!(
            unprotect(&mut receiver, &rtp(ssrc, 1, 40)),
            Err(Error::AuthenticationFailed)
        );
    }
    for (ssrc, seq, answer) in [
        (1, 1, None),
        (2, 1, None),
        (3, 1, Some(Error::TooManySsrcs)),
        (1, 2, None),
    ] {
        let protected = protect(&mut sender, &rtp(ssrc, seq, 9)).expect("protected");
        assert_eq!(unprotect(&mut receiver, &protected).err(), answer, "SSRC {ssrc}");
    }
}

#[test]
fn a_key_is_changed_without_a_gap_with_and_without_mki() {
    for (old, new) in [(&b""[..], &b""[..]), (&b"\x01"[..], &b"\x02"[..])] {
        let suite = Suite::AesCm256HmacSha1_80;
        let first = key(suite, 1).with_mki(old).expect("an MKI");
        let second = key(suite, 77).with_mki(new).expect("an MKI");
        let mut sender = Sender::new(&first, 8).expect("a sender");
        let mut receiver = Receiver::new(&first, 8).expect("a receiver");
        let before = protect(&mut sender, &rtp(1, 10, 30)).expect("protected");
        let late = protect(&mut sender, &rtp(1, 11, 30)).expect("protected");
        assert!(!sender.retire_oldest_key(), "the only key stays");
        sender.add_key(&second).expect("room");
        sender.use_newest_key();
        let after = protect(&mut sender, &rtp(1, 12, 30)).expect("protected");
        unprotect(&mut receiver, &before).expect("authentic");
        let unknown = if new.is_empty() {
            Error::AuthenticationFailed
        } else {
            Error::UnknownMki
        };
        assert_eq!(unprotect(&mut receiver, &after), Err(unknown));
        receiver.add_key(&second).expect("room");
        assert_eq!(unprotect(&mut receiver, &after), Ok(rtp(1, 12, 30)));
        assert_eq!(unprotect(&mut receiver, &late), Ok(rtp(1, 11, 30)));
        assert!(sender.retire_oldest_key() && receiver.retire_oldest_key());
        let last = protect(&mut sender, &rtp(1, 13, 30)).expect("protected");
        assert_eq!(unprotect(&mut receiver, &last), Ok(rtp(1, 13, 30)));
    }
}

#[test]
fn keys_that_do_not_fit_the_context_are_refused() {
    let (mut sender, _) = pair(Suite::AesCm128HmacSha1_80);
    assert_eq!(
        sender.add_key(&key(Suite::AesCm128HmacSha1_32, 2)),
        Err(KeyError::Mismatch)
    );
    for first in 2..5 {
        sender
            .add_key(&key(Suite::AesCm128HmacSha1_80, first))
            .expect("room");
    }
    assert_eq!(
        sender.add_key(&key(Suite::AesCm128HmacSha1_80, 9)),
        Err(KeyError::TooMany)
    );
    let key = key(Suite::AeadAes256Gcm, 1).with_mki(b"a").expect("an MKI");
    let mut receiver = Receiver::new(&key, 1).expect("a receiver");
    assert_eq!(receiver.add_key(&key), Err(KeyError::MkiTaken));
    assert!(matches!(Receiver::new(&key, 0), Err(KeyError::Streams(0))));
}

#[test]
fn a_lifetime_ends_with_an_error_and_a_new_key_goes_on() {
    let suite = Suite::AeadAes128Gcm;
    let short = key(suite, 1).with_lifetime(2).expect("a lifetime");
    let mut sender = Sender::new(&short, 8).expect("a sender");
    assert_eq!(sender.rtp_packets_left(), 2);
    protect(&mut sender, &rtp(1, 1, 9)).expect("protected");
    protect(&mut sender, &rtp(1, 2, 9)).expect("protected");
    assert_eq!(sender.rtp_packets_left(), 0);
    assert_eq!(protect(&mut sender, &rtp(1, 3, 9)), Err(Error::KeyExpired));
    sender.add_key(&key(suite, 2)).expect("room");
    sender.use_newest_key();
    protect(&mut sender, &rtp(1, 3, 9)).expect("protected");
}

#[test]
fn indexes_end_at_48_and_31_bits() {
    let (mut sender, _) = pair(Suite::AesCm128HmacSha1_80);
    protect(&mut sender, &rtp(1, 1, 9)).expect("protected");
    let mut state = sender.state();
    state.streams[0].rtp.highest = Some((1 << 48) - 1);
    state.streams[0].rtcp.highest = Some((1 << 31) - 2);
    sender.restore(&state).expect("a state that fits");
    assert_eq!(protect(&mut sender, &rtp(1, 0, 9)), Err(Error::IndexExhausted));
    protect_rtcp(&mut sender, &rtcp(1)).expect("the last index");
    assert_eq!(protect_rtcp(&mut sender, &rtcp(1)), Err(Error::IndexExhausted));
    state.streams[0].rtp.highest = Some(1 << 48);
    assert_eq!(sender.restore(&state), Err(ImportError::Stream));
}

#[test]
fn another_process_goes_on_with_the_rollover_counter_and_the_window() {
    let (mut sender, mut receiver) = pair(Suite::AeadAes256Gcm);
    let mut last = Vec::new();
    for seq in [65_534, 65_535, 0, 1] {
        last = protect(&mut sender, &rtp(1, seq, 9)).expect("protected");
        unprotect(&mut receiver, &last).expect("authentic");
    }
    protect_rtcp(&mut sender, &rtcp(1)).expect("protected");
    let (mut next_sender, mut next_receiver) = pair(Suite::AeadAes256Gcm);
    let mut state = sender.state();
    state.streams[0].skip_rtcp(100);
    next_sender.restore(&state).expect("a state that fits");
    next_receiver
        .restore(&receiver.state())
        .expect("a state that fits");
    assert_eq!(unprotect(&mut next_receiver, &last), Err(Error::Replayed));
    let next = protect(&mut next_sender, &rtp(1, 2, 9)).expect("protected");
    assert_eq!(unprotect(&mut receiver, &next), Ok(rtp(1, 2, 9)));
    assert_eq!(unprotect(&mut next_receiver, &next), Ok(rtp(1, 2, 9)));
    protect_rtcp(&mut next_sender, &rtcp(1)).expect("protected");
    assert_eq!(next_sender.state().streams[0].rtcp.highest, Some(101));
    let debug = format!("{next_sender:?} {next_receiver:?}");
    assert!(!debug.contains("salt") && !debug.contains("mki"), "{debug}");
}

#[test]
fn a_buffer_without_room_is_an_error() {
    let (mut sender, _) = pair(Suite::AesCm128HmacSha1_80);
    let plain = rtp(1, 1, 20);
    let mut buffer = plain.clone();
    buffer.resize(plain.len() + 9, 0);
    assert_eq!(sender.protect_rtp(&mut buffer, plain.len()), Err(Error::NoRoom));
    assert_eq!(buffer[..plain.len()], plain);
    assert_eq!(sender.protect_rtp(&mut buffer, 1000), Err(Error::TooShort));
    assert!(sender.state().streams.is_empty());
}
