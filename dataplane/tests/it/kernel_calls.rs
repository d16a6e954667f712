//! Calls on the kernel path, between real interfaces: counted where they arrive.

use std::net::SocketAddr;
use std::time::Duration;

use proto::media_v1 as wire;

use crate::node::{Node, delete, line};
use crate::party::{packet_in, rtcp, rtp};
use crate::process::PATIENCE;
use crate::wire::{Bed, Call, PTIME, UNPINNED, node, run};

#[test]
fn a_plain_call_moves_into_the_kernel() {
    run("a_plain_call_moves_into_the_kernel", async |bed: Bed| {
        let mut node = node(UNPINNED).await;
        assert_eq!(node.kernel, ["r0: native XDP: the driver takes XDP programs"]);
        let mut call = Call::in_kernel(&bed, &mut node, "plain").await;
        let user_space = node.metric("ringpath_dataplane_packets_received_total", "").await;
        let before = [call.packets(&mut node, 0).await, call.packets(&mut node, 1).await];
        call.exchange(200).await;
        for (leg, before) in before.into_iter().enumerate() {
            assert_eq!(call.packets(&mut node, leg).await - before, 200);
            let line = call.line(&mut node, leg).await;
            assert_eq!(line.path_reason, "plain relay: only addresses change");
            assert!(line.drops.is_empty(), "{:?}", line.drops);
            let stream = &line.streams[0];
            assert_eq!(
                (
                    line.streams.len(),
                    stream.lost,
                    stream.reordered,
                    stream.duplicates
                ),
                (1, 0, 0, 0)
            );
            assert!(stream.mos_x100 > 400, "{stream:?}");
        }
        assert_eq!(
            node.metric("ringpath_dataplane_packets_received_total", "").await,
            user_space,
            "none of them came to user space"
        );
        assert_eq!(
            node.metric(
                "ringpath_dataplane_flows",
                "path=\"kernel\",reason=\"plain_relay\""
            )
            .await,
            2
        );
        // Two streams are scored once a second, in the best bucket but one or the best.
        let scored = async {
            while node.metric("ringpath_dataplane_stream_score_count", "").await < 2 {
                call.exchange(20).await;
            }
        };
        tokio::time::timeout(PATIENCE, scored).await.expect("scored");
        assert_eq!(
            node.metric("ringpath_dataplane_stream_score_bucket", "le=\"4.03\"")
                .await,
            0
        );
        call.end(&mut node).await;
        node.metric_becomes("ringpath_dataplane_flows", "path=\"kernel\"", 0)
            .await;
        node.stop().await;
    });
}

#[test]
fn hold_takes_a_call_out_of_the_kernel_and_back_without_losing_a_packet() {
    run(
        "hold_takes_a_call_out_of_the_kernel_and_back_without_losing_a_packet",
        async |bed: Bed| {
            let mut node = node(UNPINNED).await;
            let mut call = Call::in_kernel(&bed, &mut node, "hold").await;
            for round in 0..3 {
                // b holds a: what a sends is not wanted, what b sends (music) goes on.
                let direction = wire::Direction::Sendonly;
                update(&mut node, &call, direction, &format!("hold-{round}")).await;
                let held = call.line(&mut node, 0).await;
                assert_ne!(held.path(), wire::Path::Kernel);
                assert_eq!(held.path_reason, "held: the peer does not receive");
                let before = node
                    .metric("ringpath_dataplane_packets_dropped_total", "peer_not_receiving")
                    .await;
                call.a.send(call.for_a, 10).await;
                node.metric_becomes(
                    "ringpath_dataplane_packets_dropped_total",
                    "peer_not_receiving",
                    before + 10,
                )
                .await;
                for _ in 0..20 {
                    call.b.send(call.for_b, 1).await;
                    call.a.receive(1).await;
                }
                call.b.hears_nothing().await;

                update(
                    &mut node,
                    &call,
                    wire::Direction::Sendrecv,
                    &format!("resume-{round}"),
                )
                .await;
                call.exchange(50).await;
                call.becomes(&mut node, wire::Path::Kernel).await;
                call.exchange(50).await;
            }
            let line = call.line(&mut node, 0).await;
            assert_eq!(
                line.drops.get("peer_not_receiving"),
                Some(&30),
                "{:?}",
                line.drops
            );
            let stream = &line.streams[0];
            assert_eq!((line.streams.len(), stream.lost, stream.reordered), (1, 0, 0));
            assert!(
                node.metric("ringpath_dataplane_kernel_flows_removed_total", "")
                    .await
                    >= 3
            );
            node.stop().await;
        },
    );
}

