//! See [`control_plane_fuzz::register`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| control_plane_fuzz::register(data));
