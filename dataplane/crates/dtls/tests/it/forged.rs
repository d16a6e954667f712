//! What parties that are not who they say, and strangers, achieve.

use std::time::Duration;

use dtls::{Failure, Fingerprint, HashFunction, Settings, Versions};
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
            let another = Fingerprint::of(HashFunction::Sha256, b"somebody else's certificate");
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
        let another = Fingerprint::of(HashFunction::Sha256, b"the key before");
        let its_own = Fingerprint::of(HashFunction::Sha512, identity.certificate());
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

/// Strangers who can send to the port, but neither read nor hold back what goes over it, do not keep the two apart.
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
                pair.ends[side as usize].handle_datagram(pair.now, &noise);
                pair.take(side);
            }
        }
        pair.settle();
        pair.assert_keys_agree()?;
    }
    Ok(())
}
