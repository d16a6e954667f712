use media_types::{CallId, CallReport, IdempotencyKey, LegSpec, Refusal};
use sans_io::Timestamp;

use super::Engine;
use super::opening::Opened;
use crate::Shell;
use crate::port_pool::Pair;
use crate::settings::LineSettings;

/// A line of an update.
struct Change {
    leg: usize,
    /// `None` for a line that the update appends.
    line: Option<u32>,
    settings: LineSettings,
    opened: Option<Opened>,
}

impl Engine {
    /// Replaces the media of the legs that `legs` names. Lines are matched by their place; new ones may be appended,
    /// none removed, and both legs must end up with the same number. A repetition of the latest update (by key)
    /// answers with the call as it is now and changes nothing.
    pub fn update(
        &mut self,
        now: Timestamp,
        shell: &mut impl Shell,
        key: &IdempotencyKey,
        id: &CallId,
        legs: &[LegSpec],
    ) -> Result<CallReport, Refusal> {
        let call = self.key(id).ok_or(Refusal::UnknownCall)?;
        if self.call(call).updated_with.as_ref() == Some(key) {
            return Ok(self.report(now, call));
        }
        let mut changes = self.plan_update(call, legs)?;
        self.pool.reclaim(now);
        if let Err(refusal) = self.open_changes(now, shell, call, &mut changes) {
            self.take_back(shell, changes.into_iter().filter_map(|change| change.opened));
            return Err(refusal);
        }
        for change in changes {
            let line = change.line.unwrap_or_else(|| self.add_line(call, change.leg));
            if let Some(opened) = change.opened {
                self.attach(line, opened);
            }
            if !change.settings.enabled {
                self.detach(now, shell, line);
            } else if change.settings.rtcp_mux {
                self.detach_rtcp(shell, line);
            }
            self.apply(now, line, change.settings);
        }
        self.wire(now, call);
        self.decide_call(now, shell, call);
        self.arm(now, call);
        self.call_mut(call).updated_with = Some(key.clone());
        Ok(self.report(now, call))
    }

    /// Checks an update.
    fn plan_update(&self, call: u32, specs: &[LegSpec]) -> Result<Vec<Change>, Refusal> {
        if specs.is_empty() {
            return Err(Refusal::Invalid("an update names no leg"));
        }
        let legs = &self.call(call).legs;
        let mut counts = [legs[0].lines.len(), legs[1].lines.len()];
        let mut named = [false; 2];
        let mut changes = Vec::new();
        for spec in specs {
            let at = legs
                .iter()
                .position(|leg| leg.id == spec.id)
                .ok_or(Refusal::UnknownLeg)?;
            let leg = &legs[at];
            if std::mem::replace(&mut named[at], true) {
                return Err(Refusal::Invalid("an update names a leg twice"));
            }
            let interface = spec.interface.as_ref();
            let moves = interface.is_some_and(|name| name != self.pool.interface(leg.address))
                || spec.ipv6 != self.pool.is_ipv6(leg.address);
            if moves {
                return Err(Refusal::Invalid(
                    "a leg cannot change its interface or address family",
                ));
            }
            let lines = self.check_lines(spec, leg.address)?;
            if lines.len() < leg.lines.len() {
                return Err(Refusal::Invalid("an update leaves out a line"));
            }
            counts[at] = lines.len();
            for (line, settings) in leg.lines.iter().zip(&lines) {
                if let (Some(security), Some(keys)) = (&self.line(*line).security, &settings.keys) {
                    security.check(keys, self.config.limits.srtp_keys_per_line_max)?;
                }
            }
            changes.extend(lines.into_iter().enumerate().map(|(place, settings)| Change {
                leg: at,
                line: leg.lines.get(place).copied(),
                settings,
                opened: None,
            }));
        }
        if counts[0] != counts[1] {
            return Err(Refusal::Invalid("the legs differ in their number of lines"));
        }
        Ok(changes)
    }

    /// Opens the ports that an update needs beyond those that are open. On failure the caller takes them back.
    fn open_changes(
        &mut self,
        now: Timestamp,
        shell: &mut impl Shell,
        call: u32,
        changes: &mut [Change],
    ) -> Result<(), Refusal> {
        for change in changes.iter_mut().filter(|change| change.settings.enabled) {
            let address = self.call(call).legs[change.leg].address;
            let with_rtcp = !change.settings.rtcp_mux;
            let open = change.line.and_then(|line| self.line(line).ports);
            change.opened = match open {
                None => Some(Opened::Pair(self.open_pair(now, shell, address, with_rtcp)?)),
                Some(open) if with_rtcp && open.rtcp.is_none() => {
                    Some(Opened::Rtcp(self.open_rtcp(shell, open.pair)?))
                }
                Some(_) => None,
            };
        }
        let before = self.line_keys(call).filter_map(|line| self.line(line).ports);
        let opened = changes.iter().filter_map(|change| match change.opened? {
            Opened::Pair(opened) => Some(opened),
            Opened::Rtcp(..) => None,
        });
        let ours: Vec<Pair> = before.chain(opened).map(|ports| ports.pair).collect();
        self.check_loops(changes.iter().map(|change| &change.settings), &ours)
    }
}
