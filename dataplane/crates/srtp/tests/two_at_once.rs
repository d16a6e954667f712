//! Packets that get their tags two at a time are those that get them one by one, and so is what is refused.

use sans_io::Random;
use srtp::{Error, Expected, MasterKey, OVERHEAD_MAX, Receiver, Sender, Suite, Unsigned};

const PAIRS: usize = 400;

fn seed() -> u64 {
    let given = std::env::var("SEED").ok();
    let seed = given.and_then(|text| text.parse().ok()).unwrap_or(23);
    println!("SEED={seed}");
    seed
}

fn key(random: &mut Random, suite: Suite, mki: &[u8]) -> MasterKey {
    let mut material = vec![0; suite.key_len() + suite.salt_len()];
    random.fill(&mut material);
    let key = MasterKey::new(suite, &material).expect("a key");
    key.with_mki(mki).expect("an MKI")
}

/// A packet of some length of one of three streams, at times out of order, over a wrap of the sequence number.
fn packet(random: &mut Random, number: &mut u16) -> Vec<u8> {
    let step = match random.below(20) {
        0 => 0,
        1 => u16::MAX,
        2 => 9_000,
        3 => 2,
        _ => 1,
    };
    *number = number.wrapping_add(step);
    let mut packet = vec![0x80, 0];
    packet.extend(number.to_be_bytes());
    packet.extend([1, 2, 3, 4, 0, 0, 0, random.below(3) as u8]);
    let payload = [0, 1, 20, 160, 160, 171, 500][random.below(7) as usize];
    packet.extend((0..payload).map(|at| at as u8));
    packet
}

fn with_room(packet: &[u8]) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + OVERHEAD_MAX, 0);
    buffer
}

fn protected(sender: &mut Sender, packet: &[u8]) -> Result<Vec<u8>, Error> {
    let mut buffer = with_room(packet);
    let len = sender.protect_rtp(&mut buffer, packet.len())?;
    buffer.truncate(len);
    Ok(buffer)
}

/// What both senders make of two packets; `None` where one of them is refused.
fn protected_two(senders: [&mut Sender; 2], packets: [&[u8]; 2]) -> [Result<Vec<u8>, Error>; 2] {
    let mut buffers = packets.map(with_room);
    let [first, second] = senders;
    let [one, other] = &mut buffers;
    let begun = [
        first.encrypt_rtp(one, packets[0].len()),
        second.encrypt_rtp(other, packets[1].len()),
    ];
    let lens = match begun {
        [Ok(a), Ok(b)] => Unsigned::sign_two([a, b], [one, other]).map(Ok),
        [a, b] => [a.map(|a| a.sign(one)), b.map(|b| b.sign(other))],
    };
    let mut lens = lens.into_iter();
    buffers.map(|mut buffer| {
        let len = lens.next().expect("two of them")?;
        buffer.truncate(len);
        Ok(buffer)
    })
}

#[test]
fn two_packets_are_protected_as_each_by_itself() {
    let mut random = Random::from_number(seed());
    for (suite, other) in Suite::ALL.into_iter().zip(Suite::ALL.into_iter().rev()) {
        let keys = [key(&mut random, suite, &[]), key(&mut random, other, &[7, 7])];
        let senders = || keys.each_ref().map(|key| Sender::new(key, 4).expect("a sender"));
        let (mut by_itself, mut by_two) = (senders(), senders());
        let mut numbers = [65_000, 10];
        let mut refused = 0;
        for _ in 0..PAIRS {
            let packets = numbers.each_mut().map(|number| packet(&mut random, number));
            let [first, second] = &mut by_itself;
            let expected = [protected(first, &packets[0]), protected(second, &packets[1])];
            let [first, second] = &mut by_two;
            let made = protected_two([first, second], [&packets[0], &packets[1]]);
            refused += made.iter().filter(|made| made.is_err()).count();
            assert_eq!(made, expected, "{}", suite.name());
        }
        assert!((1..PAIRS).contains(&refused), "{refused} of {PAIRS} pairs");
        assert_eq!(by_itself.map(|it| it.state()), by_two.map(|it| it.state()));
    }
}

