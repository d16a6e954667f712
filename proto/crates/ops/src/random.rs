//! Seeds for the machines' generators.

use std::fs::File;
use std::io::{self, Read as _};

/// 32 bytes from the operating system's cryptographic source.
///
/// # Errors
/// When `/dev/urandom` cannot be read; a plane that starts without randomness would hand out guessable tags, so it
/// must not start.
pub fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}
