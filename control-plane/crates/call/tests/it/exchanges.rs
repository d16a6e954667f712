//! re-INVITE and UPDATE (RFC 3261 §14, RFC 3311, RFC 6141).

use std::time::Duration;

use crate::node::Mood;
use crate::ua::Manner;
use crate::world::World;
use media_types::Direction;

fn directions(world: &World) -> [Direction; 2] {
    let legs = world.node.calls.values().next().unwrap();
    [legs[0].lines[0].direction, legs[1].lines[0].direction]
}

#[test]
fn hold_and_resume_keep_their_directions() {
    let mut world = World::talking();
    world.b.direction = "recvonly";
    world.a.reinvite(world.now, "sendonly", true);
    world.run_ms(50);
    assert!(world.b.last_body.contains("a=sendonly"), "{}", world.b.last_body);
    assert!(world.a.last_body.contains("a=recvonly"), "{}", world.a.last_body);
    assert_eq!(directions(&world), [Direction::SendOnly, Direction::RecvOnly]);
    world.b.direction = "sendrecv";
    world.a.reinvite(world.now, "sendrecv", true);
    world.run_ms(50);
    assert_eq!(directions(&world), [Direction::SendRecv, Direction::SendRecv]);
    assert_eq!(world.a.log[2..], ["200 INVITE", "200 INVITE"]);
    assert_eq!(world.b.log, ["INVITE", "ACK", "INVITE", "ACK", "INVITE", "ACK"]);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn hold_in_every_form_is_passed_on_and_taken_back() {
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    for (held, answered, directions_then) in [
        ("sendonly", "recvonly", [SendOnly, RecvOnly]),
        ("recvonly", "sendonly", [RecvOnly, SendOnly]),
        ("inactive", "inactive", [Inactive, Inactive]),
    ] {
        for method in ["INVITE", "UPDATE"] {
            let mut world = World::talking();
            for (offer, answer, expected) in [
                (held, answered, directions_then),
                ("sendrecv", "sendrecv", [SendRecv, SendRecv]),
            ] {
                world.a.direction = offer;
                world.b.direction = answer;
                let body = world.a.body();
                world.a.in_dialog(world.now, method, Some(&body));
                world.run_ms(50);
                assert_eq!(world.a.log.last().unwrap(), &format!("200 {method}"));
                assert_eq!(directions(&world), expected, "{held} by {method}");
            }
            world.a.bye(world.now);
            world.finish();
        }
    }
}

/// RFC 4585: early feedback comes and goes with an offer, and the call goes on.
#[test]
fn a_reinvite_may_change_the_profile() {
    let mut world = World::talking();
    for profile in ["RTP/AVPF", "RTP/AVP"] {
        for method in ["INVITE", "UPDATE"] {
            world.a.profile = Some(profile);
            let body = world.a.body();
            world.a.in_dialog(world.now, method, Some(&body));
            world.run_ms(50);
            assert_eq!(world.a.log.last().unwrap(), &format!("200 {method}"), "{profile}");
            for party in [&world.a, &world.b] {
                let wanted = format!(" {profile} ");
                assert!(
                    party.last_body.contains(&wanted),
                    "{profile}: {}",
                    party.last_body
                );
            }
        }
    }
    assert!(world.a.is_talking() && world.b.is_talking());
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn hold_by_the_address_0_0_0_0_stops_the_media_towards_it() {
    let mut world = World::talking();
    let body = world.a.body().replace("c=IN IP4 10.1.0.1", "c=IN IP4 0.0.0.0");
    world.a.in_dialog(world.now, "INVITE", Some(&body));
    world.run_ms(50);
    assert_eq!(world.a.log.last().unwrap(), "200 INVITE");
    let lines = world.node.calls.values().next().unwrap()[0].lines.clone();
    assert!(
        !lines[0].direction.receives() || lines[0].remote.is_none(),
        "{lines:?}"
    );
    world.a.reinvite(world.now, "sendrecv", true);
    world.run_ms(50);
    assert_eq!(directions(&world), [Direction::SendRecv, Direction::SendRecv]);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_reinvite_of_the_callee_goes_to_the_caller() {
    let mut world = World::talking();
    world.a.direction = "recvonly";
    world.b.reinvite(world.now, "sendonly", true);
    world.run_ms(50);
    assert_eq!(directions(&world), [Direction::RecvOnly, Direction::SendOnly]);
    assert_eq!(world.a.log[2..], ["INVITE", "ACK"]);
    assert_eq!(world.b.log[2..], ["200 INVITE"]);
    world.b.bye(world.now);
    world.finish();
}

#[test]
fn a_refused_reinvite_leaves_the_media_as_it_was() {
    let mut world = World::talking();
    let before = world.node.calls.clone();
    world.b.manner = Manner::Reject(488);
    world.a.reinvite(world.now, "inactive", true);
    world.run_ms(50);
    assert_eq!(world.a.log[2..], ["488 INVITE"]);
    assert_eq!(world.node.calls, before);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_line_that_was_added_and_refused_is_taken_back() {
    let mut world = World::talking();
    let ports = world.node.ports_allocated - world.node.ports_freed;
    let two = world.a.body() + "m=video 4002 RTP/AVP 31\r\n";
    world.b.manner = Manner::Reject(488);
    world.a.in_dialog(world.now, "INVITE", Some(&two));
    world.run_ms(50);
    assert_eq!(world.node.ports_allocated - world.node.ports_freed, ports);
    // And once more, accepted: the line's place on the node is used again.
    world.b.manner = Manner::Accept;
    world.b.extra = "m=video 5002 RTP/AVP 31\r\n";
    let two = world.a.body() + "m=video 4002 RTP/AVP 31\r\n";
    world.a.in_dialog(world.now, "INVITE", Some(&two));
    world.run_ms(50);
    assert_eq!(world.a.log[2..], ["488 INVITE", "200 INVITE"]);
    assert_eq!(world.node.ports_allocated - world.node.ports_freed, ports + 2);
    // RFC 3264 §8: a line is never taken away.
    world.a.reinvite(world.now, "sendrecv", true);
    world.run_ms(50);
    assert_eq!(world.a.log.last().unwrap(), "488 INVITE");
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn media_refused_on_a_reinvite_is_told_and_the_old_media_stays() {
    for (mood, status) in [
        (Mood::Full, 503),
        (Mood::Strict, 488),
        (Mood::Nobody, 503),
        (Mood::Silent, 503),
    ] {
        let mut world = World::talking();
        let before = world.node.calls.clone();
        world.node.mood = mood;
        world.a.reinvite(world.now, "sendonly", true);
        world.run_ms(4_000);
        assert_eq!(world.a.log[2..], [format!("{status} INVITE")], "{mood:?}");
        assert_eq!(world.b.log, ["INVITE", "ACK"], "the callee hears nothing of it");
        assert_eq!(world.node.calls, before);
        assert!(world.a.is_talking() && world.b.is_talking());
        world.node.mood = Mood::Willing;
        world.a.bye(world.now);
        world.finish();
    }
}

#[test]
fn a_node_that_refuses_what_both_have_agreed_to_ends_the_call() {
    let mut world = World::talking();
    world.a.reinvite(world.now, "sendonly", true);
    while !world.b.log.iter().skip(2).any(|line| line == "INVITE") {
        world.step(world.now + Duration::from_secs(1));
    }
    world.node.mood = Mood::Full;
    world.finish();
    assert_eq!(world.a.log[2..], ["503 INVITE", "BYE"]);
    assert_eq!(world.b.log[2..], ["INVITE", "ACK", "BYE"]);
}

#[test]
fn glare_is_491_on_both_sides() {
    let mut world = World::talking();
    world.a.reinvite(world.now, "sendonly", true);
    let sent = |world: &World| world.trace.iter().filter(|line| *line == "INVITE -> b").count();
    while sent(&world) < 2 {
        world.step(world.now + Duration::from_secs(1));
    }
    world.b.reinvite(world.now, "sendonly", true);
    world.run_ms(200);
    // Ours to the callee crosses the callee's to us: it says 491, and so do we.
    assert_eq!(world.a.log[2..], ["491 INVITE"]);
    assert_eq!(world.b.log[2..], ["INVITE", "491 INVITE"]);
    world.a.reinvite(world.now, "sendrecv", true);
    world.run_ms(200);
    assert_eq!(world.a.log.last().unwrap(), "200 INVITE");
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_reinvite_while_another_one_is_under_way_from_the_other_side_is_491() {
    let mut world = World::talking();
    world.a.reinvite(world.now, "sendonly", true);
    world.b.reinvite(world.now, "sendonly", true);
    world.run_ms(200);
    assert_eq!(world.a.log[2..], ["200 INVITE"]);
    assert_eq!(world.b.log[2..], ["491 INVITE", "INVITE", "ACK"]);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_second_reinvite_before_the_first_is_answered_is_500() {
    let mut world = World::talking();
    world.b.manner = Manner::Ignore;
    world.a.reinvite(world.now, "sendonly", true);
    world.run_ms(50);
    let body = world.a.body();
    world.a.in_dialog(world.now, "INVITE", Some(&body));
    world.run_ms(50);
    assert_eq!(world.a.log[2..], ["500 INVITE"]);
    world.a.bye(world.now);
    world.finish();
    assert_eq!(world.a.log[2..], ["500 INVITE", "487 INVITE", "200 BYE"]);
}

#[test]
fn a_reinvite_without_an_offer_asks_the_other_side_for_one() {
    let mut world = World::talking();
    world.a.direction = "recvonly";
    world.b.direction = "sendonly";
    world.a.reinvite(world.now, "recvonly", false);
    world.run_ms(100);
    assert_eq!(world.a.log[2..], ["200 INVITE"]);
    assert_eq!(world.b.log[2..], ["INVITE", "ACK"]);
    assert!(
        world.b.last_body.contains("a=recvonly"),
        "the answer in the ACK: {}",
        world.b.last_body
    );
    assert_eq!(directions(&world), [Direction::RecvOnly, Direction::SendOnly]);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_repeated_2xx_with_an_offer_is_not_acknowledged_before_the_answer_is_there() {
    let mut world = World::talking();
    world.a.acknowledges = false;
    world.a.reinvite(world.now, "sendrecv", false);
    world.run_ms(600);
    assert_eq!(
        world.b.log[2..],
        ["INVITE"],
        "its 2xx is repeated, and there is no answer yet"
    );
    world.a.acknowledge();
    world.run_ms(600);
    assert_eq!(world.b.log[2..], ["INVITE", "ACK"]);
    assert!(
        world.b.last_body.contains("c=IN IP4 198.51.100.12"),
        "the answer is in the ACK: {}",
        world.b.last_body
    );
    assert!(world.a.is_talking() && world.b.is_talking());
    world.a.bye(world.now);
    world.finish();
}

/// A re-INVITE is cancelled while the node is still asked for its lines, and another request follows at once: how often
/// does that one reach the callee?
fn requests_after_a_cancelled_reinvite(method: &str, with_offer: bool) -> Vec<String> {
    let mut world = World::talking();
    world.node.delay = Duration::from_secs(1);
    world.a.reinvite(world.now, "sendonly", true);
    world.run_ms(400);
    world.a.cancel_reinvite(world.now);
    world.run_ms(50);
    assert_eq!(world.a.log[2..], ["487 INVITE"]);
    let body = world.a.body();
    world
        .a
        .in_dialog(world.now, method, with_offer.then_some(body.as_str()));
    world.run_ms(5_000);
    assert_eq!(world.a.log[3..], [format!("200 {method}")]);
    assert!(world.a.is_talking() && world.b.is_talking());
    let log = world.b.log[2..].to_vec();
    world.a.bye(world.now);
    world.finish();
    log
}

#[test]
fn a_request_after_a_cancelled_reinvite_reaches_the_other_side_once() {
    assert_eq!(
        requests_after_a_cancelled_reinvite("INVITE", true),
        ["INVITE", "ACK"]
    );
    assert_eq!(
        requests_after_a_cancelled_reinvite("INVITE", false),
        ["INVITE", "ACK"]
    );
    assert_eq!(requests_after_a_cancelled_reinvite("UPDATE", true), ["UPDATE"]);
    assert_eq!(requests_after_a_cancelled_reinvite("UPDATE", false), ["UPDATE"]);
}

#[test]
fn a_reinvite_that_is_asked_of_a_silent_callee_is_not_sent_again_for_an_older_one() {
    let mut world = World::talking();
    world.node.delay = Duration::from_secs(1);
    world.a.reinvite(world.now, "sendonly", true);
    world.run_ms(400);
    world.a.cancel_reinvite(world.now);
    world.run_ms(50);
    world.b.manner = Manner::Ignore;
    world.a.reinvite(world.now, "sendrecv", false);
    world.run_ms(2_000);
    assert_eq!(world.b.log[2..], ["INVITE"]);
    world.a.cancel_reinvite(world.now);
    world.run_ms(2_000);
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_cancelled_reinvite_ends_as_the_other_side_ends_it() {
    let mut world = World::talking();
    world.b.manner = Manner::Ignore;
    world.a.reinvite(world.now, "sendonly", true);
    world.run_ms(400);
    world.a.cancel_reinvite(world.now);
    world.run_ms(200);
    assert_eq!(world.a.log[2..], ["487 INVITE"]);
    assert!(world.a.is_talking() && world.b.is_talking());
    world.b.manner = Manner::Accept;
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_reinvite_that_is_never_answered_is_cancelled() {
    let mut world = World::talking();
    world.b.manner = Manner::Ignore;
    world.a.reinvite(world.now, "sendonly", true);
    world.run_ms(61_000);
    assert_eq!(world.a.log[2..], ["487 INVITE"]);
    assert!(world.a.is_talking() && world.b.is_talking());
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_party_that_has_lost_the_dialog_ends_the_call() {
    let mut world = World::talking();
    world.b.manner = Manner::Reject(481);
    world.a.reinvite(world.now, "sendonly", true);
    world.finish();
    assert_eq!(world.a.log[2..], ["481 INVITE", "BYE"]);
}

#[test]
fn hanging_up_amid_a_reinvite_ends_it_with_487() {
    let mut world = World::talking();
    world.b.manner = Manner::Ignore;
    world.a.reinvite(world.now, "sendonly", true);
    world.run_ms(50);
    world.b.bye(world.now);
    world.finish();
    assert_eq!(world.a.log[2..], ["487 INVITE", "BYE"]);
}

#[test]
fn update_carries_an_offer_or_none() {
    let mut world = World::talking();
    world.b.direction = "recvonly";
    world.a.direction = "sendonly";
    let body = world.a.body();
    world.a.in_dialog(world.now, "UPDATE", Some(&body));
    world.run_ms(50);
    assert_eq!(directions(&world), [Direction::SendOnly, Direction::RecvOnly]);
    world.b.in_dialog(world.now, "UPDATE", None);
    world.run_ms(50);
    assert_eq!(world.a.log[2..], ["200 UPDATE", "UPDATE"]);
    assert_eq!(world.b.log[2..], ["UPDATE", "200 UPDATE"]);
    world.a.bye(world.now);
    world.finish();
}
