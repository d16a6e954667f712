use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{BYTES, PACKETS, Reading, TURNS};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/packets/libsrtp2.c");

/// A program in C that does with the system's libsrtp2 what `ours` does. A process of its own keeps the library, and
/// all that is unsafe about calling it, out of this one.
pub struct Libsrtp2 {
    program: PathBuf,
}

impl Libsrtp2 {
    /// Compiles it with the system's `cc`. Fails without the library's headers.
    pub fn build(directory: &Path) -> Result<Self> {
        let flags = output(Command::new("pkg-config").args(["--cflags", "--libs", "libsrtp2"]))
            .context("pkg-config finds no libsrtp2 (Debian: libsrtp2-dev)")?;
        let program = directory.join("libsrtp2");
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-Wall", "-Werror", "-o"])
            .arg(&program)
            .arg(SOURCE);
        output(cc.args(flags.split_whitespace())).context("cc")?;
        Ok(Self { program })
    }

    /// One round of all suites that the library has, and all lengths.
    pub fn round(&self) -> Result<Vec<Reading>> {
        let mut readings = Vec::new();
        for bytes in BYTES {
            let numbers = [PACKETS, TURNS, bytes].map(|number| number.to_string());
            let text = output(Command::new(&self.program).args(numbers))?;
            for line in text.lines() {
                readings.push(reading(line, bytes).with_context(|| format!("libsrtp2 said {line:?}"))?);
            }
        }
        ensure!(!readings.is_empty(), "libsrtp2 has none of the suites");
        Ok(readings)
    }
}

/// `<suite> <protect> <unprotect> <first packet in hexadecimal>`.
fn reading(line: &str, bytes: usize) -> Result<Reading> {
    let fields: Vec<&str> = line.split(' ').collect();
    let [suite, protect_ns, unprotect_ns, first] = fields[..] else {
        bail!("another number of fields than four");
    };
    let octet = |at| Ok(u8::from_str_radix(first.get(at..at + 2).context("odd")?, 16)?);
    Ok(Reading {
        suite: suite.to_owned(),
        bytes,
        ns: vec![
            ("protect", protect_ns.parse()?),
            ("unprotect", unprotect_ns.parse()?),
        ],
        first: (0..first.len()).step_by(2).map(octet).collect::<Result<_>>()?,
    })
}

/// What a program prints; its errors go to ours.
fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(output.status.success(), "it ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
