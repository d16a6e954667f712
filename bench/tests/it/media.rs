//! The data plane alone, its calls made over gRPC: every packet counted at the receiving endpoint, and the node's own
//! statistics held against what was sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proto::media_v1 as pb;
use ringpath_bench::call_request;
use ringpath_bench::endpoint::{EndpointSockets, Faults};
use ringpath_bench::host::Host;
use ringpath_bench::node_client::{Held, NodeClient};
use ringpath_bench::plane::{NodeOptions, Plane};
use ringpath_bench::relay::contender::faces_of;
use ringpath_bench::speech::{Law, Speech};
use ringpath_bench::talk::{Outcome, Pair, Talk};
use ringpath_bench::wait;
use sans_io::Random;

use crate::bench::folder;

const PACKETS: u64 = 150;

struct Node {
    host: Host,
    plane: Plane,
    client: NodeClient,
}

fn node(test: &str, backend: &str, lease: Duration) -> Node {
    let mut host = Host::reserve().unwrap();
    let options = NodeOptions {
        backend: backend.to_owned(),
        steering: "off",
        kernel: "off",
        calls_max: 250,
        lease,
        ..NodeOptions::new(
            "media-1",
            host.ip(),
            20_000..=20_999,
            [host.address().unwrap(), host.address().unwrap()],
        )
    };
    let plane = Plane::start_node(&options, &folder(test)).unwrap();
    let client = NodeClient::connect(options.grpc).unwrap();
    Node { host, plane, client }
}

impl Node {
    /// Calls between pairs of endpoints, and the talk that has been told where to send.
    fn call(&mut self, calls: usize, packets: u64) -> Talk {
        let speech =
            Arc::new(Speech::from_alaw((0..16_000u32).map(|n| ((n * 7) >> 3) as u8).collect()).unwrap());
        let pairs: Vec<Pair> = (0..calls)
            .map(|_| Pair {
                sockets: [
                    EndpointSockets::bind(&mut self.host).unwrap(),
                    EndpointSockets::bind(&mut self.host).unwrap(),
                ],
                law: Law::A,
            })
            .collect();
        let mut faces = Vec::new();
        for (call, pair) in pairs.iter().enumerate() {
            let parties = [&pair.sockets[0], &pair.sockets[1]].map(EndpointSockets::local);
            let made = self.client.create(request(&format!("call-{call}"), parties));
            faces.extend(faces_of(&made.unwrap()).unwrap());
        }
        let talk = Talk::start(pairs, speech, packets, &mut Random::from_number(3)).unwrap();
        for (endpoint, face) in faces.into_iter().enumerate() {
            talk.direct(endpoint, face).unwrap();
        }
        talk
    }
}

/// A call with the node's own lease.
fn request(call: &str, parties: [SocketAddr; 2]) -> pb::CreateCallRequest {
    pb::CreateCallRequest {
        lease_ms: 0,
        ..call_request::plain(call, parties)
    }
}

fn assert_whole(outcome: &Outcome, packets: u64) {
    assert_eq!(outcome.faults, Faults::default(), "{outcome:?}");
    for (endpoint, account) in outcome.accounts.iter().enumerate() {
        let counted = (
            account.sent,
            account.received,
            account.duplicates,
            account.reordered,
        );
        assert_eq!(
            counted,
            (packets, packets, 0, 0),
            "endpoint {endpoint}: {account:?}"
        );
    }
    assert_eq!(outcome.rtcp_received, outcome.rtcp_sent);
    assert!(outcome.rtcp_sent > 0);
}

fn relays_whole(backend: &str) {
    const CALLS: usize = 20;
    let mut node = node(&format!("media-{backend}"), backend, Duration::from_secs(60));
    let talk = node.call(CALLS, PACKETS);
    assert_whole(&talk.finish(Duration::from_secs(20)).unwrap(), PACKETS);
    for call in 0..CALLS {
        let call = format!("call-{call}");
        for leg in node.client.query(&call).unwrap().legs {
            let line = &leg.lines[0];
            let stream = &line.streams[0];
            assert_eq!(
                (stream.packets, stream.lost, stream.duplicates),
                (PACKETS, 0, 0),
                "{line:?}"
            );
            assert_eq!(stream.bytes, PACKETS * 172, "{line:?}");
            assert!(line.learned.is_some(), "{line:?}");
            assert_eq!(line.drops.values().sum::<u64>(), 0, "{line:?}");
        }
        node.client.delete(&call).unwrap();
    }
    assert_eq!(node.client.held().unwrap(), Held::default());
    node.plane.stop().unwrap();
}

#[test]
fn a_node_relays_whole_over_the_back_end_that_it_chooses() {
    relays_whole("auto");
}

#[test]
fn a_node_relays_whole_over_plain_sockets() {
    relays_whole("socket");
}

/// A Unix socket's path has room for 107 bytes, and the node has one among what it keeps.
#[test]
fn a_node_starts_in_a_folder_with_a_long_path() {
    let mut node = node(
        &format!("media-{}", "long-".repeat(24)),
        "auto",
        Duration::from_secs(60),
    );
    node.plane.stop().unwrap();
}

#[test]
fn a_lease_that_nobody_renews_ends_the_call_and_frees_its_ports() {
    let mut node = node("media-lease", "auto", Duration::from_millis(1_500));
    let talk = node.call(3, PACKETS);
    wait::until_true("media", Duration::from_secs(5), || {
        Ok((0..6).all(|e| talk.received(e) > 10))
    })
    .unwrap();
    assert_eq!(
        node.client.held().unwrap(),
        Held {
            calls: 3,
            port_pairs: 6
        }
    );
    wait::until_true("the leases to run out", Duration::from_secs(10), || {
        Ok(node.client.held()? == Held::default())
    })
    .unwrap();
    // The endpoints go on for three seconds in all, half of them with nobody to relay.
    let outcome = talk.finish(Duration::from_secs(4)).unwrap();
    assert!(
        outcome.accounts.iter().all(|account| account.lost > 0),
        "nothing is relayed for a call that is gone"
    );
    node.plane.stop().unwrap();
}

#[test]
fn a_draining_node_keeps_its_calls_and_takes_no_more() {
    let mut node = node("media-drain", "auto", Duration::from_secs(60));
    let talk = node.call(2, PACKETS);
    assert_eq!(node.client.drain(true).unwrap(), 2);
    let nobody = "127.0.0.1:9".parse().unwrap();
    let refused = node.client.create(request("late", [nobody; 2]));
    let status = refused.unwrap_err().downcast::<tonic::Status>().unwrap();
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    assert_whole(&talk.finish(Duration::from_secs(20)).unwrap(), PACKETS);
    node.client.drain(false).unwrap();
    for call in ["call-0", "call-1"] {
        node.client.delete(call).unwrap();
    }
    node.plane.stop().unwrap();
}
