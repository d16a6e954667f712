//! Attended transfers that go wrong at the target: what becomes of a party that was lent to another call, and of its dialog.

use call::{Released, Stage};

use crate::transfers::{consulting, fragments, logged};
use crate::ua::Manner;
use crate::world::World;

/// A has sent a REFER to B2, whose re-INVITE it leaves unanswered.
fn asked() -> World {
    let mut world = consulting();
    world.b2.manner = Manner::Ignore;
    let to = format!("<sip:2000@198.51.100.1?Replaces={}>", world.a.replaces(1));
    world.a.refer(world.now, &to, None);
    world.run_ms(30);
    assert_eq!(world.b2.log.last().unwrap(), "INVITE");
    world
}

/// RFC 3261 §13.2.2.4: whatever has become of the transfer, a 2xx has its ACK. The offer in it has no answer.
#[test]
fn a_late_offer_of_a_party_that_was_lent_is_acknowledged_and_its_call_is_over() {
    let mut world = asked();
    // B hangs up, and the transfer fails, while B2 is answering.
    world.b.bye(world.now);
    world.b2.answer_ignored(world.now);
    world.run_ms(300);
    assert_eq!(world.b2.log, ["INVITE", "ACK", "INVITE", "ACK", "BYE"]);
    assert_eq!(world.a.log.last().unwrap(), "BYE");
    assert!(!world.b2.is_talking());
    world.finish();
    let causes: Vec<u8> = world
        .records
        .iter()
        .filter(|cdr| cdr.stage == Stage::Ended)
        .map(|cdr| cdr.cause.as_ref().unwrap().q850)
        .collect();
    assert_eq!(causes, [16, 111]);
}

/// The same, and the call that it would go back to is over, too: BYE has been said.
#[test]
fn a_late_offer_of_a_party_that_has_nowhere_to_go_is_acknowledged() {
    let mut world = asked();
    world.a.bye(world.now);
    world.a.bye(world.now);
    world.b.bye(world.now);
    world.run_ms(12);
    assert_eq!(world.b2bua.counters().transfers_failed, 1);
    world.b2.answer_ignored(world.now);
    world.run_ms(300);
    let acks = world.b2.log.iter().filter(|line| *line == "ACK").count();
    assert!(acks == 2 && logged(&world.b2, "BYE"), "{:?}", world.b2.log);
    world.finish();
}

/// RFC 3261 §12.2.1.2: a party that says that it has no such dialog, or nothing at all, is told that it is over.
#[test]
fn a_party_that_was_lent_and_has_lost_its_dialog_gets_a_bye() {
    let mut world = consulting();
    world.b2.manner = Manner::Reject(481);
    let to = format!("<sip:2000@198.51.100.1?Replaces={}>", world.a.replaces(1));
    world.a.refer(world.now, &to, None);
    world.run_ms(300);
    assert_eq!(world.b2.log.last().unwrap(), "BYE", "{:?}", world.b2.log);
    assert_eq!(
        *fragments(&world.a).last().unwrap(),
        "SIP/2.0 481 Call/Transaction Does Not Exist"
    );
    assert_eq!(world.b2bua.call_count(), 1, "the first call goes on");
    world.b.bye(world.now);
    world.finish();
    let released = world.records.iter().filter(|cdr| cdr.stage == Stage::Ended);
    let released: Vec<Released> = released.map(|cdr| cdr.cause.as_ref().unwrap().released).collect();
    assert_eq!(released, [Released::Us, Released::Callee]);
}
