//! Where the programs under test are.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

/// The folder that the two planes were built into: that of this program, or the one above for a test in `deps`.
pub fn folder() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let folder = this.parent().context("a program lies in a folder")?;
    let folder = if folder.ends_with("deps") {
        folder.parent().context("deps lies in a folder")?
    } else {
        folder
    };
    Ok(folder.to_owned())
}

/// A program of this workspace, such as `ringpath-control`.
pub fn find(name: &str) -> anyhow::Result<PathBuf> {
    let path = folder()?.join(name);
    if !path.exists() {
        bail!(
            "{} is not built; run `make build` (or `make release`)",
            path.display()
        );
    }
    Ok(path)
}

/// The folder of the scenarios, `sipp-scenarios`.
pub fn scenarios() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../sipp-scenarios"))
}
