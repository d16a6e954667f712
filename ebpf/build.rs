//! Builds the BPF programs with clang and their skeletons with libbpf-cargo.
//!
//! Without clang, or when it fails, the crate builds all the same: `RINGPATH_BPF_MISSING` then has the reason, which
//! every load answers with. A compiler's complaint is printed whole as a warning of the build.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use libbpf_cargo::SkeletonBuilder;

const PROGRAMS: [&str; 9] = [
    "advance", "bare", "echo", "load", "pass", "relay", "relay_tc", "steer", "xsk",
];
const HEADERS: [&str; 11] = [
    "bucket.h",
    "copies.h",
    "hop.h",
    "lock.h",
    "maps.h",
    "packet.h",
    "rewrite.h",
    "ringpath.h",
    "rtp.h",
    "statistics.h",
    "tap.h",
];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(bpf_built)");
    println!("cargo::rerun-if-env-changed=RINGPATH_CLANG");
    println!("cargo::rerun-if-env-changed=PATH");
    println!("cargo::rerun-if-changed=build.rs");
    let source = Path::new("src/bpf");
    for name in HEADERS {
        println!("cargo::rerun-if-changed={}", source.join(name).display());
    }
    for name in PROGRAMS {
        println!(
            "cargo::rerun-if-changed={}",
            source.join(format!("{name}.bpf.c")).display()
        );
    }
    match build(source) {
        Ok(()) => println!("cargo::rustc-cfg=bpf_built"),
        Err(Missing { reason, complaint }) => {
            for line in complaint.lines() {
                println!("cargo::warning={line}");
            }
            println!("cargo::warning=ebpf is {reason}; its programs cannot be loaded");
            println!("cargo::rustc-env=RINGPATH_BPF_MISSING={reason}");
        }
    }
}

/// Why there are no programs: the short reason, and what the compiler said.
struct Missing {
    reason: &'static str,
    complaint: String,
}

fn build(source: &Path) -> Result<(), Missing> {
    let clang = env::var_os("RINGPATH_CLANG").unwrap_or_else(|| "clang".into());
    if let Err(error) = Command::new(&clang).arg("--version").output() {
        return Err(Missing {
            reason: "built without clang",
            complaint: format!("{}: {error}", clang.display()),
        });
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for name in PROGRAMS {
        SkeletonBuilder::new()
            .source(source.join(format!("{name}.bpf.c")))
            .clang(&clang)
            .clang_args(arguments(source))
            .build_and_generate(out.join(format!("{name}.skel.rs")))
            .map_err(|error| Missing {
                reason: "built with a clang that failed",
                complaint: format!("{error:#}"),
            })?;
    }
    Ok(())
}

/// ALU32 and atomics that return a value need instruction set version 3, which kernels have since 5.12. The headers
/// of the architecture are where Debian keeps them, which clang does not look at when its target is bpf.
fn arguments(source: &Path) -> Vec<OsString> {
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    let mut arguments: Vec<OsString> = ["-mcpu=v3", "-Wall", "-Werror", "-I"].map(OsString::from).into();
    arguments.push(source.into());
    arguments.push("-idirafter".into());
    arguments.push(format!("/usr/include/{architecture}-linux-gnu").into());
    arguments
}
