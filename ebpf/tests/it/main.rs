//! The programs on built packets (program-run), held against Rust written on its own, and on real interfaces.

mod bench;
mod corpus;
mod forward;
mod frame;
mod refuse;
mod statistics;
mod table;
mod verifier;
