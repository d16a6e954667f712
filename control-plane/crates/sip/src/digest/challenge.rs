use std::borrow::Cow;
use std::fmt;

use super::algorithm::Algorithm;
use super::auth_params::{AuthParams, quoted};
use super::credentials::CredentialsError;
use super::response::Qop;

/// The value of a `WWW-Authenticate` or `Proxy-Authenticate` (RFC 7616 §3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// The realm.
    pub realm: Cow<'a, str>,
    /// The nonce.
    pub nonce: Cow<'a, str>,
    /// To be given back as it is.
    pub opaque: Option<Cow<'a, str>>,
    /// The algorithm; MD5 when none is named.
    pub algorithm: Algorithm,
    /// Whether it is a `-sess` variant of the algorithm.
    pub is_session: bool,
    /// What may be protected, in order; empty from a server of RFC 2069.
    pub qop: Vec<Qop>,
    /// The credentials were right but for their nonce: try again with this one.
    pub stale: bool,
}

impl<'a> Challenge<'a> {
    /// Reads one field.
    ///
    /// # Errors
    /// When it is broken, or its algorithm or every qop in it is none of ours.
    pub fn parse(text: &'a str) -> Result<Self, CredentialsError> {
        let params = AuthParams::parse(text)?;
        if !params.is_digest() {
            return Err(CredentialsError::Scheme);
        }
        let name = params.value("algorithm").unwrap_or(Cow::Borrowed("MD5"));
        let session = name
            .len()
            .checked_sub(5)
            .filter(|&at| name.is_char_boundary(at) && name[at..].eq_ignore_ascii_case("-sess"));
        let algorithm = Algorithm::of(&name[..session.unwrap_or(name.len())]);
        let qop = match params.value("qop") {
            None => Vec::new(),
            Some(names) => {
                let known: Vec<Qop> = names.split(',').filter_map(|name| Qop::of(name.trim())).collect();
                if known.is_empty() {
                    return Err(CredentialsError::Unknown);
                }
                known
            }
        };
        Ok(Self {
            realm: params.value("realm").ok_or(CredentialsError::Missing)?,
            nonce: params.value("nonce").ok_or(CredentialsError::Missing)?,
            opaque: params.value("opaque"),
            algorithm: algorithm.ok_or(CredentialsError::Unknown)?,
            is_session: session.is_some(),
            qop,
            stale: params
                .value("stale")
                .is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }
}

impl Challenge<'_> {
    /// The same without a loan.
    pub fn into_owned(self) -> Challenge<'static> {
        Challenge {
            realm: Cow::Owned(self.realm.into_owned()),
            nonce: Cow::Owned(self.nonce.into_owned()),
            opaque: self.opaque.map(|opaque| Cow::Owned(opaque.into_owned())),
            algorithm: self.algorithm,
            is_session: self.is_session,
            qop: self.qop,
            stale: self.stale,
        }
    }
}

impl fmt::Display for Challenge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Digest realm={}, nonce={}",
            quoted(&self.realm),
            quoted(&self.nonce)
        )?;
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", quoted(opaque))?;
        }
        if self.stale {
            f.write_str(", stale=true")?;
        }
        write!(
            f,
            ", algorithm={}{}",
            self.algorithm,
            if self.is_session { "-sess" } else { "" }
        )?;
        if let Some((first, others)) = self.qop.split_first() {
            write!(f, ", qop=\"{}", first.name())?;
            for qop in others {
                write!(f, ",{}", qop.name())?;
            }
            f.write_str("\"")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read() {
        for (algorithm, is_session, stale, qop) in [
            (Algorithm::Md5, false, true, vec![Qop::Auth]),
            (Algorithm::Sha256, true, false, vec![Qop::AuthInt, Qop::Auth]),
            (Algorithm::Sha512_256, false, false, vec![]),
        ] {
            let challenge = Challenge {
                realm: "a \"b\"".into(),
                nonce: "n".into(),
                opaque: stale.then(|| "o".into()),
                algorithm,
                is_session,
                qop,
                stale,
            };
            assert_eq!(Challenge::parse(&challenge.to_string()).unwrap(), challenge);
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        use CredentialsError as E;
        for (text, error) in [
            ("Basic realm=\"r\"", E::Scheme),
            ("Digest realm=\"r\"", E::Missing),
            ("Digest realm=\"r\", nonce=\"n\", algorithm=AKAv1-MD5", E::Unknown),
            ("Digest realm=\"r\", nonce=\"n\", algorithm=\"ü-ses\"", E::Unknown),
            ("Digest realm=\"r\", nonce=\"n\", qop=\"x\"", E::Unknown),
        ] {
            assert_eq!(Challenge::parse(text), Err(error), "{text}");
        }
    }
}
