use bytes::Bytes;

/// RFC 3261 §18.1.1: a request within 200 bytes of the path's MTU, and when that is not known one larger than this,
/// goes over a transport with congestion control.
pub(crate) const UDP_REQUEST_BYTES_MAX: usize = 1_300;

/// The wire image of a request for TCP: the topmost Via, which is ours, names that transport. `None` for a message
/// that is no request of ours for UDP.
pub(crate) fn for_tcp(bytes: &Bytes) -> Option<Bytes> {
    const OURS: &[u8] = b"\r\nVia: SIP/2.0/UDP ";
    if bytes.starts_with(b"SIP/2.0 ") {
        return None;
    }
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let via = bytes[..head]
        .windows(OURS.len())
        .position(|window| window == OURS)?;
    let name = via + OURS.len() - 4;
    let mut copy = bytes.to_vec();
    copy[name..name + 3].copy_from_slice(b"TCP");
    Some(copy.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_topmost_via_of_a_request_is_changed() {
        let request = Bytes::from_static(
            b"INVITE sip:Via:SIP/2.0/UDP@h SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=1\r\nVia: SIP/2.0/UDP b\r\n\r\nbody",
        );
        let expected =
            &b"INVITE sip:Via:SIP/2.0/UDP@h SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=1\r\nVia: SIP/2.0/UDP b\r\n\r\nbody"[..];
        assert_eq!(for_tcp(&request).unwrap(), expected);
        assert_eq!(
            for_tcp(&Bytes::from_static(
                b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a\r\n\r\n"
            )),
            None
        );
        assert_eq!(
            for_tcp(&Bytes::from_static(
                b"BYE sip:a SIP/2.0\r\n\r\nVia: SIP/2.0/UDP a\r\n"
            )),
            None
        );
    }
}
