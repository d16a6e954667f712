use std::time::Duration;

use sans_io::{Random, Timestamp};

/// How often the share that is refused is set anew.
const INTERVAL: Duration = Duration::from_millis(20);

/// How long even the luckiest request must have waited too long before anything is refused: a machine that stands still for
/// a moment has a queue afterwards, and works it off.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a second of wait beyond the target, and a second by which the wait has grown, add to the share in an interval. They
/// make a loop that settles within a second without swinging, for loads up to ten times of what is served.
const OF_WAIT: f64 = 0.15;
const OF_GROWTH: f64 = 5.0;

/// The most that the share changes by in an interval.
const STEP_MAX: f64 = 0.1;

/// What is left of the share after an interval without any wait, and what is nothing of it.
const DECAY: f64 = 0.97;
const SHARE_MIN: f64 = 0.001;

/// When nobody waits and nobody has come or was taken out for so long, nobody has waited meanwhile. Longer than any turn of a loop that
/// has much to do at once, while which those who come wait elsewhere.
const SILENCE: Duration = Duration::from_millis(500);

/// What is left of the arrivals of earlier intervals in the mix of ranks.
const MEMORY: f64 = 0.8;

/// How important a new request is: of two, the lower one is refused first. Responses, ACK, BYE, CANCEL and everything else
/// within a dialog have no rank: they are never refused here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rank {
    /// OPTIONS and methods that begin nothing.
    Other,
    /// A REGISTER of somebody who has not proven anything of late.
    Register,
    /// An INVITE of a user.
    UserInvite,
    /// An INVITE of a peer that is configured.
    TrunkInvite,
    /// A REGISTER of somebody who has proven a password of late.
    Refresh,
    /// An INVITE for an emergency number.
    Emergency,
}

pub(crate) const RANKS: usize = Rank::Emergency as usize + 1;

/// Decides what new requests are refused while they wait too long: by the delay that they have in the queue, as CoDel
/// (RFC 8289) does, and not by how many there are. The share is controlled as by PIE (RFC 8033 §4.2).
///
/// Once even the luckiest request has waited longer than the target for two seconds, the *share* of new work that is refused
/// is what keeps the wait at the target. It is taken from the lowest [`Rank`] that arrives, then from the next: an emergency
/// call is refused when nothing else is left to be refused.
///
/// [`decide`](Self::decide) for every new request, [`observe`](Self::observe) for every one that is taken out of the queue. Each is told
/// when the first of those came that wait in the queue now: an interval in which none was taken out has at least that wait, and a
/// machine that stood still is told from one that nobody came to.
#[derive(Debug)]
pub struct Admission {
    target_s: f64,
    random: Random,
    /// Of all new work, 0 to 1.
    share: f64,
    /// What becomes of each rank, in thousandths.
    refused: [u64; RANKS],
    /// In this interval, and those before with less weight.
    arrived: [f64; RANKS],
    /// The shortest wait of this interval, and that of the one before in seconds.
    shortest: Option<Duration>,
    waited_s: f64,
    /// Since when every wait has been longer than the target.
    late_since: Option<Timestamp>,
    until: Timestamp,
}

impl Admission {
    /// One that refuses nothing yet. A target of zero never refuses anything.
    pub fn new(target: Duration, random: Random) -> Self {
        Self {
            target_s: target.as_secs_f64(),
            random,
            share: 0.0,
            refused: [0; RANKS],
            arrived: [0.0; RANKS],
            shortest: None,
            waited_s: 0.0,
            late_since: None,
            until: Timestamp::ZERO,
        }
    }

    /// The share of new work that is refused now, in thousandths.
    pub fn share_permille(&mut self, now: Timestamp, first: Option<Timestamp>) -> u64 {
        self.turn(now, first);
        (self.share * 1_000.0) as u64
    }

    /// How many of the requests of a rank are refused now, in thousandths.
    pub fn refused_permille(&mut self, now: Timestamp, rank: Rank, first: Option<Timestamp>) -> u64 {
        self.turn(now, first);
        self.refused[rank as usize]
    }

    /// Whether a new request may begin.
    pub fn decide(&mut self, now: Timestamp, rank: Rank, first: Option<Timestamp>) -> bool {
        self.turn(now, first);
        self.arrived[rank as usize] += 1.0;
        match self.refused[rank as usize] {
            0 => true,
            permille => !self.random.chance_permille(permille),
        }
    }

    /// Notes how long a new request has waited.
    pub fn observe(&mut self, now: Timestamp, waited: Duration, first: Option<Timestamp>) {
        self.shortest = Some(self.shortest.map_or(waited, |shortest| shortest.min(waited)));
        self.turn(now, first);
    }

    fn turn(&mut self, now: Timestamp, first: Option<Timestamp>) {
        if now < self.until || self.target_s == 0.0 {
            return;
        }
        let idle = now.saturating_since(self.until);
        self.until = now + INTERVAL;
        let waits = first.map(|first| now.saturating_since(first));
        let waited = self.shortest.take().or(waits).unwrap_or_default();
        self.set_share(now, waited.as_secs_f64());
        if first.is_none() && idle >= SILENCE {
            self.pass_silence(idle);
        }
        self.share_out();
    }

    /// After a silence: as if each of its intervals had been looked at, and nobody had waited in it.
    fn pass_silence(&mut self, silence: Duration) {
        let intervals = i32::try_from(silence.as_nanos() / INTERVAL.as_nanos()).unwrap_or(i32::MAX);
        self.share *= DECAY.powi(intervals);
        if self.share < SHARE_MIN {
            self.share = 0.0;
        }
        self.arrived = self.arrived.map(|arrived| arrived * MEMORY.powi(intervals));
        self.waited_s = 0.0;
        self.late_since = None;
    }

    /// The share after an interval in which even the luckiest waited so long.
    fn set_share(&mut self, now: Timestamp, waited_s: f64) {
        let growth_s = waited_s - std::mem::replace(&mut self.waited_s, waited_s);
        self.late_since = match waited_s > self.target_s {
            true => Some(self.late_since.unwrap_or(now)),
            false => None,
        };
        let is_late = self
            .late_since
            .is_some_and(|since| now.saturating_since(since) >= PATIENCE);
        if self.share > 0.0 || is_late {
            let step = OF_WAIT * (waited_s - self.target_s) + OF_GROWTH * growth_s;
            self.share = (self.share + step.clamp(-STEP_MAX, STEP_MAX)).clamp(0.0, 1.0);
            if waited_s == 0.0 || waited_s < self.target_s / 10.0 {
                self.share *= DECAY;
            }
            if self.share < SHARE_MIN {
                self.share = 0.0;
            }
        }
    }

    /// What of the share each rank bears, by what came of each.
    fn share_out(&mut self) {
        let mut left = self.arrived.iter().sum::<f64>() * self.share;
        for (rank, arrived) in self.arrived.iter_mut().enumerate() {
            // A rank of which none came meets the fate of those below it.
            let share = match *arrived < 0.001 {
                true => f64::from(left > 0.001),
                false => (left / *arrived).min(1.0),
            };
            self.refused[rank] = (share * 1_000.0) as u64;
            left -= share * *arrived;
            *arrived *= MEMORY;
        }
    }
}
