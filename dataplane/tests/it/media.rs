//! What becomes of packets.

use std::net::{IpAddr, Ipv6Addr};

use proto::media_v1 as wire;

use crate::node::{Backend, Node, Settings, call, delete, line, on_both_backends, own_address, query};
use crate::party::{Party, local_rtcp, local_rtp, packet_in, rtcp, rtp};
use crate::process::PATIENCE;

on_both_backends!(
    a_call_is_relayed_both_ways_and_counted,
    ipv6_is_relayed,
    ipv4_and_ipv6_are_relayed_to_each_other,
    rtcp_goes_between_the_rtcp_ports_or_over_the_rtp_port,
    a_source_behind_nat_is_learned_and_nobody_else_gets_in,
    noise_on_media_ports_is_dropped_by_reason,
    two_workers_share_the_calls,
);

async fn created(node: &mut Node, request: wire::CreateCallRequest) -> wire::Call {
    node.client
        .create_call(request)
        .await
        .expect("created")
        .into_inner()
        .call
        .expect("a call")
}

async fn a_call_is_relayed_both_ways_and_counted(backend: Backend) {
    let mut node = Node::start(backend).await;
    let (mut a, mut b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    let made = created(
        &mut node,
        call("both-ways", line(Some(a.address())), line(Some(b.address()))),
    )
    .await;
    let (for_a, for_b) = (local_rtp(&made, 0), local_rtp(&made, 1));
    assert_eq!(for_a.port() % 2, 0);
    assert_eq!(local_rtcp(&made, 0).port(), for_a.port() + 1);

    for round in 0..4 {
        a.send(for_a, 50).await;
        assert_eq!(b.receive(50).await, for_b, "round {round}");
        b.send(for_b, 50).await;
        assert_eq!(a.receive(50).await, for_a, "round {round}");
    }

    let status = node
        .client
        .query_call(query("both-ways"))
        .await
        .expect("there")
        .into_inner()
        .call
        .expect("a call");
    for (leg, party) in [(0, &a), (1, &b)] {
        let line = &status.legs[leg].lines[0];
        let stream = &line.streams[0];
        assert_eq!(
            (stream.ssrc, stream.packets, stream.bytes),
            (party.ssrc, 200, 200 * 172)
        );
        assert_eq!((stream.lost, stream.duplicates, stream.payload_type), (0, 0, 0));
        assert!(line.drops.is_empty(), "{:?}", line.drops);
        let path = if backend == Backend::Uring {
            wire::Path::Uring
        } else {
            wire::Path::Socket
        };
        assert_eq!(line.path(), path);
        assert!(!line.path_reason.is_empty());
    }
    node.metric_becomes("ringpath_dataplane_packets_received_total", "", 400)
        .await;
    node.metric_becomes("ringpath_dataplane_packets_sent_total", "", 400)
        .await;
    assert_eq!(
        node.metric("ringpath_dataplane_received_bytes_total", "").await,
        400 * 172
    );
    assert_eq!(
        node.metric("ringpath_dataplane_sent_bytes_total", "").await,
        400 * 172
    );
    assert_eq!(
        node.metric("ringpath_dataplane_rtp_forwarded_total", "").await,
        400
    );

    let last = node
        .client
        .delete_call(delete("both-ways"))
        .await
        .expect("deleted")
        .into_inner()
        .call
        .expect("a call");
    assert_eq!(last.legs[1].lines[0].streams[0].packets, 200);
    a.send(for_a, 1).await;
    b.hears_nothing().await;
    node.stop().await;
}

async fn ipv6_is_relayed(backend: Backend) {
    let address = IpAddr::V6(Ipv6Addr::LOCALHOST);
    // There is one IPv6 loopback address: two ranges keep the back-ends' tests apart, and a taken port is passed over.
    let ports = if backend == Backend::Uring {
        "23000-23999"
    } else {
        "24000-24999"
    };
    let mut node = Node::with(
        backend,
        Settings {
            address,
            ports: ports.into(),
            ..Settings::default()
        },
    )
    .await;
    let (mut a, mut b) = (Party::at(address).await, Party::at(address).await);
    let made = created(
        &mut node,
        call("six", line(Some(a.address())), line(Some(b.address()))),
    )
    .await;
    assert!(local_rtp(&made, 0).is_ipv6());
    a.send(local_rtp(&made, 0), 20).await;
    assert_eq!(b.receive(20).await, local_rtp(&made, 1));
    b.send(local_rtp(&made, 1), 20).await;
    assert_eq!(a.receive(20).await, local_rtp(&made, 0));
    node.stop().await;
}

async fn ipv4_and_ipv6_are_relayed_to_each_other(backend: Backend) {
    let ports = if backend == Backend::Uring {
        "25000-25999"
    } else {
        "26000-26999"
    };
    let more =
        format!("[[interface]]\nname = \"six\"\nports = \"{ports}\"\naddresses = [{{ local = \"::1\" }}]");
    let mut node = Node::with(
        backend,
        Settings {
            more,
            ..Settings::default()
        },
    )
    .await;
    let (mut a, mut b) = (
        Party::at(own_address()).await,
        Party::at(Ipv6Addr::LOCALHOST).await,
    );
    let mut request = call("both", line(Some(a.address())), line(Some(b.address())));
    request.legs[0].interface = "public".into();
    request.legs[1].interface = "six".into();
    let made = created(&mut node, request).await;
    a.send(local_rtp(&made, 0), 5).await;
    assert_eq!(b.receive(5).await, local_rtp(&made, 1));
    b.send(local_rtp(&made, 1), 5).await;
    assert_eq!(a.receive(5).await, local_rtp(&made, 0));
    node.stop().await;
}

async fn rtcp_goes_between_the_rtcp_ports_or_over_the_rtp_port(backend: Backend) {
    let mut node = Node::start(backend).await;
    let (mut a, b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    let mut muxed = line(Some(b.address()));
    muxed.rtcp_mux = true;
    let made = created(&mut node, call("rtcp", line(Some(a.address())), muxed)).await;
    assert_eq!(
        local_rtcp(&made, 1),
        local_rtp(&made, 1),
        "multiplexed (RFC 5761)"
    );

    // A source must be known before its RTCP is believed.
    a.send(local_rtp(&made, 0), 1).await;
    b.receive(1).await;
    a.rtcp
        .send_to(&rtcp(a.ssrc), local_rtcp(&made, 0))
        .await
        .expect("sent");
    let (bytes, source) = b.packet_in().await.expect("RTCP on the RTP port");
    assert_eq!((bytes, source), (rtcp(a.ssrc), local_rtp(&made, 1)));

    b.rtp
        .send_to(&rtp(b.ssrc, 1, 0), local_rtp(&made, 1))
        .await
        .expect("sent");
    a.receive(1).await;
    b.rtp
        .send_to(&rtcp(b.ssrc), local_rtp(&made, 1))
        .await
        .expect("sent");
    let (bytes, source) = packet_in(&a.rtcp, PATIENCE).await.expect("RTCP on the RTCP port");
    assert_eq!((bytes, source), (rtcp(b.ssrc), local_rtcp(&made, 0)));

    let status = node
        .client
        .query_call(query("rtcp"))
        .await
        .expect("there")
        .into_inner()
        .call
        .expect("a call");
    assert_eq!(status.legs[0].lines[0].rtcp_forwarded, 1);
    assert_eq!(status.legs[1].lines[0].rtcp_forwarded, 1);
    node.metric_becomes("ringpath_dataplane_rtcp_forwarded_total", "", 2)
        .await;
    node.stop().await;
}

async fn a_source_behind_nat_is_learned_and_nobody_else_gets_in(backend: Backend) {
    let mut node = Node::start(backend).await;
    let (mut a, mut b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    let mut attacker = Party::at(own_address()).await;
    // What a party behind NAT signals is not where its packets come from.
    let mut behind_nat = line(Some("192.0.2.1:4000".parse().expect("an address")));
    behind_nat.latching = wire::Latching::AnyAddress.into();
    let made = created(&mut node, call("nat", behind_nat, line(Some(b.address())))).await;
    let mut events = node
        .client
        .watch_events(wire::WatchEventsRequest {})
        .await
        .expect("watched")
        .into_inner();

    a.send(local_rtp(&made, 0), 10).await;
    let latched = loop {
        let event = events
            .message()
            .await
            .expect("open")
            .expect("an event")
            .event
            .expect("set");
        if let wire::watch_events_response::Event::CallEvent(wire::CallEvent {
            kind: Some(wire::call_event::Kind::Latched(latched)),
            ..
        }) = event
        {
            break latched;
        }
    };
    assert_eq!(latched.source, Some(crate::node::endpoint(a.address())));
    b.send(local_rtp(&made, 1), 10).await;
    a.receive(10).await;
    // The learning packets may be held back; after the lock all come.
    a.send(local_rtp(&made, 0), 10).await;

    // Right SSRC, right payload type, plausible sequence numbers: the source is wrong.
    attacker.ssrc = a.ssrc;
    attacker.send(local_rtp(&made, 0), 100).await;
    node.metric_becomes("ringpath_dataplane_packets_dropped_total", "source_locked", 100)
        .await;
    b.send(local_rtp(&made, 1), 10).await;
    a.receive(10).await;
    attacker.hears_nothing().await;
    let status = node
        .client
        .query_call(query("nat"))
        .await
        .expect("there")
        .into_inner()
        .call
        .expect("a call");
    let line = &status.legs[0].lines[0];
    assert_eq!(line.learned, Some(crate::node::endpoint(a.address())));
    assert_eq!(line.drops.get("source_locked"), Some(&100), "{:?}", line.drops);
    assert_eq!(line.streams.len(), 1);

    // From an address that is not the signalled one: never learned under the default policy.
    let made = created(&mut node, call("strict", line_of(&a), line_of(&b))).await;
    attacker.send(local_rtp(&made, 0), 50).await;
    node.metric_becomes("ringpath_dataplane_packets_dropped_total", "source_refused", 50)
        .await;
    node.stop().await;
}

fn line_of(party: &Party) -> wire::MediaLine {
    line(Some(party.address()))
}

async fn noise_on_media_ports_is_dropped_by_reason(backend: Backend) {
    let mut node = Node::start(backend).await;
    let (mut a, b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    let made = created(&mut node, call("noise", line_of(&a), line_of(&b))).await;
    let noise: [(&str, Vec<u8>); 7] = [
        (
            "stun",
            [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat(),
        ),
        ("dtls", vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("zrtp", vec![16; 20]),
        ("not_media", vec![]),
        ("not_media", vec![200; 30]),
        ("rtp_truncated", vec![0x80, 0, 1]),
        ("rtcp_not_muxed", rtcp(a.ssrc)),
    ];
    for (_, bytes) in &noise {
        a.rtp.send_to(bytes, local_rtp(&made, 0)).await.expect("sent");
    }
    // Larger than any frame.
    a.rtp
        .send_to(&vec![0x80; 8_000], local_rtp(&made, 0))
        .await
        .expect("sent");
    a.send(local_rtp(&made, 0), 5).await;
    b.receive(5).await;
    for (reason, _) in &noise {
        let count = noise.iter().filter(|(other, _)| other == reason).count() as u64;
        node.metric_becomes(
            "ringpath_dataplane_packets_dropped_total",
            &format!("reason=\"{reason}\""),
            count,
        )
        .await;
    }
    node.metric_becomes(
        "ringpath_dataplane_packets_dropped_total",
        "reason=\"truncated\"",
        1,
    )
    .await;
    let described = node
        .client
        .describe(wire::DescribeRequest {})
        .await
        .expect("answers")
        .into_inner();
    assert_eq!(described.load.expect("load").packets_dropped, 8);
    node.stop().await;
}

async fn two_workers_share_the_calls(backend: Backend) {
    let mut node = Node::with(
        backend,
        Settings {
            workers: 2,
            ..Settings::default()
        },
    )
    .await;
    let described = node
        .client
        .describe(wire::DescribeRequest {})
        .await
        .expect("answers")
        .into_inner();
    let capacity = described.capacity.expect("capacity");
    assert_eq!(
        (capacity.workers, capacity.port_pairs, capacity.port_pairs_free),
        (2, 500, 500)
    );
    let (mut a, mut b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    for n in 0..10 {
        let made = created(&mut node, call(&format!("w{n}"), line_of(&a), line_of(&b))).await;
        a.send(local_rtp(&made, 0), 10).await;
        assert_eq!(b.receive(10).await, local_rtp(&made, 1));
        b.send(local_rtp(&made, 1), 10).await;
        assert_eq!(a.receive(10).await, local_rtp(&made, 0));
    }
    for worker in ["worker=\"0\"", "worker=\"1\""] {
        node.metric_becomes("ringpath_dataplane_calls", worker, 5).await;
        node.metric_becomes("ringpath_dataplane_packets_received_total", worker, 100)
            .await;
    }
    node.stop().await;
}
