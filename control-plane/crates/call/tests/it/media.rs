//! Media nodes that refuse, are silent, or lose calls.

use call::{MediaTimeout, Stage};
use media_types::{EndCause, Event, EventKind, LegId};
use sans_io::network::Conditions;

use crate::node::{Mood, Node};
use crate::world::{B, World, config};

#[test]
fn no_media_is_told_to_the_caller_and_nobody_is_called() {
    for (mood, status, deletes) in [
        (Mood::Full, 503, 0),
        (Mood::Nobody, 503, 0),
        (Mood::Strict, 488, 0),
        (Mood::Lost, 503, 1),
        (Mood::Silent, 503, 1),
    ] {
        let mut world = World::new();
        world.node.mood = mood;
        world.a.invite(world.now, true);
        world.run_ms(3_100);
        assert_eq!(world.a.log, [format!("{status} INVITE")], "{mood:?}");
        assert!(world.b.log.is_empty());
        if status == 503 {
            let seconds = if mood == Mood::Nobody { "7" } else { "5" };
            assert_eq!(world.a.retry_after.as_deref(), Some(seconds), "{mood:?}");
        }
        world.finish();
        assert_eq!(world.node.deletes, deletes, "{mood:?}");
        let quality: Vec<_> = world
            .records
            .iter()
            .filter(|cdr| cdr.stage == Stage::Quality)
            .collect();
        assert_eq!(quality.len() as u64, deletes, "{mood:?}");
    }
}

#[test]
fn media_refused_for_the_answer_hangs_up_on_the_callee() {
    let mut world = World::invited();
    world.node.mood = Mood::Full;
    world.b.answer(world.now);
    world.finish();
    assert_eq!(world.a.log, ["503 INVITE"]);
    assert_eq!(world.b.log, ["INVITE", "ACK", "BYE"]);
}

#[test]
fn no_media_for_a_late_offer_hangs_up_on_the_callee() {
    for mood in [Mood::Nobody, Mood::Silent] {
        let mut world = World::new();
        world.node.mood = mood;
        world.a.invite(world.now, false);
        world.run_ms(20);
        world.b.answer(world.now);
        world.finish();
        assert_eq!(world.a.log, ["503 INVITE"], "{mood:?}");
        assert_eq!(world.b.log, ["INVITE", "ACK", "BYE"], "{mood:?}");
    }
}

#[test]
fn a_node_that_is_silent_at_the_end_leaves_the_quality_unknown() {
    let mut world = World::talking();
    world.node.mood = Mood::Silent;
    world.a.bye(world.now);
    world.finish();
    let last = world.records.last().unwrap();
    assert_eq!((last.stage, last.quality), (Stage::Quality, None));
}

fn timeout(world: &World) -> Event {
    let call = world.node.calls.keys().next().unwrap().clone();
    Event {
        call,
        kind: EventKind::MediaTimeout {
            leg: LegId::new("caller").unwrap(),
            line: 0,
        },
    }
}

#[test]
fn a_media_timeout_ends_the_call_with_a_reason() {
    let mut world = World::talking();
    let event = timeout(&world);
    world.b2bua.handle_media_event(world.now, &Node::name(), event);
    world.finish();
    assert_eq!(
        (
            world.a.log.last().unwrap().as_str(),
            world.b.log.last().unwrap().as_str()
        ),
        ("BYE", "BYE")
    );
    assert_eq!(
        world.a.bye_reason.as_deref(),
        Some("Q.850;cause=102;text=\"Media timeout\"")
    );
    assert_eq!(world.ended().cause.as_ref().unwrap().q850, 102);
}

#[test]
fn a_media_timeout_may_be_ignored() {
    let ignoring = call::Config {
        media_timeout_action: MediaTimeout::Ignore,
        ..config(&[B])
    };
    let mut world = World::with(ignoring, Conditions::PERFECT, 1);
    world.a.invite(world.now, true);
    world.run_ms(20);
    world.b.answer(world.now);
    world.run_ms(100);
    let event = timeout(&world);
    world.b2bua.handle_media_event(world.now, &Node::name(), event);
    world.run_ms(100);
    assert!(world.a.is_talking() && world.b.is_talking());
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_line_that_cannot_be_set_up_ends_the_call_and_a_party_that_asks_no_more_is_as_a_silent_one() {
    for (reason, action, expected) in [
        (
            "dtls_fingerprint",
            MediaTimeout::Ignore,
            Some("Q.850;cause=88;text=\"dtls_fingerprint\""),
        ),
        (
            "ice_consent",
            MediaTimeout::EndCall,
            Some("Q.850;cause=102;text=\"Media timeout\""),
        ),
        ("ice_consent", MediaTimeout::Ignore, None),
    ] {
        let config = call::Config {
            media_timeout_action: action,
            ..config(&[B])
        };
        let mut world = World::with(config, Conditions::PERFECT, 1);
        world.a.invite(world.now, true);
        world.run_ms(20);
        world.b.answer(world.now);
        world.run_ms(100);
        let event = Event {
            call: world.node.calls.keys().next().unwrap().clone(),
            kind: EventKind::SetupFailed {
                leg: LegId::new("caller").unwrap(),
                line: 0,
                reason,
            },
        };
        world.b2bua.handle_media_event(world.now, &Node::name(), event);
        world.run_ms(100);
        assert_eq!(world.a.bye_reason.as_deref(), expected, "{reason}");
        assert_eq!(world.a.is_talking(), expected.is_none(), "{reason}");
        if expected.is_none() {
            world.a.bye(world.now);
        }
        world.finish();
    }
}

#[test]
fn a_node_that_ends_a_call_ends_it_for_both_parties() {
    for (cause, answered) in [
        (EndCause::LeaseExpired, true),
        (EndCause::Shutdown, true),
        (EndCause::Shutdown, false),
    ] {
        let mut world = if answered {
            World::talking()
        } else {
            World::invited()
        };
        let call = world.node.calls.keys().next().unwrap().clone();
        let report = Box::new(world.node.end(&call));
        let event = Event {
            call,
            kind: EventKind::Ended { cause, report },
        };
        world.b2bua.handle_media_event(world.now, &Node::name(), event);
        world.finish();
        let expected = if answered { "BYE" } else { "503 INVITE" };
        assert_eq!(world.a.log.last().unwrap(), expected);
        let last = world.records.last().unwrap();
        assert_eq!(
            last.quality.unwrap().caller.packets,
            100,
            "the last statistics came with the event"
        );
    }
}

#[test]
fn an_event_of_another_node_is_not_believed() {
    let mut world = World::talking();
    let event = timeout(&world);
    world
        .b2bua
        .handle_media_event(world.now, &media_types::NodeName::new("other").unwrap(), event);
    world.run_ms(100);
    assert!(world.a.is_talking() && world.b.is_talking());
    world.a.bye(world.now);
    world.finish();
}
