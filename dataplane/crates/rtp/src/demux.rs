/// What a datagram on a media port is, by its first bytes alone (RFC 7983 §7, RFC 5761 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// First byte 0 to 3.
    Stun,
    /// First byte 16 to 19.
    Zrtp,
    /// First byte 20 to 63.
    Dtls,
    /// First byte 64 to 79.
    TurnChannel,
    /// First byte 128 to 191, that is version 2, and the second byte is no RTCP packet type.
    Rtp,
    /// First byte 128 to 191 and the second byte 192 to 223: a packet type that RFC 5761 §4 keeps free of RTP
    /// payload types (64 to 95 with the marker bit).
    Rtcp,
    /// None of these, or empty.
    Unknown,
}

/// Tells what `datagram` is. Looks at two bytes and checks nothing else: the parser of the class does that.
pub fn classify(datagram: &[u8]) -> Class {
    let Some(&first) = datagram.first() else {
        return Class::Unknown;
    };
    match first {
        0..=3 => Class::Stun,
        16..=19 => Class::Zrtp,
        20..=63 => Class::Dtls,
        64..=79 => Class::TurnChannel,
        128..=191 => match datagram.get(1) {
            Some(192..=223) => Class::Rtcp,
            _ => Class::Rtp,
        },
        _ => Class::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7983 §7, figure 3, byte by byte.
    #[test]
    fn every_first_byte_has_the_class_of_the_rfc() {
        for first in 0..=255u8 {
            let expected = match first {
                0..=3 => Class::Stun,
                16..=19 => Class::Zrtp,
                20..=63 => Class::Dtls,
                64..=79 => Class::TurnChannel,
                128..=191 => Class::Rtp,
                _ => Class::Unknown,
            };
            assert_eq!(classify(&[first, 0]), expected, "first byte {first}");
            assert_eq!(classify(&[first]), expected, "first byte {first} alone");
        }
        assert_eq!(classify(&[]), Class::Unknown);
    }

    /// RFC 5761 §4: with the marker bit, payload types 64 to 95 read as packet types 192 to 223.
    #[test]
    fn the_second_byte_parts_rtp_and_rtcp() {
        for second in 0..=255u8 {
            let expected = if (192..=223).contains(&second) {
                Class::Rtcp
            } else {
                Class::Rtp
            };
            assert_eq!(classify(&[0x80, second]), expected, "second byte {second}");
        }
    }
}
