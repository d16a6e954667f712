//! Random stories over a bad network: whatever happens, nothing is left and nobody disagrees.

use std::time::Duration;

use call::{Config, Dtls, KeysOver, NextHop, Route, Routes, Srtp, SrtpPolicy};
use sans_io::Random;
use sans_io::network::Conditions;

use crate::node::Mood;
use crate::ua::{Manner, key};
use crate::world::{B, B2, World, config, hop};

/// How many stories are told; `STORIES=n` tells more.
const STORIES: u64 = 1_000;

pub fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// One thing that somebody does at some time.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    Ring,
    EarlyMedia,
    Answer,
    AnswerAsFork,
    Reject,
    Cancel,
    CallerHangsUp,
    CalleeHangsUp,
    CallerHolds,
    CalleeHolds,
    LateReinvite,
    CancelReinvite,
    Info,
    Update,
    Mood(Mood),
    Manners(Manner),
    NodeEnds,
    AckLost,
    PickUp,
}

pub fn deed(random: &mut Random) -> Deed {
    match random.below(26) {
        0..=2 => Deed::Ring,
        3 => Deed::EarlyMedia,
        4..=6 => Deed::Answer,
        7 => Deed::AnswerAsFork,
        8 => Deed::Reject,
        9 => Deed::Cancel,
        10 => Deed::CallerHangsUp,
        11 => Deed::CalleeHangsUp,
        12 | 13 => Deed::CallerHolds,
        14 => Deed::CalleeHolds,
        15 => Deed::LateReinvite,
        16 => Deed::CancelReinvite,
        17 => Deed::Info,
        18 => Deed::Update,
        19 => Deed::Mood([Mood::Full, Mood::Lost, Mood::Silent, Mood::Strict][random.below(4) as usize]),
        20 => Deed::Mood(Mood::Willing),
        21 => Deed::Manners(
            [
                Manner::Accept,
                Manner::Ignore,
                Manner::Reject(488),
                Manner::Reject(481),
            ][random.below(4) as usize],
        ),
        22 => Deed::NodeEnds,
        23 | 24 => Deed::PickUp,
        _ => Deed::AckLost,
    }
}

pub fn act(world: &mut World, deed: Deed) {
    let now = world.now;
    match deed {
        Deed::Ring => world.b.respond(now, 180, "b1", None),
        Deed::EarlyMedia => {
            let body = world.b.body();
            world.b.respond(now, 183, "b2", Some(&body));
        }
        Deed::Answer => world.b.answer(now),
        Deed::AnswerAsFork => {
            let body = world.b.body();
            world.b.respond(now, 200, "b2", Some(&body));
        }
        Deed::Reject => {
            let answered = world
                .b
                .incoming
                .as_ref()
                .is_some_and(|(key, ..)| world.b.has_answered(*key));
            if !answered {
                world.b.respond(now, 486, "b1", None);
            }
        }
        Deed::Cancel => world.a.cancel(now),
        Deed::CallerHangsUp => world.a.bye(now),
        Deed::CalleeHangsUp => world.b.bye_if_acknowledged(now),
        Deed::CallerHolds => world.a.reinvite(now, "sendonly", true),
        Deed::CalleeHolds => world.b.reinvite(now, "inactive", true),
        Deed::LateReinvite => world.a.reinvite(now, "sendrecv", false),
        Deed::CancelReinvite => world.a.cancel_reinvite(now),
        Deed::Info => {
            world.b.in_dialog(now, "INFO", None);
        }
        Deed::Update => {
            let body = world.b.body();
            world.b.in_dialog(now, "UPDATE", Some(&body));
        }
        Deed::Mood(mood) => world.node.mood = mood,
        Deed::Manners(manner) => world.b.manner = manner,
        Deed::NodeEnds => world.node_ends(),
        Deed::AckLost => world.a.acknowledges = false,
        Deed::PickUp => {
            let Some(invite) = world.b.last_invite.clone() else {
                return;
            };
            let ours = invite.from().unwrap().tag().unwrap_or_default().to_owned();
            let call_id = invite.call_id().unwrap();
            world
                .b2
                .replace(now, &format!("{call_id};to-tag={ours};from-tag=b1"));
        }
    }
}

