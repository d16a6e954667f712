//! What every machine that decides is given from outside: the time and randomness; and the network it is tried on.
//!
//! A *machine* here is a value with `handle(now, input)` and `poll` methods (a SIP transaction, the B2BUA, the media
//! engine). It owns no socket and reads no clock, so that a call flow under loss, with every timer firing, runs in
//! a millisecond and is the same every time. The crate has no dependency on an operating system.
#![forbid(unsafe_code)]

mod epoch;
pub mod network;
mod random;
mod timestamp;

pub use epoch::Epoch;
pub use random::Random;
pub use timestamp::Timestamp;
