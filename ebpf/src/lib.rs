//! The kernel fast path: BPF programs in C, and what user space needs to load, fill, read, attach and pin them.
//!
//! There is no policy here. A [`FlowSpec`] says what becomes of the packets that come to one local address and port;
//! a [`Relay`] holds the programs and maps, its [`FlowTable`] puts flows in and takes them out. See README.md for what
//! is wired into the data plane.
//!
//! # Unsafe code
//!
//! 1. Map keys and values are passed as bytes. The types that may be are [`layout`]'s, `repr(C)`, without padding and
//!    valid for every bit pattern (`plain::Plain`); sizes are asserted in C and here, offsets against the built objects.
//! 2. System calls that libbpf-rs does not have (links with flags, program-run on owned descriptors) get pointers to
//!    live locals and descriptors that the caller holds (`program`, `link`, `load`).
//! 3. Maps of flows lie in this process's memory and are read and written as atomic words; a mapping's length is that of
//!    its map, which never changes (`mapping`).
//! 4. The skeletons are libbpf-cargo's output and live in `object` and `load` alone; nothing borrowed from one leaves them.

mod attach;
mod census;
mod checksum;
mod copies;
mod entry;
mod error;
mod features;
mod flow;
pub mod layout;
mod link;
mod load;
mod local;
mod mapping;
mod object;
mod pin;
mod plain;
mod program;
mod reading;
mod reason;
mod relay;
mod ring;
mod steering;
mod stream;
mod table;
mod tap;
mod xsk;

pub use attach::{AttachError, Attachment, Mode};
pub use census::{MapUse, maps_of};
pub use copies::{RtcpCopies, RtcpCopy};
pub use entry::{InstalledFlow, TableError};
pub use error::Error;
pub use features::Features;
pub use flow::{
    Bucket, FlowKey, FlowSpec, HopLimit, Media, Neighbour, NextHop, PAYLOAD_MAX, SpecError, Tag, Tags,
};
pub use link::Link;
pub use load::{
    LOAD_PAYLOAD, Load, LoadCounts, LoadEnds, LoadPlan, LoadProgress, LoadStream, LoadTime, generate,
};
pub use pin::PinDirectory;
pub use program::{Action, Laps, Program, Run};
pub use reading::{FlowReading, StreamReading, Totals};
pub use reason::{Reason, ReasonSet};
pub use relay::{Range, Relay, RelayConfig};
pub use steering::{Steering, SteeringError, SteeringTotals};
pub use stream::{BurstState, StreamState};
pub use table::FlowTable;
pub use tap::{Direction, TAP_LENGTH_MAX, TAP_LENGTH_MIN, TapRecord, Taps};
pub use xsk::{XskQueue, Xsks};
