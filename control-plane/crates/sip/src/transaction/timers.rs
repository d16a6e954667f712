use std::time::Duration;

/// A timer of RFC 3261 §17 (Table 4 of appendix A) and RFC 6026, and two that the RFCs leave without a letter.
///
/// Timer C belongs to proxies: an INVITE that has drawn a provisional response waits for as long as the transaction
/// user lets it (see [`Layer`](super::Layer)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// INVITE client: retransmit the request. T1, doubling. Unreliable transports only.
    A,
    /// INVITE client: no response at all, or none after a CANCEL (§9.1). 64*T1.
    B,
    /// INVITE client: absorb retransmissions of a failure. At least 32 s, zero on reliable transports.
    D,
    /// Non-INVITE client: retransmit the request. T1, doubling up to T2. Unreliable transports only.
    E,
    /// Non-INVITE client: no final response. 64*T1.
    F,
    /// INVITE server: retransmit the failure. T1, doubling up to T2. Unreliable transports only.
    G,
    /// INVITE server: no ACK for the failure. 64*T1.
    H,
    /// INVITE server: absorb retransmissions of the ACK. T4, zero on reliable transports.
    I,
    /// Non-INVITE server: absorb retransmissions of the request. 64*T1, zero on reliable transports.
    J,
    /// Non-INVITE client: absorb retransmissions of the response. T4, zero on reliable transports.
    K,
    /// INVITE server: keep the accepted transaction for ACKs and retransmitted INVITEs (RFC 6026 §7.1). 64*T1.
    L,
    /// INVITE client: pass on further 2xx, of forks and retransmitted ones (RFC 6026 §7.2). 64*T1.
    M,
    /// Server: send 100 (Trying) if the transaction user has said nothing. 200 ms for INVITE (§17.2.1); for others
    /// the time in which timer E grows to T2 (RFC 4320 §4.1).
    Trying,
    /// Non-INVITE server: the transaction user never answered and the client has given up by its timer F. 64*T1.
    Abandon,
}

/// The lengths of the timers of a [`Layer`](super::Layer).
///
/// `Timers::default()` has the values of RFC 3261 §17 and RFC 6026.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Estimate of the round-trip time, and first interval between retransmissions.
    pub t1: Duration,
    /// Longest interval between retransmissions of non-INVITE requests and of responses to INVITE.
    pub t2: Duration,
    /// Longest time that a message stays in the network: length of timers I and K.
    pub t4: Duration,
    /// Timer D.
    pub d: Duration,
    /// Timer J.
    pub j: Duration,
    /// Timer L.
    pub l: Duration,
    /// Timer M.
    pub m: Duration,
    /// How long the transaction user may be silent on an INVITE before a 100 (Trying) goes out. Zero: at once.
    pub trying: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        let t1 = Duration::from_millis(500);
        Self {
            t1,
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            d: Duration::from_secs(32),
            j: t1 * 64,
            l: t1 * 64,
            m: t1 * 64,
            trying: Duration::from_millis(200),
        }
    }
}

impl Timers {
    /// The default with transactions forgotten `linger` after they completed, for networks that neither lose nor
    /// delay a packet for seconds: at 5,000 calls a second the default keeps 32 s of finished transactions in memory.
    ///
    /// A retransmission that arrives later counts as a new request or a stray response. Timer M keeps its length:
    /// by it the user acknowledges a 2xx again, which the other side may retransmit for 64*T1.
    pub fn with_linger(linger: Duration) -> Self {
        Self {
            d: linger,
            j: linger,
            l: linger,
            ..Self::default()
        }
    }

    /// 64*T1: how long a transaction tries (timers B, F and H).
    pub fn transaction_timeout(&self) -> Duration {
        self.t1 * 64
    }

    /// Intervals of T1, 2*T1, 4*T1… up to T2: the wait after the retransmission number `step`, counted from zero.
    ///
    /// The rhythm of timers E and G, and of a 2xx that waits for its ACK (§13.3.1.4).
    pub fn capped_interval(&self, step: u8) -> Duration {
        self.doubled_interval(step).min(self.t2)
    }