const REQUIRED: Srtp = Srtp {
    policy: SrtpPolicy::Require,
    over: KeysOver::Any,
    dtls: Dtls::Allow,
};

/// `is_browser`: it is offered a handshake in place of keys.
fn secured_hop(address: &str, is_browser: bool) -> NextHop {
    let dtls = if is_browser { Dtls::Offer } else { Dtls::Allow };
    NextHop {
        srtp: Srtp { dtls, ..REQUIRED },
        ..hop(address)
    }
}

fn story(seed: u64) -> World {
    let mut random = Random::from_number(seed);
    let conditions = match random.below(3) {
        0 => Conditions::PERFECT,
        _ => Conditions {
            loss_permille: random.below(150),
            duplication_permille: random.below(100),
            delay_min: Duration::from_millis(1),
            delay_max: Duration::from_millis(1 + random.below(80)),
        },
    };
    let hops: &[&str] = if random.chance_permille(300) {
        &[B, B2]
    } else {
        &[B]
    };
    let is_secured = random.chance_permille(300);
    // Caller and callees with DTLS and ICE, others with keys in descriptions.
    let browsers = [(); 2].map(|()| is_secured && random.chance_permille(400));
    let config = match is_secured {
        true => Config {
            caller_srtp: REQUIRED,
            routes: Routes::new([Route {
                prefix: "1".into(),
                weight: None,
                next_hops: hops
                    .iter()
                    .map(|address| secured_hop(address, browsers[1]))
                    .collect(),
            }]),
            ..config(hops)
        },
        false => config(hops),
    };
    let mut world = World::with(config, conditions, seed);
    world.node.is_secured = is_secured;
    for (letter, ua) in [&mut world.a, &mut world.b, &mut world.b2]
        .into_iter()
        .enumerate()
    {
        let is_browser = browsers[usize::from(letter > 0)];
        ua.key = (is_secured && !is_browser).then(|| key(letter as u8));
        ua.browser = is_browser.then_some(["aaaa", "bbbb", "cccc"][letter]);
    }
    world.node.delay = Duration::from_millis(random.below(60));
    for _ in 0..=random.below(2) {
        world.a.invite(world.now, random.chance_permille(800));
        for _ in 0..random.below(14) {
            let longest = if random.chance_permille(800) { 200 } else { 5_000 };
            world.run_ms(random.below(longest));
            act(&mut world, deed(&mut random));
        }
        world.run_ms(random.below(3_000));
    }
    // The parties come to their end: they hang up, whoever still can.
    world.a.acknowledges = true;
    world.b.manner = Manner::Accept;
    for _ in 0..4 {
        world.a.cancel(world.now);
        world.b2.cancel(world.now);
        world.a.bye(world.now);
        world.run_ms(random.below(500));
        world.b.bye_if_acknowledged(world.now);
        world.b2.bye_if_acknowledged(world.now);
        world.run_ms(40_000);
    }
    world
}

#[test]
fn nothing_is_left_after_any_story() {
    let given = number("SEED");
    let stories = number("STORIES").unwrap_or(STORIES);
    let seeds = given.map_or(0..stories, |seed| seed..seed + 1);
    let (mut answered, mut picked_up) = (0, 0);
    for seed in seeds {
        let told = std::panic::catch_unwind(|| {
            let mut world = story(seed);
            world.finish();
            let counters = world.b2bua.counters();
            (counters.calls_answered, counters.transfers_completed)
        });
        match told {
            Ok((calls, pickups)) => {
                answered += calls;
                picked_up += pickups;
            }
            Err(fault) => {
                eprintln!("the story of SEED={seed} went wrong");
                std::panic::resume_unwind(fault);
            }
        }
    }
    assert!(
        given.is_some() || answered > stories / 4,
        "only {answered} calls were answered: the stories test little"
    );
    assert!(
        given.is_some() || picked_up > stories / 100,
        "only {picked_up} calls changed hands"
    );
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let trace = |seed| {
        let mut world = story(seed);
        world.finish();
        world.trace
    };
    for seed in 0..20 {
        assert_eq!(trace(seed), trace(seed), "SEED={seed}");
    }
}
