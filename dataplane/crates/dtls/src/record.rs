use crate::Refusal;

/// Bytes of a record's header (RFC 6347 §4.1).
const HEADER: usize = 13;
/// Bytes of the largest record (RFC 6347 §4.1, which has it of RFC 5246 §6.2.3).
const RECORD_MAX: usize = (1 << 14) + 2_048;
/// A handshake message's type of one that begins a handshake (RFC 5246 §7.4).
const CLIENT_HELLO: u8 = 1;
/// The content type of handshake messages.
const HANDSHAKE: u8 = 22;
/// That of alerts.
const ALERT: u8 = 21;

/// Checks that the records of a datagram are as long as they say, and that none is an alert in clear: anybody can send one, and a
/// fatal one would end the handshake (RFC 6347 §4.1.2.7).
pub(crate) fn check(datagram: &[u8]) -> Result<(), Refusal> {
    let mut rest = datagram;
    while !rest.is_empty() {
        let len = record_len(rest)?;
        if rest[0] == ALERT && rest.get(3..5) == Some(&[0, 0]) {
            return Err(Refusal::Alert);
        }
        rest = rest.get(len..).ok_or(Refusal::Truncated)?;
    }
    Ok(())
}

/// Whether a datagram begins with a ClientHello, which is in clear in every version.
pub fn is_client_hello(datagram: &[u8]) -> bool {
    datagram.first() == Some(&HANDSHAKE) && datagram.get(HEADER) == Some(&CLIENT_HELLO)
}

/// Bytes of the first record with its header.
fn record_len(rest: &[u8]) -> Result<usize, Refusal> {
    let length_at = |at: usize| -> Result<usize, Refusal> {
        let bytes = rest.get(at..at + 2).ok_or(Refusal::Truncated)?;
        Ok(usize::from(bytes[0]) << 8 | usize::from(bytes[1]))
    };
    let (header, length) = match rest[0] {
        // The header of DTLS 1.3 (RFC 9147 §4): 001CSLEE. Nobody has agreed on connection identifiers.
        first @ 32..=63 => {
            let header = 1 + if first & 0x08 == 0 { 1 } else { 2 };
            match first & 0x04 == 0 {
                true => return Ok(rest.len()),
                false => (header + 2, length_at(header)?),
            }
        }
        _ => (HEADER, length_at(HEADER - 2)?),
    };
    match length > RECORD_MAX {
        true => Err(Refusal::Oversized),
        false => Ok(header + length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(length: u16, body: usize) -> Vec<u8> {
        let mut record = vec![HANDSHAKE, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0];
        record.extend(length.to_be_bytes());
        record.extend(vec![CLIENT_HELLO; body]);
        record
    }

    #[test]
    fn records_are_as_long_as_they_say() {
        assert_eq!(check(&plain(5, 5)), Ok(()));
        let two = [plain(5, 5), plain(0, 0)].concat();
        assert_eq!(check(&two), Ok(()));
        assert_eq!(check(&plain(6, 5)), Err(Refusal::Truncated));
        assert_eq!(
            check(&plain(5, 6)),
            Err(Refusal::Truncated),
            "one byte of another"
        );
        assert_eq!(check(&plain(5, 5)[..12]), Err(Refusal::Truncated));
        assert_eq!(check(&plain(18_433, 100)), Err(Refusal::Oversized));
        // 001CSLEE with and without length, with short and long sequence number.
        assert_eq!(check(&[0x2c, 0, 1, 0, 2, 7, 7]), Ok(()));
        assert_eq!(check(&[0x2c, 0, 1, 0, 3, 7, 7]), Err(Refusal::Truncated));
        assert_eq!(check(&[0x24, 1, 0, 2, 7, 7]), Ok(()));
        assert_eq!(check(&[0x20, 1, 7, 7]), Ok(()));
        assert_eq!(check(&[0x2c, 0, 1, 0xff, 0xff]), Err(Refusal::Oversized));
    }

    #[test]
    fn an_alert_in_clear_is_refused_wherever_it_is() {
        let mut alert = plain(2, 2);
        alert[0] = ALERT;
        assert_eq!(check(&alert), Err(Refusal::Alert));
        assert_eq!(check(&[plain(5, 5), alert.clone()].concat()), Err(Refusal::Alert));
        // Of an epoch that has keys.
        alert[4] = 1;
        assert_eq!(check(&alert), Ok(()));
    }

    #[test]
    fn a_client_hello_is_known_by_its_type() {
        assert!(is_client_hello(&plain(5, 5)));
        assert!(!is_client_hello(&plain(5, 5)[..13]));
        assert!(!is_client_hello(&[0x2c, 0, 1, 0, 2, 7, 7]));
    }
}
