//! The terms of the kernel path: how it is attached, what is said where it cannot be had, what is left behind.

use std::net::IpAddr;
use std::path::Path;

use proto::media_v1 as wire;
use rustix::process::Signal;

use crate::node::{Backend, Node, Settings};
use crate::party::{Party, rtp};
use crate::process::{Process, command};
use crate::wire::{Bed, BpfFs, Call, PTIME, UNPINNED, node, pinned, run, run_unready, settings};

#[test]
fn an_unready_veth_is_attached_in_the_stack() {
    run_unready("an_unready_veth_is_attached_in_the_stack", async |bed: Bed| {
        let mut node = node(UNPINNED).await;
        let [line] = &node.kernel[..] else {
            panic!("{:?}", node.kernel)
        };
        assert!(
            line.starts_with("r0: generic XDP: XDP runs in the stack; not native: the other end"),
            "{line}"
        );
        let mut call = Call::in_kernel(&bed, &mut node, "generic").await;
        call.exchange(100).await;
        call.end(&mut node).await;
        let described = node
            .client
            .describe(wire::DescribeRequest {})
            .await
            .expect("answers");
        assert_eq!(described.into_inner().kernel[0].mode(), wire::KernelMode::Generic);
        node.stop().await;
    });
}

#[test]
fn ipv4_and_ipv6_parties_speak_through_the_kernel() {
    run(
        "ipv4_and_ipv6_parties_speak_through_the_kernel",
        async |bed: Bed| {
            let mut node = node(UNPINNED).await;
            for (id, ips) in [
                ("six", ["2001:db8::2", "2001:db8::3"]),
                ("cross", ["192.0.2.2", "2001:db8::3"]),
            ] {
                let [a, b] = ips.map(|ip| bed.party(ip));
                let mut call = Call::between(&mut node, id, a, b).await;
                call.becomes(&mut node, wire::Path::Kernel).await;
                call.exchange(50).await;
                call.end(&mut node).await;
            }
            node.stop().await;
        },
    );
}

#[test]
fn where_the_machine_forwards_its_routes_are_asked() {
    run(
        "where_the_machine_forwards_its_routes_are_asked",
        async |bed: Bed| {
            bed.at_node(&["sysctl -qw net.ipv4.ip_forward=1"]);
            let mut node = node(UNPINNED).await;
            let mut call = Call::in_kernel(&bed, &mut node, "routed").await;
            call.exchange(100).await;
            // Nothing else may be forwarded by the machine on account of it: packets to its own media ports are not.
            call.end(&mut node).await;
            node.stop().await;
        },
    );
}

/// A party's packets with loss, repetition and reordering in them, as offsets of sequence numbers.
fn rough_speech() -> Vec<u16> {
    let mut random = sans_io::Random::from_number(7);
    let mut sent = Vec::new();
    for offset in 0..400u16 {
        match random.below(20) {
            // Lost.
            0 | 1 => {}
            // Twice.
            2 => sent.extend([offset, offset]),
            // Before the one it follows.
            3 => {
                let at = sent.len().saturating_sub(1);
                sent.insert(at, offset);
            }
            _ => sent.push(offset),
        }
    }
    // The last one is in its place, so that the end is the same on every path.
    sent.push(400);
    sent
}

/// What was counted of rough speech on one path.
async fn counted(bed: &Bed, kernel: &str, path: wire::Path) -> wire::StreamStatistics {
    let mut node = Node::with(Backend::Uring, settings(kernel)).await;
    let mut call = Call::new(bed, &mut node, "rough").await;
    call.becomes(&mut node, path).await;
    // A packet that came to user space while the flow was put in is lost to the kernel's sums of bursts: more than 16 packets lie between
    // it and the first loss, so that it is of a gap (RFC 3611 §4.7.2).
    call.exchange(20).await;
    let before = call.line(&mut node, 0).await.streams[0];
    let first = call.a.next_sequence();
    let speech = rough_speech();
    let mut ticks = tokio::time::interval(PTIME);
    for offset in &speech {
        ticks.tick().await;
        let packet = rtp(call.a.ssrc, first.wrapping_add(*offset), 0);
        call.a.rtp.send_to(&packet, call.for_a).await.expect("sent");
        call.b.packet_in().await.expect("every one arrives");
    }
    let line = call.line(&mut node, 0).await;
    assert_eq!(line.path(), path, "{}", line.path_reason);
    let after = line.streams[0];
    assert_eq!(after.packets - before.packets, speech.len() as u64);
    node.stop().await;
    wire::StreamStatistics {
        packets: after.packets - before.packets,
        bytes: after.bytes - before.bytes,
        idle_ms: 0,
        ssrc: 0,
        ..after
    }
}

