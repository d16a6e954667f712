//! The media engine of one worker: calls, legs, media lines, streams, and what becomes of each packet.
//!
//! Sans-IO: no clock, no socket, no runtime, no unsafe. The shell (the worker thread) owns those and obeys this
//! contract; every method takes the time and none blocks.
//!
//! * **Mutators** (`create`, `update`, `delete`, `renew`): commands of a control plane, applied between batches. All or
//!   nothing: a [`media_types::Refusal`] leaves no trace. They open and close ports through [`Ports`].
//!   [`Engine::restore`] makes a call of an earlier process again.
//! * **Handlers** (`handle_packet`, `handle_timeout`): what the network and the clock did. `handle_packet` neither
//!   allocates, locks nor logs, and its verdict says what becomes of the frame.
//! * **Pollers** (`poll_event`, `poll_timeout`): what to tell the control plane, and when to wake the engine next.
//! * **Getters** (`query`, `call_ids`, `capacity`): reports.
//!
//! What finds out the addresses and keys of lines with ICE and DTLS is no part of it: [`Engine::poll_setup_order`] says what is
//! wanted, [`Verdict::SetUp`] whose a datagram is, and [`Engine::handle_setup_news`] takes what came of it.
//!
//! What need not be looked at leaves the engine's hands: through [`Flows`] a line's packets are forwarded in the kernel,
//! counted there and read from there.
#![forbid(unsafe_code)]

mod aside;
mod budget;
mod call;
mod capacity;
mod check_name;
mod config;
mod counters;
mod drop_reason;
mod engine;
mod event_queue;
mod flow_counts;
mod flows;
mod format;
mod key_history;
mod latch;
mod line;
mod line_flow;
mod path_reason;
mod port_pool;
mod ports;
mod quality;
mod restored;
mod round_trip;
mod score_histogram;
mod security;
mod settings;
mod setup;
mod setup_order;
mod shell;
mod stream;
mod timers;
mod tombstones;
mod verdict;

pub use aside::Aside;
pub use capacity::Capacity;
pub use config::{Address, EngineConfig, Interface, Learning, Limits};
pub use counters::{Counters, Drops};
pub use drop_reason::DropReason;
pub use engine::{CallPort, CallPorts, Engine};
pub use flow_counts::{FlowCounts, KernelCounters};
pub use flows::{
    FLOW_CLOCKS_MAX, FLOW_STREAMS_MAX, Flow, FlowError, FlowMedia, FlowReading, Flows, NoFlows, StreamState,
};
pub use key_history::{KeyHistory, UsedKeys};
pub use path_reason::PathReason;
pub use ports::{OpenError, PortId, Ports};
pub use restored::{CallState, LineState, Restored};
pub use score_histogram::ScoreHistogram;
pub use security::SecurityState;
pub use setup_order::{
    SETUP_DATAGRAM_MAX, SetupId, SetupNews, SetupOrder, SetupReport, SetupRounds, SetupState, SetupTerms,
};
pub use shell::Shell;
pub use verdict::Verdict;
