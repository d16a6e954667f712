//! Session descriptions (RFC 8866) and the offer/answer model (RFC 3264, RFC 6337), as pure functions.
//!
//! The grammar is `sdp-types`' work; this crate adds limits, the typed views that a media relay needs, the rules that
//! an answer must keep to, and the rewriting of a description for the other side of a back-to-back user agent.
//! Attributes that the crate doesn't know go through byte for byte and in their order, unless they name an address:
//! no address of one party may reach the other.
//!
//! What is relayed today: `RTP/AVP` and `RTP/AVPF`, `RTP/SAVP` and `RTP/SAVPF` with keys of RFC 4568, and both over DTLS
//! (RFC 5764), over UDP to a unicast IP address. Every other media line (T.38 over `udptl`, TCP, data channels, multicast, a host name for an
//! address) is refused by port 0 and keeps its place, as RFC 3264 §6 wants it.
//!
//! Keys of SRTP (RFC 4568) are read, chosen and answered by [`sdes`], for each leg by itself: [`agree`] does not look at
//! them, and who relays a line has to.
//!
//! Nothing here reads a clock, does I/O or panics on input.
#![forbid(unsafe_code)]

mod agreement;
mod description;
mod handshake;
mod line;
mod negotiation;
mod origin;
mod payload;
mod rewrite;
pub mod sdes;
mod topology;

pub use agreement::{Agreement, AnswerError, agree, propose};
pub use description::{Limits, ParseError, Session};
pub use handshake::{Handshake, HandshakeFault, OurHandshake, PartyIce, Setup};
pub use line::MediaLine;
pub use negotiation::{Negotiation, NegotiationError, State};
pub use origin::Origin;
pub use rewrite::{OurLine, rewrite};
pub use topology::names_address;
