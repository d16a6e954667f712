//! See [`dataplane_fuzz::rtp_packet`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dataplane_fuzz::rtp_packet(data));
