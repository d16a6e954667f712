//! Many requests over one stream, which may break.

use std::collections::{BTreeMap, BTreeSet};

use media_types::{LegId, LegSpec};
use sans_io::Random;

use super::*;
use crate::fake::Exchange;

/// Waits for the stream of requests to this many nodes.
async fn exchanging(client: &Client, count: u64) {
    let view = client.view();
    until("a stream of requests", || view.counters().exchanges >= count).await;
}

fn wide() -> Config {
    Config {
        requests_max: 256,
        reports_max: 256,
        ..config()
    }
}

#[tokio::test]
async fn requests_of_one_turn_share_a_message_and_each_has_its_answer() {
    let fake = Fake::new(1_000);
    let (_running, client, mut reports) = alone(&fake, wide()).await;
    exchanging(&client, 1).await;
    for id in 0..100 {
        client.request(create(id, &format!("c{id}"))).unwrap();
    }
    let mut answered = BTreeSet::new();
    for _ in 0..100 {
        let Report::Answer(Answer { id, result, .. }) = report(&mut reports).await else {
            panic!("only answers")
        };
        assert_eq!(result.expect("made").1.id, call(&format!("c{id}")));
        assert!(answered.insert(id));
    }
    fake.with(|state| {
        assert_eq!((state.seen.exchanged, state.seen.creates), (100, 100));
        assert_eq!(state.seen.together, 64, "a message is full");
    });
    // A refusal comes through it as it would by itself.
    fake.with(|state| state.create = Create::Refuse(Refusal::UnknownInterface));
    let refused = ask(&client, &mut reports, create(200, "refused")).await;
    assert_eq!(refused.unwrap_err(), Failure::Refused(Refusal::UnknownInterface));
}

#[tokio::test]
async fn a_node_of_an_earlier_version_is_asked_one_by_one() {
    let fake = Fake::new(10);
    fake.with(|state| state.exchange = Exchange::Unknown);
    let (_running, client, mut reports) = alone(&fake, config()).await;
    name_of(ask(&client, &mut reports, create(1, "c")).await);
    name_of(ask(&client, &mut reports, on("a", 2, "c", Kind::Update(vec![]))).await);
    name_of(ask(&client, &mut reports, on("a", 3, "c", Kind::Delete)).await);
    assert_eq!(client.view().counters().exchanges, 0);
    fake.with(|state| assert_eq!((state.seen.exchanged, state.seen.creates), (0, 1)));
}

#[tokio::test]
async fn a_large_request_goes_by_itself() {
    let fake = Fake::new(10);
    let (_running, client, mut reports) = alone(&fake, config()).await;
    exchanging(&client, 1).await;
    let leg = LegSpec {
        id: LegId::new("a-leg-with-a-name").unwrap(),
        interface: None,
        ipv6: false,
        lines: vec![],
    };
    name_of(ask(&client, &mut reports, create(1, "c")).await);
    // More than a node with the least `grpc.message_bytes_max` would take together with others.
    let large = Kind::Update(vec![leg; 2_000]);
    name_of(ask(&client, &mut reports, on("a", 2, "c", large)).await);
    name_of(ask(&client, &mut reports, on("a", 3, "c", Kind::Delete)).await);
    fake.with(|state| assert_eq!(state.seen.exchanged, 2));
}

/// Calls that are made, changed and removed, many at once, over streams that break: each request is answered once, nothing
/// is done with two keys, and no call is left when all were removed. SEED=n for one run.
#[tokio::test]
async fn broken_streams_lose_no_answer_and_leave_no_call() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => vec![1, 2, 3],
    };
    for seed in seeds {
        println!("SEED={seed}");
        storm(seed).await;
    }
}

async fn storm(seed: u64) {
    const CALLS: u64 = 300;
    const BROKEN: u64 = 5;
    const AT_ONCE: u64 = 40;
    let fake = Fake::new(10_000);
    let mut random = Random::from_number(seed);
    fake.with(|state| state.exchange = Exchange::Break(Box::new(random.fork())));
    let (_running, client, mut reports) = alone(&fake, wide()).await;
    exchanging(&client, 1).await;
    // The next request of each call that is at work: 0 creates, 1 changes, 2 removes.
    let mut steps: BTreeMap<u64, u64> = BTreeMap::new();
    let mut begun = 0;
    let ask_for = |number: u64, step: u64| {
        let (id, name) = (number * 3 + step, format!("c{number}"));
        client
            .request(match step {
                0 => create(id, &name),
                1 => on("a", id, &name, Kind::Update(vec![])),
                _ => on("a", id, &name, Kind::Delete),
            })
            .expect("room");
    };
    loop {
        // While a stream is being opened again requests go one by one, so there are more calls until it has broken often.
        let more = begun < CALLS || fake.with(|state| state.seen.broken) < BROKEN;
        if !more && steps.is_empty() {
            break;
        }
        while more && (steps.len() as u64) < AT_ONCE {
            steps.insert(begun, 0);
            ask_for(begun, 0);
            begun += 1;
        }
        let Report::Answer(Answer { id, result, .. }) = report(&mut reports).await else {
            panic!("seed {seed}: only answers")
        };
        let (number, step) = (id / 3, id % 3);
        assert_eq!(steps.get(&number), Some(&step), "seed {seed}: answered once");
        match (step, result) {
            // The client sees to what may have been made.
            (0, Err(Failure::NoNode { .. })) => {
                steps.remove(&number);
            }
            (0 | 1, Ok(_)) => {
                steps.insert(number, step + 1);
                ask_for(number, step + 1);
            }
            // Done, and the answer lost: the fake does not remember what it removed.
            (2, Ok(_) | Err(Failure::Refused(Refusal::UnknownCall))) => {
                steps.remove(&number);
            }
            (step, result) => panic!("seed {seed}: {step} {result:?}"),
        }
    }
    fake.with(|state| assert_eq!(state.seen.conflicts, 0, "seed {seed}"));
    until("no call is left", || {
        fake.with(|state| state.seen.calls.is_empty())
    })
    .await;
    assert_eq!(client.under_way(), 0, "seed {seed}");
}
