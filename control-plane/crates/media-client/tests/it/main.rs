//! The client against nodes that take, refuse, are silent, die and come back.

mod exchange;
mod fake;

use std::time::Duration;

use fake::{Create, Fake, Running};
use media_client::{
    Answer, Client, Config, Failure, Health, Kind, NodeConfig, NodeConfigError, Operation, Report, Request,
    Tls, start,
};
use media_types::{CallId, CallReport, CallSpec, EventKind, IdempotencyKey, NodeName, Refusal};
use proto::media_v1::{CallEvent, LinePlace, call_event, watch_events_response};
use tokio::sync::mpsc::Receiver;

/// Bound of every wait; reached only when something is broken.
const LIMIT: Duration = Duration::from_secs(20);

fn config() -> Config {
    Config {
        attempt_timeout: Duration::from_millis(300),
        deadline: Duration::from_millis(1_000),
        lease: Duration::from_secs(60),
        gone_after: Duration::from_secs(60),
        poll_interval: Duration::from_millis(100),
        requests_max: 8,
        reports_max: 8,
        retry_after: Duration::from_secs(7),
        instance: 1,
    }
}

fn node(name: &str, address: &str) -> NodeConfig {
    NodeConfig {
        name: NodeName::new(name).unwrap(),
        address: address.into(),
        tls: None,
    }
}

fn call(name: &str) -> CallId {
    CallId::new(name).unwrap()
}

fn create(id: u64, name: &str) -> Request {
    let spec = CallSpec {
        id: call(name),
        legs: vec![],
        lease: Duration::ZERO,
        media_timeout: Duration::ZERO,
    };
    Request {
        id,
        call: call(name),
        key: IdempotencyKey::new(&format!("create-{name}")).unwrap(),
        node: None,
        kind: Kind::Create(spec),
    }
}

