use sdp::sdes::{Rules, SrtpPolicy, SrtpSuite};
use sip::Transport;

/// What is agreed with a party about SRTP with keys in descriptions (RFC 4568).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Srtp {
    /// Whether its media is secured.
    pub policy: SrtpPolicy,
    /// The signalling that its keys may travel by.
    pub over: KeysOver,
}

/// By which signalling keys may travel (RFC 4568 §8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum KeysOver {
    /// TLS alone.
    #[default]
    Tls,
    /// Any transport: whoever reads the signalling has the keys.
    Any,
}

impl Srtp {
    /// The terms with a party that is reached over `transport`.
    pub(crate) fn with(self, transport: Transport) -> Terms {
        Terms {
            policy: self.policy,
            keys_may_travel: self.over == KeysOver::Any || transport.is_secure(),
        }
    }
}

/// What SRTP with one party of a call is subject to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Terms {
    pub(crate) policy: SrtpPolicy,
    pub(crate) keys_may_travel: bool,
}

impl Terms {
    /// Whether nothing but SRTP will do.
    pub(crate) fn is_secured(self) -> bool {
        self.policy == SrtpPolicy::Require
    }

    pub(crate) const fn rules(self, suites: &[SrtpSuite]) -> Rules<'_> {
        Rules {
            policy: self.policy,
            suites,
            keys_may_travel: self.keys_may_travel,
        }
    }
}
