use sans_io::Random;
use sdp::{Origin, Session, agree, propose, rewrite};

use crate::golden::bodies;
use crate::our_lines;

/// Damages a body the way broken senders and attackers do: bytes changed, cut, doubled, spliced from another body.
fn damage(body: &mut Vec<u8>, others: &[(String, String)], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(body.len() as u64 + 1) as usize;
        match random.below(6) {
            0 if at < body.len() => body[at] = random.next_u64() as u8,
            1 => body.truncate(at),
            2 => body.insert(at, b"\r\n:=/ 09\0\xff"[random.below(10) as usize]),
            3 => {
                let tail = body[at..].to_vec();
                body.extend_from_slice(&tail);
            }
            4 => {
                let other = others[random.below(others.len() as u64) as usize].1.as_bytes();
                let from = random.below(other.len() as u64) as usize;
                body.splice(at.., other[from..].iter().copied());
            }
            _ => {
                let to = (at + random.below(40) as usize).min(body.len());
                body.drain(at..to);
            }
        }
    }
}

/// Whatever comes in, nothing panics; what is accepted is printed in a form that parses again, has the same lines,
/// and does not change when it is printed once more.
#[test]
fn damaged_bodies_are_refused_or_become_clean_ones() {
    let given: Option<u64> = std::env::var("SEED")
        .ok()
        .map(|seed| seed.parse().expect("SEED is a number"));
    let bodies = bodies();
    let mut accepted = 0;
    for seed in given.map_or(0..4_000, |seed| seed..seed + 1) {
        let mut random = Random::from_number(seed);
        let mut body = bodies[random.below(bodies.len() as u64) as usize]
            .1
            .clone()
            .into_bytes();
        damage(&mut body, &bodies, &mut random);
        let Ok(session) = Session::parse(&body) else {
            continue;
        };
        accepted += 1;
        let lines = our_lines(&session);
        let out = rewrite(&session, &lines, &[], &mut Origin::new(8));
        let again = Session::parse(out.as_bytes())
            .unwrap_or_else(|e| panic!("SEED={seed}: our own print: {e}\n{out}"));
        assert_eq!(session.line_count(), again.line_count(), "SEED={seed}");
        for (line, ours) in again.lines().zip(&lines) {
            assert_eq!(
                line.remote(),
                ours.as_ref().map(|ours| ours.local.rtp),
                "SEED={seed}\n{out}"
            );
        }
        let twice = rewrite(&again, &lines, &[], &mut Origin::new(8));
        assert_eq!(out, twice, "SEED={seed}: printing is not stable");
        let agreement = agree(&session, &again).unwrap_or_else(|e| panic!("SEED={seed}: {e}"));
        assert_eq!(
            agreement.offerer.len(),
            propose(&session).answerer.len(),
            "SEED={seed}"
        );
    }
    assert!(
        given.is_some() || accepted > 500,
        "only {accepted} bodies were accepted: the damage is too heavy to test much"
    );
}
