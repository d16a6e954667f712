//! The media node as its users meet it: the real process, a gRPC client, UDP sockets that count what arrives.

mod calls;
mod configuration;
mod doctor;
mod endurance;
mod front;
mod kernel;
mod kernel_attacks;
mod kernel_calls;
mod kernel_terms;
mod leases;
mod media;
mod namespace;
mod node;
mod operators;
mod party;
mod ports;
mod process;
mod restart;
mod statistics;
mod steering;
mod stop;
mod takeover;
mod tls;
mod update;
mod wire;
