use std::time::Duration;

use sans_io::Timestamp;

use crate::message::{HeaderName, Message};

/// The option tag of RFC 4028.
pub const TIMER: &str = "timer";

/// The shortest session interval that anybody may ask for, in seconds (RFC 4028 §4).
pub const MIN_SE_S: u32 = 90;

/// Who sends refreshes, in the words of the transaction that agreed on it (RFC 4028 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    /// The client of that transaction.
    Uac,
    /// The server of that transaction.
    Uas,
}

impl Refresher {
    /// The parameter's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uac => "uac",
            Self::Uas => "uas",
        }
    }
}

/// The value of `Session-Expires` (RFC 4028 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionExpires {
    /// The session interval, in seconds.
    pub interval_s: u32,
    /// Who refreshes, where that is said.
    pub refresher: Option<Refresher>,
}

impl SessionExpires {
    /// The value in a message; `None` if there is none that can be read.
    pub fn of(message: &Message) -> Option<Self> {
        let interval_s = message.number(HeaderName::SessionExpires).ok().flatten()?;
        let params = message.header(HeaderName::SessionExpires)?.split(';').skip(1);
        let mut refresher = None;
        for param in params {
            if let Some((name, value)) = param.split_once('=')
                && name.trim().eq_ignore_ascii_case("refresher")
            {
                refresher = match value.trim() {
                    value if value.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
                    value if value.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
                    _ => None,
                };
            }
        }
        Some(Self {
            interval_s,
            refresher,
        })
    }
}

/// What a server agreed to for its 2xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionAgreed {
    /// The session interval, in seconds.
    pub interval_s: u32,
    /// Who refreshes.
    pub refresher: Refresher,
    /// The 2xx has `Require: timer`: the client knows session timers (§9).
    pub is_required: bool,
}

/// What we want of session timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionPolicy {
    /// The interval that we ask for, and the longest that we agree to, in seconds.
    pub interval_s: u32,
    /// The shortest interval that we agree to, in seconds; at least [`MIN_SE_S`].
    pub min_s: u32,
}

impl SessionPolicy {
    /// Whether the interval in a request is long enough.
    ///
    /// # Errors
    /// The value for `Min-SE` in the 422 (§9). A client that does not know session timers never gets one.
    pub fn check(&self, request: &Message) -> Result<(), u32> {
        match SessionExpires::of(request) {
            Some(asked)
                if asked.interval_s < self.min_s && request.has_token(HeaderName::Supported, TIMER) =>
            {
                Err(self.min_s)
            }
            _ => Ok(()),
        }
    }

    /// What the 2xx to an INVITE or UPDATE agrees to (§9, table 2). A client that does not know session timers has one
    /// all the same, refreshed by us, if a proxy asked for it or `may_refresh` says that it takes refreshes.
    pub fn answer(&self, request: &Message, may_refresh: bool) -> Option<SessionAgreed> {
        let asked = SessionExpires::of(request);
        let is_known = request.has_token(HeaderName::Supported, TIMER);
        if !is_known && asked.is_none() && !may_refresh {
            return None;
        }
        let min_s = request
            .number(HeaderName::MinSe)
            .ok()
            .flatten()
            .unwrap_or(0)
            .max(self.min_s);
        let interval_s = asked.map_or(self.interval_s, |asked| asked.interval_s.min(self.interval_s));
        let refresher = match (is_known, asked.and_then(|asked| asked.refresher)) {
            (false, _) => Refresher::Uas,
            (true, refresher) => refresher.unwrap_or(Refresher::Uac),
        };
        Some(SessionAgreed {
            interval_s: interval_s.max(min_s),
            refresher,
            is_required: is_known,
        })
    }
}

/// The session timer of one dialog (RFC 4028 §10): when to refresh, when to give up. A new one is made by each 2xx that
/// refreshes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimer {
    interval_s: u32,
    refresh_at: Option<Timestamp>,
    expires_at: Timestamp,
    we_refresh: bool,
}

/// What a [`SessionTimer`] wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStep {
    /// Send an UPDATE or re-INVITE.
    Refresh,
    /// The session is over: BYE.
    Expired,
}

impl SessionTimer {
    /// The session was refreshed at `now`. Whoever refreshes does so after half the interval; the other one gives up a
    /// third of it, or 32 seconds if that is less, before the end (§10).
    pub fn new(now: Timestamp, interval_s: u32, we_refresh: bool) -> Self {
        let interval = Duration::from_secs(interval_s.into());
        let early = match we_refresh {
            true => Duration::ZERO,
            false => (interval / 3).min(Duration::from_secs(32)),
        };
        Self {
            interval_s,
            refresh_at: we_refresh.then(|| now + interval / 2),
            expires_at: now + (interval - early),
            we_refresh,
        }
    }

    /// The session interval, in seconds.
    pub const fn interval_s(&self) -> u32 {
        self.interval_s
    }

    /// Whether the refreshes are ours to send.
    pub const fn we_refresh(&self) -> bool {
        self.we_refresh
    }

