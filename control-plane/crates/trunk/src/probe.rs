use std::time::Duration;

use sans_io::{Random, Timestamp};
use sip::{HeaderName, Message};

use crate::request::Series;
use crate::{Counters, NoAnswer, ProbeTerms, TrunkTerms};

/// Whether one server is there, by OPTIONS: down after some failures in a row, up after some answers.
///
/// ```text
///          down_after failures in a row
///     Up ───────────────────────────────► Down
///        ◄───────────────────────────────
///          up_after answers in a row
/// ```
#[derive(Debug)]
pub(crate) struct Probe {
    series: Series,
    pub(crate) is_up: bool,
    /// Results in a row that speak against `is_up`.
    streak: u32,
    /// The OPTIONS under way: its number, and when it was sent.
    under_way: Option<(u64, Timestamp)>,
    /// When the next one is sent, or the one under way is given up.
    due: Timestamp,
}

impl Probe {
    /// Of a server that counts as up, to be asked at once.
    pub(crate) fn new(now: Timestamp, random: &mut Random) -> Self {
        Self {
            series: Series::new(random),
            is_up: true,
            streak: 0,
            under_way: None,
            due: now,
        }
    }

    pub(crate) fn poll_timeout(&self) -> Timestamp {
        self.due
    }

    pub(crate) fn is_waiting_for(&self, request: u64) -> bool {
        self.under_way.is_some_and(|(number, _)| number == request)
    }

    /// Does what is due at the server at `place` of `trunk`: gives the OPTIONS to send as `request`, if it is time for one.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Timestamp,
        request: u64,
        trunk: &TrunkTerms,
        place: usize,
        counters: &mut Counters,
        random: &mut Random,
    ) -> Option<Message> {
        let (terms, server) = (trunk.probe.as_ref()?, trunk.servers.get(place)?);
        if self.due > now {
            return None;
        }
        if self.under_way.is_some() {
            self.judge(now, false, terms, counters, random);
            return None;
        }
        self.under_way = Some((request, now));
        self.due = now + terms.timeout;
        let (own_host, uri) = (&server.own_host, format!("sip:{}", trunk.host));
        let made = self
            .series
            .next("OPTIONS", &uri, &format!("sip:{own_host}"), &uri, |request| {
                request
                    .header(HeaderName::Contact, format_args!("<sip:{own_host}>"))
                    .header(HeaderName::Accept, "application/sdp")
            });
        made.inspect_err(|error| tracing::warn!(%error, "an OPTIONS could not be built"))
            .ok()
    }

    /// Takes what became of the OPTIONS under way. Any final response but 408 and 503 comes from somebody who is there.
    pub(crate) fn handle_answer(
        &mut self,
        now: Timestamp,
        answer: Result<&Message, NoAnswer>,
        terms: &ProbeTerms,
        counters: &mut Counters,
        random: &mut Random,
    ) {
        let is_there = answer.is_ok_and(|response| !matches!(response.status(), Some(408 | 503)));
        self.judge(now, is_there, terms, counters, random);
    }

    fn judge(
        &mut self,
        now: Timestamp,
        is_there: bool,
        terms: &ProbeTerms,
        counters: &mut Counters,
        random: &mut Random,
    ) {
        let sent = self.under_way.take().map_or(now, |(_, sent)| sent);
        match is_there {
            true => counters.probes_answered += 1,
            false => counters.probes_failed += 1,
        }
        self.streak = match is_there == self.is_up {
            true => 0,
            false => self.streak + 1,
        };
        let least = match self.is_up {
            true => terms.down_after,
            false => terms.up_after,
        };
        if self.streak >= least {
            self.is_up = is_there;
            self.streak = 0;
            counters.servers_lost += u64::from(!is_there);
        }
        self.due = match self.streak {
            // A tenth more or less, so that many are not asked at once for ever.
            0 => {
                let tenth = u64::try_from(terms.period.as_millis() / 5).unwrap_or(u64::MAX);
                now + terms.period.mul_f64(0.9) + Duration::from_millis(random.below(tenth))
            }
            // Something changes: it is made sure of soon.
            _ => now.max(sent + terms.timeout),
        };
    }
}
