use std::fmt;
use std::net::SocketAddr;

use sans_io::Random;
use thiserror::Error;
use zeroize::Zeroize;

/// The alphabet of `ice-char` (RFC 8839 §5.4): 64 characters, so that six random bits choose one.
const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The longest of each.
const BYTES_MAX: usize = 256;

/// A line whose addresses are found by ICE (RFC 8445). Its party is where the selected pair says; `remote` and latching have no
/// say. Other credentials of either side are a restart (RFC 8445 §9).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IceSpec {
    /// How much of ICE the node does.
    pub mode: IceMode,
    /// What our description says.
    pub local: IceCredentials,
    /// What the party's says; `None` until it has come.
    pub remote: Option<IceCredentials>,
    /// The party's candidates, each as `candidate:…` (RFC 8839 §5.1). More may come with an update (RFC 8838); those
    /// that cannot be used are left out.
    pub candidates: Vec<String>,
}

impl IceSpec {
    /// Whether this is another search than the one before (RFC 8445 §9): by other credentials of either side, such as those of another
    /// fork that answers. Those of the party that come later, or are not said again, make no other one.
    pub fn restarts(&self, before: &Self) -> bool {
        let is_another = |(now, before)| now != before;
        self.mode != before.mode
            || self.local != before.local
            || self
                .remote
                .as_ref()
                .zip(before.remote.as_ref())
                .is_some_and(is_another)
    }

    /// These terms after those before: the same search is still with whoever its party was.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        if self.remote.is_none() && !self.restarts(before) {
            self.remote.clone_from(&before.remote);
        }
        self
    }
}

/// How much of ICE the node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum IceMode {
    /// It answers checks and makes none (RFC 8445 §2.5): for nodes with public addresses. The party is controlling.
    #[default]
    Lite,
    /// It makes checks and nominates: the side that offered first, and any full agent whose party is lite.
    Controlling,
    /// It makes checks and lets the party nominate.
    Controlled,
}

/// What one side's description says for checks to it: `a=ice-ufrag` and `a=ice-pwd`. The password is not in `Debug`, and is
/// wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    ufrag: String,
    password: String,
}

/// Why credentials were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IceCredentialsError {
    /// Not 4 to 256 of the characters that there are (RFC 8839 §5.4).
    #[error("ice-ufrag has to have 4 to 256 letters, digits, + and /")]
    Ufrag,
    /// Not 22 to 256 of them.
    #[error("ice-pwd has to have 22 to 256 letters, digits, + and /")]
    Password,
}

impl IceCredentials {
    /// As a description has them.
    pub fn new(ufrag: &str, password: &str) -> Result<Self, IceCredentialsError> {
        let is_good = |text: &str, least: usize| {
            (least..=BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| CHARACTERS.contains(&byte))
        };
        if !is_good(ufrag, 4) {
            return Err(IceCredentialsError::Ufrag);
        }
        if !is_good(password, 22) {
            return Err(IceCredentialsError::Password);
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
}

impl Drop for IceCredentials {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

impl std::hash::Hash for IceCredentials {
    /// By what is no secret.
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.ufrag.hash(state);
    }
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceCredentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

/// Where the search for a pair of addresses is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IceState {
    /// None was selected yet.
    Checking,
    /// Media takes the selected pair.
    Connected,
    /// The party has not said for half a minute that it wants what we send (RFC 7675). A lite node goes on sending: whether the
    /// call ends is its control plane's to say.
    Silent,
    /// There is none to send over.
    Failed,
}

/// What became of a line's search for a pair. No password is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IceReport {
    /// Where it is.
    pub state: IceState,
    /// The party's address of the selected pair.
    pub selected: Option<SocketAddr>,
    /// The label of why there is none; empty when it has not failed.
    pub failure: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_characters_are_those_of_the_grammar() {
        let long = "a".repeat(257);
        let password = "p".repeat(22);
        assert!(IceCredentials::new("abcd", &password).is_ok());
        assert!(IceCredentials::new("ab+/", &"9".repeat(256)).is_ok());
        for ufrag in ["abc", "ab:d", "ab d", "abcdé", &long] {
            assert_eq!(
                IceCredentials::new(ufrag, &password),
                Err(IceCredentialsError::Ufrag),
                "{ufrag}"
            );
        }
        for password in ["p".repeat(21), "p".repeat(257), "p p".repeat(10)] {
            assert_eq!(
                IceCredentials::new("abcd", &password),
                Err(IceCredentialsError::Password)
            );
        }
    }

    #[test]
    fn new_ones_are_good_and_differ() {
        let mut random = Random::from_number(1);
        let (one, other) = (
            IceCredentials::random(&mut random),
            IceCredentials::random(&mut random),
        );
        assert_ne!(one, other);
        assert_eq!(IceCredentials::new(one.ufrag(), one.password()), Ok(one.clone()));
        assert!(!format!("{one:?}").contains(one.password()));
    }
}
