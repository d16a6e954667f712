use std::time::Duration;

use sans_io::Timestamp;

use super::{Component, Engine};
use crate::{PathReason, Shell, quality};

/// Each line is looked at once in this time.
const ROUND: Duration = Duration::from_secs(1);
/// Parts that a round is cut into, so that no turn does much at once.
const PARTS: usize = 100;
/// The shortest time between two parts.
const TURN_MIN: Duration = Duration::from_millis(1);
/// Flows that are read in one turn; what is left of a part follows in the next turns, between packets. A reading takes
/// the kernel about a microsecond.
const READINGS_PER_TURN: usize = 64;
/// An RTCP flow is read every so many rounds: its packets come some seconds apart, and nothing waits for their number.
const ROUNDS_PER_RTCP_READING: u32 = 5;

/// Where the engine is in looking at every line once a second.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// The slab key to look at next.
    at: usize,
    /// Keys left of the part that is due.
    left: usize,
    round: u32,
    /// When the next part is due; `None` while there are no lines.
    next: Option<Timestamp>,
}

impl Sweep {
    /// There is a line to look at.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.next.get_or_insert(now + ROUND);
    }

    pub(super) const fn next(&self) -> Option<Timestamp> {
        self.next
    }
}

impl Engine {
    /// Looks at the lines whose turn it is: reads their flows, judges their streams, tries again what was refused.
    pub(super) fn sweep(&mut self, now: Timestamp, shell: &mut impl Shell) {
        let Some(due) = self.sweep.next.filter(|due| *due <= now) else {
            return;
        };
        if self.lines.is_empty() {
            self.sweep.next = None;
            return;
        }
        let slots = self.lines.capacity().max(1);
        let part = slots.div_ceil(PARTS);
        if self.sweep.left == 0 {
            self.sweep.left = part;
        }
        let mut readings = 0;
        while self.sweep.left > 0 && readings < READINGS_PER_TURN {
            let key = self.sweep.at;
            if self.lines.contains(key) {
                readings += self.look_at(now, shell, key as u32);
            }
            self.sweep.left -= 1;
            self.sweep.at += 1;
            if self.sweep.at >= slots {
                self.sweep.at = 0;
                self.sweep.round = self.sweep.round.wrapping_add(1);
            }
        }
        if self.sweep.left == 0 {
            let time = ROUND.mul_f64(part as f64 / slots as f64);
            // A sweep that came late goes on from now, and does not hurry.
            self.sweep.next = Some((due + time).max(now + TURN_MIN));
        }
    }

    /// Looks at one line; how many flows were read.
    fn look_at(&mut self, now: Timestamp, shell: &mut impl Shell, key: u32) -> usize {
        let mut readings = 0;
        if self.line(key).rtp_flow.installed.is_some() {
            self.read_flow(now, shell, key, Component::Rtp);
            self.check_passed_up(now, shell, key);
            readings += 1;
        }
        let is_turn = self
            .sweep
            .round
            .wrapping_add(key)
            .is_multiple_of(ROUNDS_PER_RTCP_READING);
        if is_turn && self.line(key).rtcp_flow.installed.is_some() {
            self.read_flow(now, shell, key, Component::Rtcp);
            readings += 1;
        }
        let line = self.line(key);
        let again = [&line.rtp_flow, &line.rtcp_flow]
            .into_iter()
            .any(|flow| flow.reason.is_some_and(PathReason::is_failure) && flow.retry_at <= now);
        if again {
            self.undecide(key);
        }
        self.judge(key);
        readings
    }

    /// Scores the latest second of each stream.
    fn judge(&mut self, key: u32) {
        for at in 0..self.line(key).streams.len() {
            let stream = &mut self.line_mut(key).streams[at];
            let statistics = stream.counted();
            let loss_ratio = stream.loss_since_judged(&statistics);
            let line = self.line(key);
            let score = loss_ratio.map_or(0, |loss_ratio| {
                quality::score_x100(&statistics, loss_ratio, line, self.line(line.peer))
            });
            if score > 0 {
                self.scores.add(score);
            }
            self.line_mut(key).streams[at].mos_x100 = score;
        }
    }
}
