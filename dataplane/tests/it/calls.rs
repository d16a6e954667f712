//! Calls as their control plane sees them: idempotency, refusals, what survives whom.

use std::time::Duration;

use proto::media_v1 as wire;
use tonic::Code;

use crate::node::{
    Backend, Node, Settings, call, delete, leg, line, on_both_backends, own_address, query, refusal,
};
use crate::party::{Party, local_rtp};

on_both_backends!(
    a_repeated_request_has_the_same_answer_and_no_effect,
    calls_are_listed_page_by_page,
    every_bad_value_is_refused_with_its_field,
    media_flows_on_when_the_control_plane_vanishes,
    a_command_whose_caller_went_is_carried_out,
    a_draining_node_takes_no_new_calls_and_keeps_the_old,
    capacity_is_a_typed_refusal,
);

fn plain(id: &str) -> wire::CreateCallRequest {
    call(id, line(None), line(None))
}

async fn a_repeated_request_has_the_same_answer_and_no_effect(backend: Backend) {
    let mut node = Node::with(
        backend,
        Settings {
            workers: 2,
            ..Settings::default()
        },
    )
    .await;
    let first = node
        .client
        .create_call(plain("c"))
        .await
        .expect("created")
        .into_inner()
        .call
        .expect("a call");
    let again = node
        .client
        .create_call(plain("c"))
        .await
        .expect("repeated")
        .into_inner()
        .call
        .expect("a call");
    assert_eq!(local_rtp(&first, 0), local_rtp(&again, 0));
    assert_eq!(local_rtp(&first, 1), local_rtp(&again, 1));
    node.metric_becomes("ringpath_dataplane_calls", "", 1).await;

    let other = wire::CreateCallRequest {
        idempotency_key: "other".into(),
        ..plain("c")
    };
    let status = node.client.create_call(other).await.expect_err("another key");
    assert_eq!(
        (status.code(), refusal(&status)),
        (Code::AlreadyExists, "call_exists")
    );

    let last = node
        .client
        .delete_call(delete("c"))
        .await
        .expect("deleted")
        .into_inner();
    assert_eq!(
        node.client
            .delete_call(delete("c"))
            .await
            .expect("repeated")
            .into_inner(),
        last
    );
    let status = node.client.query_call(query("c")).await.expect_err("gone");
    assert_eq!(
        (status.code(), refusal(&status)),
        (Code::NotFound, "unknown_call")
    );
    let other = wire::DeleteCallRequest {
        idempotency_key: "other".into(),
        ..delete("c")
    };
    let status = node.client.delete_call(other).await.expect_err("gone");
    assert_eq!(refusal(&status), "unknown_call");

    let update = wire::UpdateCallRequest {
        call_id: "c".into(),
        idempotency_key: "u".into(),
        legs: vec![leg("a", line(None))],
    };
    let status = node.client.update_call(update).await.expect_err("gone");
    assert_eq!(refusal(&status), "unknown_call");
    node.metric_becomes("ringpath_dataplane_port_pairs", "state=\"used\"", 0)
        .await;
    node.metric_becomes(
        "ringpath_dataplane_commands_total",
        "command=\"delete\",result=\"ok\"",
        2,
    )
    .await;
    node.metric_becomes(
        "ringpath_dataplane_commands_total",
        "command=\"create\",result=\"call_exists\"",
        1,
    )
    .await;
    node.stop().await;
}

