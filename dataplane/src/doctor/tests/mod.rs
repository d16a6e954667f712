//! Checks and changes on a made-up machine.

mod changes;
mod faults;
mod machine;
