//! One socket for all ports of a worker.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use proto::media_v1 as wire;
use tempfile::NamedTempFile;

use crate::node::{Backend, Node, Settings, call, delete, line, on_both_backends, own_address, query};
use crate::party::{Party, local_rtp};
use crate::process::{self, PATIENCE, Process};

on_both_backends!(
    ten_thousand_calls_need_no_files,
    calls_on_several_workers_keep_to_their_own,
    a_port_that_another_process_holds_keeps_its_packets,
    nodes_with_the_same_ports_notice_each_other,
    a_node_beside_one_that_steers_the_same_ports_takes_none_of_its_calls,
    without_privilege_a_port_has_a_socket_and_the_node_says_why,
);

/// Whether ports can be steered on this machine; if not, says so and, under `STRICT=1`, fails.
pub fn is_there(test: &str) -> bool {
    static AUTO: LazyLock<String> = LazyLock::new(|| {
        let settings = Settings {
            steering: "auto",
            ..Settings::default()
        };
        Process::start(&settings.toml(), &["--backend", "socket"]).line()
    });
    let there = AUTO.contains("ports are steered");
    assert!(
        there || std::env::var_os("STRICT").is_none_or(|strict| strict != "1"),
        "SKIP {test}: {}",
        *AUTO
    );
    if !there {
        eprintln!("SKIP {test}: {}", *AUTO);
    }
    there
}

fn steered() -> Settings {
    Settings {
        steering: "require",
        ..Settings::default()
    }
}

/// The node by way of other programs, each of which replaces itself by the next.
fn spawn_after(before: &[&str], backend: Backend, settings: &Settings) -> (Process, NamedTempFile) {
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), settings.toml()).expect("written");
    let node = process::command(file.path());
    let mut command = Command::new(before[0]);
    command
        .args(&before[1..])
        .arg(node.get_program())
        .args(node.get_args());
    command.args(["--backend", backend.name()]);
    for (name, _) in node.get_envs() {
        command.env_remove(name);
    }
    (Process::spawn(&mut command).expect("starts"), file)
}

fn files(process: &Process) -> usize {
    std::fs::read_dir(process.proc().join("fd"))
        .expect("it runs")
        .count()
}

async fn create(node: &mut Node, request: wire::CreateCallRequest) -> wire::Call {
    let answer = node.client.create_call(request).await.expect("created");
    answer.into_inner().call.expect("a call")
}

async fn ten_thousand_calls_need_no_files(backend: Backend) {
    const CALLS: usize = 10_000;
    if !is_there("ten_thousand_calls_need_no_files") {
        return;
    }
    let settings = Settings {
        // Two pairs a call, and some more.
        ports: "20000-60999".into(),
        ..steered()
    };
    let limit = ["prlimit", "--nofile=20000:20000", "--"];
    let (process, _config) = spawn_after(&limit, backend, &settings);
    let started = Node::take(process, backend);
    let channel = started.channel().await;
    let mut node = started.into_node(channel);
    let before = files(&node.process);
    let (mut a, mut b) = (Party::at(own_address()).await, Party::at(own_address()).await);

    let clients: Vec<_> = (0..8)
        .map(|client| {
            let (mut connection, a, b) = (node.client.clone(), a.address(), b.address());
            tokio::spawn(async move {
                let mut some = Vec::new();
                for number in (client..CALLS).step_by(8) {
                    let request = call(&format!("call-{number}"), line(Some(a)), line(Some(b)));
                    let answer = connection.create_call(request).await;
                    let made = answer.unwrap_or_else(|status| panic!("call {number}: {status}"));
                    if number % 100 == 0 {
                        some.push(made.into_inner().call.expect("a call"));
                    }
                }
                some
            })
        })
        .collect();
    let mut some = Vec::new();
    for client in clients {
        some.extend(client.await.expect("no panic"));
    }
    assert_eq!(node.metric("ringpath_dataplane_calls", "").await, CALLS as u64);
    assert_eq!(some.len(), CALLS / 100);
    for made in &some {
        a.send(local_rtp(made, 0), 3).await;
        assert_eq!(b.receive(3).await, local_rtp(made, 1));
        b.send(local_rtp(made, 1), 3).await;
        assert_eq!(a.receive(3).await, local_rtp(made, 0));
    }
    // Connections of the scrape and the like.
    assert!(
        files(&node.process) < before + 10,
        "{before}, then {}",
        files(&node.process)
    );
    let one_more = node
        .client
        .create_call(call("more", line(None), line(None)))
        .await;
    assert_eq!(
        one_more.expect_err("limits.calls_max").code(),
        tonic::Code::ResourceExhausted
    );
    node.stop().await;
}

