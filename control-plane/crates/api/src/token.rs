use std::fmt;
use std::path::Path;

use subtle::ConstantTimeEq as _;
use tonic::{Request, Status};

/// Bounds of a token's length in bytes: shorter ones can be guessed, longer ones do not fit beside other headers.
const BYTES_MIN: usize = 16;
const BYTES_MAX: usize = 512;

/// The word that requests must carry. Never logged.
#[derive(Clone)]
pub struct Token(Box<[u8]>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// Reads a token's file.
    ///
    /// # Errors
    /// Why it cannot be used, without its content.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        Self::new(text.trim_end_matches(['\r', '\n'])).ok_or_else(|| {
            format!(
                "{} must hold {BYTES_MIN} to {BYTES_MAX} printable ASCII characters without spaces",
                path.display()
            )
        })
    }

    fn new(word: &str) -> Option<Self> {
        let is_word = word.bytes().all(|byte| byte.is_ascii_graphic());
        let is_long = (BYTES_MIN..=BYTES_MAX).contains(&word.len());
        (is_word && is_long).then(|| Self(word.as_bytes().into()))
    }

    /// Lets a request pass that carries the token (RFC 6750 §2.1). The time it takes tells nothing but the length.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`.
    pub fn check(&self, request: &Request<()>) -> Result<(), Status> {
        let header = request.metadata().get("authorization");
        let word = header.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        match word {
            Some(word) if bool::from(word.ct_eq(&self.0)) => Ok(()),
            Some(_) => Err(Status::unauthenticated("the token is wrong")),
            None => Err(Status::unauthenticated(
                "a token is needed, as authorization: Bearer <token>",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(header: &str) -> Request<()> {
        let mut request = Request::new(());
        request
            .metadata_mut()
            .insert("authorization", header.parse().expect("a header"));
        request
    }

    #[test]
    fn only_the_whole_word_passes() {
        let token = Token::new("0123456789abcdef").expect("a token");
        assert!(token.check(&request("Bearer 0123456789abcdef")).is_ok());
        for wrong in [
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Bearer 0123456789abcdeF",
            "Bearer ",
            "bearer 0123456789abcdef",
            "0123456789abcdef",
        ] {
            let refused = token.check(&request(wrong)).expect_err(wrong);
            assert_eq!(refused.code(), tonic::Code::Unauthenticated);
        }
        assert!(token.check(&Request::new(())).is_err());
    }

    #[test]
    fn a_token_must_be_long_enough_and_printable() {
        for bad in ["", "short", "0123456789abcde\u{e9}", "0123456789 abcdef"] {
            assert!(Token::new(bad).is_none(), "{bad}");
        }
        assert!(Token::new(&"x".repeat(513)).is_none());
        assert!(Token::new(&"x".repeat(512)).is_some());
    }
}
