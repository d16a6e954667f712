//! Lines that are set up with parties of other make: over bad networks, and among strangers.

mod bench;
mod handshake;
mod limits;
mod search;
mod strangers;
