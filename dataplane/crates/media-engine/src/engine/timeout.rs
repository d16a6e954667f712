use std::time::Duration;

use media_types::{CallId, EndCause, EventKind};
use sans_io::Timestamp;

use super::{Component, Engine};
use crate::Shell;

/// Calls whose timers are worked off at a time.
const CALLS_AT_ONCE: usize = 32;

/// Lines whose path is decided at a time. Each may take two system calls.
const DECISIONS_AT_ONCE: usize = 32;

impl Engine {
    /// Renews a call's lease for its full length. False when there is no such call.
    pub fn renew(&mut self, now: Timestamp, id: &CallId) -> bool {
        let Some(call) = self.key(id) else {
            return false;
        };
        // The timer stays where it is; when it fires it finds the lease renewed and is set anew.
        let call = self.call_mut(call);
        call.lease_until = now + call.lease;
        true
    }

    /// Does what is due by `now`: ends calls whose lease is over, tells of silent lines, has flows forwarded by the
    /// kernel, reads what it counted, frees rested ports. Costs in proportion to what is due, not to the number of calls.
    ///
    /// At most 32 calls have their turn; while more are due [`Self::poll_timeout`] is not later than `now`.
    /// When a control plane is gone the leases of all its calls end in one moment, and closing their ports takes
    /// longer than packets of other calls may wait.
    pub fn handle_timeout(&mut self, now: Timestamp, shell: &mut impl Shell) {
        for _ in 0..CALLS_AT_ONCE {
            let Some(call) = self.timers.pop(now) else { break };
            if self.call(call).lease_until <= now {
                self.end(now, shell, call, EndCause::LeaseExpired);
            } else {
                self.check_silence(now, shell, call);
                self.arm(now, call);
            }
        }
        self.keep_asides(shell);
        self.decide_due(now, shell);
        self.sweep(now, shell);
        self.pool.reclaim(now);
        self.tombstones.forget_old(now);
    }

    /// Decides the paths of lines that have changed, or have waited for long enough.
    fn decide_due(&mut self, now: Timestamp, shell: &mut impl Shell) {
        for _ in 0..DECISIONS_AT_ONCE {
            let line = match self.undecided.pop() {
                Some(line) => line,
                None => match self.pauses.pop(now) {
                    Some(line) => line,
                    None => return,
                },
            };
            let state = self.line_mut(line);
            state.is_undecided = false;
            self.decide(now, shell, line);
        }
    }

    /// Tells of lines that have been silent for the media timeout.
    fn check_silence(&mut self, now: Timestamp, shell: &mut impl Shell, call: u32) {
        let timeout = self.call(call).media_timeout;
        if timeout.is_zero() {
            return;
        }
        for key in self.line_keys(call) {
            self.expect_media(now, key);
            // A line in the kernel may have been heard since it was read last.
            if self.line(key).latest_rtp + timeout <= now {
                self.read_flow(now, shell, key, Component::Rtp);
            }
            let line = self.line_mut(key);
            let silent_since = line.latest_rtp.max(line.expects_since);
            if !line.expects_media || line.timed_out || silent_since + timeout > now {
                continue;
            }
            line.timed_out = true;
            let (leg, place) = (line.leg, line.place);
            let leg = self.call(call).legs[usize::from(leg)].id.clone();
            self.tell(
                call,
                EventKind::MediaTimeout {
                    leg,
                    line: usize::from(place),
                },
            );
        }
    }

    /// Sets a call's timer to the first of its deadlines.
    pub(super) fn arm(&mut self, now: Timestamp, call: u32) {
        let state = self.call(call);
        let (timeout, timer) = (state.media_timeout, state.timer);
        let mut at = state.lease_until;
        if !timeout.is_zero() {
            for key in self.line_keys(call) {
                at = self
                    .silence_deadline(now, key, timeout)
                    .map_or(at, |deadline| at.min(deadline));
            }
        }
        self.timers.remove(timer, call);
        self.timers.set(at, call);
        self.call_mut(call).timer = at;
    }

    /// When to look next whether a line is silent; `None` for one that need not carry media.
    fn silence_deadline(&self, now: Timestamp, line: u32, timeout: Duration) -> Option<Timestamp> {
        let line = self.line(line);
        if !line.party_sends || !line.peer_receives || line.ports.is_none() {
            return None;
        }
        // A packet may make a silent line expected or end its silence without touching the timers, so such a line is
        // looked at again after a full timeout.
        if !line.expects_media || line.timed_out {
            return Some(now + timeout);
        }
        Some(line.latest_rtp.max(line.expects_since) + timeout)
    }
}
