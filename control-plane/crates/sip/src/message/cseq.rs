use super::grammar::{is_token, number, split_at_space, trim_start};
use super::{Method, SyntaxError};

/// The value of `CSeq` (RFC 3261 §20.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The sequence number, below 2³¹ (RFC 3261 §8.1.1.5).
    pub seq: u32,
    /// The method.
    pub method: Method<'a>,
}

impl<'a> CSeq<'a> {
    /// The largest sequence number.
    pub const MAX: u32 = (1 << 31) - 1;

    /// Parses the value.
    ///
    /// # Errors
    /// [`SyntaxError::Number`] or [`SyntaxError::Token`].
    pub fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        let (seq, method) = split_at_space(text);
        let seq = number(seq, Self::MAX).ok_or(SyntaxError::Number)?;
        let method = trim_start(method);
        if is_token(method) {
            Ok(Self {
                seq,
                method: Method::of(method),
            })
        } else {
            Err(SyntaxError::Token)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_methods() {
        assert_eq!(
            CSeq::parse("0009 \t INVITE"),
            Ok(CSeq {
                seq: 9,
                method: Method::Invite
            })
        );
        assert_eq!(CSeq::parse("2147483647 X").unwrap().seq, CSeq::MAX);
        for text in [
            "",
            "1",
            "1 ",
            "2147483648 BYE",
            "-1 BYE",
            "1 BYE x",
            "BYE 1",
            "1BYE",
        ] {
            assert!(CSeq::parse(text).is_err(), "{text}");
        }
    }
}
