//! Every back-end against one suite of behaviours, over loopback.

mod allocation;
mod back_end;
mod disorder;
mod errors;
mod handover;
mod lifecycle;
mod limits;
mod options;
mod probing;
mod relay;
mod ring_limits;
mod simulated;
mod waiting;
mod xdp;
