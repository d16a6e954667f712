//! The programs on built packets (program-run), held against Rust written on its own, and on real interfaces.

mod attack;
mod bench;
mod corpus;
mod forward;
mod frame;
mod namespace;
mod refuse;
mod statistics;
mod steer;
mod table;
mod tap;
mod verifier;
mod wire;
mod xsk;
