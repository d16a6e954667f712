//! Create, update, delete: repeated, refused, half done.

use std::time::Duration;

use media_types::{CallSpec, InterfaceName, LegSpec, LineSpec, Refusal};

use crate::bench::{Bench, at, call, call_id, config, key, leg, line, rtp};
use crate::relay::locals;

const A: &str = "192.0.2.1:4000";
const B: &str = "192.0.2.2:5000";

fn spec(name: &str) -> CallSpec {
    call(name, line(A), line(B))
}

#[test]
fn a_repeated_create_answers_the_same_and_another_one_is_refused() {
    let mut bench = Bench::new(config());
    let first = bench
        .engine
        .create(bench.now, &mut bench.ports, &key("k"), &spec("c"));
    let again = bench
        .engine
        .create(bench.now, &mut bench.ports, &key("k"), &spec("c"));
    assert!(first.is_ok());
    assert_eq!(first, again);
    assert_eq!(bench.ports.opened, 4);
    let other = bench
        .engine
        .create(bench.now, &mut bench.ports, &key("l"), &spec("c"));
    assert_eq!(other, Err(Refusal::CallExists));
}

#[test]
fn a_repeated_update_changes_nothing() {
    let mut bench = Bench::new(config());
    bench.create(&spec("c"));
    let legs = [leg(
        "a",
        vec![LineSpec {
            relearn: true,
            srtp: None,
            dtls: None,
            ice: None,
            ..line(A)
        }],
    )];
    let id = call_id("c");
    let first = bench
        .engine
        .update(bench.now, &mut bench.ports, &key("u"), &id, &legs)
        .unwrap();
    let (a, _) = locals(&first);
    bench.fate(a.rtp, A, &rtp(8, 1, 0, 7)).unwrap();
    let again = bench
        .engine
        .update(bench.now, &mut bench.ports, &key("u"), &id, &legs)
        .unwrap();
    assert_eq!(
        again.legs[0].lines[0].learned,
        Some(at(A)),
        "it did not learn anew"
    );
}

#[test]
fn a_repeated_delete_answers_the_same_for_a_while() {
    let mut config = config();
    config.limits.tombstones_max = 2;
    let mut bench = Bench::new(config);
    for name in ["c", "d", "e"] {
        bench.create(&spec(name));
    }
    let delete = |bench: &mut Bench, name: &str, with: &str| {
        bench
            .engine
            .delete(bench.now, &mut bench.ports, &key(with), &call_id(name))
    };
    let first = delete(&mut bench, "c", "k");
    assert!(first.is_ok());
    assert_eq!(delete(&mut bench, "c", "k"), first);
    assert_eq!(
        delete(&mut bench, "c", "l"),
        Err(Refusal::UnknownCall),
        "another key, another request"
    );
    delete(&mut bench, "d", "k").unwrap();
    delete(&mut bench, "e", "k").unwrap();
    assert_eq!(
        delete(&mut bench, "c", "k"),
        Err(Refusal::UnknownCall),
        "two younger ones are kept"
    );
    assert!(delete(&mut bench, "d", "k").is_ok());
    bench.pass(Duration::from_secs(60));
    assert_eq!(delete(&mut bench, "e", "k"), Err(Refusal::UnknownCall));
    assert_eq!(bench.engine.counters().calls_deleted, 3);
}

#[test]
fn a_name_can_be_used_again_after_its_call_is_gone() {
    let mut bench = Bench::new(config());
    for _ in 0..3 {
        bench.create(&spec("c"));
        bench.delete("c");
    }
    assert_eq!((bench.ports.opened, bench.ports.closed), (12, 12));
}

/// Spoils a specification.
type Change = Box<dyn Fn(&mut CallSpec)>;

