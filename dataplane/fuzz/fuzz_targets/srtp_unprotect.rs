//! See [`dataplane_fuzz::srtp_unprotect`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dataplane_fuzz::srtp_unprotect(data));
