//! See [`control_plane_fuzz::crypto_attribute`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| control_plane_fuzz::crypto_attribute(data));
