//! Calls a second that a SIP server takes, and what a call costs it: this control plane beside Debian's Kamailio
//! (`make bench-sip`).
//!
//! The server has one core, SIPp as caller and callee another. Everything is on an address of loopback of its own.

pub mod attempt;
pub mod bench;
pub mod ceiling;
pub mod contender;
pub mod row;
