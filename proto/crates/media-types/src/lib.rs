//! The plain types in which the two planes speak of media: calls, legs, media lines, streams.
//!
//! The control plane builds them from SDP, `proto` carries them over gRPC, the media engine obeys them. No dependency
//! on a runtime, a clock or a wire format: a crate that a packet passes through can use them.
#![forbid(unsafe_code)]

mod call;
mod codec;
mod dtls;
mod event;
mod fingerprint;
mod ice;
mod line;
mod name;
mod refusal;
mod report;
mod srtp;

pub use call::{CallSpec, LegSpec};
pub use codec::Codec;
pub use dtls::{DtlsReport, DtlsRole, DtlsSpec, DtlsState};
pub use event::{EndCause, Event, EventKind};
pub use fingerprint::{Fingerprint, FingerprintError, HashFunction};
pub use ice::{IceCredentials, IceCredentialsError, IceMode, IceReport, IceSpec, IceState};
pub use line::{Direction, Latching, LineSpec, MediaKind};
pub use name::{CallId, IdempotencyKey, InterfaceName, InvalidName, LegId, NodeName};
pub use refusal::Refusal;
pub use report::{BurstReport, CallReport, LegReport, LineReport, LocalLine, Path, SrtpReport, StreamReport};
pub use srtp::{SrtpKey, SrtpSpec, SrtpSuite};
