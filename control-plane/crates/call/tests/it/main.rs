//! The B2BUA between two simulated user agents and a simulated media node.

mod acks;
mod branches;
mod breadth;
mod calls;
mod challenges;
mod early;
mod endings;
mod exchanges;
mod forks;
mod hostile;
mod identities;
mod media;
mod next_hops;
mod node;
mod offers;
mod operator;
mod random;
mod redirects;
mod refusals;
mod reliable;
mod sessions;
mod table;
mod transfers;
mod trunks;
mod ua;
mod world;