    /// Intervals of T1, 2*T1, 4*T1…: the rhythm of timer A, which timer B ends before the seventh doubling.
    pub fn doubled_interval(&self, step: u8) -> Duration {
        self.t1 * (1 << step.min(DOUBLINGS_MAX))
    }

    /// How long timer E of a client takes to be set to T2: until then a server is silent about a non-INVITE request
    /// that it cannot answer yet, and then it sends a 100 (RFC 4320 §4.1).
    pub fn non_invite_trying(&self) -> Duration {
        let mut elapsed = Duration::ZERO;
        for step in 0..=DOUBLINGS_MAX {
            let interval = self.capped_interval(step);
            if interval >= self.t2 {
                break;
            }
            elapsed += interval;
        }
        elapsed
    }

    /// What is wrong with the values, if anything: the name of the field and the rule that it breaks.
    pub fn problem(&self) -> Option<(&'static str, &'static str)> {
        if self.t1 < Duration::from_millis(1) || self.t1 > Duration::from_secs(10) {
            return Some(("t1", "must be 1 ms to 10 s"));
        }
        if self.t2 < self.t1 || self.t2 > self.transaction_timeout() {
            return Some(("t2", "must be T1 to 64*T1"));
        }
        // Who forgets a transaction sooner takes its next retransmission for a new request.
        let lingers = [
            ("t4", self.t4),
            ("d", self.d),
            ("j", self.j),
            ("l", self.l),
            ("m", self.m),
        ];
        let short = lingers.iter().find(|(_, linger)| *linger < self.t2);
        short.map(|(field, _)| (*field, "must not be shorter than T2"))
    }
}

/// T1 is doubled at most six times: 64*T1 ends every transaction that retransmits.
const DOUBLINGS_MAX: u8 = 6;

/// Timers of one constant length share a list in the [`Schedule`](super::schedule::Schedule).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(pub(super) u8);

impl Class {
    /// How many there are: seven doublings of T1, T2, then one a length.
    pub(super) const COUNT: usize = 17;
    const T2: Self = Self(7);
    const TIMEOUT: Self = Self(8);
    const D: Self = Self(9);
    const T4: Self = Self(10);
    const J: Self = Self(11);
    const L: Self = Self(12);
    const M: Self = Self(13);
    const TRYING_INVITE: Self = Self(14);
    const TRYING_NON_INVITE: Self = Self(15);
    const ZERO: Self = Self(16);

    /// The class of `timer` before retransmission number `step`; `invite` tells the two kinds of [`Timer::Trying`]
    /// apart. `None` where the RFC does not run the timer on a reliable transport.
    pub(super) fn of(timer: Timer, step: u8, invite: bool, reliable: bool, timers: &Timers) -> Option<Self> {
        Some(match timer {
            Timer::A | Timer::E | Timer::G if reliable => return None,
            Timer::D | Timer::I | Timer::J | Timer::K if reliable => Self::ZERO,
            Timer::A => Self(step.min(DOUBLINGS_MAX)),
            Timer::E | Timer::G if timers.doubled_interval(step) >= timers.t2 => Self::T2,
            Timer::E | Timer::G => Self(step.min(DOUBLINGS_MAX)),
            Timer::B | Timer::F | Timer::H | Timer::Abandon => Self::TIMEOUT,
            Timer::D => Self::D,
            Timer::I | Timer::K => Self::T4,
            Timer::J => Self::J,
            Timer::L => Self::L,
            Timer::M => Self::M,
            Timer::Trying if invite => Self::TRYING_INVITE,
            Timer::Trying => Self::TRYING_NON_INVITE,
        })
    }

