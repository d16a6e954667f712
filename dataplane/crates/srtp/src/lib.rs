//! SRTP and SRTCP (RFC 3711, RFC 6188, RFC 7714): cryptographic contexts that protect and unprotect packets in the
//! caller's buffer.
//!
//! A [`Sender`] protects what one side sends, a [`Receiver`] unprotects what it receives; both hold up to
//! [`KEYS_MAX`] master keys of one suite and a bounded table of SSRCs. Nothing here reads a clock, touches a socket or,
//! once a context is made, allocates. A packet that is refused changes neither the buffer nor any state, except that a
//! caller may count the error by its [`Error::reason`].
//!
//! *Rekeying without a gap*: add the new key to the receiver of either side first, then let the senders use it
//! ([`Sender::use_newest_key`]), then drop the old key with `retire_oldest_key`. With an MKI the packet names its key; without
//! one the receiver tries the newest key first. Indexes and replay windows go on across keys (RFC 3711 §3.3.1). A new
//! key by a new offer and answer that starts the rollover counter at zero is a new context.
//!
//! *Two at once*: [`Sender::encrypt_rtp`] with [`Unsigned::sign_two`], and [`Receiver::expect_rtp`] with [`Expected::two`], make
//! the tags of two packets side by side, whatever their streams and keys.
//!
//! *Takeover*: [`Sender::state`] and [`Receiver::state`] give what the next process needs besides the keys, without any secret.
//!
//! # Unsafe code
//!
//! `aes_ni` and `sha_ni` call functions that are compiled for instructions which not every processor has, after asking it for
//! them. Nothing else is unsafe: no pointer is made.
#![deny(unsafe_code)]

#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "calls into code for processors that have the instructions"
)]
mod aes_ni;
mod context;
mod counter_mode;
mod error;
mod expected;
mod gcm;
mod hmac_sha1;
mod index;
mod key;
mod layout;
mod receiver;
mod sender;
mod session;
#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "calls into code for processors that have the instructions"
)]
mod sha_ni;
mod stream;
mod unsigned;
mod window;

pub use media_types::SrtpSuite as Suite;

pub use context::{ContextState, KEYS_MAX, KeyUse, STREAMS_MAX};
pub use error::{Error, ImportError, KeyError};
pub use expected::{Expected, ExpectedCode};
pub use key::{MKI_LEN_MAX, MasterKey, RTCP_LIFETIME_MAX, RTP_LIFETIME_MAX};
pub use receiver::Receiver;
pub use sender::Sender;
pub use stream::StreamState;
pub use unsigned::Unsigned;
pub use window::{REPLAY_WINDOW, Window};

/// The most bytes that protecting adds to an RTP or RTCP packet: the longest tag, the SRTCP index, the longest MKI.
pub const OVERHEAD_MAX: usize = 16 + 4 + MKI_LEN_MAX;
