//! Both planes as child processes, started with configuration files that are written here.

mod control_options;
mod node_options;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::process::Process;
use crate::{binary, usage};

pub use control_options::ControlOptions;
pub use node_options::NodeOptions;
use node_options::STATE;

const READY_WITHIN: Duration = Duration::from_secs(15);
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// What a plane says on standard output before `ready`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// Role, protocol and address of each listener.
    pub listeners: Vec<(String, String, String)>,
    /// The packet back-end and why it was chosen; only the data plane has one.
    pub backend: Option<(String, String)>,
}

impl Announcement {
    /// Takes one line; true for the last.
    pub fn take(&mut self, line: &str) -> bool {
        if let Some(listener) = line.strip_prefix("listening ") {
            let mut words = listener.splitn(3, ' ').map(str::to_owned);
            if let (Some(role), Some(protocol), Some(address)) = (words.next(), words.next(), words.next()) {
                self.listeners.push((role, protocol, address));
            }
        } else if let Some((name, reason)) = line.strip_prefix("backend ").and_then(|b| b.split_once(": ")) {
            self.backend = Some((name.to_owned(), reason.to_owned()));
        }
        line == "ready"
    }
}

/// A running plane.
#[derive(Debug)]
pub struct Plane {
    process: Process,
    announcement: Announcement,
    folder: PathBuf,
    config: PathBuf,
    before: Vec<OsString>,
}

impl Plane {
    /// Starts a data plane and waits until it is ready.
    pub fn start_node(options: &NodeOptions, folder: &Path) -> anyhow::Result<Self> {
        Self::start_node_after(&[], options, folder)
    }

    /// Starts a data plane by way of other programs, such as `taskset -c 1`, each of which replaces itself by the next.
    pub fn start_node_after(
        before: &[OsString],
        options: &NodeOptions,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let file = options.file();
        Self::start(before, "ringpath-dataplane", &options.name, &file, folder)
    }

    /// Starts a control plane and waits until it is ready.
    pub fn start_control(options: &ControlOptions, folder: &Path) -> anyhow::Result<Self> {
        Self::start_control_after(&[], options, folder)
    }

    /// Starts a control plane by way of other programs, as [`Plane::start_node_after`].
    pub fn start_control_after(
        before: &[OsString],
        options: &ControlOptions,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        Self::start(before, "ringpath-control", "control", &options.file(), folder)
    }

    fn start(
        before: &[OsString],
        program: &str,
        name: &str,
        config_text: &str,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let config = folder.join(format!("{name}.toml"));
        fs::write(&config, config_text)?;
        let (process, announcement) = launch(before, program, name, &config, folder)?;
        Ok(Self {
            process,
            announcement,
            folder: folder.to_owned(),
            config,
            before: before.to_vec(),
        })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The child process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        self.process.tail()
    }

    /// What it said at its start.
    pub fn announcement(&self) -> &Announcement {
        &self.announcement
    }

    /// Puts users into a control plane's database, `name;password` a line.
    ///
    /// # Errors
    /// What the program said.
    pub fn import_users(&self, users: &Path) -> anyhow::Result<()> {
        let imported = std::process::Command::new(binary::find("ringpath-control")?)
            .arg("--config")
            .arg(&self.config)
            .arg("--import-users")
            .arg(users)
            .output()?;
        ensure!(
            imported.status.success(),
            "{}",
            String::from_utf8_lossy(&imported.stderr)
        );
        Ok(())
    }

    /// SIGTERM; it must end with status 0 in time.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.process.stop(STOP_WITHIN)
    }

    /// Removes what a data plane that has ended left for the next one: its calls are gone then.
    pub fn forget(&self) -> anyhow::Result<()> {
        Ok(fs::remove_dir_all(self.folder.join(STATE))?)
    }

    /// SIGKILL: as a crash would end it.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// Starts it again with the same configuration, after [`Plane::stop`] or [`Plane::kill`].
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let name = self.process.name().to_owned();
        let program = match self.announcement.backend {
            Some(_) => "ringpath-dataplane",
            None => "ringpath-control",
        };
        // The log of the one that ended stays readable.
        fs::rename(self.process.log(), self.folder.join(format!("{name}.before.log")))?;
        (self.process, self.announcement) = launch(&self.before, program, &name, &self.config, &self.folder)?;
        Ok(())
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        usage::resident_bytes(self.process.id())
    }

    /// Processor time used so far, user and system.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The command's name may have spaces; what follows its bracket has not. utime and stime are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(')').context("no command in stat")?;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse::<u64>)
            .sum::<Result<_, _>>()?;
        // USER_HZ is 100 on every architecture that we build for.
        Ok(Duration::from_millis(ticks * 10))
    }
}

fn launch(
    before: &[OsString],
    program: &str,
    name: &str,
    config: &Path,
    folder: &Path,
) -> anyhow::Result<(Process, Announcement)> {
    let mut words = before.to_vec();
    words.push(binary::find(program)?.into());
    words.extend(["--config".into(), config.into()]);
    let mut process = Process::start(name, &words[0], &words[1..], &[], folder)?;
    let mut announcement = Announcement::default();
    process
        .wait_for_line(READY_WITHIN, |line| announcement.take(line).then_some(()))
        .with_context(|| format!("{program} did not become ready"))?;
    if announcement.listeners.is_empty() {
        bail!("{program} is ready and named no listener");
    }
    Ok((process, announcement))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_read_until_ready() {
        let mut said = Announcement::default();
        let lines = [
            "listening grpc tcp 127.0.0.1:7100",
            "listening grpc unix /run/with space/media.sock",
            "backend socket: io_uring_setup: Operation not permitted",
        ];
        for line in lines {
            assert!(!said.take(line));
        }
        assert!(said.take("ready"));
        assert_eq!(said.listeners[1].2, "/run/with space/media.sock");
        let reason = "io_uring_setup: Operation not permitted".to_owned();
        assert_eq!(said.backend, Some(("socket".to_owned(), reason)));
    }
}
