//! Bencode, the encoding of rtpengine's control protocol: integers, byte strings, lists and dictionaries.

use thiserror::Error;

/// The deepest nesting that is decoded; answers of the protocol are a few levels deep.
const DEPTH_MAX: usize = 32;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `i…e`
    Integer(i64),
    /// `<length>:…`
    Bytes(Vec<u8>),
    /// `l…e`
    List(Vec<Value>),
    /// `d…e`, keys in the order of the wire
    Dictionary(Vec<(Vec<u8>, Value)>),
}

/// Why bytes are no bencoded value.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end within the value.
    #[error("bencoded value is cut short")]
    Short,
    /// A byte that can't stand where it stands.
    #[error("bencoded value has a byte that does not fit")]
    Syntax,
    /// Nested too deeply.
    #[error("bencoded value is nested too deeply")]
    Depth,
}

impl Value {
    /// A byte string of a text.
    pub fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }

    /// A dictionary of texts and values.
    pub fn dictionary<'a>(entries: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self::Dictionary(
            entries
                .into_iter()
                .map(|(key, value)| (key.as_bytes().to_vec(), value))
                .collect(),
        )
    }

    /// The byte string under a key of a dictionary, as text.
    pub fn text_of(&self, key: &str) -> Option<&str> {
        let Self::Dictionary(entries) = self else {
            return None;
        };
        entries.iter().find_map(|(name, value)| match value {
            Self::Bytes(bytes) if name == key.as_bytes() => std::str::from_utf8(bytes).ok(),
            _ => None,
        })
    }

    /// Appends the encoded value.
    pub fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Integer(number) => to.extend(format!("i{number}e").bytes()),
            Self::Bytes(bytes) => encode_bytes(bytes, to),
            Self::List(values) => {
                to.push(b'l');
                values.iter().for_each(|value| value.encode(to));
                to.push(b'e');
            }
            Self::Dictionary(entries) => {
                to.push(b'd');
                for (key, value) in entries {
                    encode_bytes(key, to);
                    value.encode(to);
                }
                to.push(b'e');
            }
        }
    }

    /// Decodes one value; bytes after it are an error.
    ///
    /// # Errors
    /// The first fault.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut rest = bytes;
        let value = decode(&mut rest, DEPTH_MAX)?;
        if rest.is_empty() {
            Ok(value)
        } else {
            Err(DecodeError::Syntax)
        }
    }
}

fn encode_bytes(bytes: &[u8], to: &mut Vec<u8>) {
    to.extend(format!("{}:", bytes.len()).bytes());
    to.extend(bytes);
}

fn decode(rest: &mut &[u8], depth: usize) -> Result<Value, DecodeError> {
    let depth = depth.checked_sub(1).ok_or(DecodeError::Depth)?;
    match rest.first().ok_or(DecodeError::Short)? {
        b'i' => {
            *rest = &rest[1..];
            Ok(Value::Integer(number(rest, b'e')?))
        }
        b'0'..=b'9' => bytes(rest).map(Value::Bytes),
        b'l' => {
            *rest = &rest[1..];
            let mut values = Vec::new();
            while !ended(rest)? {
                values.push(decode(rest, depth)?);
            }
            Ok(Value::List(values))
        }
        b'd' => {
            *rest = &rest[1..];
            let mut entries = Vec::new();
            while !ended(rest)? {
                let key = bytes(rest)?;
                entries.push((key, decode(rest, depth)?));
            }
            Ok(Value::Dictionary(entries))
        }
        _ => Err(DecodeError::Syntax),
    }
}

/// Takes the end mark of a list or dictionary, if it is next.
fn ended(rest: &mut &[u8]) -> Result<bool, DecodeError> {
    let is_end = *rest.first().ok_or(DecodeError::Short)? == b'e';
    if is_end {
        *rest = &rest[1..];
    }
    Ok(is_end)
}

fn number(rest: &mut &[u8], end: u8) -> Result<i64, DecodeError> {
    let length = rest
        .iter()
        .position(|&byte| byte == end)
        .ok_or(DecodeError::Short)?;
    let text = std::str::from_utf8(&rest[..length]).map_err(|_| DecodeError::Syntax)?;
    *rest = &rest[length + 1..];
    text.parse().map_err(|_| DecodeError::Syntax)
}

fn bytes(rest: &mut &[u8]) -> Result<Vec<u8>, DecodeError> {
    let length = usize::try_from(number(rest, b':')?).map_err(|_| DecodeError::Syntax)?;
    let bytes = rest.get(..length).ok_or(DecodeError::Short)?.to_vec();
    *rest = &rest[length..];
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Value {
        Value::dictionary([
            ("result", Value::text("ok")),
            ("sdp", Value::text("v=0\r\n")),
            (
                "numbers",
                Value::List(vec![Value::Integer(-3), Value::Integer(0)]),
            ),
        ])
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut bytes = Vec::new();
        answer().encode(&mut bytes);
        assert_eq!(
            bytes,
            b"d6:result2:ok3:sdp5:v=0\r\n7:numbersli-3ei0eee".as_slice()
        );
        assert_eq!(Value::decode(&bytes), Ok(answer()));
        assert_eq!(answer().text_of("sdp"), Some("v=0\r\n"));
        assert_eq!(answer().text_of("numbers"), None);
    }

    #[test]
    fn a_value_cut_anywhere_is_an_error() {
        let mut bytes = Vec::new();
        answer().encode(&mut bytes);
        for length in 0..bytes.len() {
            assert!(Value::decode(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        assert_eq!(Value::decode(b"i1ei2e"), Err(DecodeError::Syntax));
        assert_eq!(Value::decode(b"99999999999999999999:a"), Err(DecodeError::Syntax));
        assert_eq!(Value::decode(b"9:a"), Err(DecodeError::Short));
        assert_eq!(Value::decode(&[b'l'; 100]), Err(DecodeError::Depth));
    }
}
