//! A node that is killed, and the process after it: calls in user space lose what comes between the two and nothing else.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use proto::media_v1 as wire;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::node::{
    Backend, Node, Settings, call, delete, line, on_both_backends, own_address, query, refusal,
    socket_address,
};
use crate::party::{Party, local_rtp};
use crate::process::{PATIENCE, Process, command};

on_both_backends!(
    after_a_kill_calls_go_on_with_the_ports_and_sources_that_they_had,
    a_call_whose_port_is_taken_is_lost_and_the_others_go_on,
    restored_calls_end_with_their_leases,
    a_clean_stop_leaves_nothing,
);

/// Settings with a state directory, for processes one after the other.
fn settings(state: &TempDir) -> Settings {
    Settings {
        state: state.path().display().to_string(),
        workers: 2,
        ..Settings::default()
    }
}

fn state() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// kill -9, and the end of the process.
async fn kill(node: &mut Node) {
    node.process.signal(Signal::KILL);
    node.process.ended().await;
}

async fn create(node: &mut Node, request: wire::CreateCallRequest) -> wire::Call {
    let made = node.client.create_call(request).await.expect("created");
    made.into_inner().call.expect("a call")
}

async fn list(node: &mut Node) -> Vec<String> {
    let request = wire::ListCallsRequest::default();
    node.client
        .list_calls(request)
        .await
        .expect("listed")
        .into_inner()
        .call_ids
}

async fn there(node: &mut Node, name: &str) -> wire::Call {
    let found = node.client.query_call(query(name)).await.expect("there");
    found.into_inner().call.expect("a call")
}

/// Where the parties of a call send.
fn ports(call: &wire::Call) -> [SocketAddr; 2] {
    [local_rtp(call, 0), local_rtp(call, 1)]
}

