use std::fmt;

use sans_io::Random;
use thiserror::Error;

/// The alphabet of `ice-char` (RFC 8839 §5.4): 64 characters, so that six random bits choose one.
const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The longest of each.
const BYTES_MAX: usize = 256;

/// What one side's description says for checks to it: `a=ice-ufrag` and `a=ice-pwd`. The password is not in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    ufrag: String,
    password: String,
}

/// Why credentials were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CredentialsError {
    /// Not 4 to 256 of the characters that there are (RFC 8839 §5.4).
    #[error("ice-ufrag has to have 4 to 256 letters, digits, + and /")]
    Ufrag,
    /// Not 22 to 256 of them.
    #[error("ice-pwd has to have 22 to 256 letters, digits, + and /")]
    Password,
}

impl Credentials {
    /// As a description has them.
    pub fn new(ufrag: &str, password: &str) -> Result<Self, CredentialsError> {
        let is_good = |text: &str, least: usize| {
            (least..=BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| CHARACTERS.contains(&byte))
        };
        if !is_good(ufrag, 4) {
            return Err(CredentialsError::Ufrag);
        }
        if !is_good(password, 22) {
            return Err(CredentialsError::Password);
        }
        Ok(Self {
            ufrag: ufrag.to_owned(),
            password: password.to_owned(),
        })
    }

    /// New ones: 48 bits of name, 144 bits of password (RFC 8445 §5.3 asks for 24 and 128).
    pub fn random(random: &mut Random) -> Self {
        let mut text = |len: usize| -> String {
            let mut bytes = vec![0; len];
            random.fill(&mut bytes);
            let characters = bytes.iter().map(|byte| CHARACTERS[usize::from(byte % 64)]);
            characters.map(char::from).collect()
        };
        Self {
            ufrag: text(8),
            password: text(24),
        }
    }

    /// `ice-ufrag`
    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }

    /// `ice-pwd`, a secret between the two sides of the signalling.
    pub fn password(&self) -> &str {
        &self.password
    }

    pub(crate) fn to_is(&self) -> is::IceCreds {
        is::IceCreds {
            ufrag: self.ufrag.clone(),
            pass: self.password.clone(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_characters_are_those_of_the_grammar() {
        let long = "a".repeat(257);
        let password = "p".repeat(22);
        assert!(Credentials::new("abcd", &password).is_ok());
        assert!(Credentials::new("ab+/", &"9".repeat(256)).is_ok());
        for ufrag in ["abc", "ab:d", "ab d", "abcdé", &long] {
            assert_eq!(
                Credentials::new(ufrag, &password),
                Err(CredentialsError::Ufrag),
                "{ufrag}"
            );
        }
        for password in ["p".repeat(21), "p".repeat(257), "p p".repeat(10)] {
            assert_eq!(
                Credentials::new("abcd", &password),
                Err(CredentialsError::Password)
            );
        }
    }

    #[test]
    fn new_ones_are_good_and_differ() {
        let mut random = Random::from_number(1);
        let (one, other) = (Credentials::random(&mut random), Credentials::random(&mut random));
        assert_ne!(one, other);
        assert_eq!(Credentials::new(one.ufrag(), one.password()), Ok(one.clone()));
        assert!(!format!("{one:?}").contains(one.password()));
    }
}
