//! Secured lines: what goes over the wire, and what becomes of keys when the process ends.

use std::net::SocketAddr;
use std::path::Path;

use proto::media_v1 as wire;
use rustix::process::Signal;
use srtp::{MasterKey, Receiver, Sender, Suite};

use crate::node::{Backend, Node, Settings, call, line, on_both_backends, own_address, query, refusal};
use crate::party::{Party, local_rtcp, local_rtp, rtcp, rtp};
use crate::takeover::successor;

on_both_backends!(
    a_secured_party_and_one_in_clear_understand_each_other,
    a_takeover_keeps_rollover_counters,
    a_kill_ends_secured_calls_and_leaves_no_key,
);

/// Keys that are easy to find where they must not be.
const OWN: u8 = 0xc7;
const NODE: u8 = 0xd9;

fn key(byte: u8) -> wire::SrtpKey {
    wire::SrtpKey {
        suite: wire::SrtpSuite::AesCm128HmacSha180.into(),
        master_key: vec![byte; 16],
        master_salt: vec![byte; 14],
        ..Default::default()
    }
}

fn secured(remote: SocketAddr) -> wire::MediaLine {
    wire::MediaLine {
        srtp: Some(wire::Srtp {
            receive: vec![key(OWN)],
            send: Some(key(NODE)),
        }),
        ..line(Some(remote))
    }
}

/// A party that encrypts.
struct Secured {
    party: Party,
    sender: Sender,
    receiver: Receiver,
}

impl Secured {
    async fn new() -> Self {
        let master = |byte: u8| MasterKey::new(Suite::AesCm128HmacSha1_80, &[byte; 30]).expect("a key");
        Self {
            party: Party::at(own_address()).await,
            sender: Sender::new(&master(OWN), 4).expect("a sender"),
            receiver: Receiver::new(&master(NODE), 4).expect("a receiver"),
        }
    }

    fn wire(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut buffer = [packet, &[0; 32]].concat();
        let len = self.sender.protect_rtp(&mut buffer, packet.len());
        buffer.truncate(len.expect("protected"));
        buffer
    }

    /// What comes in, unprotected.
    async fn hear(&mut self) -> Option<Vec<u8>> {
        let (mut packet, _) = self.party.packet_in().await?;
        let len = self.receiver.unprotect_rtp(&mut packet).expect("it is for us");
        packet.truncate(len);
        Some(packet)
    }
}

async fn created(node: &mut Node, name: &str, a: &Secured, b: &Party) -> wire::Call {
    let request = call(name, secured(a.party.address()), line(Some(b.address())));
    let made = node.client.create_call(request).await.expect("created");
    made.into_inner().call.expect("a call")
}

async fn speak(a: &mut Secured, b: &Party, made: &wire::Call, numbers: impl Iterator<Item = u16>) {
    for number in numbers {
        let packet = rtp(a.party.ssrc, number, 0);
        let wire = a.wire(&packet);
        let to = local_rtp(made, 0);
        a.party.rtp.send_to(&wire, to).await.expect("sent");
        let (heard, _) = b.packet_in().await.expect("it arrives");
        assert_eq!(heard, packet, "{number}");
        let answer = rtp(b.ssrc, number, 0);
        b.rtp.send_to(&answer, local_rtp(made, 1)).await.expect("sent");
        assert_eq!(a.hear().await.as_ref(), Some(&answer), "{number}");
    }
}

async fn a_secured_party_and_one_in_clear_understand_each_other(backend: Backend) {
    let mut node = Node::start(backend).await;
    let told = node
        .client
        .describe(wire::DescribeRequest {})
        .await
        .expect("told");
    assert_eq!(told.into_inner().srtp_suites.len(), 6);
    let (mut a, b) = (Secured::new().await, Party::at(own_address()).await);
    let made = created(&mut node, "secured", &a, &b).await;
    speak(&mut a, &b, &made, 1..50).await;
    // Their reports, protected and in clear.
    let report = rtcp(a.party.ssrc);
    let mut buffer = [&report[..], &[0; 32]].concat();
    let len = a
        .sender
        .protect_rtcp(&mut buffer, report.len())
        .expect("protected");
    let to = local_rtcp(&made, 0);
    a.party.rtcp.send_to(&buffer[..len], to).await.expect("sent");
    let heard = crate::party::packet_in(&b.rtcp, crate::process::PATIENCE).await;
    assert_eq!(heard.expect("it arrives").0, report);
    // Refused: in clear, again, changed. None of it reaches the other.
    let last = a.wire(&rtp(a.party.ssrc, 50, 0));
    let mut changed = last.clone();
    changed[20] ^= 1;
    let clear = rtp(a.party.ssrc, 51, 0);
    for packet in [&clear, &changed, &last, &last] {
        a.party
            .rtp
            .send_to(packet, local_rtp(&made, 0))
            .await
            .expect("sent");
    }
    assert_eq!(
        b.packet_in().await.expect("the good one").0,
        rtp(a.party.ssrc, 50, 0)
    );
    b.hears_nothing().await;
    let found = node
        .client
        .query_call(query("secured"))
        .await
        .expect("there")
        .into_inner();
    let line = &found.call.expect("a call").legs[0].lines[0];
    assert_eq!(line.drops["srtp_authentication"], 2);
    assert_eq!(line.drops["srtp_replayed"], 1);
    let status = line.srtp.expect("secured");
    assert_eq!(status.receive_suite(), wire::SrtpSuite::AesCm128HmacSha180);
    assert_eq!(status.send_suite(), wire::SrtpSuite::AesCm128HmacSha180);
    node.metric_becomes(
        "ringpath_dataplane_packets_dropped_total",
        r#"reason="srtp_authentication""#,
        2,
    )
    .await;
    // A key that does not fit its suite.
    let mut request = call("short", secured(a.party.address()), self::line(None));
    let srtp = request.legs[0].lines[0].srtp.as_mut().expect("secured");
    srtp.receive[0].master_key.pop();
    let refused = node.client.create_call(request).await.expect_err("too short");
    assert_eq!(refusal(&refused), "invalid");
    assert!(
        refused
            .message()
            .contains("legs[0].lines[0].srtp.receive[0].master_key")
    );
    assert_no_key_in(node.process.log().as_bytes());
    node.stop().await;
}

