//! Damage of every kind: no panic, no view that panics, no message that the stream and the datagram read differently.

use bytes::Bytes;
use sans_io::Random;
use sip::message::framing::{StreamFramer, StreamItem};
use sip::message::{HeaderName, Limits, Message, ResponseBuilder};

use super::torture_cases::cases;

/// Looks at everything, and checks what must hold for every message that was taken.
fn inspect(bytes: &[u8]) {
    match Message::parse_datagram(Bytes::copy_from_slice(bytes)) {
        Ok(message) => inspect_message(&message),
        Err(failure) => {
            if let Some((request, code)) = failure.answer() {
                let response = ResponseBuilder::for_request(request, code, "x")
                    .to_tag("t")
                    .build();
                let response = response.expect("an answer can be built to whatever was left");
                assert!(
                    response
                        .headers()
                        .all(|header| !header.value.contains(['\r', '\n']))
                );
            }
        }
    }
}

fn inspect_message(message: &Message) {
    assert!(message.via().is_ok() && message.from().is_ok() && message.to().is_ok());
    assert!(message.call_id().is_ok() && message.cseq().is_ok() && message.max_forwards().is_ok());
    assert!(message.vias().all(|via| via.is_ok()));
    assert!(
        message
            .routes()
            .chain(message.record_routes())
            .all(|route| route.is_ok())
    );
    assert!(
        message.header(HeaderName::Contact) == Some("*") || message.contacts().all(|contact| contact.is_ok())
    );
    for header in message.headers() {
        assert!(!header.value.contains(['\r', '\n']), "{header:?}");
        // Whatever another header holds, reading it as a list of addresses is an error at worst.
        let _ = message
            .addresses(header.id)
            .filter(|address| address.is_err())
            .count();
        let _ = message.number(header.id);
    }
    let printed = message.edit().build();
    if let Ok(printed) = printed {
        let again = Message::parse_datagram(printed.bytes().clone()).expect("what we print we read");
        assert_eq!(again.edit().build().as_ref(), Ok(&printed), "printing is stable");
    }
}

#[test]
fn every_truncation_is_survived() {
    for case in cases() {
        for len in 0..case.bytes.len() {
            inspect(&case.bytes[..len]);
        }
    }
}

#[test]
fn every_truncation_of_a_stream_waits_or_closes() {
    for name in ["sdp01", "ipv6-in-sdp", "transports"] {
        let bytes = super::torture::case(name).bytes;
        let mut framer = StreamFramer::new(Limits::default());
        for (index, byte) in bytes.iter().enumerate() {
            framer.push(&[*byte]);
            let item = framer
                .next()
                .unwrap_or_else(|error| panic!("{name} at {index}: {error}"));
            assert_eq!(item.is_some(), index + 1 == bytes.len(), "{name} at {index}");
        }
    }
}

#[test]
fn random_damage_is_survived() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_261_122);
    println!("SEED={seed}");
    let mut random = Random::from_number(seed);
    let cases = cases();
    let mut below = move |end: usize| random.below(end as u64) as usize;
    for round in 0..20_000 {
        let case = &cases[below(cases.len())];
        let mut bytes = case.bytes.to_vec();
        for _ in 0..=below(4) {
            let at = below(bytes.len());
            match below(5) {
                0 => bytes[at] ^= 1 << below(8),
                1 => bytes[at] = b"\r\n\0 \t\"<>;,:=@?%\\\x80"[below(17)],
                2 => {
                    bytes.remove(at);
                }
                3 => {
                    let from = below(bytes.len());
                    bytes.insert(at, bytes[from]);
                }
                _ => {
                    let end = at + below(bytes.len() - at);
                    let piece = bytes[at..end].to_vec();
                    let to = below(bytes.len());
                    bytes.splice(to..to, piece);
                }
            }
            if bytes.is_empty() {
                break;
            }
        }
        if std::panic::catch_unwind(|| inspect(&bytes)).is_err() {
            panic!(
                "SEED={seed}, round {round}, {}: {:?}",
                case.name,
                String::from_utf8_lossy(&bytes)
            );
        }
    }
}

#[test]
fn stream_reads_what_the_datagram_reads() {
    for case in cases() {
        let Ok(message) = Message::parse_datagram(case.bytes.clone()) else {
            continue;
        };
        if !message.has(HeaderName::ContentLength) {
            continue;
        }
        let mut framer = StreamFramer::new(Limits::default());
        framer.push(&case.bytes);
        match framer.next() {
            Ok(Some(StreamItem::Message(streamed))) => assert_eq!(streamed, message, "{}", case.name),
            other => panic!("{}: {other:?}", case.name),
        }
    }
}
