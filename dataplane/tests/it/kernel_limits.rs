//! What the kernel path does at its limits, on the wire: rates of flows, a full ring of RTCP, two CPUs at one flow; and the DSCP that
//! packets leave with.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, ipproto, socket};
use rustix::process::Signal;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::node::{Backend, Node, Settings};
use crate::party::{packet_in, rtcp, rtp};
use crate::process::PATIENCE;
use crate::wire::{Bed, Call, UNPINNED, node, run, run_unready, settings};

/// A party that speaks within the limit, and then sends 1,000 packets as fast as it can: those beyond `packets_per_s`, and what the
/// bucket holds, are dropped for `reason`.
async fn limited(bed: Bed, limit: &str, reason: &str, packets_per_s: f64, bucket: f64) {
    const SENT: u64 = 1_000;
    let mut node = node(&format!("{UNPINNED}{limit}\n")).await;
    let mut call = Call::in_kernel(&bed, &mut node, "rate").await;
    let before = call.line(&mut node, 0).await;
    assert!(!before.drops.contains_key(reason), "{before:?}");
    let began = tokio::time::Instant::now();
    call.a.send(call.for_a, SENT as usize).await;
    let counted = async {
        loop {
            let line = call.line(&mut node, 0).await;
            let dropped = line.drops.get(reason).copied().unwrap_or_default();
            let forwarded = line.streams[0].packets - before.streams[0].packets;
            if dropped + forwarded == SENT {
                return (dropped, forwarded);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (dropped, forwarded) = tokio::time::timeout(PATIENCE, counted)
        .await
        .expect("all are counted");
    let most = bucket + packets_per_s * began.elapsed().as_secs_f64();
    assert!(
        forwarded > 0 && forwarded as f64 <= most + 1.0,
        "{forwarded} forwarded, {dropped} dropped, {most} at most"
    );
    node.metric_becomes(
        "ringpath_dataplane_kernel_packets_dropped_total",
        &format!("reason=\"{reason}\""),
        dropped,
    )
    .await;
    node.stop().await;
}

#[test]
fn a_flow_has_no_more_packets_than_it_may() {
    run("a_flow_has_no_more_packets_than_it_may", async |bed: Bed| {
        // A call of 200 packets a second each way is within the limit. The bucket holds a fifth of a second.
        limited(bed, "packets_per_s_max = 250", "packet_rate", 250.0, 50.0).await;
    });
}

#[test]
fn a_flow_has_no_more_bytes_than_it_may() {
    run("a_flow_has_no_more_bytes_than_it_may", async |bed: Bed| {
        // Likewise, each packet of 172 bytes.
        let limit = "bytes_per_s_max = 172000";
        limited(bed, limit, "byte_rate", 1_000.0, 200.0).await;
    });
}

#[test]
fn packets_leave_the_kernel_with_the_dscp_of_the_configuration() {
    let name = "packets_leave_the_kernel_with_the_dscp_of_the_configuration";
    run(name, async |bed: Bed| {
        let mut node = node(&format!("{UNPINNED}dscp = 34\n")).await;
        let mut call = Call::in_kernel(&bed, &mut node, "dscp").await;
        // Gets all that comes by UDP, with its IP header.
        let raw = bed
            .wire
            .parties
            .inside(|| socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::UDP)));
        let raw = crate::party::tokio_socket(raw.expect("privileged").into());
        call.exchange(20).await;
        let own = call.b.address().port().to_be_bytes();
        for _ in 0..20 {
            let class = loop {
                let (packet, _) = packet_in(&raw, PATIENCE).await.expect("as many come");
                if packet[22..24] == own {
                    break packet[1];
                }
            };
            assert_eq!(class, 34 << 2);
        }
        node.stop().await;
    });
}

/// RTCP of `a` until the kernel forwards it. Asks for no report: the worker may be busy.
async fn rtcp_in_kernel(call: &Call, node: &Node) {
    let reached = async {
        let forwarded = "ringpath_dataplane_kernel_rtcp_forwarded_total";
        while node.metric(forwarded, "").await == 0 {
            let report = rtcp(call.a.ssrc);
            let sent = call.a.rtcp.send_to(&report, call.rtcp_for_a).await;
            sent.expect("sent");
            packet_in(&call.b.rtcp, PATIENCE).await.expect("forwarded");
        }
    };
    tokio::time::timeout(PATIENCE, reached)
        .await
        .expect("in the kernel");
}

#[test]
fn rtcp_that_the_process_does_not_read_in_time_is_forwarded_and_counted() {
    let name = "rtcp_that_the_process_does_not_read_in_time_is_forwarded_and_counted";
    run(name, async |bed: Bed| {
        let settings = Settings {
            limits: "command_queue = 1".into(),
            ..settings(UNPINNED)
        };
        let mut node = Node::with(Backend::Uring, settings).await;
        let call = Call::in_kernel(&bed, &mut node, "stopped").await;
        rtcp_in_kernel(&call, &node).await;
        let before = node
            .metric("ringpath_dataplane_kernel_relay_forwarded_total", "")
            .await;
        // With an application's packet (RFC 3550 §6.7) that makes it as large as packets are.
        let mut long = rtcp(call.a.ssrc);
        long.extend([0x80, 204]);
        long.extend((1_300u16 / 4 - 1).to_be_bytes());
        long.resize(long.len() + 1_296, 0x41);
        // A MiB of them has room in the ring; the process takes some hundreds at once, and a worker one lot at a time.
        const ROUND: u64 = 1_000;
        let mut rounds = 0;
        let told = async {
            loop {
                rounds += 1;
                node.process.signal(Signal::STOP);
                for _ in 0..ROUND {
                    call.a.rtcp.send_to(&long, call.rtcp_for_a).await.expect("sent");
                }
                node.process.signal(Signal::CONT);
                let lost = node
                    .metric("ringpath_dataplane_kernel_rtcp_copies_lost_total", "")
                    .await;
                let dropped = node
                    .metric("ringpath_dataplane_kernel_rtcp_copies_dropped_total", "")
                    .await;
                if lost > 0 && dropped > 0 {
                    return (lost, dropped);
                }
            }
        };
        let (lost, dropped) = tokio::time::timeout(PATIENCE, told)
            .await
            .expect("both are counted");
        println!("{name}: {lost} lost, {dropped} dropped in {rounds} rounds");
        node.metric_becomes(
            "ringpath_dataplane_kernel_relay_forwarded_total",
            "",
            before + rounds * ROUND,
        )
        .await;
        node.stop().await;
    });
}

/// Sends a packet so often, from a CPU.
fn flood(socket: &std::net::UdpSocket, packet: &[u8], to: SocketAddr, cpu: usize) {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).expect("it is one of ours");
    for _ in 0..5_000 {
        // The socket may have no room at a moment.
        let _ = socket.send_to(packet, to);
    }
}

