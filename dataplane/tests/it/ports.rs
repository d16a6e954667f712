//! The port pool: exhaustion, rest, recovery.

use std::net::UdpSocket;

use tonic::Code;

use crate::node::{Backend, Node, Settings, call, delete, line, on_both_backends, own_address, refusal};

on_both_backends!(
    exhaustion_is_a_typed_refusal_and_ports_come_back_after_their_rest,
    a_port_that_another_process_holds_is_passed_over,
);

async fn exhaustion_is_a_typed_refusal_and_ports_come_back_after_their_rest(backend: Backend) {
    let settings = Settings {
        ports: "20000-20007".into(),
        limits: "port_quarantine_ms = 500".into(),
        ..Settings::default()
    };
    let mut node = Node::with(backend, settings).await;
    for id in ["1", "2"] {
        node.client
            .create_call(call(id, line(None), line(None)))
            .await
            .expect("two pairs each");
    }
    let status = node
        .client
        .create_call(call("3", line(None), line(None)))
        .await
        .expect_err("none left");
    assert_eq!(
        (status.code(), refusal(&status)),
        (Code::ResourceExhausted, "no_ports")
    );
    assert_eq!(
        node.metric("ringpath_dataplane_port_pairs", "state=\"used\"")
            .await,
        4,
        "all or nothing"
    );

    node.client.delete_call(delete("1")).await.expect("deleted");
    node.metric_becomes("ringpath_dataplane_port_pairs", "state=\"quarantined\"", 2)
        .await;
    let status = node
        .client
        .create_call(call("3", line(None), line(None)))
        .await
        .expect_err("they rest");
    assert_eq!(refusal(&status), "no_ports");
    node.metric_becomes("ringpath_dataplane_port_pairs", "state=\"free\"", 2)
        .await;
    node.client
        .create_call(call("3", line(None), line(None)))
        .await
        .expect("rested");
    assert_eq!(
        node.metric(
            "ringpath_dataplane_commands_total",
            "command=\"create\",result=\"no_ports\""
        )
        .await,
        2
    );
    node.stop().await;
}

async fn a_port_that_another_process_holds_is_passed_over(backend: Backend) {
    let address = own_address();
    // All RTP ports but those of two pairs.
    let held: Vec<UdpSocket> = (20_000..20_012)
        .step_by(2)
        .map(|port| UdpSocket::bind((address, port)).expect("ours alone"))
        .collect();
    let settings = Settings {
        address: address.into(),
        ports: "20000-20015".into(),
        ..Settings::default()
    };
    let mut node = Node::with(backend, settings).await;
    node.client
        .create_call(call("1", line(None), line(None)))
        .await
        .expect("the two pairs that are free");
    let status = node
        .client
        .create_call(call("2", line(None), line(None)))
        .await
        .expect_err("none left");
    assert_eq!(refusal(&status), "no_ports");
    assert!(node.metric("ringpath_dataplane_ports_in_use_total", "").await > 0);
    drop(held);
    node.stop().await;
}
