//! The kernel path as an operator meets it: what is said of it, and what the process may still do.

use proto::media_v1 as wire;

use crate::node::{Backend, Node, on_both_backends};
use crate::process::{Process, is_privileged};

on_both_backends!(
    loopback_is_left_to_user_space,
    every_thread_gives_up_its_capabilities
);

async fn loopback_is_left_to_user_space(backend: Backend) {
    let mut node = Node::start(backend).await;
    assert_eq!(node.kernel, ["lo: off: loopback is left to user space"]);
    let described = node
        .client
        .describe(wire::DescribeRequest {})
        .await
        .expect("answers")
        .into_inner();
    let expected = wire::KernelInterface {
        name: "lo".into(),
        mode: wire::KernelMode::Off.into(),
        reason: "loopback is left to user space".into(),
    };
    assert_eq!(described.kernel, [expected]);
    let labels = "interface=\"lo\",mode=\"off\",reason=\"loopback is left to user space\"";
    assert_eq!(
        node.metric("ringpath_dataplane_kernel_interface", labels).await,
        1
    );
    node.stop().await;
}

async fn every_thread_gives_up_its_capabilities(backend: Backend) {
    let node = Node::start(backend).await;
    has_no_capabilities(&node.process);
    node.stop().await;
}

/// No thread of a process has, or can get, any capability.
pub fn has_no_capabilities(process: &Process) {
    let tasks = std::fs::read_dir(process.proc().join("task")).expect("it runs");
    let mut threads = 0;
    for task in tasks {
        let status = task.expect("readable").path().join("status");
        let status = std::fs::read_to_string(status).expect("it runs");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let line = status.lines().find(|line| line.starts_with(set)).expect("there");
            let bits = line.rsplit('\t').next().expect("a number");
            // Whoever may not change the set of what could be gained has nothing to gain either.
            let held = if set == "CapBnd" && !is_privileged() {
                "0"
            } else {
                bits
            };
            assert_eq!(u64::from_str_radix(held, 16), Ok(0), "{line} in\n{status}");
        }
        threads += 1;
    }
    assert!(threads >= 2, "the control thread and a worker");
}
