//! Fuzz targets of the data plane, as functions: a fuzzer calls them with what it invents, the ordinary tests with the
//! committed corpus. Each asserts what must hold for *any* input, so a finding is a panic here.
//!
//! `README.md` beside this crate says how to run the fuzzers.
#![forbid(unsafe_code)]

mod packet_stage;
mod rtcp_compound;
mod rtp_packet;
mod srtp_unprotect;

pub use packet_stage::packet_stage;
pub use rtcp_compound::rtcp_compound;
pub use rtp_packet::rtp_packet;
pub use srtp_unprotect::srtp_unprotect;

/// A fuzz target.
pub struct Target {
    /// The name of its binary and of its folder in `corpus/`.
    pub name: &'static str,
    /// What it does with an input.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "rtp",
        run: rtp_packet,
    },
    Target {
        name: "rtcp",
        run: rtcp_compound,
    },
    Target {
        name: "packet_stage",
        run: packet_stage,
    },
    Target {
        name: "srtp_unprotect",
        run: srtp_unprotect,
    },
];
