//! Base64 (RFC 4648 §4) of keys, strict: one alphabet, no white space, no bits that say nothing. No table is looked up
//! by secret digits, and nothing that held a key is left unwiped.

use zeroize::{Zeroize, Zeroizing};

/// Decodes `text` into the beginning of `out`: the number of bytes, or `None` when it is no base64 or does not fit.
/// Padding may be absent (RFC 4568 §6.1 discards it), but not half there.
pub(super) fn decode(text: &str, out: &mut [u8]) -> Option<usize> {
    let digits = match text.len() % 4 {
        0 => text.strip_suffix("==").or(text.strip_suffix('=')).unwrap_or(text),
        _ => text,
    };
    // One digit alone is less than a byte.
    if digits.len() % 4 == 1 || digits.len() / 4 * 3 + (digits.len() % 4).saturating_sub(1) > out.len() {
        return None;
    }
    let (mut bits, mut count, mut len) = (0u32, 0u32, 0);
    for digit in digits.bytes() {
        bits = (bits << 6) | u32::from(value(digit)?);
        count += 6;
        if count >= 8 {
            count -= 8;
            out[len] = (bits >> count) as u8;
            len += 1;
            bits &= (1 << count) - 1;
        }
    }
    let is_canonical = bits == 0;
    bits.zeroize();
    is_canonical.then_some(len)
}

/// Encodes with padding.
pub(super) fn encode(bytes: &[u8]) -> Zeroizing<String> {
    // Never grown, so that no copy of a part stays behind.
    let mut text = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(3) * 4));
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for at in 0..4 {
            let is_padding = at > chunk.len();
            let six = ((bits >> (18 - 6 * at)) & 63) as u8;
            text.push(if is_padding { '=' } else { digit(six) });
        }
    }
    text
}

const fn value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

const fn digit(value: u8) -> char {
    (match value {
        0..=25 => b'A' + value,
        26..=51 => b'a' + (value - 26),
        52..=61 => b'0' + (value - 52),
        62 => b'+',
        _ => b'/',
    }) as char
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Option<Vec<u8>> {
        let mut out = [0; 46];
        decode(text, &mut out).map(|len| out[..len].to_vec())
    }

    #[test]
    fn rfc_4648_section_10_vectors() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(&**encode(plain.as_bytes()), text);
            assert_eq!(decoded(text).as_deref(), Some(plain.as_bytes()));
            let bare = text.trim_end_matches('=');
            assert_eq!(decoded(bare).as_deref(), Some(plain.as_bytes()), "{bare}");
        }
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        for text in [
            "Z", "Zg=", "Zg===", "=", "====", "Zh==", "Zm9=", "Zm 9v", "Zm9v\n", "Zm-v", "Zm_v", "Zg==Zg==",
            "Zmé",
        ] {
            assert_eq!(decoded(text), None, "{text:?}");
        }
        assert_eq!(decoded(&"AAAA".repeat(16)), None, "48 bytes are too many");
        assert_eq!(decoded(&encode(&[0xff; 46])), Some(vec![0xff; 46]));
    }
}