#[test]
fn the_kernel_counts_what_user_space_counts() {
    run("the_kernel_counts_what_user_space_counts", async |bed: Bed| {
        let kernel = counted(&bed, UNPINNED, wire::Path::Kernel).await;
        let user = counted(&bed, "mode = \"off\"\n", wire::Path::Uring).await;
        assert!(
            user.lost > 0 && user.reordered > 0 && user.duplicates > 0,
            "{user:?}"
        );
        // Jitter is of each run's own timing; packets stand still for some milliseconds on a busy machine.
        for (a, b) in [
            (kernel.jitter_us, user.jitter_us),
            (kernel.jitter_us_max, user.jitter_us_max),
        ] {
            assert!(a.abs_diff(b) < 20_000, "{kernel:?} {user:?}");
        }
        let same = |statistics: wire::StreamStatistics| wire::StreamStatistics {
            jitter_us: 0,
            jitter_us_max: 0,
            mos_x100: 0,
            mos_x100_second: 0,
            // How much came before the speech is of each run too, and so is the gap before its first burst.
            bursts: statistics.bursts.map(|bursts| wire::BurstStatistics {
                gap_packets: 0,
                gap_loss_permille: 0,
                ..bursts
            }),
            ..statistics
        };
        assert_eq!(same(kernel), same(user));
    });
}

#[test]
fn without_privilege_user_space_relays_and_the_node_says_why() {
    let name = "without_privilege_user_space_relays_and_the_node_says_why";
    if !Path::new("/usr/bin/setpriv").exists() {
        return netns::skip(name, &"there is no setpriv");
    }
    run(name, async |bed: Bed| {
        let start = |kernel: &str| {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), settings(kernel).toml()).expect("written");
            let mut plain = command(file.path());
            plain.args(["--backend", "socket"]);
            let mut without = std::process::Command::new("setpriv");
            without
                .args(["--inh-caps=-all", "--bounding-set=-all", "--"])
                .arg(plain.get_program())
                .args(plain.get_args());
            (Process::spawn(&mut without).expect("it starts"), file)
        };
        let (process, _config) = start("");
        let started = Node::take(process, Backend::Socket);
        let reason = "this process lacks CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON";
        assert_eq!(started.kernel, [format!("r0: off: {reason}")]);
        let channel = started.channel().await;
        let mut node = started.into_node(channel);
        let mut call = Call::new(&bed, &mut node, "plain").await;
        call.exchange(20).await;
        let line = call.line(&mut node, 0).await;
        assert_eq!(line.path(), wire::Path::Socket);
        let expected = format!("kernel path off: r0: {reason}; ");
        assert!(line.path_reason.starts_with(&expected), "{}", line.path_reason);
        node.stop().await;

        let (mut process, _config) = start("mode = \"require\"\n");
        assert_eq!(process.ended().await.code(), Some(1));
        let expected = format!("kernel.mode is \"require\", and r0 cannot have it: {reason}");
        assert!(process.log().contains(&expected), "{}", process.log());
    });
}

#[test]
fn every_thread_gives_up_its_capabilities_with_the_kernel_path_too() {
    run(
        "every_thread_gives_up_its_capabilities_with_the_kernel_path_too",
        async |bed: Bed| {
            let mut node = Node::with(
                Backend::Uring,
                Settings {
                    workers: 2,
                    ..settings(UNPINNED)
                },
            )
            .await;
            crate::kernel::has_no_capabilities(&node.process);
            // And all that is done later needs none.
            let mut call = Call::in_kernel(&bed, &mut node, "unprivileged").await;
            call.exchange(20).await;
            crate::kernel::has_no_capabilities(&node.process);
            node.metric_becomes("ringpath_dataplane_kernel_table_errors_total", "", 0)
                .await;
            call.end(&mut node).await;
            node.stop().await;
        },
    );
}

#[test]
fn packets_flow_on_without_the_process_and_a_new_one_ends_what_it_does_not_know() {
    let name = "packets_flow_on_without_the_process_and_a_new_one_ends_what_it_does_not_know";
    let Some(directory) = BpfFs::mount(name) else {
        return;
    };
    let kernel = pinned(&directory);
    run(name, async |bed: Bed| {
        let mut first = node(&kernel).await;
        let mut call = Call::in_kernel(&bed, &mut first, "orphan").await;

        // One process at a time.
        let second = Node::start_process(Backend::Socket, &settings(&kernel.replace("require", "auto")));
        let [line] = &second.kernel[..] else {
            panic!("{:?}", second.kernel)
        };
        assert!(line.starts_with("r0: off: another process uses "), "{line}");
        drop(second);
        call.exchange(20).await;

        first.process.signal(Signal::KILL);
        first.process.ended().await;
        call.exchange(100).await;

        // Without its state the next process does not know the call.
        let third = node(&kernel).await;
        assert_eq!(third.kernel, ["r0: native XDP: adopted"]);
        third
            .metric_becomes("ringpath_dataplane_kernel_table_entries", "", 0)
            .await;
        let before = third
            .metric("ringpath_dataplane_kernel_relay_dropped_total", "unowned_port")
            .await;
        call.a.send(call.for_a, 5).await;
        third
            .metric_becomes(
                "ringpath_dataplane_kernel_relay_dropped_total",
                "unowned_port",
                before + 5,
            )
            .await;
        third.stop().await;
    });
    let left: Vec<_> = walk(&directory.path());
    assert!(left.is_empty(), "{left:?}");
}

