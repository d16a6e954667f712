//! What an operator sees of calls, and does to them.

use std::collections::BTreeMap;

use call::{B2bua, Overview, Progress, Released};
use media_types::CallId;
use sans_io::Random;
use sans_io::network::Conditions;

use crate::world::{B, World, config};

/// What a watcher that applies every change has.
#[derive(Default)]
struct Watcher {
    calls: BTreeMap<CallId, Overview>,
    gone: Vec<Overview>,
    complete: bool,
    restarts: u32,
}

impl Watcher {
    fn watch(b2bua: &mut B2bua) -> Self {
        b2bua.watch(true);
        Self::default()
    }

    /// Takes everything that there is to tell, at most `max` calls at a time.
    fn catch_up(&mut self, b2bua: &mut B2bua, max: usize) {
        while let Some(changes) = b2bua.poll_changes(max) {
            assert!(changes.changed.len() + changes.gone.len() <= max);
            if changes.restart {
                self.restarts += 1;
                self.calls.clear();
            }
            for call in changes.gone {
                self.calls.remove(&call.record.call);
                self.gone.push(call);
            }
            for call in changes.changed {
                self.calls.insert(call.record.call.clone(), call);
            }
            self.complete = changes.complete;
        }
    }

    fn progress(&self) -> Vec<Progress> {
        self.calls.values().map(|call| call.progress).collect()
    }
}

fn only_call(world: &mut World) -> CallId {
    let mut watcher = Watcher::watch(&mut world.b2bua);
    watcher.catch_up(&mut world.b2bua, 16);
    world.b2bua.watch(false);
    let mut calls = watcher.calls.into_keys();
    let call = calls.next().expect("a call");
    assert_eq!(calls.next(), None);
    call
}

#[test]
fn a_watcher_sees_a_call_from_its_invite_to_its_end() {
    let mut world = World::new();
    let mut watcher = Watcher::watch(&mut world.b2bua);
    watcher.catch_up(&mut world.b2bua, 16);
    assert!(watcher.complete && watcher.calls.is_empty() && watcher.restarts == 1);

    world.a.invite(world.now, true);
    world.run_ms(20);
    watcher.catch_up(&mut world.b2bua, 16);
    assert_eq!(watcher.progress(), [Progress::Calling]);
    let call = watcher.calls.values().next().unwrap().record.clone();
    assert_eq!(
        (call.next_hop, call.cause),
        (Some(B.parse().unwrap()), None),
        "who was called, and no end"
    );

    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    watcher.catch_up(&mut world.b2bua, 16);
    assert_eq!(watcher.progress(), [Progress::Ringing]);

    world.b.answer(world.now);
    world.run_ms(100);
    watcher.catch_up(&mut world.b2bua, 16);
    assert_eq!(watcher.progress(), [Progress::Answered]);
    assert!(watcher.calls.values().all(|call| call.record.codec.is_some()));

    world.a.bye(world.now);
    world.finish();
    watcher.catch_up(&mut world.b2bua, 16);
    assert!(watcher.calls.is_empty());
    let gone = &watcher.gone[0];
    assert_eq!(gone.progress, Progress::Ended);
    assert_eq!(gone.record.cause.as_ref().unwrap().released, Released::Caller);
}

#[test]
fn nothing_is_kept_for_nobody() {
    let mut world = World::talking();
    assert_eq!(world.b2bua.poll_changes(16), None);
    world.b2bua.watch(true);
    world.b2bua.watch(false);
    assert_eq!(world.b2bua.poll_changes(16), None);
    world.a.bye(world.now);
    world.finish();
    assert_eq!(world.b2bua.poll_changes(16), None);
}

#[test]
fn a_watcher_that_polls_late_gets_the_list_anew_and_no_queue_grows() {
    let mut settings = config(&[B]);
    settings.calls_max = 2;
    let mut world = World::with(settings, Conditions::PERFECT, 1);
    let mut watcher = Watcher::watch(&mut world.b2bua);
    for _ in 0..5 {
        world.a.invite(world.now, true);
        world.run_ms(20);
        let call = only_untold(&mut world);
        assert!(world.b2bua.hang_up(world.now, &call, 16, "enough").is_some());
        world.run_ms(60_000);
        assert_eq!(world.b2bua.call_count(), 0);
    }
    watcher.catch_up(&mut world.b2bua, 1);
    assert!(watcher.complete && watcher.calls.is_empty());
    assert!(watcher.gone.len() <= 3, "{}", watcher.gone.len());
}

