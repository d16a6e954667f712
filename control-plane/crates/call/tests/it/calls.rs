use call::{Released, Stage};

use crate::world::World;

#[test]
fn a_call_is_set_up_talks_and_is_hung_up_by_the_caller() {
    let mut world = World::talking();
    world.a.bye(world.now);
    world.finish();
    assert_eq!(world.b.log, ["INVITE", "ACK", "BYE"]);
    assert_eq!(world.a.log.last().unwrap(), "200 BYE");
    world.assert_order(&[
        "200 INVITE -> a",
        "record Ended",
        "BYE -> b",
        "200 BYE -> a",
        "record Quality",
    ]);
    let cdr = world.ended();
    let cause = cdr.cause.as_ref().unwrap();
    assert_eq!(
        (cause.released, cause.sip_status, cause.q850),
        (Released::Caller, 200, 16)
    );
    assert_eq!((cdr.caller.as_str(), cdr.callee.as_str()), ("alice", "1000"));
    assert_eq!(cdr.codec.as_deref(), Some("PCMU/8000"));
    let last = world.records.last().unwrap();
    assert_eq!(last.stage, Stage::Quality);
    assert_eq!(last.quality.unwrap().callee.packets, 101);
}
