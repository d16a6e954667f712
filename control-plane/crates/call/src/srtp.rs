use sdp::sdes::{Rules, SrtpPolicy, SrtpSuite};
use sip::Transport;

/// What is agreed with a party about SRTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Srtp {
    /// Whether its media is secured.
    pub policy: SrtpPolicy,
    /// The signalling that its keys may travel by.
    pub over: KeysOver,
    /// Whether the keys may come from a handshake instead (RFC 5763).
    pub dtls: Dtls,
}

/// What is done about DTLS with a party. Its signalling has no secrets then, so any will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Dtls {
    /// Neither offered nor accepted.
    Forbid,
    /// Accepted when the party offers it.
    #[default]
    Allow,
    /// Accepted, and offered, with ICE: nothing but it will do for what we offer.
    Offer,
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
            dtls: self.dtls,
        }
    }
}

/// What SRTP with one party of a call is subject to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Terms {
    pub(crate) policy: SrtpPolicy,
    pub(crate) keys_may_travel: bool,
    pub(crate) dtls: Dtls,
}

impl Terms {
    /// Whether nothing but SRTP will do.
    pub(crate) fn is_secured(self) -> bool {
        self.policy == SrtpPolicy::Require || self.offers_handshake()
    }

    /// Whether an offer with a handshake is taken.
    pub(crate) fn takes_handshake(self) -> bool {
        self.policy != SrtpPolicy::Forbid && self.dtls != Dtls::Forbid
    }

    /// Whether we offer one.
    pub(crate) fn offers_handshake(self) -> bool {
        self.takes_handshake() && self.dtls == Dtls::Offer
    }

    pub(crate) const fn rules(self, suites: &[SrtpSuite]) -> Rules<'_> {
        Rules {
            policy: self.policy,
            suites,
            keys_may_travel: self.keys_may_travel,
        }
    }
}