/// The name of the only call, without disturbing what a watcher has yet to be told.
fn only_untold(world: &mut World) -> CallId {
    world.requests.last().expect("media was asked for").call.clone()
}

#[test]
fn whatever_happens_a_watcher_has_the_calls_that_there_are() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (0..60).collect::<Vec<u64>>(),
    };
    for seed in seeds {
        let mut random = Random::from_number(seed);
        let conditions = Conditions {
            loss_permille: 100,
            duplication_permille: 100,
            ..Conditions::PERFECT
        };
        let mut world = World::with(config(&[B]), conditions, seed);
        let mut watcher = Watcher::watch(&mut world.b2bua);
        world.a.invite(world.now, true);
        for _ in 0..40 {
            match random.next_u64() % 6 {
                0 => world.b.respond(world.now, 180, "b1", None),
                1 if world.b.incoming.is_some() => world.b.answer(world.now),
                2 => {
                    let call = world.requests.last().map(|request| request.call.clone());
                    if let Some(call) = call.filter(|_| random.next_u64().is_multiple_of(4)) {
                        world.b2bua.hang_up(world.now, &call, 16, "random");
                    }
                }
                3 if random.next_u64().is_multiple_of(4) => world.b2bua.watch(true),
                _ => {}
            }
            world.run_ms(random.next_u64() % 400);
            let max = 1 + (random.next_u64() % 3) as usize;
            watcher.catch_up(&mut world.b2bua, max);
            assert!(watcher.complete, "SEED={seed}");
            assert_eq!(watcher.calls.len(), world.b2bua.call_count(), "SEED={seed}");
        }
    }
}

#[test]
fn hanging_up_a_call_that_was_answered_tells_both_parties_why() {
    let mut world = World::talking();
    let call = only_call(&mut world);
    let told = world.b2bua.hang_up(world.now, &call, 16, "Maintenance").unwrap();
    assert_eq!(told.progress, Progress::Ended);
    world.settle();
    world.assert_order(&["record Ended", "BYE -> a"]);
    world.assert_order(&["record Ended", "BYE -> b"]);
    world.finish();
    let byes = world.sent.iter().filter(|sent| sent.bytes.starts_with(b"BYE "));
    let reasons = byes.filter(|bye| {
        String::from_utf8_lossy(&bye.bytes).contains("\r\nReason: Q.850;cause=16;text=\"Maintenance\"\r\n")
    });
    assert_eq!(reasons.count(), 2, "RFC 3326");
    let cause = world.ended().cause.clone().unwrap();
    assert_eq!(
        (cause.released, cause.sip_status, cause.q850),
        (Released::Us, 200, 16)
    );
}

#[test]
fn hanging_up_a_call_that_rings_is_480_to_the_caller_and_cancel_to_the_callee() {
    let mut world = World::invited();
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    let call = only_call(&mut world);
    assert!(world.b2bua.hang_up(world.now, &call, 31, "Maintenance").is_some());
    world.finish();
    assert_eq!(world.a.log, ["180 INVITE", "480 INVITE"]);
    assert_eq!(
        world.b.log,
        ["INVITE", "CANCEL Q.850;cause=31;text=\"Maintenance\""]
    );
    let refusal = world
        .sent
        .iter()
        .find(|sent| sent.bytes.starts_with(b"SIP/2.0 480"))
        .expect("a 480");
    let text = String::from_utf8_lossy(&refusal.bytes);
    assert!(
        text.contains("\r\nReason: Q.850;cause=31;text=\"Maintenance\"\r\n"),
        "RFC 6432: {text}"
    );
}

#[test]
fn hanging_up_twice_is_harmless_and_an_unknown_call_is_none() {
    let mut world = World::talking();
    let call = only_call(&mut world);
    assert!(world.b2bua.hang_up(world.now, &call, 16, "once").is_some());
    let again = world.b2bua.hang_up(world.now, &call, 17, "twice").unwrap();
    assert_eq!(again.record.cause.unwrap().text, "once");
    world.finish();
    assert_eq!(world.b2bua.hang_up(world.now, &call, 16, "late"), None);
}
