use thiserror::Error;

/// Why a packet was neither protected nor unprotected. It changed no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// Shorter than its header, its tag, its MKI and its index together.
    #[error("the packet is too short")]
    TooShort,
    /// Not RTP or RTCP version 2.
    #[error("the packet is not of version 2")]
    Version,
    /// The buffer has no room for tag, MKI and index.
    #[error("the buffer has no room for tag, MKI and index")]
    NoRoom,
    /// The tag is wrong (RFC 3711 §3.3, RFC 7714 §5).
    #[error("authentication failed")]
    AuthenticationFailed,
    /// A packet with this index came before (RFC 3711 §3.3.2), or would be sent twice under one keystream.
    #[error("the packet is replayed")]
    Replayed,
    /// Older than the replay window.
    #[error("the packet is older than the replay window")]
    TooOld,
    /// No master key has this MKI.
    #[error("no key has this MKI")]
    UnknownMki,
    /// The table of SSRCs is full. Entries are made by authenticated packets only.
    #[error("the table of SSRCs is full")]
    TooManySsrcs,
    /// The master key has protected as many packets as it may (RFC 3711 §9.2).
    #[error("the lifetime of the master key is over")]
    KeyExpired,
    /// The 48-bit index of the SSRC, or its 31-bit SRTCP index, has come to its end.
    #[error("the packet index is exhausted")]
    IndexExhausted,
    /// An SRTCP packet that is authenticated but whose E flag says that it is not encrypted (RFC 3711 §3.4).
    #[error("the SRTCP packet is not encrypted")]
    NotEncrypted,
}

impl Error {
    /// The label of the counter.
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::Version => "version",
            Self::NoRoom => "no_room",
            Self::AuthenticationFailed => "authentication_failed",
            Self::Replayed => "replayed",
            Self::TooOld => "too_old",
            Self::UnknownMki => "unknown_mki",
            Self::TooManySsrcs => "too_many_ssrcs",
            Self::KeyExpired => "key_expired",
            Self::IndexExhausted => "index_exhausted",
            Self::NotEncrypted => "not_encrypted",
        }
    }
}

/// Why a master key was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Key and salt together have another length than the suite asks for.
    #[error("key and salt must be {expected} bytes, not {actual}")]
    Length {
        /// Bytes the suite asks for.
        expected: usize,
        /// Bytes given.
        actual: usize,
    },
    /// The MKI is longer than [`MKI_LEN_MAX`](crate::MKI_LEN_MAX) bytes.
    #[error("an MKI of {0} bytes is too long")]
    MkiTooLong(usize),
    /// A lifetime of zero packets, or of more than the RFC allows.
    #[error("a lifetime of {0} packets is not allowed")]
    Lifetime(u64),
    /// Another suite, or another length of MKI, than the keys that the context has.
    #[error("the suite or the length of the MKI differs from the other keys")]
    Mismatch,
    /// Another key has this MKI.
    #[error("another key has this MKI")]
    MkiTaken,
    /// The context has [`KEYS_MAX`](crate::KEYS_MAX) keys.
    #[error("the context is full of keys")]
    TooMany,
    /// The table of SSRCs would have no entry, or more than [`STREAMS_MAX`](crate::STREAMS_MAX).
    #[error("a table of {0} SSRCs is not allowed")]
    Streams(usize),
}

/// Why an exported state does not fit the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ImportError {
    /// It is of another number of keys.
    #[error("the state is of another number of keys")]
    Keys,
    /// It has more SSRCs than the table has room for.
    #[error("the state has too many SSRCs")]
    TooManySsrcs,
    /// An SSRC is there twice, or an index is beyond its 48 or 31 bits.
    #[error("an SSRC is there twice or has an impossible index")]
    Stream,
}
