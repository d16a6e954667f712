//! Leases: a control plane that is gone does not leave calls behind.

use std::time::Duration;

use proto::media_v1 as wire;
use proto::media_v1::watch_events_response::Event;

use crate::node::{Backend, Node, Settings, call, line, on_both_backends, query, refusal};
use crate::process::PATIENCE;

on_both_backends!(
    an_unrenewed_lease_ends_the_call_with_an_event,
    renewal_tells_unknown_calls,
    silence_is_told
);

async fn next(events: &mut tonic::Streaming<wire::WatchEventsResponse>) -> Event {
    let message = tokio::time::timeout(PATIENCE, events.message())
        .await
        .expect("in time");
    message
        .expect("the stream is open")
        .expect("not ended")
        .event
        .expect("set")
}

async fn an_unrenewed_lease_ends_the_call_with_an_event(backend: Backend) {
    let mut node = Node::start(backend).await;
    let mut events = node
        .client
        .watch_events(wire::WatchEventsRequest {})
        .await
        .expect("watched")
        .into_inner();
    for (id, lease_ms) in [("short", 400), ("long", 400)] {
        let request = wire::CreateCallRequest {
            lease_ms,
            ..call(id, line(None), line(None))
        };
        node.client.create_call(request).await.expect("created");
    }
    let ended = {
        let mut renewals = node.client.clone();
        let mut interval = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                event = next(&mut events) => break event,
                _ = interval.tick() => {
                    let request = wire::RenewLeasesRequest { call_ids: vec!["long".into()] };
                    let answer = renewals.renew_leases(request).await.expect("renewed").into_inner();
                    assert_eq!(answer, wire::RenewLeasesResponse::default());
                }
            }
        }
    };
    let Event::CallEvent(wire::CallEvent {
        call_id,
        kind: Some(wire::call_event::Kind::Ended(ended)),
    }) = ended
    else {
        panic!("{ended:?}")
    };
    assert_eq!(
        (call_id.as_str(), ended.cause()),
        ("short", wire::EndCause::LeaseExpired)
    );
    assert_eq!(ended.call.expect("its last report").legs.len(), 2);
    let status = node.client.query_call(query("short")).await.expect_err("gone");
    assert_eq!(refusal(&status), "unknown_call");
    node.client
        .query_call(query("long"))
        .await
        .expect("renewed, so there");
    node.metric_becomes("ringpath_dataplane_leases_expired_total", "", 1)
        .await;
    node.metric_becomes("ringpath_dataplane_port_pairs", "state=\"used\"", 2)
        .await;
    node.stop().await;
}

async fn renewal_tells_unknown_calls(backend: Backend) {
    let mut node = Node::with(
        backend,
        Settings {
            workers: 2,
            ..Settings::default()
        },
    )
    .await;
    for n in 0..20 {
        node.client
            .create_call(call(&format!("r{n}"), line(None), line(None)))
            .await
            .expect("created");
    }
    // More than one command can carry.
    let call_ids: Vec<String> = (0..5_000).map(|n| format!("r{n}")).collect();
    let answer = node
        .client
        .renew_leases(wire::RenewLeasesRequest { call_ids })
        .await
        .expect("answers")
        .into_inner();
    assert_eq!(answer.unknown_call_ids.len(), 4_980);
    assert!(!answer.unknown_call_ids.contains(&"r7".to_owned()));
    assert!(answer.busy_call_ids.is_empty());
    node.stop().await;
}

async fn silence_is_told(backend: Backend) {
    let mut node = Node::start(backend).await;
    let mut events = node
        .client
        .watch_events(wire::WatchEventsRequest {})
        .await
        .expect("watched")
        .into_inner();
    let remote = Some("127.0.0.1:9".parse().expect("an address"));
    let request = wire::CreateCallRequest {
        media_timeout_ms: 200,
        ..call("quiet", line(remote), line(remote))
    };
    node.client.create_call(request).await.expect("created");
    let mut silent = vec![];
    while silent.len() < 2 {
        let event = next(&mut events).await;
        let Event::CallEvent(wire::CallEvent {
            kind: Some(wire::call_event::Kind::MediaTimeout(place)),
            ..
        }) = event
        else {
            panic!("{event:?}")
        };
        assert_eq!(place.line, 0);
        silent.push(place.leg_id);
    }
    silent.sort();
    assert_eq!(silent, ["a", "b"]);
    node.metric_becomes("ringpath_dataplane_events_total", "kind=\"media_timeout\"", 2)
        .await;
    node.stop().await;
}
