//! Changing a call's media: hold, disabled lines, a new destination.

use proto::media_v1 as wire;

use crate::node::{Backend, Node, call, leg, line, on_both_backends, own_address, query, refusal};
use crate::party::{Party, local_rtp};

on_both_backends!(
    hold_stops_media_one_way_and_resume_brings_it_back,
    a_disabled_line_gives_its_ports_back_and_can_return,
    a_new_remote_address_moves_the_media,
);

fn update(key: &str, leg_id: &str, line: wire::MediaLine) -> wire::UpdateCallRequest {
    wire::UpdateCallRequest {
        call_id: "call".into(),
        idempotency_key: key.into(),
        legs: vec![leg(leg_id, line)],
    }
}

async fn made(node: &mut Node, a: &Party, b: &Party) -> wire::Call {
    let request = call("call", line(Some(a.address())), line(Some(b.address())));
    node.client
        .create_call(request)
        .await
        .expect("created")
        .into_inner()
        .call
        .expect("a call")
}

async fn hold_stops_media_one_way_and_resume_brings_it_back(backend: Backend) {
    let mut node = Node::start(backend).await;
    let (mut a, mut b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    let made = made(&mut node, &a, &b).await;
    a.send(local_rtp(&made, 0), 3).await;
    b.receive(3).await;

    let mut held = line(Some(a.address()));
    held.direction = wire::Direction::Sendonly.into();
    let answer = node
        .client
        .update_call(update("hold", "a", held.clone()))
        .await
        .expect("held")
        .into_inner();
    assert_eq!(
        local_rtp(answer.call.as_ref().expect("a call"), 0),
        local_rtp(&made, 0),
        "ports stay"
    );
    node.client
        .update_call(update("hold", "a", held))
        .await
        .expect("repeated");
    b.send(local_rtp(&made, 1), 5).await;
    node.metric_becomes(
        "ringpath_dataplane_packets_dropped_total",
        "reason=\"peer_not_receiving\"",
        5,
    )
    .await;
    a.send(local_rtp(&made, 0), 3).await;
    b.receive(3).await;

    node.client
        .update_call(update("resume", "a", line(Some(a.address()))))
        .await
        .expect("resumed");
    b.send(local_rtp(&made, 1), 5).await;
    a.receive(5).await;

    let status = node
        .client
        .update_call(update("x", "c", line(None)))
        .await
        .expect_err("no such leg");
    assert_eq!(refusal(&status), "unknown_leg");
    node.stop().await;
}

async fn a_disabled_line_gives_its_ports_back_and_can_return(backend: Backend) {
    let mut node = Node::start(backend).await;
    let (mut a, b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    made(&mut node, &a, &b).await;
    node.metric_becomes("ringpath_dataplane_port_pairs", "state=\"used\"", 2)
        .await;
    let disabled = wire::MediaLine {
        disabled: true,
        remote: Some(wire::Endpoint {
            ip: a.address().ip().to_string(),
            port: 0,
        }),
        ..line(None)
    };
    let answer = node
        .client
        .update_call(update("off", "a", disabled))
        .await
        .expect("disabled")
        .into_inner();
    assert_eq!(answer.call.expect("a call").legs[0].lines[0].local_rtp, None);
    node.metric_becomes("ringpath_dataplane_port_pairs", "state=\"used\"", 1)
        .await;

    let answer = node
        .client
        .update_call(update("on", "a", line(Some(a.address()))))
        .await
        .expect("enabled");
    let call = answer.into_inner().call.expect("a call");
    a.send(local_rtp(&call, 0), 4).await;
    b.receive(4).await;
    node.stop().await;
}

async fn a_new_remote_address_moves_the_media(backend: Backend) {
    let mut node = Node::start(backend).await;
    let (mut a, b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    let mut elsewhere = Party::at(own_address()).await;
    let made = made(&mut node, &a, &b).await;
    a.send(local_rtp(&made, 0), 3).await;
    b.receive(3).await;
    node.client
        .update_call(update("move", "b", line(Some(elsewhere.address()))))
        .await
        .expect("moved");
    a.send(local_rtp(&made, 0), 3).await;
    elsewhere.receive(3).await;
    elsewhere.send(local_rtp(&made, 1), 3).await;
    a.receive(3).await;
    b.hears_nothing().await;
    let status = node
        .client
        .query_call(query("call"))
        .await
        .expect("there")
        .into_inner()
        .call
        .expect("a call");
    assert_eq!(
        status.legs[1].lines[0].learned,
        Some(crate::node::endpoint(elsewhere.address()))
    );
    node.stop().await;
}
