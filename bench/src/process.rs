//! Child processes that are ended by handle, whatever happens.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use ops::clock::MonotonicClock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// A running program whose output goes to files. Dropping it kills it.
///
/// It is started through setpriv(1) with a parent-death signal, so that it also ends when this process is killed. The
/// kernel ties that signal to the *thread* that started the child: start children from threads that outlive them.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    /// Where standard error goes.
    log: PathBuf,
}

impl Process {
    /// Starts `program` with `arguments`. Standard output goes to `<folder>/<name>.out` and, line by line, to
    /// [`Process::wait_for_line`]; standard error to `<folder>/<name>.log`.
    pub fn start<S: AsRef<std::ffi::OsStr>>(
        name: &str,
        program: impl AsRef<Path>,
        arguments: impl IntoIterator<Item = S>,
        environment: &[(&str, &str)],
        folder: &Path,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
        let log = folder.join(format!("{name}.log"));
        let mut out = File::create(folder.join(format!("{name}.out")))?;
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program.as_ref())
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.as_ref().display()))?;
        let stdout = child.stdout.take().context("standard output was asked for")?;
        let (to, lines) = mpsc::channel();
        // Ends with the child's end of the pipe.
        std::thread::Builder::new()
            .name(format!("out-{name}"))
            .spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    // A full disk must not stop the child; nobody may be reading lines any more.
                    let _ = writeln!(out, "{line}");
                    let _ = to.send(line);
                }
            })?;
        Ok(Self {
            name: name.to_owned(),
            child,
            lines,
            log,
        })
    }

    /// The name that was given at the start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file that standard error goes to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The next line of standard output for which `wanted` gives something, and that something.
    pub fn wait_for_line<T>(
        &mut self,
        within: Duration,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> anyhow::Result<T> {
        let clock = MonotonicClock::start();
        let deadline = clock.now() + within;
        loop {
            match self.lines.recv_timeout(deadline.saturating_since(clock.now())) {
                Ok(line) => {
                    if let Some(found) = wanted(&line) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!(
                        "{} did not say what was waited for within {within:?}\n{}",
                        self.name,
                        self.tail()
                    )
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!(
                        "{} ended before it said what was waited for\n{}",
                        self.name,
                        self.tail()
                    )
                }
            }
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for its end. Still running afterwards is an error, and it is killed.
    pub fn wait(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        let handle = pidfd_open(self.pid()?, PidfdFlags::empty())?;
        let clock = MonotonicClock::start();
        let deadline = clock.now() + within;
        loop {
            let left = deadline.saturating_since(clock.now());
            let timeout = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => break,
                Ok(_) => return Ok(self.child.wait()?),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let tail = self.tail();
        self.kill()?;
        bail!(
            "{} did not end within {within:?} and was killed\n{tail}",
            self.name
        )
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.pid()?, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// SIGTERM, then waits; anything but exit status 0 in time is an error.
    pub fn stop(&mut self, within: Duration) -> anyhow::Result<()> {
        if self.is_running()? {
            self.signal(Signal::TERM)?;
        }
        let status = self.wait(within)?;
        if !status.success() {
            bail!("{} ended with {status}\n{}", self.name, self.tail());
        }
        Ok(())
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        // Fails only when it has been waited for, which is as good.
        let _ = self.child.kill();
        self.child.wait()?;
        Ok(())
    }

    /// The end of its log, for messages about its failure.
    pub fn tail(&self) -> String {
        const LINES: usize = 25;
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(LINES);
        let mut text = format!("--- the last lines of {}\n", self.log.display());
        for line in &lines[from..] {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        Pid::from_raw(self.child.id() as i32).context("a process id is not zero")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing to do about an error here: the child has been waited for, or is not ours to end.
        let _ = self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(script: &str, folder: &Path) -> Process {
        Process::start("shell", "/bin/sh", ["-c", script], &[], folder).unwrap()
    }

    #[test]
    fn lines_and_status_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = shell("echo one; echo two; echo trouble >&2; exit 3", folder.path());
        let found = shell
            .wait_for_line(SOON, |line| line.strip_prefix("tw").map(str::to_owned))
            .unwrap();
        assert_eq!(found, "o");
        assert_eq!(shell.wait(SOON).unwrap().code(), Some(3));
        assert!(
            shell
                .wait_for_line(SOON, |_| None::<()>)
                .unwrap_err()
                .to_string()
                .contains("trouble")
        );
        assert!(shell.stop(SOON).is_err(), "3 is not success");
    }

    #[test]
    fn a_child_that_outstays_its_time_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = shell("mkfifo pipe; echo up; read x <> pipe", folder.path());
        shell
            .wait_for_line(SOON, |line| (line == "up").then_some(()))
            .unwrap();
        assert!(shell.wait(Duration::from_millis(50)).is_err());
        assert!(!shell.is_running().unwrap());
    }

    #[test]
    fn a_child_that_is_told_to_stop_may_finish() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = shell(
            "mkfifo pipe; trap 'exit 0' TERM; echo up; read x <> pipe",
            folder.path(),
        );
        shell
            .wait_for_line(SOON, |line| (line == "up").then_some(()))
            .unwrap();
        shell.stop(SOON).unwrap();
    }
}