/// Gives leg `b` a direction.
async fn update(node: &mut Node, call: &Call, direction: wire::Direction, key: &str) {
    let mut line = line(Some(call.b.address()));
    line.direction = direction.into();
    let request = wire::UpdateCallRequest {
        call_id: call.id.into(),
        idempotency_key: key.into(),
        legs: vec![crate::node::leg("b", line)],
    };
    node.client.update_call(request).await.expect("updated");
}

/// Waits until both parties hear each other again, the parties speaking meanwhile.
async fn heard_again(call: &mut Call, within: Duration) {
    let heard = async {
        loop {
            call.a.send(call.for_a, 1).await;
            call.b.send(call.for_b, 1).await;
            let (to_a, to_b) = tokio::join!(packet_in(&call.a.rtp, PTIME), packet_in(&call.b.rtp, PTIME));
            if to_a.is_some() && to_b.is_some() {
                return;
            }
        }
    };
    tokio::time::timeout(within, heard)
        .await
        .expect("the call goes on");
    // What is still on its way comes before a last packet.
    let last = (call.a.next_sequence(), call.b.next_sequence());
    call.a.send(call.for_a, 1).await;
    call.b.send(call.for_b, 1).await;
    while call.b.sequence_in().await.expect("a's last packet arrives") != last.0 {}
    while call.a.sequence_in().await.expect("b's last packet arrives") != last.1 {}
}

#[test]
fn a_next_hop_that_announces_another_link_layer_address_keeps_its_call() {
    let name = "a_next_hop_that_announces_another_link_layer_address_keeps_its_call";
    run(name, async |bed: Bed| {
        let mut node = node(UNPINNED).await;
        // As network managers and failover daemons do.
        bed.at_parties(&["sysctl -qw net.ipv4.conf.p0.arp_notify=1"]);
        let mut call = Call::in_kernel(&bed, &mut node, "mac").await;
        for round in 1..=3 {
            bed.at_parties(&[&format!("ip link set p0 address 02:00:00:00:02:0{round}")]);
            heard_again(&mut call, Duration::from_secs(2)).await;
            call.exchange(50).await;
            for leg in 0..2 {
                assert_eq!(call.line(&mut node, leg).await.path(), wire::Path::Kernel);
            }
            let moved = node
                .metric("ringpath_dataplane_kernel_flows_moved_total", "")
                .await;
            assert!(moved >= 2 * round, "{moved}");
        }
        let removed = node
            .metric("ringpath_dataplane_kernel_flows_removed_total", "")
            .await;
        assert_eq!(removed, 0);
        node.stop().await;
    });
}

#[test]
fn a_next_hop_that_changes_its_link_layer_address_in_silence_keeps_its_call() {
    let name = "a_next_hop_that_changes_its_link_layer_address_in_silence_keeps_its_call";
    run(name, async |bed: Bed| {
        // The kernel's times to doubt an address, shortened from half a minute.
        bed.at_node(&[
            "sysctl -qw net.ipv4.neigh.r0.base_reachable_time_ms=1000",
            "sysctl -qw net.ipv4.neigh.r0.delay_first_probe_time=1",
            "sysctl -qw net.ipv4.neigh.r0.retrans_time_ms=100",
            // What it knows already has its times.
            "ip neigh flush dev r0",
        ]);
        let mut node = node(UNPINNED).await;
        let mut call = Call::in_kernel(&bed, &mut node, "silent").await;
        bed.at_parties(&[
            "ip link set p0 address 02:00:00:00:02:01",
            // So that the parties need not ask, by which the node would learn.
            "ip neigh replace 192.0.2.1 lladdr 02:00:00:00:01:01 dev p0 nud permanent",
        ]);
        heard_again(&mut call, Duration::from_secs(15)).await;
        call.exchange(50).await;
        assert!(
            node.metric("ringpath_dataplane_kernel_flows_moved_total", "")
                .await
                >= 2
        );
        assert!(
            node.metric("ringpath_dataplane_kernel_probes_sent_total", "")
                .await
                >= 2
        );
        let removed = node
            .metric("ringpath_dataplane_kernel_flows_removed_total", "")
            .await;
        assert_eq!(removed, 0);
        node.stop().await;
    });
}

