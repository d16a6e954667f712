use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use call::{Cdr, Stage};
use prometheus_client::metrics::histogram::Histogram;
use store::ReleasedBy;

use crate::record;
use crate::trunks::TrunkStanding;

/// Seconds from the INVITE to ringing or answer.
const SETUP_BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

/// Seconds from answer to end.
const DURATION_BUCKETS: [f64; 10] = [
    1.0, 5.0, 15.0, 30.0, 60.0, 180.0, 600.0, 1_800.0, 3_600.0, 14_400.0,
];

/// How the calls stand: written by the shell after each turn, read at each scrape.
#[derive(Clone, Debug)]
pub struct Standing {
    now: Arc<Mutex<Now>>,
    /// From the INVITE to ringing.
    pub ring_delay: Histogram,
    /// From the INVITE to the answer.
    pub answer_delay: Histogram,
    /// From the answer to the end.
    pub duration: Histogram,
}

/// What the shell copies.
#[derive(Clone, Debug, Default)]
pub struct Now {
    /// Calls, from the INVITE until nothing is left to be done about them.
    pub calls: usize,
    /// Dialogs.
    pub dialogs: usize,
    /// Transactions, those that linger included.
    pub transactions: usize,
    /// The registrar's figures, if there is one.
    pub registrar: Option<Registrations>,
    /// The trunks.
    pub trunks: Vec<TrunkStanding>,
    /// What the B2BUA counts.
    pub call_counters: call::Counters,
    /// Offers and answers that were refused for their security, by reason.
    pub srtp_refusals: BTreeMap<&'static str, u64>,
    /// What the transaction layer counts.
    pub transaction_counters: sip::transaction::Counters,
    /// Requests with a tag of ours that are in no dialog.
    pub outside_dialogs: u64,
    /// Calls that ended, by outcome and by who ended them.
    pub ended: BTreeMap<(&'static str, &'static str), u64>,
    /// Whether new calls are refused, and why.
    pub refusing: Option<&'static str>,
}

/// How the registrar stands.
#[derive(Clone, Copy, Debug)]
pub struct Registrations {
    /// Users that may register.
    pub users: usize,
    /// Contacts.
    pub bindings: usize,
    /// Users that have one.
    pub registered: usize,
    /// What the registrar counts.
    pub counters: registrar::Counters,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            now: Arc::default(),
            ring_delay: Histogram::new(SETUP_BUCKETS),
            answer_delay: Histogram::new(SETUP_BUCKETS),
            duration: Histogram::new(DURATION_BUCKETS),
        }
    }
}

impl Standing {
    /// For reading and writing.
    pub fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what a record says.
    pub fn count(&self, cdr: &Cdr) {
        let times = &cdr.times;
        match cdr.stage {
            Stage::Answered => {
                if let Some(answered) = times.answered {
                    self.answer_delay
                        .observe(answered.saturating_since(times.setup).as_secs_f64());
                }
            }
            Stage::Ended => {
                if let Some(ringing) = times.ringing {
                    self.ring_delay
                        .observe(ringing.saturating_since(times.setup).as_secs_f64());
                }
                if let (Some(answered), Some(ended)) = (times.answered, times.ended) {
                    self.duration
                        .observe(ended.saturating_since(answered).as_secs_f64());
                }
                let status = cdr.cause.as_ref().map_or(0, |cause| cause.sip_status);
                let released = cdr
                    .cause
                    .as_ref()
                    .map_or(ReleasedBy::System, |cause| record::released_by(cause.released));
                let outcome = if times.answered.is_some() {
                    "answered"
                } else {
                    outcome(status)
                };
                *self.now().ended.entry((outcome, released.as_str())).or_default() += 1;
            }
            Stage::Quality => {}
        }
    }
}

/// The outcome of a call that was not answered, by the status that its caller got.
fn outcome(status: u16) -> &'static str {
    match status {
        487 => "cancelled",
        486 | 600 => "busy",
        408 | 480 => "no_answer",
        404 | 410 | 484 | 485 | 604 => "not_found",
        401 | 403 | 407 | 603 => "declined",
        488 | 606 => "not_acceptable",
        482 | 483 => "loop",
        503 => "unavailable",
        500..=599 => "server_failure",
        300..=399 => "redirected",
        _ => "rejected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_an_outcome_and_the_common_ones_their_own() {
        let common = [
            (487, "cancelled"),
            (486, "busy"),
            (480, "no_answer"),
            (404, "not_found"),
            (503, "unavailable"),
        ];
        for (status, expected) in common {
            assert_eq!(outcome(status), expected);
        }
        for status in 300..700 {
            assert!(!outcome(status).is_empty());
        }
    }
}
