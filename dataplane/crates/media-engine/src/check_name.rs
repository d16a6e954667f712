use std::str;

/// Bytes of a STUN header (RFC 8489 §5).
const HEADER: usize = 20;
/// A Binding request (RFC 8489 §5).
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
/// USERNAME (RFC 8489 §14.3).
const USERNAME: [u8; 2] = [0x00, 0x06];
/// Attributes that are looked at; agents put the name first, or nearly so.
const ATTRIBUTES_MAX: usize = 16;

/// Whom a connectivity check names as the one that it is for: of `LFRAG:RFRAG` the part before the colon (RFC 8445 §7.2.2).
/// `None` for anything else. What it says is unproven. Does not allocate.
pub(crate) fn check_name(datagram: &[u8]) -> Option<&str> {
    if datagram.get(..2)? != BINDING_REQUEST {
        return None;
    }
    let mut rest = datagram.get(HEADER..)?;
    for _ in 0..ATTRIBUTES_MAX {
        let (header, body) = rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let value = body.get(..length)?;
        if header[..2] == USERNAME {
            let (local, _) = str::from_utf8(value).ok()?.split_once(':')?;
            return Some(local);
        }
        // Values are padded to four bytes (RFC 8489 §14).
        rest = body.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = BINDING_REQUEST.to_vec();
        message.resize(HEADER, 0);
        for (kind, value) in attributes {
            message.extend(kind.to_be_bytes());
            message.extend((value.len() as u16).to_be_bytes());
            message.extend(*value);
            message.resize(message.len().next_multiple_of(4), 0);
        }
        message
    }

    #[test]
    fn a_check_names_whom_it_is_for() {
        let check = request(&[(0x8022, b"agent"), (6, b"node:party"), (0x24, &[0; 4])]);
        assert_eq!(check_name(&check), Some("node"));
        for len in 0..HEADER + 12 + 4 + 10 {
            assert_eq!(check_name(&check[..len]), None, "{len} bytes of it");
        }
    }

    #[test]
    fn anything_else_names_nobody() {
        assert_eq!(check_name(&request(&[(6, b"node")])), None, "no colon");
        assert_eq!(
            check_name(&request(&[(6, &[0xff, b':', 0xff])])),
            None,
            "no UTF-8"
        );
        let mut answer = request(&[(6, b"node:party")]);
        answer[0] = 1;
        assert_eq!(check_name(&answer), None, "an answer");
        let many = [(0x8022, &[][..]); ATTRIBUTES_MAX];
        let late = [&many[..], &[(6, b"node:party")]].concat();
        assert_eq!(check_name(&request(&late)), None, "after too many others");
        assert_eq!(check_name(&request(&late[1..])), Some("node"));
        let mut long = request(&[(0x8022, b"agent"), (6, b"node:party")]);
        long[HEADER + 2] = 0xff;
        assert_eq!(check_name(&long), None, "longer than it is");
    }
}