async fn after_a_kill_calls_go_on_with_the_ports_and_sources_that_they_had(backend: Backend) {
    let state = state();
    let settings = settings(&state);
    let mut node = Node::with(backend, settings.clone()).await;
    let (mut a, mut b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    // `a` is behind a NAT: it sends from another port than it says.
    let mut nat: SocketAddr = a.address();
    nat.set_port(9);
    let request = call("kept", line(Some(nat)), line(Some(b.address())));
    let made = create(&mut node, request.clone()).await;
    for name in ["held", "deleted"] {
        create(&mut node, call(name, line(None), line(None))).await;
    }
    node.client.delete_call(delete("deleted")).await.expect("deleted");
    let update = wire::UpdateCallRequest {
        call_id: "held".into(),
        idempotency_key: "an-update".into(),
        legs: vec![crate::node::leg(
            "b",
            line(Some("127.0.0.1:4000".parse().expect("an address"))),
        )],
    };
    let updated = node.client.update_call(update.clone()).await.expect("updated");
    let updated = updated.into_inner().call.expect("a call");
    a.send(local_rtp(&made, 0), 10).await;
    // The first two teach the source.
    b.receive(8).await;
    let source = wire::Endpoint {
        ip: a.address().ip().to_string(),
        port: a.address().port().into(),
    };
    let before = there(&mut node, "kept").await;
    assert_eq!(before.legs[0].lines[0].learned, Some(source.clone()));
    assert_eq!(node.metric("ringpath_dataplane_journal_calls", "").await, 2);
    kill(&mut node).await;

    let mut node = Node::with(backend, settings).await;
    assert_eq!(list(&mut node).await, ["held", "kept"]);
    let after = there(&mut node, "kept").await;
    assert_eq!(ports(&after), ports(&before));
    assert_eq!(after.legs[0].lines[0].learned, Some(source));
    assert!(
        after.age_ms >= before.age_ms,
        "{} {}",
        after.age_ms,
        before.age_ms
    );
    assert!(
        after.lease_left_ms > 59_000,
        "a new lease: {}",
        after.lease_left_ms
    );
    // Known at once, both ways, and from nobody else.
    let mut stranger = Party::at(own_address()).await;
    stranger.send(local_rtp(&after, 0), 3).await;
    a.send(local_rtp(&after, 0), 5).await;
    assert_eq!(b.receive(5).await, local_rtp(&after, 1));
    b.send(local_rtp(&after, 1), 5).await;
    assert_eq!(a.receive(5).await, local_rtp(&after, 0));
    b.hears_nothing().await;

    // Repeated requests have no effect here, either.
    assert_eq!(create(&mut node, request).await.call_id, "kept");
    let again = node.client.update_call(update).await.expect("updated");
    assert_eq!(
        ports(&again.into_inner().call.expect("a call")),
        ports(&updated),
        "the other call's ports"
    );
    let remote = there(&mut node, "held").await;
    assert_eq!(remote.legs.len(), 2);
    node.metric_becomes("ringpath_dataplane_calls_restored_total", "", 2)
        .await;
    for name in ["kept", "held"] {
        node.client.delete_call(delete(name)).await.expect("deleted");
    }
    assert_eq!(node.metric("ringpath_dataplane_journal_calls", "").await, 0);
    node.stop().await;
}

async fn a_call_whose_port_is_taken_is_lost_and_the_others_go_on(backend: Backend) {
    let state = state();
    let settings = settings(&state);
    let mut node = Node::with(backend, settings.clone()).await;
    let first = create(&mut node, call("first", line(None), line(None))).await;
    create(&mut node, call("second", line(None), line(None))).await;
    kill(&mut node).await;
    let port = socket_address(first.legs[1].lines[0].local_rtcp.as_ref().expect("enabled"));
    // The sockets of a ring are closed behind the end of its process.
    let taken = async {
        loop {
            match tokio::net::UdpSocket::bind(port).await {
                Ok(socket) => return socket,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let taken = tokio::time::timeout(PATIENCE, taken)
        .await
        .expect("free while no node runs");

    let mut node = Node::with(backend, settings.clone()).await;
    assert_eq!(list(&mut node).await, ["second"]);
    node.metric_becomes("ringpath_dataplane_calls_not_restored_total", "", 1)
        .await;
    let status = node.client.query_call(query("first")).await.expect_err("lost");
    assert_eq!(refusal(&status), "unknown_call");
    // Lost for good.
    drop(taken);
    kill(&mut node).await;
    let mut node = Node::with(backend, settings).await;
    assert_eq!(list(&mut node).await, ["second"]);
    node.stop().await;
}

async fn restored_calls_end_with_their_leases(backend: Backend) {
    let state = state();
    let settings = settings(&state);
    let mut node = Node::with(backend, settings.clone()).await;
    let request = wire::CreateCallRequest {
        lease_ms: 1_000,
        ..call("short", line(None), line(None))
    };
    create(&mut node, request).await;
    kill(&mut node).await;
    let node = Node::with(backend, settings.clone()).await;
    node.metric_becomes("ringpath_dataplane_leases_expired_total", "", 1)
        .await;
    node.metric_becomes("ringpath_dataplane_journal_calls", "", 0)
        .await;
    node.metric_becomes("ringpath_dataplane_port_pairs", "state=\"used\"", 0)
        .await;
    let mut node = node;
    kill(&mut node).await;
    let mut node = Node::with(backend, settings).await;
    assert!(list(&mut node).await.is_empty());
    node.stop().await;
}

async fn a_clean_stop_leaves_nothing(backend: Backend) {
    let state = state();
    let settings = settings(&state);
    let mut node = Node::with(backend, settings.clone()).await;
    create(&mut node, call("c", line(None), line(None))).await;
    node.stop().await;
    let mut node = Node::with(backend, settings).await;
    assert!(list(&mut node).await.is_empty());
    node.stop().await;
}

fn journal(root: &Path) -> std::path::PathBuf {
    root.join("media-it").join("journal")
}

#[tokio::test]
async fn of_a_damaged_journal_the_calls_before_the_damage_go_on() {
    let state = state();
    let settings = settings(&state);
    let mut node = Node::with(Backend::Socket, settings.clone()).await;
    create(&mut node, call("c", line(None), line(None))).await;
    create(&mut node, call("d", line(None), line(None))).await;
    kill(&mut node).await;
    let path = journal(state.path());
    let mut bytes = std::fs::read(&path).expect("there");
    // In the last entry, that of the call "d".
    let last = bytes.len() - 5;
    bytes[last] ^= 0xff;
    std::fs::write(&path, &bytes).expect("written");
    let process = Process::start(&settings.toml(), &["--backend", "socket"]);
    let told = process.line();
    assert!(
        told.contains("1 calls left there")
            && told.contains("are left out")
            && told.contains("journal.damaged"),
        "{told}"
    );
    let started = Node::take(process, Backend::Socket);
    let channel = started.channel().await;
    let mut node = started.into_node(channel);
    assert_eq!(list(&mut node).await, ["c"]);
    assert!(node.metric("ringpath_dataplane_journal_left_out_bytes", "").await > 0);
    assert_eq!(
        std::fs::read(path.with_extension("damaged")).expect("kept"),
        bytes
    );
    node.stop().await;
}

#[tokio::test]
async fn two_processes_cannot_be_one_node() {
    let state = state();
    let node = Node::with(Backend::Socket, settings(&state)).await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), settings(&state).toml()).expect("written");
    let output = command(file.path()).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("state_directory: another process is this node"),
        "{told}"
    );
    node.stop().await;
}
