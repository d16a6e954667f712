//! The kit that tries Ringpath out: RTP endpoints that count at the receiver, SIPp and both planes as child processes,
//! and the runs that bring them together (`make demo`, `make load`, `make bench-memory`, `make bench-setup`, `make bench-handshakes`,
//! `make bench-relay`, `make bench-sip`, `make bench-flood`).
//!
//! Synchronous but for gRPC. Calls with SIP run on loopback, on addresses that a run takes for itself ([`host`]); what measures a
//! media node makes two network namespaces of its own where it may ([`ground`], [`relay`]).
#![forbid(unsafe_code)]

pub mod binary;
pub mod call_log;
pub mod call_request;
pub mod cdr;
pub mod certificate;
pub mod endpoint;
pub mod g711;
pub mod ground;
pub mod handshakes;
pub mod host;
pub mod median;
pub mod memory;
pub mod metrics;
pub mod node_client;
pub mod plane;
pub mod process;
pub mod quality;
pub mod reception;
pub mod relay;
pub mod report;
pub mod schedule;
pub mod setup;
pub mod sip_flood;
pub mod sip_load;
pub mod sipp;
pub mod soak;
pub mod speech;
pub mod speech_calls;
pub mod stand;
pub mod talk;
pub mod tone;
pub mod trial;
pub mod usage;
pub mod wait;
