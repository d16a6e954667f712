//! The little of STUN that a SIP flow over UDP needs (RFC 5626 §8, RFC 8489): a binding request is answered with the address
//! that it came from, so that a client keeps its NAT open and sees when its address has changed. No authentication: the
//! answer tells nothing that the sender does not know.

use std::net::{IpAddr, SocketAddr};

const HEADER_BYTES: usize = 20;
const MAGIC_COOKIE: u32 = 0x2112_A442;

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_INDICATION: u16 = 0x0011;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

/// Attributes that have to be understood and change nothing here: USERNAME, MESSAGE-INTEGRITY, REALM, NONCE,
/// MESSAGE-INTEGRITY-SHA256, PASSWORD-ALGORITHM, USERHASH (RFC 8489 §18.3).
const IGNORED: [u16; 7] = [0x0006, 0x0008, 0x0014, 0x0015, 0x001C, 0x001D, 0x001E];

/// Attribute types below this have to be understood (RFC 8489 §14).
const OPTIONAL: u16 = 0x8000;

/// Unknown attributes that are told; bounds the answer.
const UNKNOWN_MAX: usize = 4;

/// What to do with a STUN message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stun {
    /// Send this back.
    Answer(Vec<u8>),
    /// It wants no answer.
    Indication,
    /// It is malformed, of the STUN of RFC 3489 without its cookie, or nothing that a server is sent.
    Unusable,
}

/// Takes a datagram from `from` that looks like STUN.
pub(crate) fn take(message: &[u8], from: SocketAddr) -> Stun {
    let Some((kind, transaction, attributes)) = parse(message) else {
        return Stun::Unusable;
    };
    let Some(unknown) = unknown(attributes) else {
        return Stun::Unusable;
    };
    match kind {
        BINDING_INDICATION => Stun::Indication,
        BINDING_REQUEST if unknown.is_empty() => {
            let address = xor_mapped(from, transaction);
            Stun::Answer(message_of(
                BINDING_SUCCESS,
                transaction,
                &[(XOR_MAPPED_ADDRESS, &address)],
            ))
        }
        BINDING_REQUEST => {
            let types: Vec<u8> = unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
            // 420 (Unknown Attribute), in hundreds and the rest.
            let code = [0, 0, 4, 20];
            let attributes: [(u16, &[u8]); 2] = [(ERROR_CODE, &code), (UNKNOWN_ATTRIBUTES, &types)];
            Stun::Answer(message_of(BINDING_ERROR, transaction, &attributes))
        }
        _ => Stun::Unusable,
    }
}

/// Type, cookie with transaction id, and attributes (RFC 8489 §5).
fn parse(message: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (header, attributes) = message.split_at_checked(HEADER_BYTES)?;
    let kind = u16::from_be_bytes([header[0], header[1]]);
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let is_whole = length == attributes.len() && length.is_multiple_of(4);
    let is_stun = header[4..8] == MAGIC_COOKIE.to_be_bytes();
    (is_whole && is_stun).then_some((kind, &header[4..], attributes))
}

/// The first of those attributes that would have to be understood and are not. `None` if the attributes are cut off.
fn unknown(mut attributes: &[u8]) -> Option<Vec<u16>> {
    let mut unknown = Vec::new();
    while !attributes.is_empty() {
        let (head, rest) = attributes.split_at_checked(4)?;
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        attributes = rest.get(length.next_multiple_of(4)..)?;
        if kind < OPTIONAL && !IGNORED.contains(&kind) && unknown.len() < UNKNOWN_MAX {
            unknown.push(kind);
        }
    }
    Some(unknown)
}

/// RFC 8489 §14.2. `transaction` begins with the cookie.
fn xor_mapped(address: SocketAddr, transaction: &[u8]) -> Vec<u8> {
    let (family, ip) = match address.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let port = address.port().to_be_bytes();
    let xored = |bytes: &[u8]| -> Vec<u8> { bytes.iter().zip(transaction).map(|(a, b)| a ^ b).collect() };
    [vec![0, family], xored(&port), xored(&ip)].concat()
}

fn message_of(kind: u16, transaction: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        body.extend(kind.to_be_bytes());
        // Of a few bytes.
        body.extend((value.len() as u16).to_be_bytes());
        body.extend_from_slice(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let length = (body.len() as u16).to_be_bytes();
    [&kind.to_be_bytes()[..], &length, transaction, &body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The transaction id of RFC 5769 §2.
    const ID: [u8; 12] = *b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";

    fn request(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        message_of(kind, &[&MAGIC_COOKIE.to_be_bytes()[..], &ID].concat(), attributes)
    }

    /// The addresses and their attributes of the sample responses in RFC 5769 §2.2 and §2.3.
    #[test]
    fn a_binding_request_is_answered_with_its_source() {
        let v4 = b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43";
        let v6 = b"\x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9";
        for (from, attribute) in [
            ("192.0.2.1:32853", &v4[..]),
            ("[2001:db8:1234:5678:11:2233:4455:6677]:32853", &v6[..]),
        ] {
            let Stun::Answer(answer) = take(&request(BINDING_REQUEST, &[]), from.parse().unwrap()) else {
                panic!("{from}");
            };
            assert_eq!(answer[..2], BINDING_SUCCESS.to_be_bytes());
            assert_eq!(usize::from(answer[3]), attribute.len());
            assert_eq!(answer[4..8], MAGIC_COOKIE.to_be_bytes());
            assert_eq!(answer[8..20], ID);
            assert_eq!(&answer[20..], attribute);
        }
    }

    #[test]
    fn what_has_to_be_understood_and_is_not_gets_420() {
        let from = "192.0.2.1:1".parse().unwrap();
        let known: [(u16, &[u8]); 3] = [(0x0006, b"user"), (0x8022, b"software"), (0x8028, b"\0\0\0\0")];
        assert!(matches!(
            take(&request(BINDING_REQUEST, &known), from),
            Stun::Answer(answer) if answer[..2] == BINDING_SUCCESS.to_be_bytes()
        ));
        // CHANGE-REQUEST of RFC 3489, which would have us answer from elsewhere.
        let change: [(u16, &[u8]); 1] = [(0x0003, b"\0\0\0\x06")];
        let Stun::Answer(answer) = take(&request(BINDING_REQUEST, &change), from) else {
            panic!("no answer");
        };
        assert_eq!(answer[..2], BINDING_ERROR.to_be_bytes());
        assert_eq!(
            answer[20..],
            *b"\x00\x09\x00\x04\x00\x00\x04\x14\x00\x0a\x00\x02\x00\x03\x00\x00"
        );
    }

    #[test]
    fn every_cut_and_every_changed_length_is_unusable_or_answered_but_never_a_panic() {
        let from = "192.0.2.1:1".parse().unwrap();
        let whole = request(BINDING_REQUEST, &[(0x0006, b"user"), (0x8022, b"software")]);
        for end in 0..whole.len() {
            assert_eq!(take(&whole[..end], from), Stun::Unusable, "{end}");
        }
        for place in 0..whole.len() {
            for value in [0, 1, 3, 0x7F, 0xFF] {
                let mut changed = whole.clone();
                changed[place] = value;
                take(&changed, from);
            }
        }
        assert_eq!(take(&request(BINDING_INDICATION, &[]), from), Stun::Indication);
        assert_eq!(take(&request(BINDING_SUCCESS, &[]), from), Stun::Unusable);
    }
}
