//! See [`control_plane_fuzz::digest`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| control_plane_fuzz::digest(data));
