use media_types::{CallId, CallReport, EndCause, EventKind, IdempotencyKey, Refusal};
use sans_io::Timestamp;

use super::Engine;
use super::sweep::Sweep;
use crate::Shell;

impl Engine {
    /// Removes a call and answers with its last statistics. Repeated with the same key it answers the same, for
    /// [`crate::Limits::tombstone_time`] and unless [`crate::Limits::tombstones_max`] others were deleted since.
    pub fn delete(
        &mut self,
        now: Timestamp,
        shell: &mut impl Shell,
        key: &IdempotencyKey,
        id: &CallId,
    ) -> Result<CallReport, Refusal> {
        if let Some(report) = self.tombstones.find(now, id, key) {
            return Ok(report.clone());
        }
        let call = self.key(id).ok_or(Refusal::UnknownCall)?;
        self.take_out_call(shell, call);
        let report = self.report(now, call);
        self.remove(now, shell, call);
        self.tombstones.keep(now, key, &report);
        self.counters.calls_deleted += 1;
        Ok(report)
    }

    /// Ends every call, each with an event, and closes every port. The event queue makes room for all of them.
    pub fn shutdown(&mut self, now: Timestamp, shell: &mut impl Shell) {
        let calls: Vec<u32> = self.calls.iter().map(|(call, _)| call as u32).collect();
        self.events.extend_for(calls.len());
        for call in calls {
            self.end(now, shell, call, EndCause::Shutdown);
        }
    }

    /// Ends a call that its control plane did not delete.
    pub(super) fn end(&mut self, now: Timestamp, shell: &mut impl Shell, call: u32, cause: EndCause) {
        self.take_out_call(shell, call);
        let report = Box::new(self.report(now, call));
        self.tell(call, EventKind::Ended { cause, report });
        self.remove(now, shell, call);
        self.counters.calls_ended += 1;
    }

    /// Leaves nothing of a call but resting ports.
    fn remove(&mut self, now: Timestamp, shell: &mut impl Shell, call: u32) {
        for line in self.line_keys(call) {
            self.end_setup(line);
            self.detach(now, shell, line);
            self.forget_flows(line);
            self.lines.remove(line as usize);
        }
        if self.lines.is_empty() {
            self.sweep = Sweep::default();
        }
        let removed = self.calls.remove(call as usize);
        self.names.remove(&removed.id);
        self.timers.remove(removed.timer, call);
    }
}
