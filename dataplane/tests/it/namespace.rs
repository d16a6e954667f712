//! A network namespace with its own /sys, that lives as long as the process which holds it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

/// A namespace. It goes with this value.
pub struct Namespace {
    holder: Child,
}

impl Namespace {
    /// Makes one in which `script` (sh) has run. `None`, with the reason told, when this machine does not allow it; under
    /// `STRICT=1` that fails.
    pub fn with(test: &str, script: &str) -> Option<Self> {
        match Self::make(script) {
            Ok(namespace) => Some(namespace),
            Err(reason) => {
                let reason = format!("SKIP {test}: {reason}");
                assert!(
                    std::env::var_os("STRICT").is_none_or(|strict| strict != "1"),
                    "{reason}"
                );
                eprintln!("{reason}");
                None
            }
        }
    }

    fn make(script: &str) -> Result<Self, String> {
        // It ends when this process does: its standard input closes then.
        let script =
            format!("set -e; mount -t sysfs sysfs /sys; ip link set lo up; {script}; echo made; read -r _");
        let mut holder = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                &script,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut line = String::new();
        let stdout = holder.stdout.as_mut().expect("piped");
        let read = BufReader::new(stdout).read_line(&mut line);
        if read.is_ok() && line.trim() == "made" {
            return Ok(Self { holder });
        }
        let output = holder.wait_with_output().map_err(|error| error.to_string())?;
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    /// A command inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--net",
                "--mount",
                "--target",
                &self.holder.id().to_string(),
                "--",
            ])
            .arg(program);
        command
    }

    /// What a shell inside prints.
    pub fn shell(&self, line: &str) -> String {
        let output = self.command("sh").args(["-c", line]).output().expect("a shell");
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The binary under test inside, until it ends.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_ringpath-dataplane"));
        command.args(arguments).output().expect("nsenter")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Fails when it has ended, which is as good.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Output without white space around it.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}
