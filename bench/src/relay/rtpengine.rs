//! rtpengine in user space: Debian's `rtpengine-daemon`, its kernel module never touched.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::process::Process;
use crate::relay::ng::NgClient;
use crate::relay::privilege;
use crate::wait;

const PROGRAM: &str = "rtpengine";
const READY_WITHIN: Duration = Duration::from_secs(15);
const NG_PORT: u16 = 2_223;

/// Whether it is installed.
pub fn is_installed() -> bool {
    privilege::is_installed(PROGRAM)
}

/// What it says of its version.
pub fn version() -> anyhow::Result<String> {
    let output = Command::new(PROGRAM).arg("--version").output()?;
    let said = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&said);
    let line = text.lines().next().context("rtpengine says no version")?;
    Ok(line.trim_start_matches("Version: ").to_owned())
}

/// Starts it at `address` by way of `before` and waits until it answers. The client is in the namespace of the calling
/// thread, at `local`.
pub fn start(
    before: &[OsString],
    address: Ipv4Addr,
    local: Ipv4Addr,
    folder: &Path,
) -> anyhow::Result<(Process, NgClient)> {
    let mut words = before.to_vec();
    let ng = SocketAddr::from((address, NG_PORT));
    words.extend(
        [
            PROGRAM,
            "--config-file=none",
            // No kernel table: every packet goes through user space.
            "--table=-1",
            "--foreground",
            "--log-stderr",
            "--log-level=4",
            // It has one core here; its default is a thread for each core of the machine.
            "--num-threads=1",
            "--port-min=20000",
            "--port-max=65000",
            "--timeout=3600",
        ]
        .map(OsString::from),
    );
    words.push(format!("--interface={address}").into());
    words.push(format!("--listen-ng={ng}").into());
    let mut process = Process::start("rtpengine", &words[0], &words[1..], &[], folder)?;
    let mut client = NgClient::new(local, ng)?;
    let ready = wait::until_true("rtpengine to answer", READY_WITHIN, || {
        anyhow::ensure!(process.is_running()?, "rtpengine ended at once");
        Ok(client.ping())
    });
    ready.with_context(|| process.tail())?;
    Ok((process, client))
}
