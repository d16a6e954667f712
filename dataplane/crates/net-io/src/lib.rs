//! Packet I/O of one worker: the trait that a worker drives, and its back-ends. No policy: ports, frames and addresses
//! only.
#![deny(unsafe_op_in_unsafe_fn)]
