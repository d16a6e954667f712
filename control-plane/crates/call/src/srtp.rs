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
    /// Accepted when the party offers it, and offered, as below, to who is reached over WebSocket: browsers know nothing else.
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
            dtls: match self.dtls {
                Dtls::Allow if transport.is_websocket() => Dtls::Offer,
                dtls => dtls,
            },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_offered_what_they_know_and_phones_are_not() {
        let offers = |dtls, policy, transport| {
            let srtp = Srtp {
                policy,
                dtls,
                ..Srtp::default()
            };
            srtp.with(transport).offers_handshake()
        };
        for transport in [Transport::Ws, Transport::Wss] {
            assert!(offers(Dtls::Allow, SrtpPolicy::Allow, transport));
            assert!(!offers(Dtls::Forbid, SrtpPolicy::Allow, transport));
            assert!(!offers(Dtls::Allow, SrtpPolicy::Forbid, transport));
        }
        assert!(!offers(Dtls::Allow, SrtpPolicy::Allow, Transport::Tls));
        assert!(offers(Dtls::Offer, SrtpPolicy::Allow, Transport::Udp));
    }

    #[test]
    fn keys_in_descriptions_may_travel_over_what_nobody_reads() {
        for (transport, may) in [
            (Transport::Tls, true),
            (Transport::Wss, true),
            (Transport::Ws, false),
            (Transport::Tcp, false),
        ] {
            assert_eq!(
                Srtp::default().with(transport).keys_may_travel,
                may,
                "{transport:?}"
            );
        }
    }
}
