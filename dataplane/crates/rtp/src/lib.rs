//! RTP and RTCP as they are on the wire (RFC 3550), and what a receiver learns of a stream from its packets.
//!
//! Views borrow the datagram and copy nothing; statistics take the arrival time as an argument. Nothing here reads a
//! clock or touches a socket, and nothing but the RTCP writer allocates, so that it may run for each packet.
#![forbid(unsafe_code)]

mod bursts;
mod demux;
pub mod emodel;
mod header;
mod packet;
mod payload_type;
pub mod rtcp;
mod rtp_timestamp;
mod sequence;
mod ssrc;
mod statistics;

pub use bursts::{BurstSums, Bursts};
pub use demux::{Class, classify};
pub use header::Header;
pub use packet::{Extension, FIXED_HEADER_LEN, Packet, PacketError};
pub use payload_type::{PayloadType, PayloadTypeSet};
pub use rtp_timestamp::RtpTimestamp;
pub use sequence::{ExtSeq, Seq};
pub use ssrc::Ssrc;
pub use statistics::{
    Arrival, DROPOUT_MAX, MISORDER_MAX, SEQUENTIAL_MIN, StatisticsState, StreamStatistics, TIMESTAMP_JUMP_NS,
};
