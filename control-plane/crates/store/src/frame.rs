use std::ops::Range;

use ops::checksum::crc32;

/// The largest record, in bytes of JSON. SIP limits keep a real one below 10 kB.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;

/// What a frame begins with. 0xC5 before an ASCII letter is not UTF-8, so it occurs in no JSON payload and a reader
/// can find the next frame behind a damaged one.
const MARK: [u8; 4] = [0xC5, b'C', b'D', b'R'];

/// Bytes before the payload: the mark, the payload's length and its checksum, both 32 bits little-endian.
pub const HEADER_BYTES: usize = 12;

/// Appends one frame to `out`, whose payload `write` appends. Returns the payload's length, or the error of `write`; then, and
/// with a payload of more than [`RECORD_BYTES_MAX`], `out` has no new frame.
pub fn encode<E>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<usize, E> {
    let start = out.len();
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&[0; HEADER_BYTES - MARK.len()]);
    let written = write(out);
    let payload = &out[start + HEADER_BYTES..];
    let length = payload.len();
    if written.is_err() || length > RECORD_BYTES_MAX {
        out.truncate(start);
        return written.map(|()| length);
    }
    let checksum = crc32(payload);
    let header = &mut out[start + MARK.len()..start + HEADER_BYTES];
    header[..4].copy_from_slice(&(length as u32).to_le_bytes());
    header[4..].copy_from_slice(&checksum.to_le_bytes());
    Ok(length)
}

/// What stands at a place of a journal file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A whole frame: where its payload is. The next frame begins where the payload ends.
    Frame(Range<usize>),
    /// No frame; the next place where one may begin, or the end.
    Skip(usize),
    /// The bytes given end within what may be a frame.
    More,
    /// Nothing.
    End,
}

/// Reads at `at`. With `last` the bytes are all that the file has, so an unfinished frame is a torn one.
pub fn step(bytes: &[u8], at: usize, last: bool) -> Step {
    let rest = &bytes[at..];
    if rest.is_empty() {
        return Step::End;
    }
    let unfinished = || if last { skip(bytes, at) } else { Step::More };
    let known = rest.len().min(MARK.len());
    if rest[..known] != MARK[..known] {
        return skip(bytes, at);
    }
    if rest.len() < HEADER_BYTES {
        return unfinished();
    }
    let word = |from: usize| u32::from_le_bytes([rest[from], rest[from + 1], rest[from + 2], rest[from + 3]]);
    let length = word(4) as usize;
    if length > RECORD_BYTES_MAX {
        return skip(bytes, at);
    }
    if rest.len() < HEADER_BYTES + length {
        return unfinished();
    }
    let payload = at + HEADER_BYTES..at + HEADER_BYTES + length;
    if crc32(&bytes[payload.clone()]) == word(8) {
        Step::Frame(payload)
    } else {
        skip(bytes, at)
    }
}

fn skip(bytes: &[u8], at: usize) -> Step {
    let from = at + 1;
    let next = bytes[from..].iter().position(|&byte| byte == MARK[0]);
    Step::Skip(next.map_or(bytes.len(), |offset| from + offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
        let (mut at, mut frames, mut skipped) = (0, Vec::new(), 0);
        loop {
            match step(bytes, at, true) {
                Step::Frame(payload) => {
                    at = payload.end;
                    frames.push(bytes[payload].to_vec());
                }
                Step::Skip(to) => {
                    assert!(to > at, "a skip must move forward");
                    skipped += to - at;
                    at = to;
                }
                Step::More => panic!("More at the end of the file"),
                Step::End => return (frames, skipped),
            }
        }
    }

    fn three() -> (Vec<u8>, Vec<Vec<u8>>) {
        let payloads = vec![b"first".to_vec(), Vec::new(), b"the third".to_vec()];
        let mut bytes = Vec::new();
        for payload in &payloads {
            encode(&mut bytes, |out| {
                out.extend_from_slice(payload);
                Ok::<_, ()>(())
            })
            .unwrap();
        }
        (bytes, payloads)
    }

    #[test]
    fn a_file_cut_anywhere_loses_only_the_frame_that_was_cut() {
        let (bytes, payloads) = three();
        let ends: Vec<usize> = payloads
            .iter()
            .scan(0, |end, payload| {
                *end += HEADER_BYTES + payload.len();
                Some(*end)
            })
            .collect();
        for length in 0..=bytes.len() {
            let whole = ends.iter().filter(|&&end| end <= length).count();
            assert_eq!(read_all(&bytes[..length]).0, payloads[..whole], "cut at {length}");
        }
    }

    #[test]
    fn a_payload_that_is_too_long_or_fails_leaves_nothing() {
        let mut bytes = b"before".to_vec();
        let long = encode(&mut bytes, |out| {
            out.resize(out.len() + RECORD_BYTES_MAX + 1, b'x');
            Ok::<_, ()>(())
        });
        assert_eq!((long, &bytes[..]), (Ok(RECORD_BYTES_MAX + 1), &b"before"[..]));
        let failed = encode(&mut bytes, |out| {
            out.push(b'x');
            Err("full")
        });
        assert_eq!((failed, &bytes[..]), (Err("full"), &b"before"[..]));
    }

    #[test]
    fn a_damaged_byte_loses_only_its_frame() {
        let (bytes, payloads) = three();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            let (frames, _) = read_all(&damaged);
            assert_eq!(frames.len(), 2, "byte {at}");
            assert!(frames.iter().all(|frame| payloads.contains(frame)), "byte {at}");
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_damage_and_not_a_wait() {
        let mut bytes = MARK.to_vec();
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        assert_eq!(step(&bytes, 0, false), Step::Skip(bytes.len()));
    }

    #[test]
    fn an_unfinished_frame_waits_for_more() {
        let (bytes, _) = three();
        for length in 1..HEADER_BYTES + 5 {
            assert_eq!(step(&bytes[..length], 0, false), Step::More, "{length}");
        }
    }
}
