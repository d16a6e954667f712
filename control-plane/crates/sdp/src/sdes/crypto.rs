use zeroize::Zeroizing;

use super::key::digits;
use super::{MasterKey, SrtpSuite};

/// The highest tag: nine digits (RFC 4568 §9.1).
pub const TAG_MAX: u32 = 999_999_999;
/// The most keys of one attribute that we take.
pub const KEYS_MAX: usize = 4;

/// One `a=crypto` (RFC 4568 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crypto {
    tag: u32,
    keys: Vec<MasterKey>,
}

/// Why an `a=crypto` cannot be used. A line may have others that can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CryptoError {
    /// It is not written as RFC 4568 §9.1 has it.
    #[error("it does not follow the grammar")]
    Syntax,
    /// The tag is no number of one to nine digits.
    #[error("the tag is no number of one to nine digits")]
    Tag,
    /// Another one of the same line has the tag already (RFC 4568 §4.1).
    #[error("the tag is taken")]
    TagTaken,
    /// A suite that we don't have.
    #[error("the suite is unknown")]
    Suite,
    /// A key that does not come `inline`.
    #[error("the key method is unknown")]
    Method,
    /// The key is no base64.
    #[error("the key is no base64")]
    Base64,
    /// Key and salt have not the length that the suite wants.
    #[error("key and salt have the wrong length")]
    KeyLength,
    /// The lifetime is no number of packets between 1 and 2^48.
    #[error("the lifetime is out of range")]
    Lifetime,
    /// The MKI is no number, too long, or too large for its length.
    #[error("the MKI is out of range")]
    Mki,
    /// Several keys without MKIs of one length that tell them apart (RFC 4568 §6.1).
    #[error("several keys need MKIs that tell them apart")]
    MkiAmbiguous,
    /// The same key twice.
    #[error("a key is there twice")]
    KeyRepeated,
    /// More than [`KEYS_MAX`] keys.
    #[error("there are too many keys")]
    TooManyKeys,
    /// `KDR`: session keys that change (RFC 4568 §6.3.1).
    #[error("a key derivation rate is not supported")]
    KeyDerivationRate,
    /// `UNENCRYPTED_SRTP` or `UNENCRYPTED_SRTCP` (RFC 4568 §6.3.2).
    #[error("media without encryption is not accepted")]
    Unencrypted,
    /// `UNAUTHENTICATED_SRTP` (RFC 4568 §6.3.3).
    #[error("media without authentication is not accepted")]
    Unauthenticated,
    /// `FEC_ORDER` or `FEC_KEY` (RFC 4568 §6.3.4 and §6.3.5).
    #[error("forward error correction is not supported")]
    ForwardErrorCorrection,
    /// `WSH` below 64 or no number (RFC 4568 §6.3.6).
    #[error("the window size hint is out of range")]
    WindowSizeHint,
    /// A parameter that we don't know and that may not be ignored (RFC 4568 §6.3.7).
    #[error("a session parameter is unknown")]
    SessionParameter,
}

impl CryptoError {
    /// A label for a counter or a log line. It never has a part of the attribute in it.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Tag => "tag",
            Self::TagTaken => "tag_taken",
            Self::Suite => "suite",
            Self::Method => "method",
            Self::Base64 => "base64",
            Self::KeyLength => "key_length",
            Self::Lifetime => "lifetime",
            Self::Mki => "mki",
            Self::MkiAmbiguous => "mki_ambiguous",
            Self::KeyRepeated => "key_repeated",
            Self::TooManyKeys => "too_many_keys",
            Self::KeyDerivationRate => "key_derivation_rate",
            Self::Unencrypted => "unencrypted",
            Self::Unauthenticated => "unauthenticated",
            Self::ForwardErrorCorrection => "forward_error_correction",
            Self::WindowSizeHint => "window_size_hint",
            Self::SessionParameter => "session_parameter",
        }
    }
}

impl Crypto {
    /// One of ours: a single key.
    pub(super) fn new(tag: u32, key: MasterKey) -> Self {
        Self { tag, keys: vec![key] }
    }

    /// The attribute's value: `<tag> <suite> <keys> [<session parameters>]`.
    ///
    /// A window size hint is checked and forgotten, as are extensions that begin with `-`: both may be ignored (RFC 4568
    /// §6.3.6 and §6.3.7). Every other session parameter would change what packets look like, so that the attribute is
    /// refused for it.
    pub fn parse(value: &str) -> Result<Self, CryptoError> {
        let mut fields = value.split([' ', '\t']).filter(|field| !field.is_empty());
        let mut field = || fields.next().ok_or(CryptoError::Syntax);
        let tag = digits(field()?, 9)
            .and_then(|tag| tag.parse().ok())
            .ok_or(CryptoError::Tag)?;
        let suite = SrtpSuite::named(field()?).ok_or(CryptoError::Suite)?;
        let parameters = field()?.split(';');
        let mut keys: Vec<MasterKey> = Vec::with_capacity(1);
        for parameter in parameters {
            if keys.len() == KEYS_MAX {
                return Err(CryptoError::TooManyKeys);
            }
            keys.push(MasterKey::parse(suite, parameter)?);
        }
        check_keys(&keys)?;
        fields.try_for_each(check_session_parameter)?;
        Ok(Self { tag, keys })
    }

