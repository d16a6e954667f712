//! Relays side by side (`make bench-relay`): the same load through each, in two network namespaces joined by a veth pair,
//! one core for the load and one for the relay.
//!
//! * [`privilege`] what the host must allow, asked before anything is made; [`bed`] namespaces, veth and cores; [`drops`] where
//!   they lost packets.
//! * [`load`] sends and counts: [`live_load`] by BPF programs, [`generator`] in user space, over a [`wire`] that is [`socket_wire`] or
//!   [`frame_wire`]; [`outcome`] what either found; [`contender`] starts one relay and
//!   gives it calls; [`secured_caller`] the SRTP of these.
//! * [`bare_epoll`] and [`bare_xdp`] the yardsticks; [`rtpengine`] and its control protocol [`ng`], in [`bencode`].
//! * [`comparison`] all of it; [`plan`] how its time is shared; [`bench`] the measurements; [`search`] the most calls;
//!   [`bar`] what is to be reached; [`row`], [`machine`], [`note`], [`markdown`] and [`chart`] what is written of them.

pub mod bar;
pub mod bare_epoll;
pub mod bare_xdp;
pub mod bed;
pub mod bench;
pub mod bencode;
pub mod chart;
pub mod comparison;
pub mod contender;
pub mod drops;
pub mod frame_wire;
pub mod generator;
pub mod live_load;
pub mod load;
pub mod load_stream;
pub mod machine;
pub mod markdown;
pub mod ng;
pub mod note;
pub mod outcome;
pub mod plan;
pub mod privilege;
pub mod row;
pub mod rtpengine;
pub mod search;
pub mod secured_caller;
pub mod socket_wire;
pub mod wire;
