//! Compiles the protocol definitions with protox, so that no `protoc` binary is needed.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(["media/v1/media.proto", "admin/v1/admin.proto"], ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // It holds a secret: `lib.rs` shows it without.
        .skip_debug(["ringpath.media.v1.SrtpKey"])
        .compile_fds(descriptors)?;
    println!("cargo::rerun-if-changed=media");
    println!("cargo::rerun-if-changed=admin");
    Ok(())
}
