//! Every phase of a call × everything that can happen in it, as a table that is kept in `table.txt`. Events that change
//! nothing share the line of `nothing`.
//! `UPDATE_GOLDEN=1` writes it anew, for review.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use call::Stage;
use media_types::{Event, EventKind, LegId};
use sip::{Destination, Transport};

use crate::node::{Mood, Node};
use crate::ua::Manner;
use crate::world::{B, World};

/// A name, and how a call gets there.
type Phase = (&'static str, fn() -> World);

/// A name, and what happens then.
type Act = (&'static str, fn(&mut World));

const PHASES: [Phase; 9] = [
    ("reserving", || {
        let mut world = World::new();
        world.node.delay = Duration::from_secs(1);
        world.a.invite(world.now, true);
        world.run_ms(300);
        world
    }),
    ("calling", World::invited),
    ("ringing", || {
        let mut world = World::invited();
        world.b.respond(world.now, 180, "b1", None);
        world.run_ms(20);
        world
    }),
    ("answering", || {
        let mut world = World::invited();
        world.node.delay = Duration::from_secs(1);
        world.b.answer(world.now);
        world.run_ms(300);
        world
    }),
    ("answered, no ACK yet", || {
        let mut world = World::invited();
        world.a.acknowledges = false;
        world.b.answer(world.now);
        world.run_ms(300);
        world
    }),
    ("late offer, no ACK yet", || {
        let mut world = World::new();
        world.a.acknowledges = false;
        world.a.invite(world.now, false);
        world.run_ms(20);
        world.b.answer(world.now);
        world.run_ms(300);
        world
    }),
    ("talking", World::talking),
    ("re-INVITE under way", || {
        let mut world = World::talking();
        world.b.manner = Manner::Ignore;
        world.a.reinvite(world.now, "sendonly", true);
        world.run_ms(300);
        world
    }),
    ("BYE under way", || {
        let mut world = World::talking();
        world.deaf.push(B.parse().unwrap());
        world.a.bye(world.now);
        world.run_ms(300);
        world.deaf.clear();
        world
    }),
];

const EVENTS: [Act; 18] = [
    ("nothing", |_| {}),
    ("caller CANCEL", |world| world.a.cancel(world.now)),
    ("caller CANCELs its re-INVITE", |world| {
        world.a.cancel_reinvite(world.now)
    }),
    ("caller BYE", |world| {
        world.a.bye_early(world.now);
        world.a.bye(world.now);
    }),
    ("caller ACK", |world| world.a.acknowledge()),
    ("callee 180", |world| world.b.respond(world.now, 180, "b1", None)),
    ("callee 200", |world| {
        if world.b.incoming.is_some() {
            world.b.answer(world.now);
        }
    }),
    ("callee 486", |world| world.b.respond(world.now, 486, "b1", None)),
    ("callee BYE", |world| world.b.bye(world.now)),
    ("caller re-INVITE", |world| {
        let body = world.a.body();
        world.a.in_dialog(world.now, "INVITE", Some(&body));
    }),
    ("callee re-INVITE", |world| {
        let body = world.b.body();
        world.b.in_dialog(world.now, "INVITE", Some(&body));
    }),
    ("caller UPDATE", |world| {
        let body = world.a.body();
        world.a.in_dialog(world.now, "UPDATE", Some(&body));
    }),
    ("caller INFO", |world| {
        world.a.in_dialog(world.now, "INFO", None);
    }),
    ("media timeout", |world| {
        if let Some(call) = world.node.calls.keys().next().cloned() {
            let kind = EventKind::MediaTimeout {
                leg: LegId::new("callee").unwrap(),
                line: 0,
            };
            world
                .b2bua
                .handle_media_event(world.now, &Node::name(), Event { call, kind });
        }
    }),
    ("node ends the call", World::node_ends),
    ("node falls silent", |world| world.node.mood = Mood::Silent),
    ("callee cannot be reached", |world| {
        let remote = B.parse().unwrap();
        world.deaf.push(remote);
        world.b2bua.handle_transport_error(
            world.now,
            Destination {
                transport: Transport::Udp,
                remote,
                flow: None,
            },
        );
    }),
    ("stop", |world| world.b2bua.end_all(world.now)),
];

/// What the parties get within ten seconds, and the record if the call ends in that time.
fn row(phase: fn() -> World, event: fn(&mut World)) -> String {
    let mut world = phase();
    let (a, b) = (world.a.log.len(), world.b.log.len());
    let was_over = world.records.iter().any(|cdr| cdr.stage == Stage::Ended);
    event(&mut world);
    world.settle();
    world.run_ms(10_000);
    let got = |log: &[String]| {
        let words: Vec<&str> = log
            .iter()
            .map(|line| {
                if line.starts_with("CANCEL") {
                    "CANCEL"
                } else {
                    line
                }
            })
            .collect();
        if words.is_empty() {
            "-".to_owned()
        } else {
            words.join(", ")
        }
    };
    let ended = world
        .records
        .iter()
        .find(|cdr| cdr.stage == Stage::Ended)
        .filter(|_| !was_over);
    let end = ended
        .and_then(|cdr| cdr.cause.as_ref())
        .map_or("-".to_owned(), |cause| {
            format!(
                "{} {} by {}",
                cause.sip_status,
                cause.q850,
                cause.released.as_str()
            )
        });
    let row = format!("{} | {} | {end}", got(&world.a.log[a..]), got(&world.b.log[b..]));
    hang_up(&mut world);
    row
}

/// However it went, everything comes to its end.
fn hang_up(world: &mut World) {
    world.deaf.clear();
    world.node.mood = Mood::Willing;
    world.a.acknowledges = true;
    world.b.manner = Manner::Accept;
    world.run_ms(40_000);
    for _ in 0..2 {
        world.a.cancel(world.now);
        world.a.bye(world.now);
        world.b.bye(world.now);
        world.run_ms(40_000);
    }
    world.finish();
}

#[test]
fn every_phase_answers_every_event_as_recorded() {
    let mut table = "phase | event | caller gets | callee gets | record\n".to_owned();
    for (phase, make) in PHASES {
        let rows: Vec<(&str, String)> = EVENTS
            .iter()
            .map(|&(event, act)| (event, row(make, act)))
            .collect();
        let quiet = &rows[0].1;
        let same = rows
            .iter()
            .filter(|(_, row)| row == quiet)
            .map(|&(event, _)| event);
        writeln!(
            table,
            "{phase} | {} | {quiet}",
            same.collect::<Vec<_>>().join(", ")
        )
        .unwrap();
        for (event, row) in rows.iter().filter(|(_, row)| row != quiet) {
            writeln!(table, "{phase} | {event} | {row}").unwrap();
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/table.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = |(now, then): &(&str, &str)| now != then;
    let different: Vec<_> = table.lines().zip(recorded.lines()).filter(differs).collect();
    assert!(table == recorded, "(now, recorded) differ: {different:#?}");
}
