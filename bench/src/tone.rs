//! A tone in A-law, and how to tell which one was heard.

use std::f64::consts::TAU;

use crate::g711::alaw_to_linear;

/// Samples a second.
const RATE: f64 = 8_000.0;
/// Of full scale: loud, and far from its edge.
const AMPLITUDE: f64 = 10_000.0;

/// Samples of a tone from the `first` on, which go on where others have ended.
pub fn alaw(hertz: f64, first: usize, samples: usize) -> Vec<u8> {
    let at = |sample: usize| (sample as f64 * TAU * hertz / RATE).sin() * AMPLITUDE;
    (first..first + samples)
        .map(|sample| nearest(at(sample)))
        .collect()
}

/// The A-law byte whose level is nearest.
fn nearest(level: f64) -> u8 {
    let distance = |byte: u8| (f64::from(alaw_to_linear(byte)) - level).abs();
    (0..=u8::MAX)
        .min_by(|one, other| distance(*one).total_cmp(&distance(*other)))
        .unwrap_or(0xd5)
}

/// How much of the power of these samples is in a tone: 0 to 1 (Goertzel).
pub fn share(samples: &[u8], hertz: f64) -> f64 {
    let turn = TAU * hertz / RATE;
    let factor = 2.0 * turn.cos();
    let (mut one, mut two, mut power) = (0.0, 0.0, 0.0);
    for &byte in samples {
        let sample = f64::from(alaw_to_linear(byte));
        let now = sample + factor * one - two;
        (two, one) = (one, now);
        power += sample * sample;
    }
    let found = one * one + two * two - factor * one * two;
    // A tone of amplitude a has the power n·a²/2, and is found with (n·a/2)².
    match power > 0.0 {
        true => 2.0 * found / (power * samples.len() as f64),
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_found_where_it_is_and_nowhere_else() {
        let samples = alaw(440.0, 123, 8_000);
        assert!(share(&samples, 440.0) > 0.99, "{}", share(&samples, 440.0));
        for elsewhere in [430.0, 880.0, 1_000.0] {
            assert!(share(&samples, elsewhere) < 0.01, "{elsewhere}");
        }
        let silence = vec![0xd5; 8_000];
        assert!(share(&silence, 440.0) < 0.01);
        assert_eq!(share(&[], 440.0), 0.0);
    }

    #[test]
    fn packets_go_on_where_others_have_ended() {
        let whole = alaw(440.0, 0, 320);
        assert_eq!([alaw(440.0, 0, 160), alaw(440.0, 160, 160)].concat(), whole);
    }
}