#[test]
fn specifications_out_of_range_are_refused_and_leave_nothing() {
    let three = |spec: &mut CallSpec| spec.legs.push(leg("x", vec![line(A)]));
    let changes: Vec<(&str, Change)> = vec![
        ("three legs", Box::new(three)),
        ("one leg", Box::new(|spec| drop(spec.legs.pop()))),
        ("no leg", Box::new(|spec| spec.legs.clear())),
        (
            "the same leg twice",
            Box::new(|spec| spec.legs[1].id = spec.legs[0].id.clone()),
        ),
        (
            "no line",
            Box::new(|spec| spec.legs.iter_mut().for_each(|leg| leg.lines.clear())),
        ),
        ("unequal lines", Box::new(|spec| spec.legs[0].lines.push(line(A)))),
        (
            "many lines",
            Box::new(|spec| spec.legs.iter_mut().for_each(|leg| leg.lines = vec![line(A); 9])),
        ),
        (
            "a long lease",
            Box::new(|spec| spec.lease = Duration::from_secs(3_601)),
        ),
        ("a family", Box::new(|spec| spec.legs[0].ipv6 = true)),
        (
            "port 0",
            Box::new(|spec| spec.legs[0].lines[0].remote = Some(at("192.0.2.1:0"))),
        ),
        (
            "a clock rate of zero",
            Box::new(|spec| spec.legs[0].lines[0].codecs[0].clock_rate_hz = 0),
        ),
    ];
    for (name, change) in changes {
        let mut bench = Bench::new(config());
        let mut spec = spec("c");
        change(&mut spec);
        let answer = bench.engine.create(bench.now, &mut bench.ports, &key("k"), &spec);
        assert!(matches!(answer, Err(Refusal::Invalid(_))), "{name}: {answer:?}");
        assert_eq!(
            (bench.ports.opened, bench.engine.capacity().calls),
            (0, 0),
            "{name}"
        );
        assert_eq!(bench.engine.call_ids().count(), 0);
    }
}

#[test]
fn an_interface_that_does_not_exist_is_refused() {
    let mut bench = Bench::new(config());
    let mut spec = spec("c");
    spec.legs[1].interface = Some(InterfaceName::new("nowhere").unwrap());
    let answer = bench.engine.create(bench.now, &mut bench.ports, &key("k"), &spec);
    assert_eq!(answer, Err(Refusal::UnknownInterface));
}

#[test]
fn one_call_more_than_the_limit_is_refused() {
    let mut bench = Bench::new(media_engine::EngineConfig {
        calls_max: 2,
        ..config()
    });
    bench.create(&spec("c"));
    bench.create(&spec("d"));
    let answer = bench
        .engine
        .create(bench.now, &mut bench.ports, &key("k"), &spec("e"));
    assert_eq!(answer, Err(Refusal::NoCapacity));
    bench.delete("c");
    bench.create(&spec("e"));
}

#[test]
fn commands_for_calls_and_legs_that_do_not_exist_are_refused() {
    let mut bench = Bench::new(config());
    bench.create(&spec("c"));
    let (now, ports, k) = (bench.now, &mut bench.ports, key("k"));
    let legs = [leg("x", vec![line(A)])];
    assert_eq!(
        bench.engine.update(now, ports, &k, &call_id("d"), &legs),
        Err(Refusal::UnknownCall)
    );
    assert_eq!(
        bench.engine.update(now, ports, &k, &call_id("c"), &legs),
        Err(Refusal::UnknownLeg)
    );
    assert_eq!(
        bench.engine.delete(now, ports, &k, &call_id("d")),
        Err(Refusal::UnknownCall)
    );
    assert!(!bench.engine.renew(now, &call_id("d")));
    assert_eq!(bench.engine.query(now, ports, &call_id("d")), None);
}

#[test]
fn an_update_may_append_lines_and_not_leave_any_out() {
    let mut bench = Bench::new(config());
    bench.create(&spec("c"));
    let two = |name: &str, remote: &str| leg(name, vec![line(remote), line("192.0.2.9:6000")]);
    let report = bench.update("c", &[two("a", A), two("b", B)]);
    assert!(
        report
            .legs
            .iter()
            .all(|leg| leg.lines.len() == 2 && leg.lines[1].local.is_some())
    );
    assert_eq!(bench.ports.open.len(), 8);
    for legs in [
        vec![leg("a", vec![line(A)])],
        vec![leg("a", vec![line(A), line(A), line(A)])],
        vec![two("a", A), two("a", A)],
        vec![],
        vec![LegSpec {
            interface: Some(InterfaceName::new("outside").unwrap()),
            ..two("a", A)
        }],
        vec![leg("a", vec![line("[2001:db8::9]:1"), line("[2001:db8::9]:3")])],
    ] {
        let answer = bench
            .engine
            .update(bench.now, &mut bench.ports, &key("x"), &call_id("c"), &legs);
        assert!(
            matches!(answer, Err(Refusal::Invalid(_))),
            "{answer:?} to {legs:?}"
        );
    }
    assert_eq!(bench.ports.open.len(), 8);
    bench.delete("c");
    assert!(bench.ports.open.is_empty());
}

