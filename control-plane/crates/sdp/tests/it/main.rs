//! The crate through its public functions: golden files, mutation, properties, keys of SRTP.

mod golden;
mod handshake;
mod mutation;
mod properties;
mod sdes;
mod versions;

use std::net::SocketAddr;

use media_types::LocalLine;
use sdp::sdes::Profile;
use sdp::{OurLine, Session};

/// What the relay would answer for `session`: one pair of ports a usable line, the second line on IPv6.
fn our_lines(session: &Session) -> Vec<Option<OurLine>> {
    session
        .lines()
        .enumerate()
        .map(|(index, line)| {
            let host = if index == 1 {
                "[2001:db8:ffff::1]"
            } else {
                "198.51.100.1"
            };
            let address = |port: usize| -> SocketAddr { format!("{host}:{port}").parse().unwrap() };
            let rtp = address(20_000 + 2 * index);
            // Line 2 has its RTCP somewhere else, as behind a NAT that moves ports.
            let rtcp = if index == 2 {
                address(30_000)
            } else {
                address(20_001 + 2 * index)
            };
            let ours = OurLine {
                local: LocalLine { rtp, rtcp },
                rtcp_mux: line.has_rtcp_mux(),
                has_feedback: Profile::named(line.protocol())
                    .is_some_and(|profile| profile.has_feedback && !profile.is_dtls),
                handshake: None,
            };
            line.is_usable().then_some(ours)
        })
        .collect()
}