async fn calls_are_listed_page_by_page(backend: Backend) {
    let mut node = Node::with(
        backend,
        Settings {
            workers: 2,
            ..Settings::default()
        },
    )
    .await;
    for n in 0..25 {
        node.client
            .create_call(plain(&format!("call-{n:02}")))
            .await
            .expect("created");
    }
    let mut pages = vec![];
    let mut token = String::new();
    loop {
        let request = wire::ListCallsRequest {
            page_size: 10,
            page_token: token,
        };
        let page = node
            .client
            .list_calls(request)
            .await
            .expect("listed")
            .into_inner();
        pages.push(page.call_ids);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
    let all: Vec<String> = pages.concat();
    assert_eq!(all, (0..25).map(|n| format!("call-{n:02}")).collect::<Vec<_>>());
    let whole = node
        .client
        .list_calls(wire::ListCallsRequest::default())
        .await
        .expect("listed")
        .into_inner();
    assert_eq!((whole.call_ids, whole.next_page_token), (all, String::new()));
    node.stop().await;
}

async fn every_bad_value_is_refused_with_its_field(backend: Backend) {
    let mut node = Node::start(backend).await;
    type Spoil = fn(&mut wire::CreateCallRequest);
    let cases: [(&str, Spoil); 17] = [
        ("call_id: is empty", |r| r.call_id.clear()),
        ("call_id: has a character", |r| r.call_id = "two words".into()),
        ("idempotency_key: is empty", |r| r.idempotency_key.clear()),
        ("legs: must be 2 to 2, is 1", |r| r.legs.truncate(1)),
        ("legs[0].leg_id: is longer", |r| r.legs[0].leg_id = "x".repeat(99)),
        ("legs[1].leg_id: is there twice", |r| {
            r.legs[1].leg_id = "a".into()
        }),
        ("legs[0].lines[0].kind: has no meaning", |r| {
            r.legs[0].lines[0].kind = 99
        }),
        ("legs[0].lines[0].direction: has no meaning", |r| {
            r.legs[0].lines[0].direction = 99
        }),
        ("legs[0].lines[0].latching: has no meaning", |r| {
            r.legs[0].lines[0].latching = -7
        }),
        ("legs[0].lines[0].remote.ip: not an IP", |r| {
            r.legs[0].lines[0].remote = Some(wire::Endpoint {
                ip: "localhost".into(),
                port: 1,
            });
        }),
        ("legs[0].lines[0].remote.port: must be 1 to 65535", |r| {
            r.legs[0].lines[0].remote = Some(wire::Endpoint {
                ip: "192.0.2.1".into(),
                port: 65_536,
            });
        }),
        ("legs[0].lines[0].codecs[0].payload_type: must be 0 to 127", |r| {
            r.legs[0].lines[0].codecs[0].payload_type = 128;
        }),
        ("legs[0].lines[0].codecs[0].clock_rate_hz: must be", |r| {
            r.legs[0].lines[0].codecs[0].clock_rate_hz = 0
        }),
        ("lease_ms: must be", |r| r.lease_ms = u64::MAX),
        ("media_timeout_ms: must be", |r| r.media_timeout_ms = u64::MAX),
        ("the lease is longer", |r| r.lease_ms = 3_600_001),
        ("the legs differ", |r| {
            let extra = r.legs[1].lines[0].clone();
            r.legs[1].lines.push(extra);
        }),
    ];
    let mut failures = vec![];
    for (expected, spoil) in cases {
        let mut request = plain("bad");
        spoil(&mut request);
        match node.client.create_call(request).await {
            Err(status)
                if status.code() == Code::InvalidArgument
                    && refusal(&status) == "invalid"
                    && status.message().starts_with(expected) => {}
            other => failures.push(format!("{expected}: {other:?}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));

    let mut request = plain("bad");
    request.legs[0].interface = "nowhere".into();
    let status = node
        .client
        .create_call(request)
        .await
        .expect_err("no such interface");
    assert_eq!(
        (status.code(), refusal(&status)),
        (Code::FailedPrecondition, "unknown_interface")
    );
    let mut request = plain("bad");
    request.legs[1].ipv6 = true;
    let status = node.client.create_call(request).await.expect_err("no IPv6 there");
    assert_eq!(refusal(&status), "unknown_interface");

    let page = wire::ListCallsRequest {
        page_size: 1_001,
        ..Default::default()
    };
    let status = node.client.list_calls(page).await.expect_err("too large");
    assert_eq!(status.message(), "page_size: must be 1 to 1000, is 1001");
    let page = wire::ListCallsRequest {
        page_token: "\u{1}".into(),
        ..Default::default()
    };
    let status = node.client.list_calls(page).await.expect_err("not one of ours");
    assert!(status.message().starts_with("page_token: "), "{status}");
    let watch = wire::WatchStatisticsRequest {
        interval_ms: 50,
        ..Default::default()
    };
    let status = node.client.watch_statistics(watch).await.expect_err("too often");
    assert_eq!(status.message(), "interval_ms: must be 100 to 60000, is 50");
    let renew = wire::RenewLeasesRequest {
        call_ids: vec!["x".into(); 10_001],
    };
    let status = node.client.renew_leases(renew).await.expect_err("too many");
    assert_eq!(status.message(), "call_ids: must be 0 to 10000, is 10001");

    node.metric_becomes(
        "ringpath_dataplane_commands_total",
        "command=\"create\",result=\"invalid\"",
        17,
    )
    .await;
    node.metric_becomes("ringpath_dataplane_port_pairs", "state=\"free\"", 500)
        .await;
    node.stop().await;
}

async fn media_flows_on_when_the_control_plane_vanishes(backend: Backend) {
    let mut node = Node::start(backend).await;
    let (mut a, mut b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    let request = call("orphan", line(Some(a.address())), line(Some(b.address())));
    let made = node
        .client
        .create_call(request)
        .await
        .expect("created")
        .into_inner()
        .call
        .expect("a call");
    a.send(local_rtp(&made, 0), 10).await;
    b.receive(10).await;

    let Node {
        mut process, client, ..
    } = node;
    drop(client);
    for _ in 0..5 {
        a.send(local_rtp(&made, 0), 20).await;
        b.receive(20).await;
        b.send(local_rtp(&made, 1), 20).await;
        a.receive(20).await;
    }
    assert!(process.is_running());
}

async fn a_command_whose_caller_went_is_carried_out(backend: Backend) {
    let mut node = Node::with(
        backend,
        Settings {
            workers: 2,
            ..Settings::default()
        },
    )
    .await;
    for n in 0..50 {
        let mut request = tonic::Request::new(plain(&format!("hasty-{n}")));
        // Too short for most: the answer finds nobody.
        request.set_timeout(Duration::from_micros(300));
        let _ = node.client.create_call(request).await;
    }
    // Repeated with the same keys and patience, every one is there once.
    for n in 0..50 {
        node.client
            .create_call(plain(&format!("hasty-{n}")))
            .await
            .expect("there, or created now");
    }
    node.metric_becomes("ringpath_dataplane_calls", "", 50).await;
    node.metric_becomes("ringpath_dataplane_port_pairs", "state=\"used\"", 100)
        .await;
    let described = node
        .client
        .describe(wire::DescribeRequest {})
        .await
        .expect("answers")
        .into_inner();
    assert_eq!(described.load.expect("load").calls, 50);
    for n in 0..50 {
        node.client
            .delete_call(delete(&format!("hasty-{n}")))
            .await
            .expect("deleted");
    }
    let described = node
        .client
        .describe(wire::DescribeRequest {})
        .await
        .expect("answers")
        .into_inner();
    assert_eq!(described.load.expect("load").calls, 0);
    node.stop().await;
}

async fn a_draining_node_takes_no_new_calls_and_keeps_the_old(backend: Backend) {
    let mut node = Node::start(backend).await;
    node.client.create_call(plain("old")).await.expect("created");
    let drained = node
        .client
        .drain(wire::DrainRequest { drain: true })
        .await
        .expect("drains")
        .into_inner();
    assert_eq!(drained.calls_left, 1);
    let status = node.client.create_call(plain("new")).await.expect_err("draining");
    assert_eq!((status.code(), refusal(&status)), (Code::Unavailable, "draining"));
    node.client
        .create_call(plain("old"))
        .await
        .expect("a repetition is not a new call");
    assert_eq!(
        node.http("/readyz").await,
        ("HTTP/1.1 503 Service Unavailable".into(), "draining\n".into())
    );
    assert!(
        node.client
            .describe(wire::DescribeRequest {})
            .await
            .expect("answers")
            .into_inner()
            .draining
    );
    assert_eq!(node.metric("ringpath_dataplane_draining", "").await, 1);
    node.client.query_call(query("old")).await.expect("still there");
    node.client.delete_call(delete("old")).await.expect("deleted");
    let drained = node
        .client
        .drain(wire::DrainRequest { drain: false })
        .await
        .expect("resumes")
        .into_inner();
    assert_eq!(drained.calls_left, 0);
    node.client.create_call(plain("new")).await.expect("created");
    assert_eq!(node.http("/readyz").await.1, "ready\n");
    node.stop().await;
}

async fn capacity_is_a_typed_refusal(backend: Backend) {
    let settings = Settings {
        limits: "calls_max = 3".into(),
        workers: 2,
        ..Settings::default()
    };
    let mut node = Node::with(backend, settings).await;
    for n in 0..3 {
        node.client
            .create_call(plain(&n.to_string()))
            .await
            .expect("room");
    }
    let status = node.client.create_call(plain("3")).await.expect_err("full");
    assert_eq!(
        (status.code(), refusal(&status)),
        (Code::ResourceExhausted, "no_capacity")
    );
    let status = node.client.query_call(query("3")).await.expect_err("no trace");
    assert_eq!(refusal(&status), "unknown_call");
    node.client.delete_call(delete("1")).await.expect("deleted");
    node.client.create_call(plain("3")).await.expect("room again");
    node.stop().await;
}
