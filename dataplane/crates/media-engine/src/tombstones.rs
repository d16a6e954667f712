use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use media_types::{CallId, CallReport, IdempotencyKey};
use sans_io::Timestamp;

/// The last reports of deleted calls, so that a delete whose answer was lost can be asked again. Bounded in number
/// and in time; the oldest go first.
#[derive(Debug)]
pub(crate) struct Tombstones {
    reports: HashMap<Name, Kept>,
    /// Names in the order of their ends, which is that of their beginnings.
    order: VecDeque<Name>,
    count_max: usize,
    time: Duration,
}

type Name = (CallId, IdempotencyKey);

#[derive(Debug)]
struct Kept {
    until: Timestamp,
    report: CallReport,
}

impl Tombstones {
    pub(crate) fn new(count_max: usize, time: Duration) -> Self {
        Self {
            reports: HashMap::new(),
            order: VecDeque::new(),
            count_max,
            time,
        }
    }

    /// Keeps the report of a call that was deleted with `key`.
    pub(crate) fn keep(&mut self, now: Timestamp, key: &IdempotencyKey, report: &CallReport) {
        self.forget_old(now);
        if self.count_max == 0 {
            return;
        }
        while self.order.len() >= self.count_max {
            self.forget_first();
        }
        let name = (report.id.clone(), key.clone());
        let kept = Kept {
            until: now + self.time,
            report: report.clone(),
        };
        if self.reports.insert(name.clone(), kept).is_none() {
            self.order.push_back(name);
        }
    }

    /// The report of a call that was deleted with this very key.
    pub(crate) fn find(&self, now: Timestamp, call: &CallId, key: &IdempotencyKey) -> Option<&CallReport> {
        let kept = self.reports.get(&(call.clone(), key.clone()))?;
        (kept.until > now).then_some(&kept.report)
    }

    /// Frees those whose time is over.
    pub(crate) fn forget_old(&mut self, now: Timestamp) {
        while let Some(first) = self.order.front()
            && self.reports.get(first).is_none_or(|kept| kept.until <= now)
        {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some(name) = self.order.pop_front() {
            self.reports.remove(&name);
        }
    }
}