fn on(node: &str, id: u64, name: &str, kind: Kind) -> Request {
    Request {
        id,
        call: call(name),
        key: IdempotencyKey::new(&format!("key-{id}")).unwrap(),
        node: Some(NodeName::new(node).unwrap()),
        kind,
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

async fn healthy(client: &Client, count: usize) {
    let mut healthy = client.healthy();
    let waiting = healthy.wait_for(|&now| now == count);
    tokio::time::timeout(LIMIT, waiting)
        .await
        .expect("in time")
        .expect("running");
}

/// A client of this one node, which it has found healthy.
async fn alone(fake: &Fake, config: Config) -> (Running, Client, Receiver<Report>) {
    let running = fake.serve().await;
    let (client, reports) = start(config, &[node("a", &running.address)]).unwrap();
    healthy(&client, 1).await;
    (running, client, reports)
}

async fn report(reports: &mut Receiver<Report>) -> Report {
    tokio::time::timeout(LIMIT, reports.recv())
        .await
        .expect("in time")
        .expect("running")
}

async fn ask(
    client: &Client,
    reports: &mut Receiver<Report>,
    request: Request,
) -> Result<(NodeName, CallReport), Failure> {
    let asked = request.id;
    client.request(request).unwrap();
    match report(reports).await {
        Report::Answer(Answer { id, result, .. }) => {
            assert_eq!(id, asked);
            result
        }
        other => panic!("{other:?}"),
    }
}

fn name_of(result: Result<(NodeName, CallReport), Failure>) -> String {
    result.expect("done").0.to_string()
}

#[tokio::test]
async fn calls_spread_over_nodes_by_free_capacity() {
    let (small, large) = (Fake::new(2), Fake::new(4));
    let (a, b) = (small.serve().await, large.serve().await);
    let nodes = [node("small", &a.address), node("large", &b.address)];
    let (client, mut reports) = start(
        Config {
            poll_interval: LIMIT,
            ..config()
        },
        &nodes,
    )
    .unwrap();
    healthy(&client, 2).await;
    let mut taken = Vec::new();
    for id in 0..4 {
        taken.push(name_of(
            ask(&client, &mut reports, create(id, &format!("c{id}"))).await,
        ));
    }
    assert_eq!(taken[..2], ["large", "large"]);
    assert!(
        taken[2..].contains(&"small".to_owned()) && taken[2..].contains(&"large".to_owned()),
        "{taken:?}"
    );
}

#[tokio::test]
async fn a_node_that_refuses_for_capacity_is_passed_over() {
    for refusal in [
        Refusal::NoPorts,
        Refusal::NoCapacity,
        Refusal::Busy,
        Refusal::Draining,
    ] {
        let (full, free) = (Fake::new(100), Fake::new(1));
        full.with(|state| state.create = Create::Refuse(refusal));
        let (a, b) = (full.serve().await, free.serve().await);
        let (client, mut reports) =
            start(config(), &[node("full", &a.address), node("free", &b.address)]).unwrap();
        healthy(&client, 2).await;
        assert_eq!(
            name_of(ask(&client, &mut reports, create(1, "c1")).await),
            "free",
            "{refusal:?}"
        );
    }
}

/// At 1,000 set-ups a second a worker has as many commands as it takes now and then, for milliseconds.
#[tokio::test]
async fn a_busy_node_is_asked_again_when_no_other_takes_the_call() {
    let (busy, full) = (Fake::new(100), Fake::new(1));
    busy.with(|state| state.create = Create::BusyTimes(4));
    full.with(|state| state.create = Create::Refuse(Refusal::NoPorts));
    let (a, b) = (busy.serve().await, full.serve().await);
    let (client, mut reports) =
        start(config(), &[node("busy", &a.address), node("full", &b.address)]).unwrap();
    healthy(&client, 2).await;
    assert_eq!(name_of(ask(&client, &mut reports, create(1, "c1")).await), "busy");
    let seen = |fake: &Fake| fake.with(|state| state.seen.creates);
    assert_eq!((seen(&busy), seen(&full)), (5, 1));
}

#[tokio::test]
async fn a_node_that_stays_busy_is_given_up_in_time() {
    let fake = Fake::new(100);
    fake.with(|state| state.create = Create::BusyTimes(u32::MAX));
    let (_running, client, mut reports) = alone(&fake, config()).await;
    let result = ask(&client, &mut reports, create(1, "c1")).await;
    assert!(matches!(result, Err(Failure::NoNode { .. })), "{result:?}");
    assert!(fake.with(|state| state.seen.creates) > 1);
    assert_eq!(client.view().counters().answers[&"no_node"], 1);
}

#[tokio::test]
async fn a_refusal_that_every_node_would_give_is_the_answer() {
    let (a, b) = (Fake::new(100), Fake::new(1));
    a.with(|state| state.create = Create::Refuse(Refusal::CallExists));
    let (serve_a, serve_b) = (a.serve().await, b.serve().await);
    let (client, mut reports) = start(
        config(),
        &[node("a", &serve_a.address), node("b", &serve_b.address)],
    )
    .unwrap();
    healthy(&client, 2).await;
    let result = ask(&client, &mut reports, create(1, "c1")).await;
    assert_eq!(result, Err(Failure::Refused(Refusal::CallExists)));
    assert_eq!(b.with(|state| state.seen.creates), 0);
}

#[tokio::test]
async fn no_node_left_says_when_to_try_again() {
    let fake = Fake::new(1);
    fake.with(|state| state.create = Create::Refuse(Refusal::NoPorts));
    let (running, client, mut reports) = alone(&fake, config()).await;
    let no_node = Err(Failure::NoNode {
        retry_after: Duration::from_secs(7),
    });
    assert_eq!(ask(&client, &mut reports, create(1, "c1")).await, no_node);
    running.kill().await;
    healthy(&client, 0).await;
    assert_eq!(ask(&client, &mut reports, create(2, "c2")).await, no_node);
    let counters = client.view().counters();
    assert_eq!(counters.answers[&"no_node"], 2);
    assert_eq!(counters.attempts[&(Operation::Create, "no_ports")], 1);
}

#[tokio::test]
async fn a_draining_node_gets_no_new_calls() {
    let fake = Fake::new(10);
    fake.with(|state| state.draining = true);
    let running = fake.serve().await;
    let (client, mut reports) = start(config(), &[node("a", &running.address)]).unwrap();
    let view = client.view();
    until("the node is seen draining", || {
        view.nodes()[0].health == Health::Draining
    })
    .await;
    assert!(matches!(
        ask(&client, &mut reports, create(1, "c1")).await,
        Err(Failure::NoNode { .. })
    ));
    assert_eq!(fake.with(|state| state.seen.creates), 0);
    fake.with(|state| state.draining = false);
    healthy(&client, 1).await;
    assert_eq!(name_of(ask(&client, &mut reports, create(2, "c2")).await), "a");
}

#[tokio::test]
async fn a_silent_node_is_passed_over_and_what_it_made_is_deleted_later() {
    let (silent, other) = (Fake::new(100), Fake::new(1));
    silent.with(|state| state.create = Create::TakeAndBeSilent);
    let (a, b) = (silent.serve().await, other.serve().await);
    let (client, mut reports) =
        start(config(), &[node("silent", &a.address), node("other", &b.address)]).unwrap();
    healthy(&client, 2).await;
    assert_eq!(
        name_of(ask(&client, &mut reports, create(1, "c1")).await),
        "other"
    );
    until("the call is gone from the silent node", || {
        silent.with(|state| state.seen.calls.is_empty())
    })
    .await;
    assert_eq!(other.with(|state| state.seen.calls.len()), 1);
    let view = client.view();
    until("nothing is left to delete", || {
        view.nodes().iter().all(|node| node.orphans == 0)
    })
    .await;
}

#[tokio::test]
async fn the_only_node_is_asked_again_with_the_same_key_after_silence() {
    let fake = Fake::new(10);
    fake.with(|state| state.create = Create::TakeAndBeSilentOnce);
    let (_running, client, mut reports) = alone(&fake, config()).await;
    assert_eq!(name_of(ask(&client, &mut reports, create(1, "c1")).await), "a");
    fake.with(|state| {
        assert_eq!(state.seen.creates, 2);
        assert_eq!(state.seen.calls["c1"], "create-c1");
        assert!(state.seen.deletes.is_empty());
    });
    assert_eq!(client.view().nodes()[0].orphans, 0);
}

#[tokio::test]
async fn a_node_that_died_is_passed_over_and_used_again_when_it_is_back() {
    let (dying, other) = (Fake::new(100), Fake::new(10));
    let (a, b) = (dying.serve().await, other.serve().await);
    let address = a.tcp_address();
    let nodes = [node("dying", &a.address), node("other", &b.address)];
    let (client, mut reports) = start(config(), &nodes).unwrap();
    healthy(&client, 2).await;
    a.kill().await;
    assert_eq!(
        name_of(ask(&client, &mut reports, create(1, "c1")).await),
        "other"
    );
    healthy(&client, 1).await;
    let _back = dying.serve_at(address).await;
    healthy(&client, 2).await;
    assert_eq!(
        name_of(ask(&client, &mut reports, create(2, "c2")).await),
        "dying"
    );
}

#[tokio::test]
async fn an_update_is_tried_again_while_the_worker_is_busy() {
    let fake = Fake::new(10);
    fake.with(|state| state.updates = [Err(Refusal::Busy), Ok(()), Err(Refusal::UnknownLeg)].into());
    let (_running, client, mut reports) = alone(&fake, config()).await;
    ask(&client, &mut reports, create(1, "c1")).await.unwrap();
    ask(&client, &mut reports, on("a", 2, "c1", Kind::Update(vec![])))
        .await
        .unwrap();
    let refused = ask(&client, &mut reports, on("a", 3, "c1", Kind::Update(vec![]))).await;
    assert_eq!(refused, Err(Failure::Refused(Refusal::UnknownLeg)));
}

#[tokio::test]
async fn a_dead_node_loses_updates_and_deletes_within_the_deadline() {
    let fake = Fake::new(10);
    let (running, client, mut reports) = alone(&fake, config()).await;
    let address = running.tcp_address();
    ask(&client, &mut reports, create(1, "c1")).await.unwrap();
    running.kill().await;
    let started = tokio::time::Instant::now();
    let update = ask(&client, &mut reports, on("a", 2, "c1", Kind::Update(vec![]))).await;
    assert_eq!(update, Err(Failure::Lost));
    assert_eq!(
        ask(&client, &mut reports, on("a", 3, "c1", Kind::Delete)).await,
        Err(Failure::Lost)
    );
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(
        client.view().nodes()[0].orphans,
        1,
        "the delete is kept for later"
    );
    let _back = fake.serve_at(address).await;
    until("the call is deleted", || {
        fake.with(|state| state.seen.calls.is_empty())
    })
    .await;
}

fn delete_without_node(id: u64, name: &str) -> Request {
    Request {
        node: None,
        ..on("any", id, name, Kind::Delete)
    }
}

#[tokio::test]
async fn a_delete_without_a_node_finds_the_one_that_has_the_call() {
    let fake = Fake::new(10);
    let (_running, client, mut reports) = alone(&fake, config()).await;
    ask(&client, &mut reports, create(1, "c1")).await.unwrap();
    assert_eq!(
        name_of(ask(&client, &mut reports, delete_without_node(2, "c1")).await),
        "a"
    );
    let unknown = ask(&client, &mut reports, delete_without_node(3, "c1")).await;
    assert_eq!(unknown, Err(Failure::Refused(Refusal::UnknownCall)));
}

#[tokio::test]
async fn a_call_that_is_deleted_while_it_is_made_does_not_stay() {
    let fake = Fake::new(10);
    fake.with(|state| state.create = Create::TakeAndBeSilentOnce);
    let (_running, client, mut reports) = alone(&fake, config()).await;
    client.request(create(1, "c1")).unwrap();
    until("the node has the call", || {
        fake.with(|state| state.seen.creates) == 1
    })
    .await;
    let unknown = ask(&client, &mut reports, delete_without_node(2, "c1")).await;
    assert_eq!(unknown, Err(Failure::Refused(Refusal::UnknownCall)));
    assert!(matches!(
        report(&mut reports).await,
        Report::Answer(Answer {
            id: 1,
            result: Ok(_),
            ..
        })
    ));
    until("the call is gone", || {
        fake.with(|state| state.seen.calls.is_empty())
    })
    .await;
    assert_eq!(client.view().nodes()[0].held, 0);
}

#[tokio::test]
async fn a_delete_beyond_the_limit_is_done_later() {
    let fake = Fake::new(10);
    let (_running, client, mut reports) = alone(
        &fake,
        Config {
            requests_max: 1,
            ..config()
        },
    )
    .await;
    ask(&client, &mut reports, create(1, "c1")).await.unwrap();
    until("the request is over", || client.under_way() == 0).await;
    fake.with(|state| state.create = Create::TakeAndBeSilent);
    client.request(create(2, "c2")).unwrap();
    assert!(client.request(on("a", 3, "c1", Kind::Delete)).is_err());
    until("both calls are gone", || {
        fake.with(|state| state.seen.calls.is_empty())
    })
    .await;
}

#[tokio::test]
async fn leases_are_renewed_until_the_call_is_deleted() {
    let fake = Fake::new(10);
    let lease = Duration::from_millis(300);
    let (_running, client, mut reports) = alone(&fake, Config { lease, ..config() }).await;
    ask(&client, &mut reports, create(1, "c1")).await.unwrap();
    let renewed =
        |fake: &Fake| fake.with(|state| state.seen.renewals.iter().filter(|r| !r.is_empty()).count());
    until("three renewals", || renewed(&fake) >= 3).await;
    ask(&client, &mut reports, on("a", 2, "c1", Kind::Delete))
        .await
        .unwrap();
    assert_eq!(client.view().nodes()[0].held, 0);
    assert_eq!(client.view().counters().calls_lost, 0);
}

#[tokio::test]
async fn a_call_that_the_node_forgot_is_reported_once() {
    let fake = Fake::new(10);
    let lease = Duration::from_millis(300);
    let (_running, client, mut reports) = alone(&fake, Config { lease, ..config() }).await;
    ask(&client, &mut reports, create(1, "c1")).await.unwrap();
    fake.with(|state| state.seen.calls.clear());
    let Report::CallLost { node, call } = report(&mut reports).await else {
        panic!("no loss")
    };
    assert_eq!((node.as_str(), call.as_str()), ("a", "c1"));
    assert_eq!(
        (client.view().counters().calls_lost, client.view().nodes()[0].held),
        (1, 0)
    );
}

#[tokio::test]
async fn a_restarted_node_is_reconciled_as_soon_as_its_events_are_watched_again() {
    let fake = Fake::new(10);
    let (running, client, mut reports) = alone(&fake, config()).await;
    let address = running.tcp_address();
    ask(&client, &mut reports, create(1, "c1")).await.unwrap();
    running.kill().await;
    fake.with(|state| state.seen.calls.clear());
    let _back = fake.serve_at(address).await;
    let Report::CallLost { call, .. } = report(&mut reports).await else {
        panic!("no loss")
    };
    assert_eq!(call.as_str(), "c1");
}

#[tokio::test]
async fn calls_of_a_node_that_stays_away_are_given_up_after_a_lease() {
    let fake = Fake::new(10);
    let lease = Duration::from_millis(600);
    let (running, client, mut reports) = alone(&fake, Config { lease, ..config() }).await;
    ask(&client, &mut reports, create(1, "c1")).await.unwrap();
    running.kill().await;
    assert!(matches!(report(&mut reports).await, Report::CallLost { .. }));
}

#[tokio::test]
async fn calls_of_a_node_whose_process_is_gone_do_not_wait_for_their_lease() {
    let fake = Fake::new(10);
    let config = Config {
        gone_after: Duration::from_millis(200),
        ..config()
    };
    let (running, client, mut reports) = alone(&fake, config).await;
    ask(&client, &mut reports, create(1, "c1")).await.unwrap();
    running.kill().await;
    assert!(matches!(report(&mut reports).await, Report::CallLost { .. }));
    assert_eq!(client.view().nodes()[0].held, 0);
}

#[tokio::test]
async fn events_are_passed_on_with_their_node() {
    let fake = Fake::new(10);
    let (_running, client, mut reports) = alone(&fake, config()).await;
    until("the events are watched", || {
        fake.with(|state| state.seen.watchers) > 0
    })
    .await;
    let kind = Some(call_event::Kind::MediaTimeout(LinePlace {
        leg_id: "caller".into(),
        line: 0,
    }));
    fake.tell(watch_events_response::Event::CallEvent(CallEvent {
        call_id: "c1".into(),
        kind,
    }));
    let Report::Event { node, event } = report(&mut reports).await else {
        panic!("no event")
    };
    assert_eq!((node.as_str(), event.call.as_str()), ("a", "c1"));
    assert!(matches!(event.kind, EventKind::MediaTimeout { line: 0, .. }));
    fake.tell(watch_events_response::Event::Missed(5));
    let view = client.view();
    until("missed events are counted", || view.counters().events_missed == 5).await;
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_at_once() {
    let fake = Fake::new(10);
    fake.with(|state| state.create = Create::TakeAndBeSilent);
    let (_running, client, mut reports) = alone(
        &fake,
        Config {
            requests_max: 2,
            ..config()
        },
    )
    .await;
    client.request(create(1, "c1")).unwrap();
    client.request(create(2, "c2")).unwrap();
    assert!(client.request(create(3, "c3")).is_err());
    assert_eq!((client.under_way(), client.view().counters().overloaded), (2, 1));
    for _ in 0..2 {
        assert!(matches!(report(&mut reports).await, Report::Answer(_)));
    }
}

#[tokio::test]
async fn new_calls_leave_a_quarter_of_the_places_to_those_that_exist() {
    let fake = Fake::new(10);
    let (_running, client, mut reports) = alone(
        &fake,
        Config {
            requests_max: 4,
            ..config()
        },
    )
    .await;
    ask(&client, &mut reports, create(1, "c1")).await.unwrap();
    until("the request is over", || client.under_way() == 0).await;
    fake.with(|state| state.create = Create::TakeAndBeSilent);
    for id in 2..5 {
        client.request(create(id, &format!("c{id}"))).unwrap();
    }
    assert!(client.request(create(5, "c5")).is_err());
    client.request(on("a", 6, "c1", Kind::Delete)).unwrap();
    let mut done = Vec::new();
    for _ in 0..4 {
        if let Report::Answer(Answer {
            id, result: Ok(_), ..
        }) = report(&mut reports).await
        {
            done.push(id);
        }
    }
    assert_eq!(done, [6]);
}

#[tokio::test]
async fn a_unix_socket_is_an_address_too() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new(10);
    let running = fake.serve_unix(&folder.path().join("media.sock"));
    let (client, mut reports) = start(config(), &[node("a", &running.address)]).unwrap();
    healthy(&client, 1).await;
    assert_eq!(name_of(ask(&client, &mut reports, create(1, "c1")).await), "a");
}

#[tokio::test]
async fn mutual_tls_lets_in_only_who_has_a_certificate() {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let signed = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        (certificate.pem().into_bytes(), key.serialize_pem().into_bytes())
    };
    let (certificate, key) = signed();
    let server = tonic::transport::ServerTlsConfig::new()
        .identity(tonic::transport::Identity::from_pem(certificate, key))
        .client_ca_root(tonic::transport::Certificate::from_pem(ca.pem()));
    let fake = Fake::new(10);
    let running = fake.serve_tls(server).await;

    let tls = Tls {
        ca: ca.pem().into_bytes(),
        identity: Some(signed()),
        domain: None,
    };
    let with = NodeConfig {
        tls: Some(tls.clone()),
        ..node("a", &running.address)
    };
    let without = NodeConfig {
        tls: Some(Tls {
            identity: None,
            ..tls
        }),
        ..node("b", &running.address)
    };
    let (client, mut reports) = start(config(), &[with, without]).unwrap();
    healthy(&client, 1).await;
    assert_eq!(name_of(ask(&client, &mut reports, create(1, "c1")).await), "a");
    let view = client.view();
    until("the one without a certificate was tried", || {
        view.counters()
            .attempts
            .iter()
            .any(|((op, label), _)| *op == Operation::Describe && *label != "done")
    })
    .await;
    assert_eq!(view.nodes()[1].health, Health::Down);
}

#[tokio::test]
async fn addresses_that_cannot_work_are_refused_before_the_start() {
    let tls = Some(Tls {
        ca: b"not a certificate".to_vec(),
        identity: None,
        domain: None,
    });
    assert!(matches!(
        node("a", "127.0.0.1:1").check(),
        Err(NodeConfigError::Address)
    ));
    assert!(matches!(
        node("a", "https://x:1").check(),
        Err(NodeConfigError::HttpsWithoutTls)
    ));
    let plain = NodeConfig {
        tls: tls.clone(),
        ..node("a", "http://x:1")
    };
    assert!(matches!(plain.check(), Err(NodeConfigError::TlsWithoutHttps)));
    let broken = NodeConfig {
        tls,
        ..node("a", "https://x:1")
    };
    assert!(matches!(broken.check(), Err(NodeConfigError::NoAuthority)));
    assert!(!format!("{:?}", broken).contains("not a certificate"));
}
