//! A node of a user of its own with four capabilities, as docs/operations/media-node.md has it for systemd.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use proto::media_v1 as wire;
use rustix::process::Signal;
use tempfile::NamedTempFile;

use crate::node::{Backend, Node, Settings};
use crate::process::{Process, command};
use crate::wire::{Bed, BpfFs, Call, pinned, run, settings};

/// Nobody.
const USER: u32 = 65_534;
const CAPABILITIES: &str = "-all,+bpf,+net_admin,+perfmon,+net_raw";

fn give(path: &Path) {
    chown(path, Some(USER), Some(USER)).expect("owned");
}

/// Whether that user can run the node's binary with these capabilities: `setpriv` may lack them, and the directory of the build
/// may be closed to others.
fn probe() -> Result<(), String> {
    let ran = as_user(Command::new(env!("CARGO_BIN_EXE_ringpath-dataplane")).arg("--version")).output();
    match ran {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("setpriv: {error}")),
    }
}

/// The node as that user, as `User=` and `AmbientCapabilities=` of a unit have it.
fn start(config: &NamedTempFile, arguments: &[&str]) -> Process {
    let mut command = as_user(command(config.path()).args(arguments));
    Process::spawn(&mut command).expect("setpriv runs")
}

fn as_user(node: &Command) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args([
            format!("--reuid={USER}"),
            format!("--regid={USER}"),
            "--clear-groups".into(),
        ])
        .args(["bounding-set", "inh-caps", "ambient-caps"].map(|set| format!("--{set}={CAPABILITIES}")))
        .arg(node.get_program())
        .args(node.get_args())
        .env_clear();
    command
}

/// The node as this user, without any capability, and without the kernel path then.
pub async fn node_without_capabilities(config: &Path) -> Node {
    let node = command(config);
    let mut command = Command::new("setpriv");
    command
        .args(["bounding-set", "inh-caps", "ambient-caps"].map(|set| format!("--{set}=-all")))
        .arg(node.get_program())
        .args(node.get_args())
        .args(["--backend", "uring"])
        .env_clear();
    client(Process::spawn(&mut command).expect("setpriv runs")).await
}

async fn client(process: Process) -> Node {
    let started = Node::take(process, Backend::Uring);
    let channel = started.channel().await;
    started.into_node(channel)
}

/// No thread may do anything any more.
fn has_given_up(process: &Process) {
    for task in std::fs::read_dir(process.proc().join("task")).expect("it runs") {
        let path = task.expect("readable").path().join("status");
        let status = std::fs::read_to_string(path).expect("it runs");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let line = status.lines().find(|line| line.starts_with(set)).expect("there");
            assert!(line.ends_with("\t0000000000000000"), "{line}");
        }
        assert!(status.contains(&format!("Uid:\t{USER}\t{USER}")), "{status}");
    }
}

#[test]
fn four_capabilities_are_enough_for_the_kernel_path_its_pins_and_steering() {
    let name = "four_capabilities_are_enough_for_the_kernel_path_its_pins_and_steering";
    if let Err(reason) = probe() {
        return netns::skip(name, &reason);
    }
    let Some(pins) = BpfFs::mount(name) else { return };
    run(name, async |bed: Bed| {
        let state = tempfile::tempdir().expect("a directory");
        // As tmpfiles.d does: others may go through the mount, and the node's user has a directory there.
        let mount = pins.path().parent().expect("below the mount").to_owned();
        std::fs::set_permissions(mount, std::fs::Permissions::from_mode(0o711)).expect("changed");
        std::fs::set_permissions(pins.path(), std::fs::Permissions::from_mode(0o700)).expect("changed");
        give(&pins.path());
        give(state.path());
        let settings = Settings {
            state: state.path().display().to_string(),
            steering: "require",
            ..settings(&pinned(&pins))
        };
        let config = NamedTempFile::new().expect("a file");
        std::fs::write(config.path(), settings.toml()).expect("written");
        give(config.path());

        let mut node = client(start(&config, &[])).await;
        assert_eq!(node.kernel.len(), 1);
        assert!(
            node.kernel[0].starts_with("r0: native XDP: "),
            "{:?}",
            node.kernel
        );
        has_given_up(&node.process);
        let mut call = Call::in_kernel(&bed, &mut node, "kept").await;
        node.process.signal(Signal::KILL);
        node.process.ended().await;
        // Nobody is there: the kernel forwards.
        call.exchange(20).await;
        let mut node = client(start(&config, &[])).await;
        assert_eq!(node.kernel, ["r0: native XDP: adopted"]);
        assert_eq!(call.line(&mut node, 0).await.path(), wire::Path::Kernel);

        let mut next = client(start(&config, &["--takeover"])).await;
        let status = node.process.ended().await;
        assert_eq!(status.code(), Some(0), "{status}, log:\n{}", node.process.log());
        has_given_up(&next.process);
        call.exchange(20).await;
        assert_eq!(call.line(&mut next, 0).await.path(), wire::Path::Kernel);
        call.end(&mut next).await;
        next.stop().await;
        let left = std::fs::read_dir(pins.path().join("media-it"))
            .expect("the node's")
            .count();
        assert_eq!(left, 0, "nothing is pinned after a stop in order");
    });
}
