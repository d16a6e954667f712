//! See [`control_plane_fuzz::sip_datagram`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| control_plane_fuzz::sip_datagram(data));
