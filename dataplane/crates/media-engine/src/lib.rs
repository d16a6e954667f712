//! The media engine of one worker: calls, legs, media lines, streams, and what becomes of each packet.
//!
//! Sans-IO: no clock, no socket, no runtime, no unsafe. The shell (the worker thread) owns those and obeys this
//! contract; every method takes the time and none blocks.
//!
//! * **Mutators** (`create`, `update`, `delete`, `renew`): commands of a control plane, applied between batches. All or
//!   nothing: a [`media_types::Refusal`] leaves no trace. They open and close ports through [`Ports`].
//! * **Handlers** (`handle_packet`, `handle_timeout`): what the network and the clock did. `handle_packet` neither
//!   allocates, locks nor logs, and its verdict says what becomes of the frame.
//! * **Pollers** (`poll_event`, `poll_timeout`): what to tell the control plane, and when to wake the engine next.
//! * **Getters** (`query`, `call_ids`, `capacity`): reports.
#![forbid(unsafe_code)]

mod call;
mod capacity;
mod config;
mod counters;
mod drop_reason;
mod engine;
mod event_queue;
mod format;
mod latch;
mod line;
mod port_pool;
mod ports;
mod quality;
mod round_trip;
mod settings;
mod stream;
mod timers;
mod tombstones;
mod verdict;

pub use capacity::Capacity;
pub use config::{Address, EngineConfig, Interface, Learning, Limits};
pub use counters::Counters;
pub use drop_reason::DropReason;
pub use engine::Engine;
pub use ports::{OpenError, PortId, Ports};
pub use verdict::Verdict;
