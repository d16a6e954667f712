//! Packet I/O of one worker: the trait [`PacketIo`] that the worker's loop drives, and its back-ends. No policy:
//! ports, frames and addresses only; what is forwarded where is the engine's business.
//!
//! | back-end | made of | when |
//! |---|---|---|
//! | [`uring::Uring`] | one io_uring: multishot receives, provided buffers, a file table | Linux 6.1, not refused |
//! | [`socket::Sockets`] | a UDP socket a port, epoll, `recvmmsg`, `sendmmsg` | every kernel |
//! | [`steering::Steered`] | a UDP socket for all ports, raw sockets, and [AF_XDP](xsk) past both | with privilege |
//! | [`sim::Simulated`] | queues in memory, driven by a test | tests of what is built on this crate |
//!
//! A back-end belongs to one thread: it is built there, used there and dropped there. Only a [`Waker`] and the
//! test's end of a simulated wire cross threads.
//!
//! # Invariants of the unsafe code
//!
//! 1. **A frame is in one place.** Each index of the pool is free, with the kernel for receiving, received and not
//!    handed over, in a [`Frame`] of the caller, or queued for sending; its bytes are touched by the holder of that
//!    place only. *Checked by:* [`FrameAccount`] in every conformance test, and [`Frame`]'s drop assertion.
//! 2. **A frame is used with the pool that it came from.** *Checked by:* a pool number in each frame, compared on
//!    every access.
//! 3. **Memory that the kernel may still write or read outlives the kernel's right to do so.** With sockets this is
//!    the length of one system call; with io_uring see [`uring`], with AF_XDP [`xsk`]. *Checked by:* construction (arrays live in the same
//!    struct as the call).
//! 4. **Arrays of headers for the kernel point into storage that does not move**: boxed slices, never a growing
//!    `Vec`. *Checked by:* the types, and by re-pointing every header right before the call that uses it.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod config;
pub mod counters;
pub mod frame;
pub mod packet_io;
pub mod probe;
pub mod sim;
pub mod socket;
pub mod steering;
pub mod uring;
pub mod waker;
pub mod xsk;

mod address;
mod checksum;
mod control;
mod frame_store;
mod gather;
mod port_table;
mod udp_socket;

pub use config::{IoConfig, SocketOptions};
pub use counters::{IoCounters, SendError};
pub use frame::{FRAME_SIZE, Frame, FrameAccount, HEADROOM, PAYLOAD_MAX};
pub use media_engine::{OpenError, PortId, Ports};
pub use packet_io::{PacketIo, Received};
pub use waker::Waker;
