//! A process that takes the place of another one in the midst of calls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proto::media_v1 as wire;
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::node::{Backend, Node, Settings, call, delete, line, on_both_backends, own_address, query};
use crate::party::{Party, local_rtp, packet_in, rtp};
use crate::process::{PATIENCE, Process};

on_both_backends!(
    nothing_is_lost_when_a_process_takes_over,
    nothing_is_lost_with_shared_sockets,
    a_process_goes_on_when_its_successor_fails,
    without_a_process_a_takeover_is_a_start,
);

/// Calls, each with packets both ways.
const CALLS: usize = 20;
/// Packets of each party, and between two of them.
const PACKETS: u16 = 400;
const PAUSE: Duration = Duration::from_millis(5);
/// Sent by each party when the takeover begins.
const BEFORE: u16 = 100;

/// A party that sends, and counts what it hears.
pub struct Talker {
    task: JoinHandle<()>,
    heard: JoinHandle<Vec<u16>>,
    sent: Arc<AtomicUsize>,
}

impl Talker {
    /// Begins to send to `to`.
    fn start(party: Party, to: SocketAddr) -> Self {
        let (socket, ssrc) = (Arc::new(party.rtp), party.ssrc);
        let sent = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn({
            let (socket, sent) = (socket.clone(), sent.clone());
            async move {
                let mut ticks = tokio::time::interval(PAUSE);
                for number in 0..PACKETS {
                    ticks.tick().await;
                    socket.send_to(&rtp(ssrc, number, 0), to).await.expect("sent");
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self {
            heard: tokio::spawn(hear(socket)),
            task,
            sent,
        }
    }

    /// The sequence numbers that it has heard in the end.
    async fn end(self) -> Vec<u16> {
        self.task.await.expect("no panic");
        self.heard.await.expect("no panic")
    }
}

/// The sequence numbers of all that comes until there are as many as were sent, or silence.
async fn hear(socket: Arc<UdpSocket>) -> Vec<u16> {
    let mut heard = Vec::new();
    while heard.len() < usize::from(PACKETS) {
        let Some((bytes, _)) = packet_in(&socket, Duration::from_secs(5)).await else {
            break;
        };
        heard.push(u16::from_be_bytes([bytes[2], bytes[3]]));
    }
    heard
}

pub fn settings(state: &TempDir) -> Settings {
    Settings {
        state: state.path().display().to_string(),
        workers: 2,
        ..Settings::default()
    }
}

/// The process that takes over, with the line that it prints about that.
pub fn successor(backend: Backend, settings: &Settings) -> Process {
    Process::start(&settings.toml(), &["--backend", backend.name(), "--takeover"])
}

pub async fn talk(node: &mut Node) -> Vec<Talker> {
    let mut parties = Vec::new();
    for _ in 0..CALLS {
        parties.push((Party::at(own_address()).await, Party::at(own_address()).await));
    }
    talk_between(node, parties).await
}

pub async fn talk_between(node: &mut Node, parties: Vec<(Party, Party)>) -> Vec<Talker> {
    let mut talkers = Vec::new();
    for (n, (a, b)) in parties.into_iter().enumerate() {
        let request = call(&format!("c{n}"), line(Some(a.address())), line(Some(b.address())));
        let made = node.client.create_call(request).await.expect("created");
        let made = made.into_inner().call.expect("a call");
        talkers.push(Talker::start(a, local_rtp(&made, 0)));
        talkers.push(Talker::start(b, local_rtp(&made, 1)));
    }
    talkers
}

pub async fn until_sent(talkers: &[Talker], packets: u16) {
    let sent = async {
        while talkers
            .iter()
            .any(|talker| talker.sent.load(Ordering::Relaxed) < usize::from(packets))
        {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, sent).await.expect("they send");
}

pub async fn all_heard(talkers: Vec<Talker>) {
    for (n, talker) in talkers.into_iter().enumerate() {
        let heard = talker.end().await;
        assert_eq!(heard.len(), usize::from(PACKETS), "party {n}");
        assert!(heard.iter().copied().eq(0..PACKETS), "party {n}: {heard:?}");
    }
}

async fn received(node: &mut Node, name: &str) -> u64 {
    let found = node.client.query_call(query(name)).await.expect("there");
    let found = found.into_inner().call.expect("a call");
    assert_eq!(found.legs[0].lines[0].streams.len(), 1);
    let stream = &found.legs[0].lines[0].streams[0];
    assert_eq!((stream.lost, stream.reordered, stream.duplicates), (0, 0, 0));
    stream.packets
}

async fn nothing_is_lost_when_a_process_takes_over(backend: Backend) {
    let state = tempfile::tempdir().expect("a directory");
    let settings = Settings {
        // Longer than the address of a Unix socket can be.
        state: state.path().join("d".repeat(150)).display().to_string(),
        ..settings(&state)
    };
    hand_over(backend, settings).await;
}

async fn nothing_is_lost_with_shared_sockets(backend: Backend) {
    if !crate::steering::is_there("takeover::nothing_is_lost_with_shared_sockets") {
        return;
    }
    let state = tempfile::tempdir().expect("a directory");
    let settings = Settings {
        steering: "require",
        ..settings(&state)
    };
    hand_over(backend, settings).await;
}

async fn hand_over(backend: Backend, settings: Settings) {
    let mut node = Node::with(backend, settings.clone()).await;
    let talkers = talk(&mut node).await;
    until_sent(&talkers, BEFORE).await;
    let process = successor(backend, &settings);
    let told = loop {
        let line = process.line();
        if line.starts_with("takeover from") {
            break line;
        }
    };
    assert!(told.contains("20 of 20 calls go on"), "{told}");
    println!("{backend:?}: {told}");
    // The old process ends by itself, in order.
    let status = node.process.ended().await;
    assert_eq!(status.code(), Some(0), "{status}, log:\n{}", node.process.log());
    // The listeners are the same, so the client finds the new one.
    let (grpc, ops) = (node.grpc.clone(), node.ops);
    assert_eq!(process.line(), format!("listening grpc {grpc}"));
    assert_eq!(process.line(), format!("listening ops http {ops}"));
    assert_eq!(process.line(), "ready");
    node.process = process;
    let found = node.client.query_call(query("c0")).await.expect("there");
    let left_ms = found.into_inner().call.expect("a call").lease_left_ms;
    let spoken_ms = u64::from(BEFORE) * PAUSE.as_millis() as u64;
    assert!(
        left_ms > 30_000 && left_ms <= 60_000 - spoken_ms,
        "no new lease: {left_ms}"
    );
    until_sent(&talkers, PACKETS).await;
    all_heard(talkers).await;
    for n in 0..CALLS {
        assert_eq!(
            received(&mut node, &format!("c{n}")).await,
            u64::from(PACKETS),
            "counted on"
        );
    }
    let list = wire::ListCallsRequest::default();
    let listed = node.client.list_calls(list).await.expect("listed").into_inner();
    assert_eq!(listed.call_ids.len(), CALLS);
    assert_eq!(
        node.metric("ringpath_dataplane_journal_calls", "").await,
        CALLS as u64
    );
    // And once more.
    let process = successor(backend, &settings);
    let status = node.process.ended().await;
    assert_eq!(status.code(), Some(0), "{status}, log:\n{}", node.process.log());
    while process.line() != "ready" {}
    node.process = process;
    for n in 0..CALLS {
        let deleted = node.client.delete_call(delete(&format!("c{n}"))).await;
        deleted.expect("deleted");
    }
    node.stop().await;
}

async fn a_process_goes_on_when_its_successor_fails(backend: Backend) {
    let state = tempfile::tempdir().expect("a directory");
    let settings = settings(&state);
    let mut node = Node::with(backend, settings.clone()).await;
    let talkers = talk(&mut node).await;
    until_sent(&talkers, BEFORE).await;
    // One that cannot have the calls: it has another number of workers.
    let other = Settings {
        workers: 1,
        ..settings.clone()
    };
    let mut process = successor(backend, &other);
    let status = process.ended().await;
    assert_eq!(status.code(), Some(1));
    assert!(process.log().is_empty() || !process.log().contains("panicked"));
    // Two that die somewhere on the way: one at once, one about when it asks for the calls.
    for built in [false, true] {
        let mut process = successor(backend, &settings);
        while built && !process.line().starts_with("backend") {}
        process.signal(rustix::process::Signal::KILL);
        process.ended().await;
        if !node.process.is_running() {
            // It was too late: the calls are this one's, and gone with it, as with any kill.
            return;
        }
    }
    until_sent(&talkers, PACKETS).await;
    all_heard(talkers).await;
    assert_eq!(received(&mut node, "c7").await, u64::from(PACKETS));
    node.client.delete_call(delete("c7")).await.expect("deleted");
    node.stop().await;
}

async fn without_a_process_a_takeover_is_a_start(backend: Backend) {
    let state = tempfile::tempdir().expect("a directory");
    let settings = settings(&state);
    let process = successor(backend, &settings);
    assert_eq!(process.line(), "takeover: no process runs as this node");
    let started = Node::take(process, backend);
    let channel = started.channel().await;
    started.into_node(channel).stop().await;
}
