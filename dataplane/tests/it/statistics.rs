//! What watchers are told, again and again.

use proto::media_v1 as wire;
use tonic::Code;

use crate::node::{Backend, Node, Settings, call, delete, line, on_both_backends, own_address};
use crate::party::{Party, local_rtp};
use crate::process::PATIENCE;

on_both_backends!(
    one_call_is_told_until_it_is_gone,
    all_calls_are_told_in_messages_that_fit,
    events_reach_every_watcher
);

async fn next<T>(stream: &mut tonic::Streaming<T>) -> Result<Option<T>, tonic::Status> {
    tokio::time::timeout(PATIENCE, stream.message())
        .await
        .expect("in time")
}

async fn one_call_is_told_until_it_is_gone(backend: Backend) {
    let mut node = Node::start(backend).await;
    let (mut a, b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    let request = call("one", line(Some(a.address())), line(Some(b.address())));
    let made = node
        .client
        .create_call(request)
        .await
        .expect("created")
        .into_inner()
        .call
        .expect("a call");
    let watch = wire::WatchStatisticsRequest {
        call_id: "one".into(),
        interval_ms: 100,
    };
    let mut stream = node
        .client
        .watch_statistics(watch)
        .await
        .expect("watched")
        .into_inner();
    assert!(
        next(&mut stream).await.expect("open").expect("a message").calls[0].legs[0].lines[0]
            .streams
            .is_empty()
    );
    a.send(local_rtp(&made, 0), 10).await;
    b.receive(10).await;
    let packets = loop {
        let message = next(&mut stream).await.expect("open").expect("a message");
        if let Some(stream) = message.calls[0].legs[0].lines[0].streams.first() {
            break stream.packets;
        }
    };
    assert_eq!(packets, 10);
    node.client.delete_call(delete("one")).await.expect("deleted");
    let end = loop {
        match next(&mut stream).await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert_eq!(end.expect_err("the reason").code(), Code::NotFound);
    node.stop().await;
}

async fn all_calls_are_told_in_messages_that_fit(backend: Backend) {
    let settings = Settings {
        workers: 2,
        ports: "20000-39999".into(),
        grpc: "message_bytes_max = 65536".into(),
        ..Settings::default()
    };
    let mut node = Node::with(backend, settings).await;
    let watch = wire::WatchStatisticsRequest {
        interval_ms: 100,
        ..Default::default()
    };
    let mut stream = node
        .client
        .watch_statistics(watch)
        .await
        .expect("watched")
        .into_inner();
    assert!(
        next(&mut stream)
            .await
            .expect("open")
            .expect("a message")
            .calls
            .is_empty()
    );
    for n in 0..100 {
        let mut request = call(&format!("s{n:02}"), line(None), line(None));
        for leg in &mut request.legs {
            leg.lines = vec![line(None); 8];
        }
        node.client.create_call(request).await.expect("created");
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut messages = 0;
    while seen.len() < 100 {
        let message = next(&mut stream).await.expect("open").expect("a message");
        assert!(prost::Message::encoded_len(&message) <= 65_536);
        messages += 1;
        seen.extend(message.calls.into_iter().map(|call| call.call_id));
    }
    assert!(messages > 3, "{messages}");
    node.stop().await;
}

async fn events_reach_every_watcher(backend: Backend) {
    let mut node = Node::start(backend).await;
    let mut watchers = vec![];
    for _ in 0..3 {
        let watch = node
            .client
            .watch_events(wire::WatchEventsRequest {})
            .await
            .expect("watched");
        watchers.push(watch.into_inner());
    }
    let (mut a, b) = (Party::at(own_address()).await, Party::at(own_address()).await);
    let request = call("e", line(Some(a.address())), line(Some(b.address())));
    let made = node
        .client
        .create_call(request)
        .await
        .expect("created")
        .into_inner()
        .call
        .expect("a call");
    a.send(local_rtp(&made, 0), 5).await;
    b.receive(5).await;
    for watcher in &mut watchers {
        let mut kinds = vec![];
        while kinds.len() < 2 {
            let message = next(watcher)
                .await
                .expect("open")
                .expect("a message")
                .event
                .expect("set");
            let wire::watch_events_response::Event::CallEvent(event) = message else {
                panic!("{message:?}")
            };
            assert_eq!(event.call_id, "e");
            kinds.push(match event.kind.expect("set") {
                wire::call_event::Kind::FirstPacket(place) => format!("first {}", place.leg_id),
                wire::call_event::Kind::Latched(latched) => format!("latched {}", latched.leg_id),
                other => panic!("{other:?}"),
            });
        }
        kinds.sort();
        assert_eq!(kinds, ["first a", "latched a"]);
    }
    node.stop().await;
}

#[tokio::test]
async fn as_many_watch_statistics_as_configured() {
    let settings = Settings {
        grpc: "statistics_watchers_max = 2".into(),
        ..Settings::default()
    };
    let mut node = Node::with(Backend::Socket, settings).await;
    let watch = wire::WatchStatisticsRequest {
        interval_ms: 100,
        ..Default::default()
    };
    let mut watching = Vec::new();
    for _ in 0..2 {
        let stream = node.client.watch_statistics(watch.clone()).await;
        watching.push(stream.expect("a place").into_inner());
    }
    let status = node.client.watch_statistics(watch.clone()).await;
    let status = status.expect_err("no place");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(
        status.message().contains("grpc.statistics_watchers_max"),
        "{status}"
    );
    node.metric_becomes(
        "ringpath_dataplane_commands_total",
        "command=\"watch_statistics\",result=\"limit\"",
        1,
    )
    .await;
    // Who watches goes on being told, and who goes makes room.
    next(&mut watching[0]).await.expect("open").expect("a message");
    watching.pop();
    let again = async {
        loop {
            match node.client.watch_statistics(watch.clone()).await {
                Ok(stream) => return stream.into_inner(),
                Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let mut stream = tokio::time::timeout(PATIENCE, again).await.expect("room again");
    next(&mut stream).await.expect("open").expect("a message");
    node.stop().await;
}
