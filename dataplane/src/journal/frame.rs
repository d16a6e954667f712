//! The journal's bytes: a mark with the version, then frames of length, CRC-32 and payload.

use std::ops::Range;

use ops::checksum::crc32;

/// What a file begins with: a name and the version of all that follows.
pub const MARK: [u8; 8] = *b"RPMEDJ\x00\x01";
/// The part of [`MARK`] that other versions have, too.
const NAME: usize = 6;

/// The largest payload. A call of two legs with eight lines of 32 formats each takes 20 kB.
pub const PAYLOAD_MAX: usize = 256 * 1024;

/// Bytes before a payload: its length and its CRC-32, both little-endian.
pub const HEAD: usize = 8;

/// Why a file is not read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It does not begin as a journal.
    #[error("it is not a journal")]
    Foreign,
    /// Another version wrote it.
    #[error("it has version {0}.{1}, this build reads {major}.{minor}", major = MARK[NAME], minor = MARK[NAME + 1])]
    Version(u8, u8),
}

/// Appends a frame with `payload`, which is not empty, to `out`. False, and nothing appended, when it is too large.
pub fn encode(payload: &[u8], out: &mut Vec<u8>) -> bool {
    if payload.len() > PAYLOAD_MAX {
        return false;
    }
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32(payload).to_le_bytes());
    out.extend_from_slice(payload);
    true
}

/// The whole frames of a file, up to the first that is none: where their payloads are. The last one ends where the file does, unless
/// a frame was cut off, since its writer died, or is not what was written. Where the next frame begins cannot be told then.
///
/// # Errors
/// When it is no file of this version.
pub fn payloads(bytes: &[u8]) -> Result<Vec<Range<usize>>, Damage> {
    if bytes.len() < MARK.len() {
        let torn = MARK.starts_with(bytes);
        return if torn {
            Ok(Vec::new())
        } else {
            Err(Damage::Foreign)
        };
    }
    if bytes[..NAME] != MARK[..NAME] {
        return Err(Damage::Foreign);
    }
    if bytes[..MARK.len()] != MARK {
        return Err(Damage::Version(bytes[NAME], bytes[NAME + 1]));
    }
    let mut found = Vec::new();
    let mut at = MARK.len();
    while let Some(payload) = payload(bytes, at) {
        at = payload.end;
        found.push(payload);
    }
    Ok(found)
}

/// The payload of the frame that begins at a byte; `None` when it is not whole. No payload is empty, unlike those of a file that was
/// made longer before it was written to.
fn payload(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = &bytes[at..];
    let (length, checksum) = (word(rest, 0)? as usize, word(rest, 4)?);
    let payload = at + HEAD..at + HEAD + length;
    let whole = (1..=PAYLOAD_MAX).contains(&length) && crc32(bytes.get(payload.clone())?) == checksum;
    whole.then_some(payload)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(payloads: &[&[u8]]) -> Vec<u8> {
        let mut bytes = MARK.to_vec();
        payloads
            .iter()
            .for_each(|payload| assert!(encode(payload, &mut bytes)));
        bytes
    }

    #[test]
    fn a_file_cut_anywhere_loses_only_the_record_that_was_cut() {
        let whole = file(&[b"first", b"2", b"the third"]);
        let ends: Vec<usize> = payloads(&whole)
            .expect("whole")
            .iter()
            .map(|range| range.end)
            .collect();
        assert_eq!(ends.len(), 3);
        for length in 0..=whole.len() {
            let found = payloads(&whole[..length]).expect("a journal");
            assert_eq!(
                found.len(),
                ends.iter().filter(|&&end| end <= length).count(),
                "{length}"
            );
        }
    }

    #[test]
    fn other_files_and_versions_are_told_apart() {
        assert_eq!(payloads(b"[node]"), Err(Damage::Foreign));
        assert_eq!(payloads(b"a longer text"), Err(Damage::Foreign));
        let mut next = file(&[b"x"]);
        next[NAME + 1] += 1;
        assert_eq!(payloads(&next), Err(Damage::Version(0, 2)));
        assert_eq!(
            Damage::Version(0, 2).to_string(),
            "it has version 0.2, this build reads 0.1"
        );
    }

    #[test]
    fn a_damaged_byte_leaves_what_came_before_it() {
        let whole = file(&[b"first", b"second", b"third"]);
        let good = payloads(&whole).expect("whole");
        for at in MARK.len()..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            let found = payloads(&damaged).expect("a journal");
            let before = good.iter().take_while(|range| range.end <= at).count();
            assert_eq!(found, good[..before], "byte {at}");
        }
    }

    #[test]
    fn a_file_that_was_only_made_longer_ends_where_it_was_written() {
        let mut whole = file(&[b"first"]);
        let good = payloads(&whole).expect("whole");
        whole.resize(whole.len() + 100, 0);
        assert_eq!(payloads(&whole).expect("a journal"), good);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), marked: bool) {
            if marked {
                bytes.splice(0..0, MARK);
            }
            if let Ok(found) = payloads(&bytes) {
                prop_assert!(found.iter().all(|range| range.end <= bytes.len()));
            }
        }
    }
}