    /// The attribute's value, with the keys in it. Wiped when dropped.
    pub fn value(&self) -> Zeroizing<String> {
        // Long enough for the longest keys, so that it is never moved and a copy left behind.
        let mut out = Zeroizing::new(String::with_capacity(48 + self.keys.len() * 160));
        out.push_str(&self.tag.to_string());
        out.push(' ');
        out.push_str(self.suite().name());
        for (index, key) in self.keys.iter().enumerate() {
            out.push(if index == 0 { ' ' } else { ';' });
            key.print(&mut out);
        }
        out
    }

    /// What names it in the answer, at most [`TAG_MAX`].
    pub const fn tag(&self) -> u32 {
        self.tag
    }

    /// The suite of all its keys.
    pub fn suite(&self) -> SrtpSuite {
        self.first_key().suite()
    }

    /// At least one, at most [`KEYS_MAX`]; several have MKIs of one length that tell them apart.
    pub fn keys(&self) -> &[MasterKey] {
        &self.keys
    }

    /// The same keys under another tag.
    pub(super) fn with_tag(&self, tag: u32) -> Self {
        Self {
            tag,
            keys: self.keys.clone(),
        }
    }

    /// Whether one of its keys is one of `other`'s.
    pub(super) fn shares_key_with(&self, other: &Self) -> bool {
        let is_theirs = |key: &MasterKey| other.keys.iter().any(|theirs| key.has_material_of(theirs));
        self.keys.iter().any(is_theirs)
    }

    fn first_key(&self) -> &MasterKey {
        // Made by `new` and `parse` alone, and neither makes one without a key.
        &self.keys[0]
    }
}

/// Several keys need MKIs of one length, all different, or a packet could not tell which it is for.
fn check_keys(keys: &[MasterKey]) -> Result<(), CryptoError> {
    for (index, key) in keys.iter().enumerate() {
        for earlier in &keys[..index] {
            let (Some(mki), Some(other)) = (key.mki(), earlier.mki()) else {
                return Err(CryptoError::MkiAmbiguous);
            };
            if mki.length != other.length || mki.value == other.value {
                return Err(CryptoError::MkiAmbiguous);
            }
            if key.has_material_of(earlier) {
                return Err(CryptoError::KeyRepeated);
            }
        }
    }
    Ok(())
}

