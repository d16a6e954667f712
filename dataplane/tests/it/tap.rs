//! The packets of one call, as an operator gets them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use proto::media_v1 as api;
use tempfile::TempDir;
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::node::{Backend, Node, Settings, call, delete, leg, line, on_both_backends, own_address};
use crate::party::{Party, local_rtcp, local_rtp, rtcp, rtp};
use crate::pcapng::Capture;
use crate::process::{PATIENCE, Process};
use crate::wire;

on_both_backends!(
    a_call_is_shown_as_received_and_as_sent_with_what_was_dropped,
    a_full_ring_leaves_packets_out_and_counts_them,
);

/// `ringpath-dataplane tap` at work.
struct Tap {
    process: Process,
    file: PathBuf,
    _directory: TempDir,
}

impl Tap {
    /// Starts it and waits until the node has agreed, which is when the file appears.
    async fn start(node: &Node, call: &str, arguments: &[&str]) -> Self {
        let mut tap = Self::spawn(node, call, arguments);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !tap.file.exists() {
            assert!(tap.process.is_running(), "{}", tap.process.log());
            assert!(
                tokio::time::Instant::now() < deadline,
                "no file; {}",
                tap.process.log()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tap
    }

    fn spawn(node: &Node, call: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("call.pcapng");
        let (protocol, address) = node.grpc.split_once(' ').expect("protocol and address");
        let address = match protocol {
            "unix" => format!("unix:{address}"),
            _ => address.to_owned(),
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringpath-dataplane"));
        command
            .args(["tap", "--node", &address, "--call", call, "-o"])
            .arg(&file)
            .args(arguments);
        Self {
            process: Process::spawn(&mut command).expect("it starts"),
            file,
            _directory: directory,
        }
    }

    /// Exit status, what it said, and the file.
    async fn end(mut self) -> (Option<i32>, String, Capture) {
        let status = self.process.ended().await;
        let bytes = std::fs::read(&self.file).unwrap_or_default();
        check_with_wireshark(&self.file);
        (status.code(), self.process.log(), Capture::read(&bytes))
    }
}

/// Other people's programs take the file, too, where they are installed.
fn check_with_wireshark(file: &std::path::Path) {
    match Command::new("capinfos").arg(file).output() {
        Ok(output) => assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        ),
        // Not required: this suite has its own reader.
        Err(_) => eprintln!("ABSENT capinfos: the file was read by the test's own reader only"),
    }
}

async fn created(node: &mut Node, id: &str, a: &Party, b: &Party) -> api::Call {
    let request = call(id, line(Some(a.address())), line(Some(b.address())));
    let answer = node.client.create_call(request).await.expect("created");
    answer.into_inner().call.expect("a call")
}

async fn a_call_is_shown_as_received_and_as_sent_with_what_was_dropped(backend: Backend) {
    let mut node = Node::start(backend).await;
    let (mut a, mut b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    let mut stranger = Party::at(own_address()).await;
    let (mut c, d) = (Party::at(own_address()).await, Party::at(own_address()).await);
    let made = created(&mut node, "tapped", &a, &b).await;
    let other = created(&mut node, "not-tapped", &c, &d).await;
    let (for_a, for_b) = (local_rtp(&made, 0), local_rtp(&made, 1));
    a.send(for_a, 5).await;
    b.receive(5).await;

    let began = ops::clock::wall_clock();
    let tap = Tap::start(&node, "tapped", &["--seconds", "60"]).await;
    a.send(for_a, 20).await;
    b.receive(20).await;
    b.send(for_b, 10).await;
    a.receive(10).await;
    a.rtcp
        .send_to(&rtcp(a.ssrc), local_rtcp(&made, 0))
        .await
        .expect("sent");
    crate::party::packet_in(&b.rtcp, PATIENCE).await.expect("relayed");
    c.send(local_rtp(&other, 0), 7).await;
    d.receive(7).await;
    stranger.send(for_a, 3).await;
    node.metric_becomes("ringpath_dataplane_packets_dropped_total", "reason=\"source", 3)
        .await;
    node.client.delete_call(delete("tapped")).await.expect("deleted");
    let mode = std::fs::metadata(&tap.file).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "media is nobody else's business");
    let (status, said, capture) = tap.end().await;
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("the call has ended") && said.contains(" 0 left out"),
        "{said}"
    );

    let path = backend.name();
    let name = |side: &str| format!("{side}.{path}");
    let mut names = capture.names();
    names.sort_unstable();
    let mut expected = ["a.0.received", "a.0.sent", "b.0.received", "b.0.sent"]
        .map(name)
        .to_vec();
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert!(
        capture.application.starts_with("ringpath-dataplane"),
        "{}",
        capture.application
    );

    let from_a = capture.interface(&name("a.0.received"));
    assert!(
        from_a.description.contains("call tapped: leg a, media line 0"),
        "{}",
        from_a.description
    );
    assert_eq!(from_a.packets.len(), 20 + 1 + 3);
    let dropped: Vec<_> = from_a
        .packets
        .iter()
        .filter(|packet| !packet.comment.is_empty())
        .collect();
    assert_eq!(dropped.len(), 3);
    for packet in dropped {
        assert_eq!(packet.source, stranger.address());
        assert!(
            packet.comment.starts_with("dropped: source_"),
            "{}",
            packet.comment
        );
    }
    let rtp: Vec<_> = from_a
        .packets
        .iter()
        .filter(|packet| packet.source == a.address())
        .collect();
    let to_b = capture.interface(&name("b.0.sent"));
    assert_eq!((rtp.len(), to_b.packets.len()), (20, 20 + 1));
    for (n, (received, sent)) in rtp.iter().zip(&to_b.packets).enumerate() {
        assert!(received.inbound && !sent.inbound);
        assert_eq!((received.destination, sent.source), (for_a, for_b));
        assert_eq!(sent.destination, b.address());
        assert_eq!(received.payload, sent.payload);
        assert_eq!(received.length, 172);
        assert_eq!(
            u16::from_be_bytes([received.payload[2], received.payload[3]]),
            106 + n as u16
        );
        assert!(received.at <= sent.at && began <= received.at && sent.at <= ops::clock::wall_clock());
    }
    let rtcp_sent = to_b.packets.last().expect("RTCP came last");
    assert_eq!(rtcp_sent.payload, rtcp(a.ssrc));
    assert_eq!(rtcp_sent.destination.port(), b.address().port() + 1);
    assert_eq!(capture.interface(&name("b.0.received")).packets.len(), 10);
    for interface in &capture.interfaces {
        let (received, left_out, delivered, comment) = interface.statistics.clone().expect("counted");
        let count = interface.packets.len() as u64;
        assert_eq!((received, left_out, delivered), (count, 0, count));
        assert_eq!(comment, "the call has ended");
    }
    assert!(node.process.log().contains("tap begun"), "who listens is logged");
    node.stop().await;
}

async fn a_full_ring_leaves_packets_out_and_counts_them(backend: Backend) {
    let settings = Settings {
        limits: "tap_ring_bytes = 16384".into(),
        ..Settings::default()
    };
    let mut node = Node::with(backend, settings).await;
    let (mut a, b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    let made = created(&mut node, "c", &a, &b).await;
    a.send(local_rtp(&made, 0), 1).await;
    b.receive(1).await;
    let tap = Tap::start(&node, "c", &[]).await;
    // The ring has room for eleven of these, and a burst of fifty is a hundred of both sides.
    for _ in 0..20 {
        for _ in 0..50 {
            let mut packet = a.packet();
            packet.resize(1_400, 0xd5);
            a.rtp.send_to(&packet, local_rtp(&made, 0)).await.expect("sent");
        }
        b.receive(50).await;
    }
    node.client.delete_call(delete("c")).await.expect("deleted");
    let (_, said, capture) = tap.end().await;
    let (mut seen, mut left_out) = (0, 0);
    for interface in &capture.interfaces {
        let (received, dropped, delivered, _) = interface.statistics.clone().expect("counted");
        assert_eq!(delivered, interface.packets.len() as u64);
        assert_eq!(received, 1_000, "{}", interface.name);
        seen += delivered;
        left_out += dropped;
    }
    assert_eq!(seen + left_out, 2_000);
    assert!(left_out > 0 && seen > 0, "{seen} and {left_out}");
    assert!(
        said.contains(&format!("{seen} packets captured, {left_out} left out")),
        "{said}"
    );
    // What was copied is what came, whole.
    for packet in capture.interfaces.iter().flat_map(|interface| &interface.packets) {
        assert_eq!(
            (packet.length, &packet.payload[12..]),
            (1_400, &[0xd5; 1_388][..])
        );
    }
}

#[test]
fn packets_that_the_kernel_forwards_are_shown_on_both_sides() {
    wire::run(
        "packets_that_the_kernel_forwards_are_shown_on_both_sides",
        async |bed: wire::Bed| {
            let mut node = wire::node(wire::UNPINNED).await;
            let mut call = wire::Call::in_kernel(&bed, &mut node, "fast").await;
            let mut other = wire::Call::in_kernel(&bed, &mut node, "other").await;
            let before = [call.packets(&mut node, 0).await, call.packets(&mut node, 1).await];
            let tap = Tap::start(&node, "fast", &["--seconds", "60"]).await;
            call.exchange(20).await;
            other.exchange(10).await;
            let stranger = bed.socket("192.0.2.2:0".parse().expect("an address"));
            stranger.send_to(&rtp(7, 7, 0), call.for_a).await.expect("sent");
            call.exchange(20).await;
            for (leg, before) in before.into_iter().enumerate() {
                let line = call.line(&mut node, leg).await;
                assert_eq!(line.path(), api::Path::Kernel, "{}", line.path_reason);
                assert_eq!(call.packets(&mut node, leg).await, before + 40);
            }
            let (a, b) = (call.a.address(), call.b.address());
            let (for_a, for_b) = (call.for_a, call.for_b);
            call.end(&mut node).await;
            let (status, said, capture) = tap.end().await;
            assert_eq!(status, Some(0), "{said}");
            assert!(
                said.contains("the call has ended") && said.contains(" 0 left out"),
                "{said}"
            );
            let received = &capture.interface("a.0.received.kernel").packets;
            let foreign: Vec<_> = received.iter().filter(|packet| packet.source != a).collect();
            assert_eq!(foreign.len(), 1, "as it came, also what is not forwarded");
            assert_eq!(foreign[0].source, stranger.local_addr().expect("bound"));
            let received: Vec<_> = received.iter().filter(|packet| packet.source == a).collect();
            let sent = &capture.interface("b.0.sent.kernel").packets;
            assert_eq!((received.len(), sent.len()), (40, 40));
            for (received, sent) in received.iter().zip(sent) {
                assert!(received.inbound && !sent.inbound);
                assert_eq!(
                    (received.destination, sent.source, sent.destination),
                    (for_a, for_b, b)
                );
                assert_eq!((&received.payload, received.length), (&sent.payload, 172));
                assert!(received.at <= sent.at);
            }
            assert_eq!(capture.interface("b.0.received.kernel").packets.len(), 40);
            assert_eq!(capture.interface("a.0.sent.kernel").packets.len(), 40);

            // Without a tap nothing is copied, and the next one begins with its own packets.
            other.exchange(5).await;
            let tap = Tap::start(&node, "other", &["--packets", "9", "--snap", "12"]).await;
            other.exchange(5).await;
            let (_, said, capture) = tap.end().await;
            assert!(
                said.contains("9 packets captured") && said.contains("as many packets"),
                "{said}"
            );
            let packets = capture.interfaces.iter().flat_map(|interface| &interface.packets);
            for packet in packets {
                assert_eq!((packet.payload.len(), packet.length), (12, 172));
            }
            other.end(&mut node).await;
            node.stop().await;
        },
    );
}

#[tokio::test]
async fn a_tap_ends_at_its_time_at_its_packets_and_when_it_is_stopped() {
    let mut node = Node::start(Backend::Socket).await;
    let (mut a, b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    let made = created(&mut node, "c", &a, &b).await;
    let tap = Tap::start(&node, "c", &["--packets", "5", "--snap", "12"]).await;
    a.send(local_rtp(&made, 0), 10).await;
    let (status, said, capture) = tap.end().await;
    assert_eq!(status, Some(0));
    assert!(said.contains("as many packets as asked for"), "{said}");
    let packets: Vec<_> = capture
        .interfaces
        .iter()
        .flat_map(|interface| &interface.packets)
        .collect();
    assert_eq!(packets.len(), 5);
    for packet in packets {
        assert_eq!((packet.payload.len(), packet.length), (12, 172));
    }

    let tap = Tap::start(&node, "c", &["--seconds", "1"]).await;
    let (status, said, capture) = tap.end().await;
    assert_eq!(status, Some(0));
    assert!(said.contains("the time is over"), "{said}");
    assert!(capture.interfaces.is_empty(), "nothing came");

    let tap = Tap::start(&node, "c", &["--seconds", "60"]).await;
    a.send(local_rtp(&made, 0), 3).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while Capture::read(&std::fs::read(&tap.file).expect("there"))
        .interfaces
        .len()
        < 2
    {
        assert!(tokio::time::Instant::now() < deadline, "the file does not grow");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tap.process.signal(rustix::process::Signal::INT);
    let (status, said, capture) = tap.end().await;
    assert_eq!(status, Some(0));
    assert!(said.contains("stopped here"), "{said}");
    assert!(
        capture
            .interfaces
            .iter()
            .all(|interface| interface.statistics.is_some())
    );

    let tap = Tap::start(&node, "c", &["--seconds", "60"]).await;
    node.stop().await;
    let (status, said, _) = tap.end().await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("the node stops"), "{said}");
}

#[tokio::test]
async fn media_that_an_update_adds_is_shown_and_what_it_removes_is_not() {
    let mut node = Node::start(Backend::Socket).await;
    let (mut a, mut b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    let (mut a2, b2) = (Party::at(own_address()).await, Party::at(own_address()).await);
    let made = created(&mut node, "c", &a, &b).await;
    let tap = Tap::start(&node, "c", &["--seconds", "60"]).await;
    let disabled = api::MediaLine {
        disabled: true,
        ..line(None)
    };
    let lines = |second: &Party| vec![disabled.clone(), line(Some(second.address()))];
    let request = api::UpdateCallRequest {
        call_id: "c".into(),
        idempotency_key: "u".into(),
        legs: [("a", lines(&a2)), ("b", lines(&b2))]
            .map(|(id, lines)| api::Leg {
                lines,
                ..leg(id, line(None))
            })
            .to_vec(),
    };
    let changed = node
        .client
        .update_call(request)
        .await
        .expect("updated")
        .into_inner();
    let changed = changed.call.expect("a call");
    let second = |leg: usize| {
        let endpoint = changed.legs[leg].lines[1]
            .local_rtp
            .as_ref()
            .expect("a second line");
        crate::node::socket_address(endpoint)
    };
    // To ports that are closed now.
    a.send(local_rtp(&made, 0), 4).await;
    b.send(local_rtp(&made, 1), 4).await;
    a2.send(second(0), 6).await;
    b2.receive(6).await;
    node.client.delete_call(delete("c")).await.expect("deleted");
    let (_, _, capture) = tap.end().await;
    assert_eq!(capture.names(), ["a.1.received.socket", "b.1.sent.socket"]);
    assert_eq!(capture.interface("b.1.sent.socket").packets.len(), 6);
}

#[tokio::test]
async fn taps_are_bounded_and_a_client_that_goes_gives_its_place_back() {
    let settings = Settings {
        limits: "taps_max = 1\ntap_seconds_max = 30\ntap_packets_max = 1000".into(),
        ..Settings::default()
    };
    let mut node = Node::with(Backend::Socket, settings).await;
    let (a, b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    created(&mut node, "c", &a, &b).await;
    let request = |seconds: u32, packets_max: u64, call_id: &str| api::TapCallRequest {
        call_id: call_id.into(),
        seconds,
        packets_max,
        snap_bytes: 0,
    };
    for (asked, code) in [
        (request(31, 0, "c"), Code::InvalidArgument),
        (request(0, 1_001, "c"), Code::InvalidArgument),
        (request(1, 1, ""), Code::InvalidArgument),
        (request(1, 1, "nobody"), Code::NotFound),
    ] {
        let status = node.client.tap_call(asked.clone()).await.expect_err("refused");
        assert_eq!(status.code(), code, "{asked:?}: {status}");
    }
    let stream = node
        .client
        .tap_call(request(30, 0, "c"))
        .await
        .expect("taken")
        .into_inner();
    let status = node
        .client
        .tap_call(request(1, 0, "c"))
        .await
        .expect_err("one is enough");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("limits.taps_max"), "{status}");
    let refused = Tap::spawn(&node, "c", &[]);
    let file = refused.file.clone();
    let mut process = refused.process;
    assert_eq!(process.ended().await.code(), Some(1));
    assert!(
        process.log().contains("the node refuses (ResourceExhausted)"),
        "{}",
        process.log()
    );
    assert!(!file.exists(), "a refusal writes no file");
    drop(stream);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut stream = loop {
        match node.client.tap_call(request(1, 0, "c")).await {
            Ok(stream) => break stream.into_inner(),
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted),
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "the place does not come back"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let end = stream.next().await.expect("a message").expect("no error").part;
    let Some(api::tap_call_response::Part::End(end)) = end else {
        panic!("{end:?}")
    };
    assert_eq!((end.cause(), end.counts.len()), (api::TapEndCause::Time, 0));

    let settings = Settings {
        limits: "taps_max = 0".into(),
        ..Settings::default()
    };
    let mut closed = Node::with(Backend::Socket, settings).await;
    created(&mut closed, "c", &a, &b).await;
    let status = closed
        .client
        .tap_call(request(1, 0, "c"))
        .await
        .expect_err("none allowed");
    assert_eq!(status.code(), Code::FailedPrecondition);
}
