use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

/// Bound on everything that a node does at once.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running `ringpath-dataplane`. Killed, and its log printed, when a test fails.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    log: NamedTempFile,
    config: Option<NamedTempFile>,
}

impl Process {
    /// Starts the binary with `config` and these arguments.
    pub fn start(config: &str, arguments: &[&str]) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), config).expect("written");
        let mut process = Self::spawn(command(file.path()).args(arguments)).expect("the binary starts");
        // The binary reads it when it starts, which may be later than now.
        process.config = Some(file);
        process
    }

    /// Starts a command that becomes the node.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let log = tempfile::NamedTempFile::new()?;
        let mut child = command.stdout(Stdio::piped()).stderr(log.reopen()?).spawn()?;
        let stdout = child.stdout.take().expect("piped");
        let (lines_in, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                // The test may be over.
                let Ok(line) = line else { return };
                if lines_in.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            lines,
            log,
            config: None,
        })
    }

    /// The next line on standard output, within [`PATIENCE`].
    pub fn line(&self) -> String {
        self.lines
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|error| panic!("no line on stdout: {error}; log:\n{}", self.log()))
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).expect("readable")
    }

    /// `/proc/PID`.
    pub fn proc(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.child.id()))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits for the end.
    pub async fn ended(&mut self) -> ExitStatus {
        let end = async {
            loop {
                if let Some(status) = self.child.try_wait().expect("our child") {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, end).await.expect("ends in time")
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the node ---\n{}---", self.log());
        }
        // Fails when it has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary with a configuration file, and no variable of whoever runs the tests.
pub fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringpath-dataplane"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RINGPATH_") {
            command.env_remove(name);
        }
    }
    command.arg("--config").arg(config);
    command
}

/// Whether this test runs with privileges that a node would have to give up.
pub fn is_privileged() -> bool {
    rustix::thread::capabilities(None)
        .expect("readable")
        .effective
        .contains(rustix::thread::CapabilitySet::SETPCAP)
}