fn check_session_parameter(parameter: &str) -> Result<(), CryptoError> {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    if name.starts_with('-') {
        Ok(())
    } else if is("WSH") {
        let hint = digits(value, 9).and_then(|hint| hint.parse::<u32>().ok());
        match hint.is_some_and(|hint| hint >= 64) {
            true => Ok(()),
            false => Err(CryptoError::WindowSizeHint),
        }
    } else if is("KDR") {
        Err(CryptoError::KeyDerivationRate)
    } else if is("UNENCRYPTED_SRTP") || is("UNENCRYPTED_SRTCP") {
        Err(CryptoError::Unencrypted)
    } else if is("UNAUTHENTICATED_SRTP") {
        Err(CryptoError::Unauthenticated)
    } else if is("FEC_ORDER") || is("FEC_KEY") {
        Err(CryptoError::ForwardErrorCorrection)
    } else {
        Err(CryptoError::SessionParameter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdes::Mki;

    /// Keys of RFC 4568's examples: 30 bytes.
    const KEY: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
    const OTHER: &str = "PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";

    fn sha1(rest: &str) -> Result<Crypto, CryptoError> {
        Crypto::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 {rest}"))
    }

    #[test]
    fn rfc_4568_section_6_1_lifetime_and_mki() {
        let crypto = sha1(&format!("inline:{KEY}|2^20|1:4")).unwrap();
        let [key] = crypto.keys() else { panic!("one key") };
        assert_eq!(
            (crypto.tag(), crypto.suite()),
            (1, SrtpSuite::AesCm128HmacSha1_80)
        );
        assert_eq!(key.lifetime_packets(), Some(1 << 20));
        assert_eq!(key.mki(), Some(Mki { value: 1, length: 4 }));
        assert_eq!((key.master_key().len(), key.master_salt().len()), (16, 14));
        assert_eq!(key.master_key()[..4], *b"wDfv");
        let only_mki = sha1(&format!("inline:{KEY}|1066:4")).unwrap();
        assert_eq!(
            only_mki.keys()[0].mki(),
            Some(Mki {
                value: 1066,
                length: 4
            })
        );
        let only_lifetime = sha1(&format!("inline:{KEY}|1000")).unwrap();
        assert_eq!(only_lifetime.keys()[0].lifetime_packets(), Some(1_000));
        let two = sha1(&format!("inline:{KEY}|2^20|1:4;inline:{OTHER}|2^20|2:4")).unwrap();
        assert_eq!(two.keys().len(), 2);
        assert_eq!(
            &**two.value(),
            &format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4;inline:{OTHER}|2^20|2:4")
        );
    }

    #[test]
    fn what_is_broken_has_its_reason() {
        use CryptoError::*;
        let suite = "AES_CM_128_HMAC_SHA1_80";
        for (value, expected) in [
            (String::new(), Syntax),
            ("1".into(), Syntax),
            (format!("1 {suite}"), Syntax),
            (format!("1 {suite} {KEY}"), Syntax),
            (format!("x {suite} inline:{KEY}"), Tag),
            (format!("+1 {suite} inline:{KEY}"), Tag),
            (format!("1234567890 {suite} inline:{KEY}"), Tag),
            (format!("1 F8_128_HMAC_SHA1_80 inline:{KEY}"), Suite),
            (format!("1 {suite} uri:{KEY}"), Method),
            (format!("1 {suite} inline:{KEY}|2^20|1:4|x"), Syntax),
            (format!("1 {suite} inline:*{KEY}"), Base64),
            (format!("1 {suite} inline:"), KeyLength),
            (format!("1 {suite} inline:{}", &KEY[4..]), KeyLength),
            (format!("1 AES_256_CM_HMAC_SHA1_80 inline:{KEY}"), KeyLength),
            (format!("1 {suite} inline:{KEY}|0"), Lifetime),
            (format!("1 {suite} inline:{KEY}|"), Lifetime),
            (format!("1 {suite} inline:{KEY}|2^49"), Lifetime),
            (format!("1 {suite} inline:{KEY}|2^64"), Lifetime),
            (format!("1 {suite} inline:{KEY}|2^"), Lifetime),
            (format!("1 {suite} inline:{KEY}|281474976710657"), Lifetime),
            (format!("1 {suite} inline:{KEY}|1:0"), Mki),
            (format!("1 {suite} inline:{KEY}|1:17"), Mki),
            (format!("1 {suite} inline:{KEY}|256:1"), Mki),
            (format!("1 {suite} inline:{KEY}|:1"), Mki),
            (format!("1 {suite} inline:{KEY};inline:{OTHER}"), MkiAmbiguous),
            (format!("1 {suite} inline:{KEY}|1:1;inline:{OTHER}"), MkiAmbiguous),
            (
                format!("1 {suite} inline:{KEY}|1:1;inline:{OTHER}|1:1"),
                MkiAmbiguous,
            ),
            (
                format!("1 {suite} inline:{KEY}|1:1;inline:{OTHER}|2:2"),
                MkiAmbiguous,
            ),
            (
                format!("1 {suite} inline:{KEY}|1:1;inline:{KEY}|2:1"),
                KeyRepeated,
            ),
            (
                format!("1 {suite} {}", vec![format!("inline:{KEY}|1:1"); 5].join(";")),
                TooManyKeys,
            ),
            (format!("1 {suite} inline:{KEY};"), Syntax),
        ] {
            assert_eq!(Crypto::parse(&value).unwrap_err(), expected, "{value}");
        }
        let longest = format!("999999999 {suite} inline:{KEY}|2^48|{}:16", u128::MAX);
        assert_eq!(&**Crypto::parse(&longest).unwrap().value(), &longest);
    }

    #[test]
    fn session_parameters_are_ignored_by_right_or_refused() {
        use CryptoError::*;
        for parameter in ["", "WSH=64", "WSH=1024", "-x", "-x=1 -y"] {
            assert!(sha1(&format!("inline:{KEY} {parameter}")).is_ok(), "{parameter}");
        }
        for (parameter, expected) in [
            ("KDR=0", KeyDerivationRate),
            ("KDR=25", KeyDerivationRate),
            ("UNENCRYPTED_SRTP", Unencrypted),
            ("WSH=64 UNENCRYPTED_SRTCP", Unencrypted),
            ("unauthenticated_srtp", Unauthenticated),
            ("FEC_ORDER=FEC_SRTP", ForwardErrorCorrection),
            ("FEC_KEY=inline:x", ForwardErrorCorrection),
            ("WSH=63", WindowSizeHint),
            ("WSH", WindowSizeHint),
            ("FUTURE=1", SessionParameter),
        ] {
            let found = sha1(&format!("inline:{KEY} {parameter}")).unwrap_err();
            assert_eq!(found, expected, "{parameter}");
        }
    }

    #[test]
    fn keys_are_in_no_debug_and_no_error() {
        let crypto = sha1(&format!("inline:{KEY}|1:4")).unwrap();
        let shown = format!("{crypto:?}");
        assert!(!shown.contains("d0Rm") && !shown.contains("119, 68"), "{shown}");
        let error = sha1(&format!("inline:{KEY}?")).unwrap_err();
        assert!(!format!("{error:?}{error}").contains("d0Rm"));
    }
}
