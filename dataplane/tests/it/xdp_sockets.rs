//! AF_XDP beneath the calls of user space, on a real interface.

use proto::media_v1 as wire;

use crate::kernel::has_no_capabilities;
use crate::node::{Node, Settings, line};
use crate::process::Process;
use crate::takeover::{all_heard, talk_between, until_sent};
use crate::wire::{Bed, Call, UNPINNED, run, settings};

const OFF: &str = "mode = \"off\"\n";

fn xdp(mode: &'static str, kernel: &str) -> Settings {
    Settings {
        steering: "require",
        io: match mode {
            "auto" => "xdp_sockets = \"auto\"",
            _ => "xdp_sockets = \"require\"",
        },
        ..settings(kernel)
    }
}

async fn node(settings: &Settings) -> Node {
    let process = Process::start(&settings.toml(), &["--backend", "auto"]);
    let started = Node::take_on(process, "xsk");
    let channel = started.channel().await;
    started.into_node(channel)
}

/// What came and what left: by AF_XDP, and in all.
async fn counts(node: &Node) -> [u64; 4] {
    let metric = async |name: &str| node.metric(&format!("ringpath_dataplane_{name}"), "").await;
    [
        metric("xsk_packets_received_total").await,
        metric("packets_received_total").await,
        metric("xsk_packets_sent_total").await,
        metric("packets_sent_total").await,
    ]
}

#[test]
fn calls_of_user_space_go_by_af_xdp() {
    run("calls_of_user_space_go_by_af_xdp", async |bed: Bed| {
        let mut node = node(&xdp("require", OFF)).await;
        has_no_capabilities(&node.process);
        let mut call = Call::new(&bed, &mut node, "c").await;
        call.becomes(&mut node, wire::Path::Xsk).await;
        let (a, b) = (bed.party("2001:db8::2"), bed.party("2001:db8::3"));
        let mut request = crate::node::call("six", line(Some(a.address())), line(Some(b.address())));
        for leg in &mut request.legs {
            leg.interface = "six".into();
        }
        let mut six = Call::of(&mut node, "six", request, a, b).await;
        six.becomes(&mut node, wire::Path::Xsk).await;
        // By now the next hops are known.
        let [xsk_in, all_in, xsk_out, all_out] = counts(&node).await;
        assert_eq!(xsk_in, all_in, "from the first packet on");
        call.exchange(50).await;
        six.exchange(50).await;
        assert_eq!(
            counts(&node).await,
            [xsk_in + 200, all_in + 200, xsk_out + 200, all_out + 200]
        );
        for name in ["kernel_drops_total", "send_errors_total"] {
            assert_eq!(
                node.metric(&format!("ringpath_dataplane_{name}"), "").await,
                0,
                "{name}"
            );
        }
        call.end(&mut node).await;
        six.end(&mut node).await;
        node.stop().await;
    });
}

#[test]
fn a_process_that_was_killed_leaves_the_interface_to_the_next() {
    let name = "a_process_that_was_killed_leaves_the_interface_to_the_next";
    run(name, async |bed: Bed| {
        let settings = xdp("require", OFF);
        let mut killed = node(&settings).await;
        Call::new(&bed, &mut killed, "c").await.exchange(5).await;
        killed.process.signal(rustix::process::Signal::KILL);
        killed.process.ended().await;
        let mut node = node(&settings).await;
        let mut call = Call::new(&bed, &mut node, "c").await;
        call.becomes(&mut node, wire::Path::Xsk).await;
        node.stop().await;
    });
}

#[test]
fn a_takeover_loses_nothing_and_goes_on_without_af_xdp() {
    let name = "a_takeover_loses_nothing_and_goes_on_without_af_xdp";
    run(name, async |bed: Bed| {
        let state = tempfile::tempdir().expect("a directory");
        let settings = Settings {
            state: state.path().display().to_string(),
            ..xdp("require", OFF)
        };
        let mut node = node(&settings).await;
        let mut parties = Vec::new();
        for _ in 0..5 {
            parties.push((bed.party("192.0.2.2"), bed.party("192.0.2.3")));
        }
        let talkers = talk_between(&mut node, parties).await;
        until_sent(&talkers, 100).await;
        let process = Process::start(&settings.toml(), &["--backend", "auto", "--takeover"]);
        let backend = process.line();
        assert!(
            backend.contains("no AF_XDP: the process before has the interface"),
            "{backend}"
        );
        let told = loop {
            let line = process.line();
            if line.starts_with("takeover from") {
                break line;
            }
        };
        assert!(told.contains("5 of 5 calls go on"), "{told}");
        let status = node.process.ended().await;
        assert_eq!(status.code(), Some(0), "{status}, log:\n{}", node.process.log());
        node.process = process;
        all_heard(talkers).await;
        node.stop().await;
    });
}

#[test]
fn beside_the_kernel_path_what_is_user_spaces_goes_by_af_xdp() {
    let name = "beside_the_kernel_path_what_is_user_spaces_goes_by_af_xdp";
    run(name, async |bed: Bed| {
        let mut node = node(&xdp("require", UNPINNED)).await;
        assert_eq!(node.kernel, ["r0: native XDP: the driver takes XDP programs"]);
        let mut call = Call::new(&bed, &mut node, "c").await;
        call.becomes(&mut node, wire::Path::Kernel).await;
        let before = counts(&node).await;
        assert!(before[0] > 0, "the first packets of a call are user space's");
        assert_eq!(before[0], before[1], "all of them by AF_XDP");
        call.exchange(20).await;
        assert_eq!(counts(&node).await, before, "the kernel's own");
        let mut next = Call::new(&bed, &mut node, "d").await;
        next.becomes(&mut node, wire::Path::Kernel).await;
        let after = counts(&node).await;
        assert!(
            after[0] > before[0] && after[0] == after[1],
            "{before:?} {after:?}"
        );
        assert!(
            after[2] > before[2],
            "next hops are known by now: {before:?} {after:?}"
        );
        call.end(&mut node).await;
        next.end(&mut node).await;
        node.stop().await;
    });
}

#[test]
fn an_interface_that_the_kernel_path_has_outside_of_the_driver_is_left_to_it() {
    let name = "an_interface_that_the_kernel_path_has_outside_of_the_driver_is_left_to_it";
    run(name, async |_bed: Bed| {
        let generic = "mode = \"require\"\npin_directory = \"\"\nattach = [\"generic\"]\n";
        let process = Process::start(&xdp("auto", generic).toml(), &["--backend", "auto"]);
        let line = process.line();
        assert!(
            line.ends_with("no AF_XDP: the kernel path has r0 (generic)"),
            "{line}"
        );
        process.signal(rustix::process::Signal::KILL);
        let mut refused = Process::start(&xdp("require", generic).toml(), &[]);
        let status = refused.ended().await;
        assert_ne!(status.code(), Some(0));
        let log = refused.log();
        assert!(log.contains("io.xdp_sockets is \"require\""), "{log}");
    });
}
