//! Port pairs: opened in pairs or not at all, other ones tried, rested before they are used again.

use std::time::Duration;

use media_engine::OpenError;
use media_types::Refusal;

use crate::bench::{Bench, call, config, key, line};
use crate::relay::locals;

const A: &str = "192.0.2.1:4000";
const B: &str = "192.0.2.2:5000";

/// A bench whose first interface has `pairs` pairs.
fn small(pairs: u16) -> Bench {
    let mut config = config();
    for interface in &mut config.interfaces {
        interface.ports = (30_000..30_000 + 2 * pairs).step_by(2).collect();
    }
    Bench::new(config)
}

fn try_create(bench: &mut Bench, name: &str) -> Result<media_types::CallReport, Refusal> {
    let key = bench.fresh_key();
    bench
        .engine
        .create(bench.now, &mut bench.ports, &key, &call(name, line(A), line(B)))
}

#[test]
fn the_last_pair_is_used_and_the_next_call_is_refused_until_pairs_have_rested() {
    let mut bench = small(5);
    assert!(try_create(&mut bench, "c").is_ok() && try_create(&mut bench, "d").is_ok());
    assert_eq!(try_create(&mut bench, "e"), Err(Refusal::NoPorts));
    assert_eq!(
        (bench.ports.open.len(), bench.engine.capacity().port_pairs_free),
        (8, 16)
    );
    bench.delete("c");
    assert_eq!(
        try_create(&mut bench, "e"),
        Err(Refusal::NoPorts),
        "the pairs rest"
    );
    bench.pass(Duration::from_millis(4_999));
    assert_eq!(try_create(&mut bench, "e"), Err(Refusal::NoPorts));
    bench.pass(Duration::from_millis(1));
    assert!(try_create(&mut bench, "e").is_ok());
}

#[test]
fn an_idle_engine_asks_to_be_woken_when_ports_have_rested() {
    let mut bench = small(2);
    try_create(&mut bench, "c").unwrap();
    bench.delete("c");
    assert_eq!(bench.engine.capacity().port_pairs_quarantined, 2);
    let at = bench.engine.poll_timeout().expect("pairs rest");
    assert_eq!(at.saturating_since(bench.now), Duration::from_secs(5));
    bench.pass(at.saturating_since(bench.now));
    assert_eq!(bench.engine.capacity().port_pairs_quarantined, 0);
    assert_eq!(bench.engine.poll_timeout(), None);
}

#[test]
fn ports_that_something_else_holds_are_set_aside_and_others_tried() {
    let mut bench = small(4);
    // The first pair's RTP port is held, then the second pair's RTCP port.
    bench.ports.failures = vec![Some(OpenError::InUse), None, Some(OpenError::InUse)];
    assert!(try_create(&mut bench, "c").is_ok());
    assert_eq!(
        (bench.ports.open.len(), bench.engine.counters().ports_in_use),
        (4, 2)
    );
    assert_eq!(bench.engine.capacity().port_pairs_quarantined, 2);
    assert_eq!(try_create(&mut bench, "d"), Err(Refusal::NoPorts));
    bench.pass(Duration::from_secs(60));
    assert!(try_create(&mut bench, "d").is_ok(), "they are tried again later");
}

#[test]
fn tries_are_bounded() {
    let mut bench = small(40);
    bench.ports.always = Some(OpenError::InUse);
    assert_eq!(try_create(&mut bench, "c"), Err(Refusal::NoPorts));
    assert_eq!(bench.engine.counters().ports_in_use, 16);
    assert_eq!(bench.engine.capacity().port_pairs_quarantined, 16);
}

#[test]
fn a_create_that_fails_half_way_closes_what_it_opened() {
    for (error, refusal) in [
        (OpenError::Exhausted, Refusal::NoCapacity),
        (OpenError::Refused, Refusal::NoPorts),
    ] {
        for succeeding in 0..4 {
            let mut bench = small(4);
            let before = bench.engine.capacity();
            let failing = std::iter::once(Some(error));
            bench.ports.failures = failing.chain(std::iter::repeat_n(None, succeeding)).collect();
            assert_eq!(try_create(&mut bench, "c"), Err(refusal), "{succeeding} succeed");
            assert_eq!((bench.ports.open.len(), bench.engine.capacity()), (0, before));
            assert_eq!(bench.query("c"), None);
            let counters = bench.engine.counters();
            assert_eq!(
                (
                    counters.ports_refused,
                    counters.ports_exhausted,
                    counters.ports_in_use
                ),
                (
                    u64::from(error == OpenError::Refused),
                    u64::from(error == OpenError::Exhausted),
                    0
                )
            );
            assert!(try_create(&mut bench, "c").is_ok());
        }
    }
}

#[test]
fn the_next_port_cannot_be_told_from_the_last() {
    let mut bench = Bench::new(config());
    let mut ports = Vec::new();
    for n in 0..20 {
        let (a, b) = locals(&bench.create(&call(&format!("c{n}"), line(A), line(B))));
        ports.extend([a.rtp.port(), b.rtp.port()]);
    }
    let ascending = ports.windows(2).filter(|pair| pair[1] > pair[0]).count();
    assert!((10..30).contains(&ascending), "{ports:?}");
    let other_seed = {
        let mut bench = Bench::seeded(config(), 2);
        let key = key("k");
        let spec = call("c0", line(A), line(B));
        locals(
            &bench
                .engine
                .create(bench.now, &mut bench.ports, &key, &spec)
                .unwrap(),
        )
        .0
        .rtp
        .port()
    };
    assert_ne!(ports[0], other_seed);
}
