//! DTLS-SRTP (RFC 5763, RFC 5764): the handshake that gives a media line its SRTP keys, without sockets and clock.
//!
//! An [`Association`] is one handshake with one party. It takes datagrams and time, and gives datagrams, the time of its
//! next timer, and in the end [`Keys`] or a [`Failure`]. Keys come out only when the certificate of the party has a
//! fingerprint that its description named (RFC 8122): until then nothing can be encrypted or decrypted, so no media
//! passes. Records, flights and cryptography are `dimpl`'s, which knows DTLS 1.2 and 1.3.
//!
//! Nothing here is for the packet loop: handshakes allocate and take a millisecond of cryptography. Whoever drives them
//! does so beside it, and bounds how many datagrams of one source wait.
#![forbid(unsafe_code)]

mod association;
mod endpoint;
mod event;
mod failure;
mod fingerprint;
mod identity;
mod keys;
mod record;
mod refusal;
mod settings;

pub use association::Association;
pub use endpoint::Endpoint;
pub use event::Event;
pub use failure::Failure;
pub use fingerprint::fingerprint;
pub use identity::{Identity, IdentityError};
pub use keys::Keys;
pub use record::is_client_hello;
pub use refusal::Refusal;
pub use settings::{Settings, Versions};
