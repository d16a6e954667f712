//! What parties that are not who they say, and strangers, achieve.

use std::time::Duration;

use dtls::{Failure, Refusal, Settings, Versions, fingerprint};
use media_types::HashFunction;
use sans_io::Random;
use sans_io::network::Conditions;

use crate::pair::{Pair, Side};

#[test]
fn a_certificate_that_the_description_does_not_name_gives_no_keys() -> anyhow::Result<()> {
    for versions in [Versions::Only12, Versions::Only13] {
        for liar in [Side::Active, Side::Passive] {
            let settings = Settings {
                versions,
                ..Settings::default()
            };
            let mut pair = Pair::strangers([settings, settings], Conditions::PERFECT, 5)?;
            let truth = pair.identities[liar.other() as usize].fingerprint().clone();
            pair.tell(liar, vec![truth]);
            let another = fingerprint(HashFunction::Sha256, b"somebody else's certificate");
            pair.tell(liar.other(), vec![another]);
            pair.settle();
            assert_eq!(
                pair.outcome(liar.other()),
                Some(Err(Failure::Fingerprint)),
                "{versions:?}, {liar:?} lies"
            );
        }
    }
    Ok(())
}

#[test]
fn one_of_several_fingerprints_is_enough() -> anyhow::Result<()> {
    let settings = Settings::default();
    let mut pair = Pair::strangers([settings, settings], Conditions::PERFECT, 6)?;
    for side in [Side::Active, Side::Passive] {
        let identity = &pair.identities[side.other() as usize];
        let another = fingerprint(HashFunction::Sha256, b"the key before");
        let its_own = fingerprint(HashFunction::Sha512, identity.certificate());
        pair.tell(side, vec![another, its_own]);
    }
    pair.settle();
    pair.assert_keys_agree()
}

#[test]
fn a_description_without_a_fingerprint_gives_no_keys() -> anyhow::Result<()> {
    let settings = Settings::default();
    let mut pair = Pair::strangers([settings, settings], Conditions::PERFECT, 7)?;
    pair.tell(Side::Passive, Vec::new());
    assert_eq!(pair.outcome(Side::Passive), Some(Err(Failure::Fingerprint)));
    Ok(())
}

/// Noise from the party's own address, as a fault on the way or someone who forges sources without knowing DTLS would make it, does
/// not keep the two apart. Well-formed fragments do: see below.
#[test]
fn truncated_oversized_and_random_records_do_not_stop_a_handshake() -> anyhow::Result<()> {
    for versions in [Versions::Only12, Versions::Only13] {
        let settings = Settings {
            versions,
            ..Settings::default()
        };
        let mut pair = Pair::new([settings, settings], Conditions::PERFECT, 8)?;
        let mut random = Random::from_number(8);
        for side in [Side::Active, Side::Passive] {
            pair.take(side);
        }
        for round in 0..40 {
            pair.run(pair.now + Duration::from_micros(400));
            pair.now = pair.now + Duration::from_micros(400);
            for side in [Side::Active, Side::Passive] {
                let mut noise = vec![0; 1 + random.below(1_500) as usize];
                random.fill(&mut noise);
                // The first byte of handshake, alert, change of cipher and DTLS 1.3 records in turn, with a version that is known.
                noise[0] = [22, 21, 20, 23, 0x2f][round % 5];
                if noise.len() > 13 {
                    noise[1..3].copy_from_slice(&[0xfe, 0xfd]);
                    if round % 2 == 0 {
                        // A length far beyond the datagram, in an epoch far ahead.
                        noise[3..13].copy_from_slice(&[0, 9, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
                    }
                }
                let source = side.other().address();
                let taken = pair.ends[side as usize].handle_datagram(pair.now, source, &noise);
                // Some are seen to be no records at once, and others are let go within.
                let is_refused = matches!(taken, Err(Refusal::Truncated | Refusal::Oversized));
                assert!(taken.is_ok() || is_refused, "{taken:?}");
                pair.take(side);
            }
        }
        pair.settle();
        pair.assert_keys_agree()?;
    }
    Ok(())
}

/// The `number`th of a run of well-formed fragments of a message that is not due yet, which a handshake keeps until it is.
fn fragment(number: u8) -> Vec<u8> {
    // Handshake, DTLS 1.2, epoch 0, sequence number, 13 bytes.
    let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 9, number, 0, 13];
    // Certificate of 1,000 bytes, the sixth message, one byte of it.
    record.extend([11, 0, 0x03, 0xe8, 0, 5, 0, 0, number, 0, 0, 1, 0]);
    record
}

/// Strangers who can send to the port from an address of their own do not keep the two apart, however well their fragments are made.
#[test]
fn fragments_from_elsewhere_are_refused_and_do_not_stop_a_handshake() -> anyhow::Result<()> {
    for versions in [Versions::Only12, Versions::Only13] {
        let settings = Settings {
            versions,
            ..Settings::default()
        };
        let mut pair = Pair::new([settings, settings], Conditions::PERFECT, 9)?;
        let mut elsewhere = Side::Active.address();
        elsewhere.set_port(6_666);
        for side in [Side::Active, Side::Passive] {
            for number in 0..100 {
                let taken = pair.ends[side as usize].handle_datagram(pair.now, elsewhere, &fragment(number));
                assert_eq!(taken, Err(Refusal::Source));
            }
        }
        pair.settle();
        pair.assert_keys_agree()?;
    }
    Ok(())
}

/// Who forges the party's own address as well ends a handshake by the limit of its queue: told by its reason, and without keys.
#[test]
fn fragments_from_the_partys_address_end_a_handshake_by_its_limit() -> anyhow::Result<()> {
    let settings = Settings {
        versions: Versions::Only12,
        ..Settings::default()
    };
    let mut pair = Pair::new([settings, settings], Conditions::PERFECT, 10)?;
    for number in 0..100 {
        let source = Side::Active.address();
        let taken = pair.ends[Side::Passive as usize].handle_datagram(pair.now, source, &fragment(number));
        assert_eq!(taken, Ok(()));
    }
    pair.take(Side::Passive);
    assert_eq!(pair.outcome(Side::Passive), Some(Err(Failure::Queue)));
    Ok(())
}