/// In the stack the relay runs on the CPU of whoever sends.
#[test]
fn packets_that_two_cpus_forward_at_once_are_counted_or_said_to_be_uncounted() {
    let name = "packets_that_two_cpus_forward_at_once_are_counted_or_said_to_be_uncounted";
    let ours = sched_getaffinity(None).expect("readable");
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| ours.is_set(*cpu))
        .take(2)
        .collect();
    let [first, second] = cpus[..] else {
        return netns::skip(name, &"there is one CPU");
    };
    run_unready(name, async |bed: Bed| {
        let mut node = node(UNPINNED).await;
        let call = Call::in_kernel(&bed, &mut node, "crowded").await;
        let descriptor = call.a.rtp.as_fd().try_clone_to_owned().expect("a descriptor");
        let socket = std::net::UdpSocket::from(descriptor);
        let packet = rtp(call.a.ssrc, call.a.next_sequence(), 0);
        let collided = async {
            loop {
                std::thread::scope(|scope| {
                    for cpu in [first, second] {
                        let (socket, packet, to) = (&socket, &packet, call.for_a);
                        scope.spawn(move || flood(socket, packet, to, cpu));
                    }
                });
                let uncounted = node
                    .metric("ringpath_dataplane_kernel_relay_uncounted_total", "")
                    .await;
                if uncounted > 0 {
                    return uncounted;
                }
            }
        };
        let uncounted = tokio::time::timeout(PATIENCE, collided)
            .await
            .expect("they meet at the flow");
        let forwarded = node
            .metric("ringpath_dataplane_kernel_relay_forwarded_total", "")
            .await;
        println!("{name}: {uncounted} of {forwarded}");
        node.metric_becomes(
            "ringpath_dataplane_kernel_rtp_forwarded_total",
            "",
            forwarded - uncounted,
        )
        .await;
        node.stop().await;
    });
}
