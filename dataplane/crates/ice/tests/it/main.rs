//! Agents with each other over bad networks, and with forgers.

mod checks;
mod forged;
mod pair;
