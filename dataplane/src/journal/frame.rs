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

/// Why a file is not read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It does not begin as a journal.
    #[error("it is not a journal")]
    Foreign,
    /// Another version wrote it.
    #[error("it has version {0}.{1}, this build reads {major}.{minor}", major = MARK[NAME], minor = MARK[NAME + 1])]
    Version(u8, u8),
    /// A frame is not what was written.
    #[error("the record at byte {0} is damaged")]
    Frame(usize),
}

/// Appends a frame with `payload` to `out`. False, and nothing appended, when it is too large.
pub fn encode(payload: &[u8], out: &mut Vec<u8>) -> bool {
    if payload.len() > PAYLOAD_MAX {
        return false;
    }
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32(payload).to_le_bytes());
    out.extend_from_slice(payload);
    true
}

/// The whole frames of a file: where their payloads are. A last one that was cut off is left out: its writer died.
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
    loop {
        let rest = &bytes[at..];
        let (Some(length), Some(checksum)) = (word(rest, 0), word(rest, 4)) else {
            return Ok(found);
        };
        let length = length as usize;
        if length > PAYLOAD_MAX {
            return Err(Damage::Frame(at));
        }
        let payload = at + HEAD..at + HEAD + length;
        let Some(bytes_of) = bytes.get(payload.clone()) else {
            return Ok(found);
        };
        if crc32(bytes_of) != checksum {
            // A file may have been made longer before it was written to.
            let last = payload.end == bytes.len();
            return if last { Ok(found) } else { Err(Damage::Frame(at)) };
        }
        at = payload.end;
        found.push(payload);
    }
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
        let whole = file(&[b"first", b"", b"the third"]);
        let ends: Vec<usize> = payloads(&whole)
            .expect("whole")
            .iter()
            .map(|range| range.end)
            .collect();
        assert_eq!(ends.len(), 3);
        for length in 0..=whole.len() {
            let found = payloads(&whole[..length]).expect("torn, not damaged");
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
    fn a_damaged_byte_before_the_last_record_is_seen_or_ends_the_file() {
        let whole = file(&[b"first", b"second", b"third"]);
        let good = payloads(&whole).expect("whole");
        for at in MARK.len()..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            if let Ok(found) = payloads(&damaged) {
                assert!(found.len() < 3 && good.starts_with(&found), "byte {at}");
            }
        }
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
