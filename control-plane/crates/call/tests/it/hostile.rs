//! Calls amid forged and damaged copies of their own messages: nothing panics, nothing leaks, nothing is left.

use std::time::Duration;

use bytes::Bytes;
use sans_io::Random;
use sans_io::network::Conditions;
use sip::{FlowId, Message, Source, Transport};

use crate::random::{act, deed, number};
use crate::world::{B, B2, US, World, config};

const STORIES: u64 = 400;

/// Changes a message in ways that keep it a message: other numbers, tags, methods, statuses, bodies; fields gone or
/// doubled; bytes flipped.
fn forge(text: &str, random: &mut Random) -> Vec<u8> {
    let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
    for _ in 0..=random.below(3) {
        let place = random.below(lines.len() as u64) as usize;
        let digit = char::from(b'0' + random.below(10) as u8).to_string();
        match random.below(10) {
            0 => {
                let method =
                    ["INVITE", "BYE", "ACK", "UPDATE", "INFO", "CANCEL", "PRACK"][random.below(7) as usize];
                for line in &mut lines {
                    if let Some(rest) = line.strip_prefix("CSeq: ") {
                        *line = format!("CSeq: {} {method}", rest.split(' ').next().unwrap_or("1"));
                    }
                }
                if !lines[0].starts_with("SIP/2.0") {
                    lines[0] = format!(
                        "{method} {}",
                        lines[0].split_once(' ').map_or("sip:x SIP/2.0", |(_, rest)| rest)
                    );
                }
            }
            1 if lines[0].starts_with("SIP/2.0") => {
                let status = [
                    "180", "183", "200", "302", "408", "481", "487", "491", "503", "699",
                ];
                lines[0] = format!("SIP/2.0 {} Forged", status[random.below(10) as usize]);
            }
            2 => lines.retain({
                let gone = lines[place].clone();
                move |line| *line != gone || line.is_empty()
            }),
            3 if !lines[place].is_empty() => lines.insert(place, lines[place].clone()),
            4 => lines[place] = lines[place].replace(|c: char| c.is_ascii_digit(), &digit),
            5 => lines[place] = lines[place].replace("tag=", "tag=x"),
            6 => lines[place] = lines[place].replace("branch=z9hG4bK", &format!("branch=z9hG4bK{digit}")),
            7 => lines[place] = lines[place].replace("m=audio 4000", "m=audio 0"),
            8 => lines.truncate(place.max(1)),
            _ => {
                if let Some(line) = lines.iter_mut().find(|line| line.starts_with("CSeq: ")) {
                    *line = line.replacen("CSeq: ", &format!("CSeq: {digit}"), 1);
                }
            }
        }
        if lines.is_empty() {
            lines.push(String::new());
        }
    }
    let mut bytes = lines.join("\r\n").into_bytes();
    if random.chance_permille(200) && !bytes.is_empty() {
        let place = random.below(bytes.len() as u64) as usize;
        bytes[place] = random.next_u64() as u8;
    }
    bytes
}

/// Sends the B2BUA a forged copy of something that it got before, from the same sender or from a stranger.
fn attack(world: &mut World, random: &mut Random) -> bool {
    if world.tape.is_empty() {
        return false;
    }
    let (from, bytes) = world.tape[random.below(world.tape.len() as u64) as usize].clone();
    let forged = forge(&String::from_utf8_lossy(&bytes), random);
    let remote = if random.chance_permille(700) {
        from
    } else {
        "10.3.0.1:5060".parse().unwrap()
    };
    let Ok(message) = Message::parse_datagram(Bytes::from(forged)) else {
        return false;
    };
    let source = Source {
        transport: Transport::Udp,
        flow: FlowId(1),
        remote,
        local: US.parse().unwrap(),
    };
    world.b2bua.handle_message(world.now, source, message);
    world.settle();
    true
}

fn story(seed: u64) -> (World, u64) {
    let mut random = Random::from_number(seed);
    let hops: &[&str] = if random.chance_permille(300) {
        &[B, B2]
    } else {
        &[B]
    };
    let mut world = World::with(config(hops), Conditions::PERFECT, seed);
    world.node.delay = Duration::from_millis(random.below(30));
    let mut attacks = 0;
    for _ in 0..2 {
        world.a.invite(world.now, random.chance_permille(800));
        for _ in 0..random.below(16) {
            for _ in 0..random.below(5) {
                world.run_ms(random.below(40));
                attacks += u64::from(attack(&mut world, &mut random));
            }
            world.run_ms(random.below(200));
            let deed = deed(&mut random);
            act(&mut world, deed);
        }
    }
    world.run_ms(70_000);
    // A forged BYE with a high number shuts the real one out; what stands then is ended from here.
    world.b2bua.end_all(world.now);
    world.run_ms(200_000);
    (world, attacks)
}

#[test]
fn nothing_is_left_after_any_attack() {
    let given = number("SEED");
    let stories = number("STORIES").unwrap_or(STORIES);
    let mut attacks = 0;
    for seed in given.map_or(0..stories, |seed| seed..seed + 1) {
        let told = std::panic::catch_unwind(|| {
            let (world, attacks) = story(seed);
            world.check_left();
            attacks
        });
        match told {
            Ok(count) => attacks += count,
            Err(fault) => {
                eprintln!("the attack of SEED={seed} went through");
                std::panic::resume_unwind(fault);
            }
        }
    }
    assert!(
        given.is_some() || attacks > stories,
        "only {attacks} forged messages were readable"
    );
}
