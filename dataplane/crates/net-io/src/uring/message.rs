//! What a multishot receive writes into a frame: a head, the source address, control data, and the payload.

use std::net::SocketAddr;

use io_uring::types::RecvMsgOut;

use crate::address::RawAddress;
use crate::control::Control;

/// A received datagram, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) source: SocketAddr,
    /// Bytes of payload in the frame.
    pub(super) length: u16,
    /// The datagram was longer.
    pub(super) truncated: bool,
    /// What the kernel told beside it.
    pub(super) control: Control,
}

impl Message {
    /// Reads the bytes that the kernel wrote for a receive of this shape; `None` if they are not from an address of a
    /// family that ports have, or too few.
    pub(super) fn parse(written: &[u8], shape: &libc::msghdr) -> Option<Self> {
        let message = RecvMsgOut::parse(written, shape).ok()?;
        Some(Self {
            source: RawAddress::parse(message.name_data())?,
            length: u16::try_from(message.payload_data().len()).ok()?,
            truncated: message.is_payload_truncated(),
            control: Control::parse(message.control_data()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::OVERFLOW_SPACE;
    use crate::uring::{message_head, message_shape};
    use proptest::prelude::*;

    const MESSAGE_HEAD: usize = message_head(OVERFLOW_SPACE);
    const MESSAGE_SHAPE: libc::msghdr = message_shape(OVERFLOW_SPACE);

    /// A message as the kernel writes it.
    fn written(source: SocketAddr, payload: &[u8], flags: i32) -> Vec<u8> {
        let address = RawAddress::new(source);
        let mut bytes = Vec::new();
        for number in [address.length(), 0, payload.len() as u32, flags as u32] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(address.bytes());
        bytes.resize(MESSAGE_HEAD, 0);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn a_message_is_read_as_the_kernel_writes_it() {
        for source in ["192.0.2.1:4000", "[2001:db8::1]:4000"] {
            let source: SocketAddr = source.parse().unwrap();
            let expected = Message {
                source,
                length: 5,
                truncated: false,
                control: Control::default(),
            };
            assert_eq!(
                Message::parse(&written(source, b"hello", 0), &MESSAGE_SHAPE),
                Some(expected)
            );
            let cut = Message::parse(&written(source, b"hello", libc::MSG_TRUNC), &MESSAGE_SHAPE);
            assert_eq!(
                cut,
                Some(Message {
                    truncated: true,
                    ..expected
                })
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(message) = Message::parse(&bytes, &MESSAGE_SHAPE) {
                prop_assert!(usize::from(message.length) + MESSAGE_HEAD <= bytes.len());
            }
        }
    }
}
