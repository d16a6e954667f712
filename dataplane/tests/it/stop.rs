//! The end of the process, wanted or not.

use proto::media_v1 as wire;
use proto::media_v1::watch_events_response::Event;
use rustix::process::Signal;

use crate::node::{Backend, Node, Settings, call, line, on_both_backends, own_address, query, refusal};
use crate::party::{Party, local_rtp};
use crate::process::PATIENCE;

on_both_backends!(
    sigterm_lets_calls_end_within_the_grace,
    what_is_left_after_the_grace_ends_with_an_event,
    a_second_signal_cuts_the_grace_short,
    thousands_of_calls_end_with_an_event_each,
);

async fn sigterm_lets_calls_end_within_the_grace(backend: Backend) {
    let mut node = Node::with(
        backend,
        Settings {
            grace_ms: 60_000,
            ..Settings::default()
        },
    )
    .await;
    let (mut a, b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    let request = call("last", line(Some(a.address())), line(Some(b.address())));
    let made = node
        .client
        .create_call(request)
        .await
        .expect("created")
        .into_inner()
        .call
        .expect("a call");
    node.process.signal(Signal::TERM);
    let stopping = async {
        while node.http("/readyz").await.1 != "stopping\n" {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, stopping)
        .await
        .expect("told to those who ask");
    let status = node
        .client
        .create_call(call("new", line(None), line(None)))
        .await
        .expect_err("stopping");
    assert_eq!(refusal(&status), "draining");
    let status = node
        .client
        .drain(wire::DrainRequest { drain: false })
        .await
        .expect_err("stopping for good");
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    let status = node
        .client
        .create_call(call("new", line(None), line(None)))
        .await
        .expect_err("still stopping");
    assert_eq!(refusal(&status), "draining");
    a.send(local_rtp(&made, 0), 20).await;
    b.receive(20).await;
    node.client.query_call(query("last")).await.expect("still there");
    // The call's own end is the end of the node, long before the grace.
    node.client
        .delete_call(crate::node::delete("last"))
        .await
        .expect("deleted");
    assert_eq!(node.process.ended().await.code(), Some(0));
}

async fn what_is_left_after_the_grace_ends_with_an_event(backend: Backend) {
    let mut node = Node::with(
        backend,
        Settings {
            grace_ms: 100,
            workers: 2,
            ..Settings::default()
        },
    )
    .await;
    let mut events = node
        .client
        .watch_events(wire::WatchEventsRequest {})
        .await
        .expect("watched")
        .into_inner();
    let statistics = wire::WatchStatisticsRequest::default();
    let mut statistics = node
        .client
        .watch_statistics(statistics)
        .await
        .expect("watched")
        .into_inner();
    for id in ["x", "y", "z"] {
        node.client
            .create_call(call(id, line(None), line(None)))
            .await
            .expect("created");
    }
    node.process.signal(Signal::TERM);
    let mut ended = vec![];
    while let Some(message) = events.message().await.expect("a clean end of the stream") {
        let Some(Event::CallEvent(wire::CallEvent {
            call_id,
            kind: Some(wire::call_event::Kind::Ended(end)),
        })) = message.event
        else {
            panic!("{message:?}")
        };
        assert_eq!(end.cause(), wire::EndCause::Shutdown);
        ended.push(call_id);
    }
    ended.sort();
    assert_eq!(ended, ["x", "y", "z"]);
    while statistics
        .message()
        .await
        .expect("a clean end of the stream")
        .is_some()
    {}
    assert_eq!(node.process.ended().await.code(), Some(0));
}

async fn a_second_signal_cuts_the_grace_short(backend: Backend) {
    let mut node = Node::with(
        backend,
        Settings {
            grace_ms: 600_000,
            ..Settings::default()
        },
    )
    .await;
    node.client
        .create_call(call("stays", line(None), line(None)))
        .await
        .expect("created");
    node.process.signal(Signal::TERM);
    let stopping = async {
        while node.http("/readyz").await.1 != "stopping\n" {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, stopping)
        .await
        .expect("the first signal is heard");
    node.process.signal(Signal::INT);
    assert_eq!(node.process.ended().await.code(), Some(0));
}

async fn thousands_of_calls_end_with_an_event_each(backend: Backend) {
    const CALLS: usize = 3_000;
    let settings = Settings {
        ports: "20000-39999".into(),
        limits: "lease_default_ms = 600000".into(),
        ..Settings::default()
    };
    let mut node = Node::with(backend, settings).await;
    let mut events = node
        .client
        .watch_events(wire::WatchEventsRequest {})
        .await
        .expect("watched")
        .into_inner();
    let capacity = node
        .client
        .describe(wire::DescribeRequest {})
        .await
        .expect("answers")
        .into_inner()
        .capacity;
    let calls = CALLS.min(capacity.expect("capacity").calls_max as usize);
    for n in 0..calls {
        node.client
            .create_call(call(&n.to_string(), line(None), line(None)))
            .await
            .expect("created");
    }
    node.process.signal(Signal::TERM);
    let mut ended = 0;
    while let Some(message) = events.message().await.expect("a clean end of the stream") {
        match message.event.expect("set") {
            Event::CallEvent(_) => ended += 1,
            Event::Missed(count) => panic!("missed {count} after {ended}"),
        }
    }
    assert_eq!(ended, calls);
    assert_eq!(node.process.ended().await.code(), Some(0));
}
