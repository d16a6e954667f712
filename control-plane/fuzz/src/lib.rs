//! Fuzz targets of the control plane, as functions: a fuzzer calls them with what it invents, the ordinary
//! tests with the committed corpus. Each asserts what must hold for *any* input, so a finding is a panic here.
//!
//! `README.md` beside this crate says how to run the fuzzers.
#![forbid(unsafe_code)]

mod calls;
mod crypto_attribute;
mod digest;
mod register;
mod session_description;
mod sip_datagram;
mod sip_stream;

pub use calls::calls;
pub use crypto_attribute::crypto_attribute;
pub use digest::digest;
pub use register::register;
pub use session_description::session_description;
pub use sip_datagram::sip_datagram;
pub use sip_stream::sip_stream;

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
        name: "calls",
        run: calls,
    },
    Target {
        name: "crypto_attribute",
        run: crypto_attribute,
    },
    Target {
        name: "digest",
        run: digest,
    },
    Target {
        name: "register",
        run: register,
    },
    Target {
        name: "sdp",
        run: session_description,
    },
    Target {
        name: "sip_datagram",
        run: sip_datagram,
    },
    Target {
        name: "sip_stream",
        run: sip_stream,
    },
];
