//! RTCP (RFC 3550 §6, RFC 4585 §6.1): a compound packet is checked once, then walked without copying.

mod compound;
mod report;
mod sdes;
mod short;
mod writer;

pub use compound::{Compound, Packets, RtcpError, RtcpPacket};
pub use report::{ReceiverReport, ReportBlock, SenderInfo, SenderReport};
pub use sdes::{Chunk, Chunks, Item, Items, SourceDescription, item};
pub use short::{App, Bye, Feedback};
pub use writer::{COUNT_MAX, CompoundWriter};

/// Packet types (RFC 3550 §12.1, RFC 4585 §6.1, RFC 3611 §2).
pub mod packet_type {
    /// Sender report.
    pub const SR: u8 = 200;
    /// Receiver report.
    pub const RR: u8 = 201;
    /// Source description.
    pub const SDES: u8 = 202;
    /// Goodbye.
    pub const BYE: u8 = 203;
    /// Application-defined.
    pub const APP: u8 = 204;
    /// Transport-layer feedback.
    pub const RTPFB: u8 = 205;
    /// Payload-specific feedback.
    pub const PSFB: u8 = 206;
    /// Extended report.
    pub const XR: u8 = 207;
}
