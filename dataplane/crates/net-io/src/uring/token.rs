//! What a completion belongs to, in the 64 bits that the kernel hands back with it.

use media_engine::PortId;

/// Bits of a port's generation that a token carries. A wrap would need as many re-uses of one port within the time
/// that one completion is late.
const GENERATION_BITS: u32 = 28;

/// A generation as tokens carry it.
pub(super) const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

/// The request that a completion belongs to: 4 bits of kind, 28 of generation, 32 of index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// The multishot receive of a port, of this generation.
    Receive { port: PortId, generation: u32 },
    /// The sending of a frame.
    Send { frame: u32 },
    /// The poll of the waker's eventfd.
    Wake,
    /// The cancelling of a port's receive. The receive tells its end itself.
    Cancel { port: PortId, generation: u32 },
    /// The removal of a port's socket from the file table.
    CloseFile { port: PortId, generation: u32 },
    /// The cancelling of the waker's poll.
    StopWaker,
    /// The making of a descriptor of a port's socket.
    Install,
}

impl Token {
    pub(super) const fn encode(self) -> u64 {
        let (kind, generation, index) = match self {
            Self::Receive { port, generation } => (1, generation, port.0),
            Self::Send { frame } => (2, 0, frame),
            Self::Wake => (3, 0, 0),
            Self::Cancel { port, generation } => (4, generation, port.0),
            Self::CloseFile { port, generation } => (5, generation, port.0),
            Self::StopWaker => (6, 0, 0),
            Self::Install => (7, 0, 0),
        };
        (kind << 60) | ((generation & GENERATION_MASK) as u64) << 32 | index as u64
    }

    /// `None` for what no request of ours carries.
    pub(super) const fn decode(bits: u64) -> Option<Self> {
        let index = bits as u32;
        let generation = (bits >> 32) as u32 & GENERATION_MASK;
        match bits >> 60 {
            1 => Some(Self::Receive {
                port: PortId(index),
                generation,
            }),
            2 => Some(Self::Send { frame: index }),
            3 => Some(Self::Wake),
            4 => Some(Self::Cancel {
                port: PortId(index),
                generation,
            }),
            5 => Some(Self::CloseFile {
                port: PortId(index),
                generation,
            }),
            6 => Some(Self::StopWaker),
            7 => Some(Self::Install),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_token_survives_the_kernel(index: u32, generation in 0..=GENERATION_MASK) {
            let port = PortId(index);
            let tokens = [
                Token::Receive { port, generation },
                Token::Send { frame: index },
                Token::Wake,
                Token::Cancel { port, generation },
                Token::StopWaker,
                Token::CloseFile { port, generation },
            ];
            for token in tokens {
                prop_assert_eq!(Token::decode(token.encode()), Some(token));
            }
        }

        #[test]
        fn any_bits_are_a_token_or_nothing(bits: u64) {
            if let Some(token) = Token::decode(bits) {
                prop_assert_eq!(Token::decode(token.encode()), Some(token));
            }
        }
    }
}