    /// The party wants a longer interval, by a 422: the next refresh asks for it, at once. The session ends when it would
    /// have.
    pub fn lengthen(&mut self, now: Timestamp, interval_s: u32) {
        self.interval_s = self.interval_s.max(interval_s);
        self.refresh_at = Some(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Timestamp {
        self.refresh_at
            .map_or(self.expires_at, |at| at.min(self.expires_at))
    }

    /// What is to be done at `now`, if anything. A refresh is wanted once, until [`retry`](Self::retry).
    pub fn handle_timeout(&mut self, now: Timestamp) -> Option<SessionStep> {
        if now >= self.expires_at {
            return Some(SessionStep::Expired);
        }
        self.refresh_at
            .take_if(|at| now >= *at)
            .map(|_| SessionStep::Refresh)
    }

    /// The refresh failed, or could not be sent: again after `wait`, or, without one, halfway to the end.
    pub fn retry(&mut self, now: Timestamp, wait: Option<Duration>) {
        let wait = wait.unwrap_or(self.expires_at.saturating_since(now) / 2);
        self.refresh_at = Some(now + wait.max(Duration::from_secs(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const POLICY: SessionPolicy = SessionPolicy {
        interval_s: 1_800,
        min_s: 120,
    };

    fn request(fields: &str) -> Message {
        let text = format!(
            "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
             To: <sip:b@h>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n{fields}\r\n"
        );
        Message::parse_datagram(Bytes::from(text)).unwrap()
    }

    #[test]
    fn session_expires_is_read() {
        let of = |text: &str| {
            SessionExpires::of(&request(&format!("{text}\r\n"))).map(|it| (it.interval_s, it.refresher))
        };
        assert_eq!(of("Session-Expires: 1800"), Some((1_800, None)));
        assert_eq!(of("x: 90 ;x=y; Refresher=UAS"), Some((90, Some(Refresher::Uas))));
        assert_eq!(of("x: 90;refresher=uac"), Some((90, Some(Refresher::Uac))));
        assert_eq!(of("x: 90;refresher=nobody"), Some((90, None)));
        assert_eq!(of("x: soon"), None);
        assert_eq!(of("Subject: none"), None);
    }

    #[test]
    fn short_intervals_are_422_for_those_who_know() {
        let of = |text: &str| POLICY.check(&request(text));
        assert_eq!(of("Supported: timer\r\nSession-Expires: 119\r\n"), Err(120));
        assert_eq!(of("Supported: timer\r\nSession-Expires: 120\r\n"), Ok(()));
        assert_eq!(of("Session-Expires: 90\r\n"), Ok(()), "it would not understand");
        assert_eq!(of("Supported: timer\r\n"), Ok(()));
    }

    /// RFC 4028 §9, table 2, and the intervals.
    #[test]
    fn the_table_of_refreshers() {
        use Refresher::{Uac, Uas};
        let of = |text: &str, may_refresh| {
            POLICY
                .answer(&request(text), may_refresh)
                .map(|it| (it.interval_s, it.refresher, it.is_required))
        };
        assert_eq!(of("", false), None);
        assert_eq!(of("", true), Some((1_800, Uas, false)));
        assert_eq!(of("Session-Expires: 600\r\n", false), Some((600, Uas, false)));
        assert_eq!(of("x: 600;refresher=uac\r\n", false), Some((600, Uas, false)));
        assert_eq!(of("k: timer\r\n", false), Some((1_800, Uac, true)));
        assert_eq!(of("k: timer\r\nx: 600\r\n", false), Some((600, Uac, true)));
        assert_eq!(
            of("k: timer\r\nx: 600;refresher=uac\r\n", false),
            Some((600, Uac, true))
        );
        assert_eq!(
            of("k: timer\r\nx: 600;refresher=uas\r\n", false),
            Some((600, Uas, true))
        );
        assert_eq!(of("k: timer\r\nx: 7200\r\n", false), Some((1_800, Uac, true)));
        assert_eq!(
            of("k: timer\r\nx: 7200\r\nMin-SE: 3600\r\n", false),
            Some((3_600, Uac, true))
        );
        assert_eq!(of("x: 60\r\n", false), Some((120, Uas, false)));
    }

    #[test]
    fn a_refresher_refreshes_at_half_time_and_gives_up_at_the_end() {
        let at = |s: u64| Timestamp::from_millis(s * 1_000);
        let mut timer = SessionTimer::new(at(10), 100, true);
        assert_eq!(timer.poll_timeout(), at(60));
        assert_eq!(timer.handle_timeout(at(59)), None);
        assert_eq!(timer.handle_timeout(at(60)), Some(SessionStep::Refresh));
        assert_eq!(timer.handle_timeout(at(61)), None);
        timer.retry(at(70), None);
        assert_eq!(timer.poll_timeout(), at(90));
        timer.retry(at(70), Some(Duration::ZERO));
        assert_eq!(timer.poll_timeout(), at(71), "never in a loop");
        timer.retry(at(109), None);
        assert_eq!(timer.poll_timeout(), at(110));
        assert_eq!(timer.handle_timeout(at(110)), Some(SessionStep::Expired));
    }

    #[test]
    fn the_other_one_gives_up_a_little_before_the_end() {
        let at = |s: u64| Timestamp::from_millis(s * 1_000);
        for (interval_s, expected) in [(90, 60), (96, 64), (1_800, 1_768)] {
            let mut timer = SessionTimer::new(at(0), interval_s, false);
            assert_eq!(timer.poll_timeout(), at(expected));
            assert_eq!(timer.handle_timeout(at(expected - 1)), None);
            assert_eq!(timer.handle_timeout(at(expected)), Some(SessionStep::Expired));
        }
    }
}
