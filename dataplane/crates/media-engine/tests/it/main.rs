//! The engine seen from outside: ports that are table entries, packets that are byte strings, a clock that is a
//! number.

mod allocation;
mod bench;
mod commands;
mod events;
mod flows;
mod kernel;
mod latching;
mod offload;
mod ports;
mod relay;
mod seeds;
mod sequences;
mod setup;
mod simulation;
mod srtp;
mod statistics;