fn settings(state: &Path) -> Settings {
    Settings {
        state: state.display().to_string(),
        workers: 2,
        ..Settings::default()
    }
}

async fn taken_over(node: &mut Node, backend: Backend, settings: &Settings) {
    let process = successor(backend, settings);
    let status = node.process.ended().await;
    assert_eq!(status.code(), Some(0), "{status}, log:\n{}", node.process.log());
    while process.line() != "ready" {}
    node.process = process;
}

/// Gives leg `a` of a call another line.
async fn change(node: &mut Node, name: &str, line: wire::MediaLine) {
    let update = wire::UpdateCallRequest {
        call_id: name.into(),
        idempotency_key: format!("{}", line.srtp.is_some()),
        legs: vec![crate::node::leg("a", line)],
    };
    node.client.update_call(update).await.expect("updated");
}

async fn a_takeover_keeps_rollover_counters(backend: Backend) {
    let state = tempfile::tempdir().expect("a directory");
    let settings = settings(state.path());
    let mut node = Node::with(backend, settings.clone()).await;
    let (mut a, b) = (Secured::new().await, Party::at(own_address()).await);
    let made = created(&mut node, "kept", &a, &b).await;
    speak(&mut a, &b, &made, (65_520..=65_535).chain(0..10)).await;
    taken_over(&mut node, backend, &settings).await;
    speak(&mut a, &b, &made, 10..30).await;
    // In clear over another takeover, and secured again with the keys that were: nothing begins anew.
    change(&mut node, "kept", line(Some(a.party.address()))).await;
    taken_over(&mut node, backend, &settings).await;
    change(&mut node, "kept", secured(a.party.address())).await;
    speak(&mut a, &b, &made, 30..40).await;
    let found = node
        .client
        .query_call(query("kept"))
        .await
        .expect("there")
        .into_inner();
    let line = &found.call.expect("a call").legs[0].lines[0];
    assert_eq!(line.streams[0].packets, 56);
    assert!(line.drops.is_empty(), "{:?}", line.drops);
    assert_no_key_below(state.path());
    node.stop().await;
}

async fn a_kill_ends_secured_calls_and_leaves_no_key(backend: Backend) {
    let state = tempfile::tempdir().expect("a directory");
    let settings = settings(state.path());
    let mut node = Node::with(backend, settings.clone()).await;
    let (mut a, b) = (Secured::new().await, Party::at(own_address()).await);
    let made = created(&mut node, "secured", &a, &b).await;
    speak(&mut a, &b, &made, 1..5).await;
    // One that gets keys later is forgotten again.
    let clear = call("later", line(Some(a.party.address())), line(Some(b.address())));
    node.client.create_call(clear.clone()).await.expect("created");
    node.client
        .create_call(call("clear", line(None), line(None)))
        .await
        .expect("created");
    change(&mut node, "later", secured(a.party.address())).await;
    // And one that had some.
    let request = call("before", secured(a.party.address()), line(Some(b.address())));
    node.client.create_call(request).await.expect("created");
    change(&mut node, "before", line(Some(a.party.address()))).await;
    node.process.signal(Signal::KILL);
    node.process.ended().await;
    assert_no_key_below(state.path());
    let mut node = Node::with(backend, settings).await;
    let list = wire::ListCallsRequest::default();
    let listed = node.client.list_calls(list).await.expect("listed").into_inner();
    assert_eq!(listed.call_ids, ["clear"]);
    node.stop().await;
}

fn assert_no_key_below(folder: &Path) {
    assert!(search(folder) > 0, "the journal is there");
}

/// Looks at every file; how many there are.
fn search(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .map(|path| match path.is_dir() {
            true => search(&path),
            // A socket cannot be read.
            false => std::fs::read(&path).map_or(0, |bytes| {
                assert_no_key_in(&bytes);
                1
            }),
        })
        .sum()
}

fn assert_no_key_in(bytes: &[u8]) {
    for byte in [OWN, NODE] {
        assert!(
            !bytes.windows(14).any(|window| window == [byte; 14]),
            "a key in it"
        );
    }
}
