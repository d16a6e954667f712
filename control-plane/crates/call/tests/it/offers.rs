//! Offers and answers: late ones, refused lines, broken ones.

use crate::ua::sdp;
use crate::world::World;

const TWO_LINES: &str = "v=0\r\no=- 1 1 IN IP4 10.1.0.1\r\ns=-\r\nc=IN IP4 10.1.0.1\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0\r\nm=image 4002 udptl t38\r\nm=video 4004 RTP/AVP 31\r\n";

fn answer_two_lines(video: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 10.2.0.1\r\ns=-\r\nc=IN IP4 10.2.0.1\r\nt=0 0\r\n\
         m=audio 5000 RTP/AVP 0\r\nm=image 0 udptl t38\r\nm=video {video} RTP/AVP 31\r\n"
    )
}

fn ports(body: &str) -> Vec<bool> {
    let lines = body.lines().filter(|line| line.starts_with("m="));
    lines.map(|line| line.split(' ').nth(1) != Some("0")).collect()
}

#[test]
fn rejected_and_unusable_lines_keep_their_place() {
    let mut world = World::new();
    let builder = world
        .a
        .invite_builder("1000")
        .body("application/sdp", TWO_LINES.as_bytes());
    world.a.send_invite(world.now, builder);
    world.run_ms(20);
    assert_eq!(ports(&world.b.last_body), [true, false, true]);
    world.b.respond(world.now, 200, "b1", Some(&answer_two_lines(0)));
    world.b.incoming = None;
    world.run_ms(50);
    assert_eq!(ports(&world.a.last_body), [true, false, false]);
    assert_eq!(
        (world.node.ports_allocated, world.node.ports_freed),
        (4, 2),
        "the refused line's ports are free again"
    );
    world.a.bye(world.now);
    world.finish();
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let mut world = World::new();
    world.a.invite(world.now, false);
    world.run_ms(20);
    assert!(world.b.last_body.is_empty());
    assert_eq!(world.node.creates, 0, "nothing is known of the media yet");
    world.b.respond(world.now, 180, "b1", None);
    world.run_ms(20);
    world.b.answer(world.now);
    world.run_ms(100);
    assert!(
        world.a.last_body.contains("c=IN IP4 198.51.100.11"),
        "{}",
        world.a.last_body
    );
    assert!(
        world.b.last_body.contains("c=IN IP4 198.51.100.12"),
        "the answer is in the ACK: {}",
        world.b.last_body
    );
    assert_eq!((world.node.creates, world.node.updates), (1, 1));
    let legs = world.node.calls.values().next().unwrap();
    assert_eq!(legs[0].lines[0].remote.unwrap().to_string(), "10.1.0.1:4000");
    assert_eq!(legs[1].lines[0].remote.unwrap().to_string(), "10.2.0.1:4000");
    world.a.bye(world.now);
    world.finish();
    assert_eq!(world.a.log, ["180 INVITE", "200 INVITE", "200 BYE"]);
}

#[test]
fn a_late_offer_without_an_answer_ends_the_call() {
    let mut world = World::new();
    world.a.acknowledges = false;
    world.a.invite(world.now, false);
    world.run_ms(20);
    world.b.answer(world.now);
    world.run_ms(50);
    world.a.acknowledge_without_body();
    world.finish();
    assert_eq!(world.a.log, ["200 INVITE", "BYE"]);
    assert_eq!(world.b.log, ["INVITE", "ACK", "BYE"]);
    assert_eq!(world.ended().cause.as_ref().unwrap().q850, 111);
}

#[test]
fn a_2xx_without_the_late_offer_ends_the_call() {
    let mut world = World::new();
    world.a.invite(world.now, false);
    world.run_ms(20);
    world.b.respond(world.now, 200, "b1", None);
    world.b.incoming = None;
    world.finish();
    assert_eq!(world.a.log, ["502 INVITE"]);
    assert_eq!(world.b.log, ["INVITE", "ACK", "BYE"]);
}

#[test]
fn an_answer_that_does_not_fit_the_offer_ends_the_call() {
    for body in ["v=0\r\n", "not a description", &answer_two_lines(4000)] {
        let mut world = World::invited();
        world.b.respond(world.now, 200, "b1", Some(body));
        world.b.incoming = None;
        world.finish();
        assert_eq!(world.a.log, ["502 INVITE"], "{body}");
        assert_eq!(world.b.log, ["INVITE", "ACK", "BYE"], "{body}");
        assert_eq!(world.b2bua.counters().descriptions_refused, 1);
    }
}

#[test]
fn a_party_on_ipv6_gets_ipv6_and_the_other_one_does_not() {
    let mut world = World::new();
    let offer = sdp("2001:db8::7", 1, "sendrecv").replace("IP4", "IP6");
    let builder = world
        .a
        .invite_builder("1000")
        .body("application/sdp", offer.as_bytes());
    world.a.send_invite(world.now, builder);
    world.run_ms(20);
    assert!(
        world.b.last_body.contains("c=IN IP4 198.51.100.12"),
        "{}",
        world.b.last_body
    );
    world.b.answer(world.now);
    world.run_ms(50);
    assert!(
        world.a.last_body.contains("c=IN IP6 2001:db8:f::"),
        "{}",
        world.a.last_body
    );
    world.a.bye(world.now);
    world.finish();
}
