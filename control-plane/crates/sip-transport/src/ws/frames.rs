/// Follows the frames of a client (RFC 6455 §5.2) in the bytes that come, and nothing of what is in them: where they begin and end, and
/// which of them end a message. Whether they are right is for who reads them.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// What there is of the head of a frame.
    head: [u8; HEAD_BYTES],
    have: usize,
    /// Bytes of payload to come; `None` while the head does.
    left: Option<u64>,
    /// Whether the frame that comes ends what it belongs to, and whether that is a message.
    ends: bool,
    is_control: bool,
    /// Frames of the message that has begun.
    fragments: u32,
}

/// Two bytes, eight of length, and the mask.
const HEAD_BYTES: usize = 14;

/// What some bytes had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Frames that ended, those of control included.
    pub(super) frames: u32,
    /// Messages that ended.
    pub(super) messages: u32,
    /// The most frames that a message has had by now.
    pub(super) fragments_most: u32,
}

impl Frames {
    /// Whether a frame, or a message of several, has begun and not ended.
    pub(super) const fn is_unfinished(&self) -> bool {
        self.have > 0 || self.left.is_some() || self.fragments > 0
    }

    /// Takes what has come next.
    pub(super) fn come(&mut self, mut bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        loop {
            if self.left.is_none() {
                let Some((&byte, rest)) = bytes.split_first() else {
                    return seen;
                };
                bytes = rest;
                self.take_head(byte, &mut seen);
            }
            if let Some(left) = self.left {
                let here = left.min(bytes.len() as u64);
                bytes = &bytes[here as usize..];
                self.left = Some(left - here);
                if left > here {
                    return seen;
                }
                self.end(&mut seen);
            }
        }
    }

    fn take_head(&mut self, byte: u8, seen: &mut Seen) {
        self.head[self.have] = byte;
        self.have += 1;
        if self.have < 2 {
            return;
        }
        let (kind, size) = (self.head[0], self.head[1]);
        let length = match size & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if size & 0x80 == 0 { 0 } else { 4 };
        if self.have < 2 + length + mask {
            return;
        }
        self.left = Some(match length {
            0 => u64::from(size & 0x7f),
            _ => self.head[2..2 + length]
                .iter()
                .fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
        });
        self.have = 0;
        self.ends = kind & 0x80 != 0;
        self.is_control = kind & 0x08 != 0;
        if !self.is_control {
            self.fragments = self.fragments.saturating_add(1);
            seen.fragments_most = seen.fragments_most.max(self.fragments);
        }
    }

    fn end(&mut self, seen: &mut Seen) {
        self.left = None;
        seen.frames += 1;
        if self.ends && !self.is_control {
            self.fragments = 0;
            seen.messages += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use sans_io::Random;

    use super::*;

    /// One frame: its first byte, and how much it has.
    fn frame(kind: u8, payload: usize, mask: bool) -> Vec<u8> {
        let bit = if mask { 0x80 } else { 0 };
        let mut bytes = vec![kind];
        match payload {
            0..=125 => bytes.push(bit | payload as u8),
            126..=0xffff => {
                bytes.push(bit | 126);
                bytes.extend((payload as u16).to_be_bytes());
            }
            _ => {
                bytes.push(bit | 127);
                bytes.extend((payload as u64).to_be_bytes());
            }
        }
        // Payload and mask of bytes that would be heads.
        bytes.resize(bytes.len() + payload + if mask { 4 } else { 0 }, 0x81);
        bytes
    }

    const TEXT: u8 = 0x81;
    const TEXT_BEGINS: u8 = 0x01;
    const GOES_ON: u8 = 0x00;
    const ENDS: u8 = 0x80;
    const PING: u8 = 0x89;

    #[test]
    fn frames_and_messages_are_counted_however_they_are_cut() {
        let mut random = Random::from_number(7);
        for _ in 0..2_000 {
            let (mut bytes, mut expected) = (Vec::new(), Seen::default());
            for _ in 0..random.below(6) {
                let payload = [0, 1, 125, 126, 300, 0x1_0000][random.below(6) as usize];
                let fragments = 1 + random.below(3) as u32;
                for fragment in 1..=fragments {
                    let kind = match (fragment, fragment == fragments) {
                        (1, true) => TEXT,
                        (1, false) => TEXT_BEGINS,
                        (_, false) => GOES_ON,
                        (_, true) => ENDS,
                    };
                    bytes.extend(frame(kind, payload, random.below(2) == 0));
                    if random.below(3) == 0 {
                        bytes.extend(frame(PING, random.below(126) as usize, true));
                        expected.frames += 1;
                    }
                }
                expected.frames += fragments;
                expected.messages += 1;
                expected.fragments_most = expected.fragments_most.max(fragments);
            }
            let (mut frames, mut seen) = (Frames::default(), Seen::default());
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (part, after) = rest.split_at(1 + random.below(rest.len().min(400) as u64) as usize);
                let more = frames.come(part);
                seen.frames += more.frames;
                seen.messages += more.messages;
                seen.fragments_most = seen.fragments_most.max(more.fragments_most);
                rest = after;
            }
            assert_eq!(seen, expected);
            assert!(!frames.is_unfinished());
        }
    }

    #[test]
    fn a_message_is_unfinished_from_its_first_byte_to_its_last_whatever_comes_between() {
        let mut frames = Frames::default();
        let first = frame(TEXT_BEGINS, 3, true);
        for byte in first.iter().chain(&frame(PING, 2, true)) {
            frames.come(&[*byte]);
            assert!(frames.is_unfinished());
        }
        let last = frame(ENDS, 0, true);
        let (end, begin) = last.split_last().unwrap();
        assert_eq!(frames.come(begin).messages, 0);
        assert!(frames.is_unfinished());
        assert_eq!(frames.come(&[*end]).messages, 1);
        assert!(!frames.is_unfinished());
    }
}