    /// How long each class takes.
    pub(super) fn durations(timers: &Timers) -> [Duration; Self::COUNT] {
        let mut durations = [Duration::ZERO; Self::COUNT];
        for step in 0..=DOUBLINGS_MAX {
            durations[usize::from(step)] = timers.doubled_interval(step);
        }
        for (class, duration) in [
            (Self::T2, timers.t2),
            (Self::TIMEOUT, timers.transaction_timeout()),
            (Self::D, timers.d),
            (Self::T4, timers.t4),
            (Self::J, timers.j),
            (Self::L, timers.l),
            (Self::M, timers.m),
            (Self::TRYING_INVITE, timers.trying),
            (Self::TRYING_NON_INVITE, timers.non_invite_trying()),
            (Self::ZERO, Duration::ZERO),
        ] {
            durations[usize::from(class.0)] = duration;
        }
        durations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_rfc() {
        let timers = Timers::default();
        assert_eq!(timers.transaction_timeout(), Duration::from_secs(32));
        let capped: Vec<u128> = (0..6)
            .map(|step| timers.capped_interval(step).as_millis())
            .collect();
        assert_eq!(capped, [500, 1_000, 2_000, 4_000, 4_000, 4_000]);
        let doubled: Vec<u128> = (0..6)
            .map(|step| timers.doubled_interval(step).as_millis())
            .collect();
        assert_eq!(doubled, [500, 1_000, 2_000, 4_000, 8_000, 16_000]);
        assert_eq!(timers.problem(), None);
    }

    #[test]
    fn a_server_waits_with_100_until_timer_e_of_the_client_is_t2() {
        // Timer E fires after 0.5, 1.5 and 3.5 s and is then set to 4 s = T2 (RFC 4320 §4.1).
        assert_eq!(
            Timers::default().non_invite_trying(),
            Duration::from_millis(3_500)
        );
    }

    #[test]
    fn lengths_that_make_no_sense_are_named() {
        let timers = Timers {
            t2: Duration::from_millis(100),
            ..Timers::default()
        };
        assert_eq!(timers.problem().map(|(field, _)| field), Some("t2"));
        let timers = Timers {
            t1: Duration::ZERO,
            ..Timers::default()
        };
        assert_eq!(timers.problem().map(|(field, _)| field), Some("t1"));
        assert_eq!(Timers::with_linger(Duration::from_secs(5)).problem(), None);
        assert_eq!(
            Timers::with_linger(Duration::from_secs(3))
                .problem()
                .map(|(field, _)| field),
            Some("d")
        );
    }

    #[test]
    fn every_timer_has_the_length_of_table_4() {
        let timers = Timers::default();
        let durations = Class::durations(&timers);
        let length = |timer, step, reliable| {
            Class::of(timer, step, true, reliable, &timers)
                .map(|class| durations[usize::from(class.0)].as_millis())
        };
        let table = [
            (Timer::A, Some(500), None),
            (Timer::B, Some(32_000), Some(32_000)),
            (Timer::D, Some(32_000), Some(0)),
            (Timer::E, Some(500), None),
            (Timer::F, Some(32_000), Some(32_000)),
            (Timer::G, Some(500), None),
            (Timer::H, Some(32_000), Some(32_000)),
            (Timer::I, Some(5_000), Some(0)),
            (Timer::J, Some(32_000), Some(0)),
            (Timer::K, Some(5_000), Some(0)),
            (Timer::L, Some(32_000), Some(32_000)),
            (Timer::M, Some(32_000), Some(32_000)),
            (Timer::Trying, Some(200), Some(200)),
            (Timer::Abandon, Some(32_000), Some(32_000)),
        ];
        for (timer, unreliable, reliable) in table {
            assert_eq!(length(timer, 0, false), unreliable, "{timer:?} on UDP");
            assert_eq!(length(timer, 0, true), reliable, "{timer:?} on TCP");
        }
        assert_eq!(length(Timer::A, 4, false), Some(8_000));
        assert_eq!(length(Timer::E, 4, false), Some(4_000));
        assert_eq!(length(Timer::G, 200, false), Some(4_000));
    }
}
