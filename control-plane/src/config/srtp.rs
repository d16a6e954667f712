use call::{KeysOver, SrtpPolicy};
use serde::Deserialize;

/// What is agreed with a party about SRTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Srtp {
    /// Whether its media is secured.
    pub policy: Policy,
    /// The signalling that its keys may travel by.
    pub keys_over: Signalling,
    /// Whether its keys may come from a handshake instead (RFC 5763).
    pub dtls: Dtls,
}

/// See [`Srtp::policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Neither offered nor accepted.
    Forbid,
    /// Accepted, not offered.
    #[default]
    Allow,
    /// Accepted, and offered so that the party may decline (RFC 8643).
    Prefer,
    /// Nothing but SRTP.
    Require,
}

/// See [`Srtp::keys_over`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signalling {
    /// TLS alone.
    #[default]
    Tls,
    /// Any transport: whoever reads the signalling has the keys.
    Any,
}

/// See [`Srtp::dtls`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtls {
    /// Neither offered nor accepted.
    Forbid,
    /// Accepted, not offered.
    #[default]
    Allow,
    /// Accepted, and offered with ICE, as browsers want it.
    Offer,
}

impl From<Srtp> for call::Srtp {
    fn from(srtp: Srtp) -> Self {
        Self {
            policy: match srtp.policy {
                Policy::Forbid => SrtpPolicy::Forbid,
                Policy::Allow => SrtpPolicy::Allow,
                Policy::Prefer => SrtpPolicy::Prefer,
                Policy::Require => SrtpPolicy::Require,
            },
            over: match srtp.keys_over {
                Signalling::Tls => KeysOver::Tls,
                Signalling::Any => KeysOver::Any,
            },
            dtls: match srtp.dtls {
                Dtls::Forbid => call::Dtls::Forbid,
                Dtls::Allow => call::Dtls::Allow,
                Dtls::Offer => call::Dtls::Offer,
            },
        }
    }
}
