//! The B2BUA between two simulated user agents and a simulated media node.

mod calls;
mod node;
mod ua;
mod world;