/// Both of one context, too: the second one's rollover counter may be known by the first one only.
#[test]
fn two_packets_are_unprotected_as_each_by_itself() {
    let mut random = Random::from_number(seed());
    for suite in Suite::ALL {
        let keys = [key(&mut random, suite, &[1]), key(&mut random, suite, &[2])];
        let mut sender = Sender::new(&keys[0], 4).expect("a sender");
        sender.add_key(&keys[1]).expect("a second key");
        let receiver = || {
            let mut receiver = Receiver::new(&keys[0], 4).expect("a receiver");
            receiver.add_key(&keys[1]).expect("a second key");
            receiver
        };
        let (mut by_itself, mut by_two) = (receiver(), receiver());
        let mut number = 65_000;
        let (mut taken, mut refused) = (0, 0);
        for turn in 0..PAIRS {
            if turn == PAIRS / 2 {
                sender.use_newest_key();
            }
            let mut last = vec![0; 3];
            let mut next = || {
                let packet = packet(&mut random, &mut number);
                let mut packet = protected(&mut sender, &packet).unwrap_or_else(|_| last.clone());
                if random.chance_permille(100) {
                    let at = random.below(packet.len() as u64) as usize;
                    packet[at] ^= 1 << random.below(8);
                }
                last.clone_from(&packet);
                packet
            };
            let packets = [next(), next()];
            let mut expected = packets.clone();
            let results = expected.each_mut().map(|packet| by_itself.unprotect_rtp(packet));
            let mut made = packets.clone();
            let wanted = packets.each_ref().map(|packet| by_two.expect_rtp(packet));
            let codes = match wanted {
                [Some(first), Some(second)] => {
                    let [first, second] = Expected::two([first, second], [&packets[0], &packets[1]]);
                    [Some(first), Some(second)]
                }
                _ => [None, None],
            };
            for ((packet, code), result) in made.iter_mut().zip(&codes).zip(results) {
                assert_eq!(
                    by_two.unprotect_rtp_with(packet, code.as_ref()),
                    result,
                    "{}",
                    suite.name()
                );
                taken += usize::from(result.is_ok());
                refused += usize::from(result.is_err());
            }
            assert_eq!(made, expected);
        }
        assert!(
            taken > PAIRS && refused > PAIRS / 10,
            "{taken} taken, {refused} refused"
        );
        assert_eq!(by_itself.state(), by_two.state());
    }
}

/// A code is for its own key, length and rollover counter.
#[test]
fn a_code_of_another_packet_lets_nothing_in() {
    let mut random = Random::from_number(seed());
    let suite = Suite::AesCm128HmacSha1_80;
    let keys = [key(&mut random, suite, &[]), key(&mut random, suite, &[])];
    let mut senders = keys.each_ref().map(|key| Sender::new(key, 1).expect("a sender"));
    let mut receivers = keys
        .each_ref()
        .map(|key| Receiver::new(key, 1).expect("a receiver"));
    let plain = [0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 5, 5, 5, 5];
    let [first, second] = senders
        .each_mut()
        .map(|sender| protected(sender, &plain).expect("protected"));
    let wanted = [
        receivers[0].expect_rtp(&first).expect("a packet"),
        receivers[1].expect_rtp(&second).expect("a packet"),
    ];
    let [_, of_second] = Expected::two(wanted, [&first, &second]);
    // The packet of the other context with its right code: its key is not this one's.
    let refused = receivers[0].unprotect_rtp_with(&mut second.clone(), Some(&of_second));
    assert_eq!(refused, Err(Error::AuthenticationFailed));
    // What was asked about was another packet than the one that the code was made of: it is the code that counts.
    let mut changed = first.clone();
    changed[14] ^= 1;
    let wanted = [(); 2].map(|()| receivers[0].expect_rtp(&first).expect("a packet"));
    let [of_changed, _] = Expected::two(wanted, [&changed, &first]);
    let refused = receivers[0].unprotect_rtp_with(&mut first.clone(), Some(&of_changed));
    assert_eq!(refused, Err(Error::AuthenticationFailed));
    // And a packet of its own, with a code of another key, is judged by what its tag really is.
    let taken = receivers[0].unprotect_rtp_with(&mut first.clone(), Some(&of_second));
    assert_eq!(taken, Ok(plain.len()));
}