async fn calls_on_several_workers_keep_to_their_own(backend: Backend) {
    if !is_there("calls_on_several_workers_keep_to_their_own") {
        return;
    }
    let mut node = Node::with(
        backend,
        Settings {
            workers: 3,
            ..steered()
        },
    )
    .await;
    let (mut a, mut b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    for number in 0..30 {
        let id = format!("call-{number}");
        let made = create(
            &mut node,
            call(&id, line(Some(a.address())), line(Some(b.address()))),
        )
        .await;
        a.send(local_rtp(&made, 0), 5).await;
        assert_eq!(b.receive(5).await, local_rtp(&made, 1));
        b.send(local_rtp(&made, 1), 5).await;
        assert_eq!(a.receive(5).await, local_rtp(&made, 0));
        if number % 2 == 0 {
            node.client.delete_call(delete(&id)).await.expect("deleted");
            a.send(local_rtp(&made, 0), 1).await;
        }
    }
    b.hears_nothing().await;
    let report = node
        .client
        .query_call(query("call-1"))
        .await
        .expect("it lives")
        .into_inner();
    let report = report.call.expect("a call");
    assert!(report.legs[0].lines[0].path_reason.contains("steered"));
    node.stop().await;
}

async fn a_port_that_another_process_holds_keeps_its_packets(backend: Backend) {
    if !is_there("a_port_that_another_process_holds_keeps_its_packets") {
        return;
    }
    let address = own_address();
    // All RTP ports but those of two pairs.
    let held: Vec<UdpSocket> = (20_000..20_012)
        .step_by(2)
        .map(|port| UdpSocket::bind((address, port)).expect("ours alone"))
        .collect();
    let settings = Settings {
        address: address.into(),
        ports: "20000-20015".into(),
        ..steered()
    };
    let mut node = Node::with(backend, settings).await;
    create(&mut node, call("1", line(None), line(None))).await;
    let status = node.client.create_call(call("2", line(None), line(None))).await;
    assert_eq!(
        status.expect_err("none left").code(),
        tonic::Code::ResourceExhausted
    );
    let sender = UdpSocket::bind((own_address(), 0)).expect("binds");
    for socket in &held {
        socket.set_read_timeout(Some(PATIENCE)).expect("a valid time");
        sender
            .send_to(b"not media", socket.local_addr().expect("bound"))
            .expect("sent");
        let mut bytes = [0; 16];
        assert_eq!(socket.recv(&mut bytes).expect("it comes to its owner"), 9);
    }
    node.stop().await;
}

async fn nodes_with_the_same_ports_notice_each_other(backend: Backend) {
    if !is_there("nodes_with_the_same_ports_notice_each_other") {
        return;
    }
    let mut settings = steered();
    let first = Node::with(backend, settings.clone()).await;
    let mut second = Process::start(&settings.toml(), &["--backend", backend.name()]);
    assert!(!second.ended().await.success());
    assert!(
        second.log().contains("ports 20000-20999") && second.log().contains("which steers them"),
        "{}",
        second.log()
    );
    settings.steering = "auto";
    settings.ports = "20900-21999".into();
    let second = Process::start(&settings.toml(), &["--backend", backend.name()]);
    let said = second.line();
    assert!(
        said.contains("a socket a port (no steering: ports 20000-20999"),
        "{said}"
    );
    drop(second);
    // Ranges beside each other are no conflict.
    settings.steering = "require";
    settings.ports = "21000-21999".into();
    Node::with(backend, settings).await.stop().await;
    first.stop().await;
}

async fn a_node_beside_one_that_steers_the_same_ports_takes_none_of_its_calls(backend: Backend) {
    if !is_there("a_node_beside_one_that_steers_the_same_ports_takes_none_of_its_calls") {
        return;
    }
    // Two pairs: one call.
    let mut settings = Settings {
        ports: "20000-20003".into(),
        limits: "port_quarantine_ms = 0\nport_set_aside_ms = 0".into(),
        ..steered()
    };
    let mut first = Node::with(backend, settings.clone()).await;
    settings.steering = "auto";
    let mut second = Node::with(backend, settings).await;
    let (mut a, mut b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    for round in 0..3 {
        for (one, other) in [(0, 1), (1, 0)] {
            let nodes = [&mut first, &mut second];
            let id = format!("call-{round}-{one}");
            let made = nodes[one]
                .client
                .create_call(call(&id, line(Some(a.address())), line(Some(b.address()))))
                .await
                .expect("the ports are free");
            let made = made.into_inner().call.expect("a call");
            let refused = nodes[other]
                .client
                .create_call(call("other", line(None), line(None)))
                .await;
            assert_eq!(
                refused.expect_err("they are taken").code(),
                tonic::Code::ResourceExhausted
            );
            a.send(local_rtp(&made, 0), 5).await;
            assert_eq!(b.receive(5).await, local_rtp(&made, 1));
            b.send(local_rtp(&made, 1), 5).await;
            assert_eq!(a.receive(5).await, local_rtp(&made, 0));
            nodes[one].client.delete_call(delete(&id)).await.expect("deleted");
        }
    }
    first.stop().await;
    second.stop().await;
}

async fn without_privilege_a_port_has_a_socket_and_the_node_says_why(backend: Backend) {
    let settings = Settings {
        steering: "auto",
        ..Settings::default()
    };
    if !Path::new("/usr/bin/setpriv").exists() || !is_there("without_privilege") {
        return;
    }
    let without = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--"];
    let (process, _config) = spawn_after(&without, backend, &settings);
    let said = process.line();
    assert!(
        said.contains("a socket a port (no steering: ") && said.contains("CAP_BPF"),
        "{said}"
    );
    drop(process);
    let settings = Settings {
        steering: "require",
        ..settings
    };
    let (mut process, _config) = spawn_after(&without, backend, &settings);
    assert!(!process.ended().await.success());
    assert!(
        process.log().contains("io.steering is \"require\""),
        "{}",
        process.log()
    );
}
