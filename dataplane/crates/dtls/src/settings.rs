use std::time::Duration;

/// Which versions of DTLS a handshake may end with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// 1.3 with those who know it, else 1.2.
    #[default]
    Any,
    /// 1.2 alone (RFC 6347).
    Only12,
    /// 1.3 alone (RFC 9147).
    Only13,
}

/// How handshakes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which versions may be agreed on.
    pub versions: Versions,
    /// The largest datagram that we send, in bytes: 256 to 65,507. Messages beyond it are sent in fragments.
    pub mtu: usize,
    /// From the moment that both sides can begin to the end of the handshake.
    pub timeout: Duration,
    /// The wait before a flight is sent again for the first time; it doubles (RFC 6347 §4.2.4.1).
    pub retransmit_first: Duration,
    /// A seed for cookies, randoms and jitter, for simulations only: whoever knows it knows the keys.
    pub insecure_seed: Option<u64>,
}

impl Default for Settings {
    /// A second to the first retransmission as RFC 6347 recommends would cost a call that loses one datagram a second of
    /// silence; RFC 9147 §5.8.2 allows less where round trips are short.
    fn default() -> Self {
        Self {
            versions: Versions::Any,
            mtu: 1_200,
            timeout: Duration::from_secs(30),
            retransmit_first: Duration::from_millis(400),
            insecure_seed: None,
        }
    }
}