/// The files below a folder.
fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("readable") {
        let entry = entry.expect("readable");
        if entry.file_type().expect("known").is_dir() {
            files.extend(walk(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

#[test]
fn payload_types_that_nobody_signalled_are_forwarded_on_all_paths() {
    run(
        "payload_types_that_nobody_signalled_are_forwarded_on_all_paths",
        async |bed: Bed| {
            for kernel in [
                UNPINNED,
                &format!("{UNPINNED}refused = \"pass\"\n"),
                "mode = \"off\"\n",
            ] {
                let mut node = node(kernel).await;
                let mut call = match kernel.contains("off") {
                    true => Call::new(&bed, &mut node, "types").await,
                    false => Call::in_kernel(&bed, &mut node, "types").await,
                };
                call.exchange(10).await;
                for _ in 0..50 {
                    // A type that nobody has signalled.
                    let other = rtp(call.a.ssrc, call.a.next_sequence(), 77);
                    call.a.rtp.send_to(&other, call.for_a).await.expect("sent");
                    call.a.skip(1);
                    let (bytes, _) = call.b.packet_in().await.expect("user space forwards it");
                    assert_eq!(bytes, other);
                }
                call.exchange(10).await;
                let line = call.line(&mut node, 0).await;
                assert_eq!(line.drops.get("payload_type"), None, "{line:?}");
                assert_eq!(line.streams[0].lost, 0, "{line:?}");
                node.stop().await;
            }
        },
    );
}

#[test]
fn two_interfaces_pass_packets_to_each_other() {
    run("two_interfaces_pass_packets_to_each_other", async |bed: Bed| {
        let _second = bed.second_wire();
        let mut settings = settings(UNPINNED);
        settings.more.push_str(
            "[[interface]]\nname = \"inside\"\nports = \"20000-20999\"\naddresses = [{ local = \"198.51.100.1\" }]\n",
        );
        let mut node = Node::with(Backend::Uring, settings).await;
        assert_eq!(node.kernel.len(), 2, "{:?}", node.kernel);
        let outside: Party = bed.party("192.0.2.2");
        let inside: Party = bed.party("198.51.100.2");
        let mut request = crate::node::call(
            "across",
            crate::node::line(Some(outside.address())),
            crate::node::line(Some(inside.address())),
        );
        request.legs[0].interface = "public".into();
        request.legs[1].interface = "inside".into();
        let mut call = Call::of(&mut node, "across", request, outside, inside).await;
        assert_eq!(
            call.for_b.ip(),
            "198.51.100.1".parse::<IpAddr>().expect("an address")
        );
        call.becomes(&mut node, wire::Path::Kernel).await;
        call.exchange(100).await;
        assert!(
            node.metric("ringpath_dataplane_kernel_relay_forwarded_total", "")
                .await
                >= 200
        );
        node.stop().await;
    });
}

#[test]
fn an_interface_that_is_gone_takes_no_flow_of_another_with_it() {
    let name = "an_interface_that_is_gone_takes_no_flow_of_another_with_it";
    let Some(directory) = BpfFs::mount(name) else {
        return;
    };
    let kernel = pinned(&directory);
    run(name, async |bed: Bed| {
        let ready = bed.second_wire();
        let mut both = settings(&kernel);
        both.more.push_str(
            "[[interface]]\nname = \"inside\"\nports = \"20000-20999\"\naddresses = [{ local = \"198.51.100.1\" }]\n",
        );
        let mut first = Node::with(Backend::Uring, both).await;
        let mut call = Call::in_kernel_of(&bed, &mut first, "stays", "public").await;
        first.process.signal(Signal::KILL);
        first.process.ended().await;
        drop(ready);
        bed.at_node(&["ip link del r1"]);
        call.exchange(20).await;

        let second = node(&kernel).await;
        assert_eq!(second.kernel, ["r0: native XDP: adopted"]);
        assert!(
            !second.process.log().contains("cannot be taken over"),
            "{}",
            second.process.log()
        );
        second.stop().await;
    });
    let left = walk(&directory.path());
    assert!(left.is_empty(), "{left:?}");
}