#[test]
fn a_line_that_is_disabled_gives_its_ports_back_and_gets_new_ones_when_it_returns() {
    let mut bench = Bench::new(config());
    let (before, _) = locals(&bench.create(&spec("c")));
    let disabled = LineSpec {
        enabled: false,
        ..line(A)
    };
    let report = bench.update("c", &[leg("a", vec![disabled])]);
    assert_eq!(report.legs[0].lines[0].local, None);
    assert_eq!(
        (
            bench.ports.open.len(),
            bench.engine.capacity().port_pairs_quarantined
        ),
        (2, 1)
    );
    let (after, b) = locals(&bench.update("c", &[leg("a", vec![line(A)])]));
    assert_ne!(after.rtp, before.rtp, "the old pair rests");
    assert_eq!(bench.fate(after.rtp, A, &rtp(8, 1, 0, 7)), Ok((b.rtp, at(B))));
}

#[test]
fn multiplexing_closes_the_second_port_and_keeps_it_reserved() {
    let mut bench = Bench::new(config());
    let (before, _) = locals(&bench.create(&spec("c")));
    let muxed = LineSpec {
        rtcp_mux: true,
        ..line(A)
    };
    let (during, _) = locals(&bench.update("c", &[leg("a", vec![muxed])]));
    assert_eq!(
        (during.rtp, during.rtcp, bench.ports.open.len()),
        (before.rtp, before.rtp, 3)
    );
    let (after, _) = locals(&bench.update("c", &[leg("a", vec![line(A)])]));
    assert_eq!((after, bench.ports.open.len()), (before, 4));
}

/// RTP has no hop count: a loop would carry one packet round for ever.
#[test]
fn remote_addresses_that_lead_back_to_the_call_are_refused() {
    let mut bench = Bench::new(config());
    let (a, b) = locals(&bench.create(&spec("c")));
    for remote in [a.rtp, a.rtcp, b.rtp] {
        let looping = leg(
            "a",
            vec![LineSpec {
                remote: Some(remote),
                ..line(A)
            }],
        );
        let answer = bench
            .engine
            .update(bench.now, &mut bench.ports, &key("x"), &call_id("c"), &[looping]);
        assert!(matches!(answer, Err(Refusal::Invalid(_))), "{remote}: {answer:?}");
    }
    // A call that passes this node twice is no loop ...
    let into_c = LineSpec {
        remote: Some(a.rtp),
        ..line(A)
    };
    let (d, _) = locals(&bench.create(&call("d", line("192.0.2.3:1"), into_c)));
    // ... until its far end is sent back into it.
    let closing = leg(
        "b",
        vec![LineSpec {
            remote: Some(d.rtp),
            ..line(A)
        }],
    );
    let answer = bench
        .engine
        .update(bench.now, &mut bench.ports, &key("x"), &call_id("c"), &[closing]);
    assert!(matches!(answer, Err(Refusal::Invalid(_))), "{answer:?}");
}

#[test]
fn a_refused_update_leaves_the_call_as_it_was() {
    let mut bench = Bench::new(config());
    let before = bench.create(&spec("c"));
    let legs: Vec<LegSpec> = [("a", "192.0.2.8:1000"), ("b", B)]
        .map(|(name, remote)| leg(name, vec![line(remote); 3]))
        .into();
    let (id, free) = (call_id("c"), bench.engine.capacity().port_pairs_free);
    // Four pairs are wanted; the attempts after `succeeding` ports fail.
    for succeeding in 0..8 {
        let failing = std::iter::once(Some(media_engine::OpenError::Exhausted));
        bench.ports.failures = failing.chain(std::iter::repeat_n(None, succeeding)).collect();
        let answer = bench
            .engine
            .update(bench.now, &mut bench.ports, &key("x"), &id, &legs);
        assert_eq!(answer, Err(Refusal::NoCapacity), "{succeeding} succeed");
        assert_eq!(bench.query("c").as_ref(), Some(&before));
        assert_eq!(bench.engine.capacity().port_pairs_free, free);
        assert_eq!(bench.ports.open.len(), 4);
    }
    bench.update("c", &legs);
    assert_eq!(bench.ports.open.len(), 12);
}

#[test]
fn shutdown_closes_everything() {
    let mut bench = Bench::new(config());
    for n in 0..20 {
        bench.create(&spec(&format!("c{n}")));
    }
    bench.engine.shutdown(bench.now, &mut bench.ports);
    assert_eq!((bench.ports.open.len(), bench.engine.capacity().calls), (0, 0));
    assert_eq!(bench.events().len(), 20);
}