#[test]
fn rtcp_is_forwarded_in_the_kernel_and_read() {
    run("rtcp_is_forwarded_in_the_kernel_and_read", async |bed: Bed| {
        let mut node = node(UNPINNED).await;
        let mut call = Call::in_kernel(&bed, &mut node, "rtcp").await;
        let (a_rtcp, to) = (&call.a.rtcp, call.rtcp_for_a);
        let line = call.line(&mut node, 0).await;
        let path = (line.rtcp_path(), line.rtcp_path_reason.as_str());
        assert_eq!(path, (wire::Path::Uring, "learning the source"));
        // The first makes the source known; the flow is put in then.
        let in_kernel = async {
            loop {
                a_rtcp.send_to(&rtcp(call.a.ssrc), to).await.expect("sent");
                let (bytes, _) = packet_in(&call.b.rtcp, PATIENCE).await.expect("forwarded");
                assert_eq!(bytes, rtcp(call.a.ssrc));
                call.line(&mut node, 0).await;
                if node
                    .metric("ringpath_dataplane_kernel_rtcp_forwarded_total", "")
                    .await
                    >= 3
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, in_kernel)
            .await
            .expect("in the kernel");
        let line = call.line(&mut node, 0).await;
        let path = (line.rtcp_path(), line.rtcp_path_reason.as_str());
        assert_eq!(path, (wire::Path::Kernel, "plain relay: only addresses change"));
        let before = line.rtcp_forwarded;
        for _ in 0..10 {
            call.a.rtcp.send_to(&rtcp(call.a.ssrc), to).await.expect("sent");
            packet_in(&call.b.rtcp, PATIENCE).await.expect("forwarded");
        }
        assert_eq!(call.line(&mut node, 0).await.rtcp_forwarded, before + 10);
        assert_eq!(
            node.metric("ringpath_dataplane_kernel_rtcp_copies_lost_total", "")
                .await,
            0
        );
        assert_eq!(
            node.metric("ringpath_dataplane_kernel_rtcp_copies_dropped_total", "")
                .await,
            0
        );
        call.exchange(10).await;
        node.stop().await;
    });
}

#[test]
fn packets_to_ports_without_a_call_are_dropped_and_counted() {
    run(
        "packets_to_ports_without_a_call_are_dropped_and_counted",
        async |bed: Bed| {
            let mut node = node(&format!("{UNPINNED}unowned = \"drop\"\n")).await;
            let mut call = Call::in_kernel(&bed, &mut node, "owned").await;
            let before = node
                .metric("ringpath_dataplane_kernel_unowned_packets_total", "192.0.2.1")
                .await;
            let scanner = bed.socket("192.0.2.3:0".parse().expect("an address"));
            for port in 20_000..21_000u16 {
                let to = SocketAddr::new(call.for_a.ip(), port);
                if ![call.for_a.port() & !1, call.for_b.port() & !1].contains(&(port & !1)) {
                    scanner.send_to(&rtp(1, 1, 0), to).await.expect("sent");
                }
            }
            node.metric_becomes(
                "ringpath_dataplane_kernel_unowned_packets_total",
                "192.0.2.1",
                before + 996,
            )
            .await;
            assert_eq!(
                node.metric("ringpath_dataplane_kernel_relay_dropped_total", "unowned_port")
                    .await,
                before + 996
            );
            // Other ports of the machine are not the relay's business.
            let other = tokio::net::UdpSocket::bind("192.0.2.1:0").await.expect("binds");
            let to = other.local_addr().expect("bound");
            scanner.send_to(b"hello", to).await.expect("sent");
            assert!(packet_in(&other, PATIENCE).await.is_some());
            call.exchange(10).await;
            let (for_a, id) = (call.for_a, call.id);
            node.client.delete_call(delete(id)).await.expect("deleted");
            call.a.send(for_a, 5).await;
            node.metric_becomes(
                "ringpath_dataplane_kernel_unowned_packets_total",
                "192.0.2.1",
                before + 1_001,
            )
            .await;
            node.stop().await;
        },
    );
}

#[test]
fn a_peer_that_moves_is_followed_in_the_kernel() {
    run("a_peer_that_moves_is_followed_in_the_kernel", async |bed: Bed| {
        let mut node = node(UNPINNED).await;
        let mut call = Call::in_kernel(&bed, &mut node, "moves").await;
        call.b = bed.party("192.0.2.3");
        update(&mut node, &call, wire::Direction::Sendrecv, "moved").await;
        // What a says goes to the new place at once, and b's is learned there.
        let moving = call.line(&mut node, 0).await;
        assert_eq!(moving.path(), wire::Path::Kernel, "{}", moving.path_reason);
        call.exchange(50).await;
        call.becomes(&mut node, wire::Path::Kernel).await;
        call.exchange(50).await;
        assert!(
            node.metric("ringpath_dataplane_kernel_flows_changed_total", "")
                .await
                >= 1
        );
        let stream = &call.line(&mut node, 0).await.streams[0];
        assert_eq!((stream.lost, stream.reordered), (0, 0));
        node.stop().await;
    });
}

#[test]
fn a_flow_without_a_next_hop_stays_in_user_space_and_says_so() {
    run(
        "a_flow_without_a_next_hop_stays_in_user_space_and_says_so",
        async |bed: Bed| {
            let mut node = node(UNPINNED).await;
            for (id, remote, reason, label) in [
                (
                    "nobody",
                    "192.0.2.99:4000",
                    "asking for the next hop's link-layer address",
                    "no_neighbour",
                ),
                (
                    "nowhere",
                    "203.0.113.5:4000",
                    "the kernel has no route to the peer",
                    "no_route",
                ),
            ] {
                let mut a = bed.party("192.0.2.2");
                let remote = remote.parse().expect("an address");
                let request = crate::node::call(id, line(Some(a.address())), line(Some(remote)));
                let made = node.client.create_call(request).await.expect("created");
                let to = crate::party::local_rtp(&made.into_inner().call.expect("a call"), 0);
                let labels = format!("reason=\"{label}\"");
                let told = async {
                    while node.metric("ringpath_dataplane_flows", &labels).await == 0 {
                        a.send(to, 1).await;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                };
                tokio::time::timeout(PATIENCE, told).await.expect("told");
                let answer = node.client.query_call(crate::node::query(id)).await;
                let report = answer.expect("there").into_inner().call.expect("a call");
                let line = &report.legs[0].lines[0];
                assert_eq!(
                    (line.path(), line.path_reason.as_str()),
                    (wire::Path::Uring, reason)
                );
                let refused = node
                    .metric("ringpath_dataplane_kernel_flows_refused_total", &labels)
                    .await;
                assert!(refused >= 1);
            }
            node.metric_becomes("ringpath_dataplane_kernel_next_hops_unconfirmed", "", 1)
                .await;
            // The machine that was asked for comes up: the flow goes in by itself.
            bed.at_parties(&["ip addr add 192.0.2.99/24 dev p0"]);
            let labels = "path=\"kernel\",reason=\"plain_relay\"";
            node.metric_becomes("ringpath_dataplane_flows", labels, 1).await;
            node.stop().await;
        },
    );
}

#[test]
fn a_flow_whose_way_goes_away_comes_back_to_user_space_and_returns_with_it() {
    let name = "a_flow_whose_way_goes_away_comes_back_to_user_space_and_returns_with_it";
    run(name, async |bed: Bed| {
        let mut node = node(UNPINNED).await;
        let mut call = Call::new(&bed, &mut node, "way").await;
        let first = call.a.next_sequence();
        call.becomes(&mut node, wire::Path::Kernel).await;
        // Packets to b go nowhere: nothing but this says so.
        bed.at_node(&["ip route add unreachable 192.0.2.3/32"]);
        let told = async {
            loop {
                call.a.send(call.for_a, 1).await;
                tokio::time::sleep(PTIME).await;
                let line = call.line(&mut node, 0).await;
                if line.path_reason == "the kernel has no route to the peer" {
                    return line;
                }
            }
        };
        let line = tokio::time::timeout(PATIENCE, told).await.expect("told");
        assert_eq!(line.path(), wire::Path::Uring);
        let metric = async |name: &str| node.metric(name, "").await;
        assert!(metric("ringpath_dataplane_kernel_flows_removed_total").await >= 1);
        assert_eq!(metric("ringpath_dataplane_kernel_flows_lost_total").await, 0);
        // Of what a sent nothing came to b, and all is counted.
        let sent = call.a.next_sequence().wrapping_sub(first);
        let counted = call.line(&mut node, 0).await.streams[0];
        assert_eq!((counted.packets, counted.lost), (u64::from(sent), 0));
        bed.at_node(&["ip route del unreachable 192.0.2.3/32"]);
        call.b.drain();
        let back = tokio::time::Instant::now();
        heard_again(&mut call, PATIENCE).await;
        call.becomes(&mut node, wire::Path::Kernel).await;
        println!("{name}: in the kernel again after {:?}", back.elapsed());
        call.exchange(20).await;
        let sent = call.a.next_sequence().wrapping_sub(first);
        let counted = call.line(&mut node, 0).await.streams[0];
        assert_eq!((counted.packets, counted.lost), (u64::from(sent), 0));
        node.stop().await;
    });
}
