//! Every back-end against one suite of behaviours, over loopback.

mod back_end;
mod errors;
mod lifecycle;
mod limits;
mod probing;
mod relay;
mod simulated;
mod waiting;
