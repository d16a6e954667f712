//! Calls and registrations a second that a SIP server takes, what they cost it in time and memory, and what it does beyond:
//! this control plane beside Debian's Kamailio (`make bench-sip`).
//!
//! The server has one core, SIPp as caller and callee another. Everything is on an address of loopback of its own.

pub mod attempt;
pub mod bench;
pub mod callee;
pub mod ceiling;
pub mod contender;
pub mod dialog;
pub mod footprint;
pub mod loader;
pub mod outage;
pub mod probe;
pub mod row;
pub mod search;
pub mod site;
pub mod strain;
