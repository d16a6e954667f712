//! How far a call may spread (RFC 5393).

use call::NextHop;
use sans_io::network::Conditions;
use sip::message::RequestBuilder;
use sip::{HeaderName, Message};

use crate::world::{B, B2, B3, US, World, contact};

fn phones() -> Vec<NextHop> {
    vec![contact(B, 0, 0), contact(B2, 0, 1), contact(B3, 0, 2)]
}

fn called_with(contacts: &[NextHop], fields: impl Fn(RequestBuilder) -> RequestBuilder) -> World {
    let mut world = World::with_contacts(contacts, Conditions::PERFECT, 1);
    let body = world.a.body();
    let builder = fields(world.a.invite_builder("1000"));
    world
        .a
        .send_invite(world.now, builder.body("application/sdp", body.as_bytes()));
    world.run_ms(20);
    world
}

fn told(invite: &Option<Message>) -> Option<&str> {
    invite.as_ref()?.header(HeaderName::MaxBreadth)
}

fn end(mut world: World) -> World {
    world.a.cancel(world.now);
    world.finish();
    world
}

#[test]
fn branches_share_the_breadth() {
    for (given, shares) in [
        (None, ["20"; 3]),
        (Some("11"), ["5", "3", "3"]),
        (Some("900"), ["20"; 3]),
    ] {
        let world = called_with(&phones(), |builder| match given {
            Some(given) => builder.header(HeaderName::MaxBreadth, given),
            None => builder,
        });
        let invites = [&world.b, &world.b2, &world.b3].map(|ua| told(&ua.last_invite));
        assert_eq!(invites, shares.map(Some), "{given:?}");
        end(world);
    }
}

#[test]
fn one_branch_has_all_of_it() {
    for (given, share) in [(None, None), (Some("1"), Some("1")), (Some("61"), Some("60"))] {
        let world = called_with(&phones()[..1], |builder| match given {
            Some(given) => builder.header(HeaderName::MaxBreadth, given),
            None => builder,
        });
        assert_eq!(told(&world.b.last_invite), share, "{given:?}");
        end(world);
    }
}

#[test]
fn too_little_breadth_is_440() {
    for (contacts, breadth, status) in [(3, "2", "440"), (1, "0", "440"), (3, "3", "487")] {
        let world = called_with(&phones()[..contacts], |builder| {
            builder.header(HeaderName::MaxBreadth, breadth)
        });
        let world = end(world);
        assert_eq!(world.a.log, [format!("{status} INVITE")], "{breadth}");
    }
}

#[test]
fn contacts_beyond_the_limit_are_left_out() {
    let contacts: Vec<NextHop> = (0..20).map(|device| contact(B, device, device)).collect();
    let world = called_with(&contacts, |builder| builder);
    assert_eq!(world.b2bua.counters().branches_left_out, 4);
    end(world);
}

/// Attack 24: contacts that lead back to us, each of which is all of them again.
#[test]
fn attack_24_a_fork_bomb_is_bounded() {
    let users = ["x", "y", "z"];
    let contacts = [0, 1, 2].map(|device| {
        let user = users[device as usize];
        let mut hop = contact(US, 0, device);
        hop.contact.as_mut().unwrap().uri = format!("sip:{user}@{US}");
        hop
    });
    let mut world = called_with(&contacts, |builder| builder);
    world.finish();
    assert!(
        ["440 INVITE", "482 INVITE"].contains(&&*world.a.log[0]),
        "{:?}",
        world.a.log
    );
    let calls = world.b2bua.counters().calls_attempted;
    assert!((7..=60).contains(&calls), "{calls} calls of one");
}

/// Attack 23: our own address as the only contact.
#[test]
fn attack_23_a_contact_that_is_ourselves_ends_the_call() {
    let mut hop = contact(US, 0, 0);
    hop.contact.as_mut().unwrap().uri = format!("sip:1000@{US}");
    let mut world = called_with(&[hop], |builder| builder);
    world.finish();
    assert_eq!(world.a.log, ["482 INVITE"]);
    assert_eq!(world.b2bua.counters().calls_attempted, 1);
}
