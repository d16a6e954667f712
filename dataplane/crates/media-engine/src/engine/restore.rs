use media_types::{CallReport, LegSpec, Refusal};
use sans_io::Timestamp;

use super::opening::Opened;
use super::{Component, Engine};
use crate::call::{Call, Leg};
use crate::latch::Latch;
use crate::line::LinePorts;
use crate::port_pool::{AddressKey, Pair};
use crate::security::Security;
use crate::settings::LineSettings;
use crate::stream::Stream;
use crate::{CallState, LineState, Ports, Restored, Shell};

/// A leg whose ports are reserved and not open yet.
struct Planned {
    address: AddressKey,
    lines: Vec<(LineSettings, Option<Pair>)>,
}

impl Engine {
    /// Makes a call of an earlier process again, on the ports that it had, with all that was learned and counted, and what
    /// is left of its lease; no event tells of it. Flows that are in the table are taken over, and no packet falls between;
    /// the engine's totals have what these forward from now on.
    ///
    /// # Errors
    /// As [`Self::create`]; [`Refusal::NoPorts`] also when a port is not of this worker or cannot be opened again. The
    /// refusal leaves no trace.
    pub fn restore(
        &mut self,
        now: Timestamp,
        shell: &mut impl Shell,
        restored: &Restored,
    ) -> Result<CallReport, Refusal> {
        if self.key(&restored.id).is_some() {
            return Err(Refusal::CallExists);
        }
        if self.calls.len() >= self.config.calls_max {
            return Err(Refusal::NoCapacity);
        }
        let states = &restored.state.lines;
        if restored.legs[0].lines.len() != restored.legs[1].lines.len()
            || (0..2).any(|leg| states[leg].len() != restored.legs[leg].lines.len())
        {
            return Err(Refusal::Invalid("the legs differ in their number of lines"));
        }
        let mut taken = Vec::new();
        let planned = self.plan_restored(restored, &mut taken);
        let planned = match planned {
            Ok(planned) => planned,
            Err(refusal) => {
                taken.into_iter().for_each(|pair| self.pool.give_back(pair));
                return Err(refusal);
            }
        };
        let mut opened = Vec::new();
        if let Err(refusal) = self.open_restored(shell, &planned, &mut opened) {
            let unopened = taken
                .iter()
                .filter(|pair| !opened.iter().any(|open: &LinePorts| open.pair == **pair));
            unopened.for_each(|pair| self.pool.give_back(*pair));
            self.take_back(shell, opened.into_iter().map(Opened::Pair));
            return Err(refusal);
        }
        let call = self.commit_restored(now, restored, planned, opened);
        for line in self.line_keys(call) {
            self.adopt(now, shell, line, Component::Rtp);
            self.adopt(now, shell, line, Component::Rtcp);
        }
        self.decide_call(now, shell, call);
        self.arm(now, call);
        Ok(self.report(now, call))
    }

    /// What a call has learned and counted beyond its description: enough, with that, to restore it in another process.
    pub fn state(&self, now: Timestamp, id: &media_types::CallId) -> Option<CallState> {
        let call = self.call(self.key(id)?);
        let lines = |leg: &Leg| leg.lines.iter().map(|line| self.line_state(*line)).collect();
        Some(CallState {
            created_with: call.created_with.clone(),
            updated_with: call.updated_with.clone(),
            age: now.saturating_since(call.created),
            lease: call.lease,
            lease_left: call.lease_until.saturating_since(now),
            media_timeout: call.media_timeout,
            lines: [lines(&call.legs[0]), lines(&call.legs[1])],
        })
    }

    fn line_state(&self, line: u32) -> LineState {
        let line = self.line(line);
        // What flows in the table have counted is theirs to tell.
        let mut rtcp_forwarded = line.rtcp_forwarded;
        let mut drops = line.drops.clone();
        for flow in [&line.rtp_flow, &line.rtcp_flow] {
            if let Some(installed) = &flow.installed {
                rtcp_forwarded -= installed.counted.rtcp_packets;
                drops = drops.since(&installed.counted.drops);
            }
        }
        LineState {
            local: line.ports.map(|ports| self.pool.local(ports.pair, 0)),
            signalled: line.latch.signalled(),
            source: line.latch.locked(),
            rtcp_source: line.rtcp_source,
            has_received: line.has_received,
            rtcp_forwarded,
            drops,
            streams: line.streams.iter().map(Stream::state).collect(),
            security: line.security.as_ref().map(|security| security.state()),
            setup: line.setup.as_ref().map(|setup| setup.state()).unwrap_or_default(),
        }
    }

    /// Checks the legs and reserves their ports, which are in `taken` also after a refusal.
    fn plan_restored(&mut self, restored: &Restored, taken: &mut Vec<Pair>) -> Result<[Planned; 2], Refusal> {
        let [first, second] = &restored.legs;
        if first.id == second.id {
            return Err(Refusal::Invalid("the legs have the same name"));
        }
        Ok([
            self.plan_restored_leg(first, &restored.state.lines[0], taken)?,
            self.plan_restored_leg(second, &restored.state.lines[1], taken)?,
        ])
    }

    fn plan_restored_leg(
        &mut self,
        spec: &LegSpec,
        states: &[LineState],
        taken: &mut Vec<Pair>,
    ) -> Result<Planned, Refusal> {
        let mut pairs = Vec::with_capacity(states.len());
        for (spec, state) in spec.lines.iter().zip(states) {
            let pair = match (spec.enabled, state.local) {
                (false, _) => None,
                (true, None) => return Err(Refusal::Invalid("an enabled line has no port")),
                (true, Some(local)) => Some(self.pool.take_local(local).ok_or(Refusal::NoPorts)?),
            };
            taken.extend(pair);
            pairs.push(pair);
        }
        let address = match pairs.iter().flatten().next() {
            Some(pair) => pair.address,
            None => self
                .pool
                .address(spec.interface.as_ref(), spec.ipv6)
                .ok_or(Refusal::UnknownInterface)?,
        };
        let lines = self.check_lines(spec, address)?;
        Ok(Planned {
            address,
            lines: lines.into_iter().zip(pairs).collect(),
        })
    }

    fn open_restored(
        &mut self,
        ports: &mut impl Ports,
        planned: &[Planned; 2],
        opened: &mut Vec<LinePorts>,
    ) -> Result<(), Refusal> {
        for (settings, pair) in planned.iter().flat_map(|leg| &leg.lines) {
            if let Some(pair) = pair {
                opened.push(self.open_taken(ports, *pair, !settings.rtcp_mux)?);
            }
        }
        Ok(())
    }

    fn commit_restored(
        &mut self,
        now: Timestamp,
        restored: &Restored,
        planned: [Planned; 2],
        opened: Vec<LinePorts>,
    ) -> u32 {
        let state = &restored.state;
        let lease = state.lease.min(self.config.lease_max);
        let leg = |at: usize| Leg {
            id: restored.legs[at].id.clone(),
            address: planned[at].address,
            lines: Vec::with_capacity(planned[at].lines.len()),
        };
        let call = self.add_call(Call {
            id: restored.id.clone(),
            legs: [leg(0), leg(1)],
            created: now.saturating_sub(state.age),
            lease,
            lease_until: now + state.lease_left.min(lease),
            media_timeout: state.media_timeout,
            timer: Timestamp::MAX,
            created_with: state.created_with.clone(),
            updated_with: state.updated_with.clone(),
        });
        let mut opened = opened.into_iter();
        for (leg, planned) in planned.into_iter().enumerate() {
            for ((settings, _), state) in planned.lines.into_iter().zip(&state.lines[leg]) {
                let line = self.add_line(call, leg);
                if settings.enabled
                    && let Some(ports) = opened.next()
                {
                    self.attach(line, Opened::Pair(ports));
                }
                let key = line;
                let line = self.line_mut(key);
                // Keys of which nothing is said were used all the same: rather nothing passes than a keystream twice.
                let lost = || settings.keys.as_ref().map(|keys| keys.lost());
                line.security = state.security.clone().or_else(lost).map(Security::new);
                self.take_over(now, key, settings);
                let line = self.line_mut(key);
                line.latch = Latch::restored(line.latch.policy(), state.signalled, state.source);
                line.rtcp_source = state.rtcp_source;
                line.has_received = state.has_received;
                line.rtcp_forwarded = state.rtcp_forwarded;
                line.drops = state.drops.clone();
                self.restore_setup(now, key, state.setup);
            }
        }
        self.wire(now, call);
        for (leg, states) in state.lines.iter().enumerate() {
            for (place, state) in states.iter().enumerate() {
                let line = self.call(call).legs[leg].lines[place];
                self.restore_streams(line, state);
            }
        }
        self.timers.set(Timestamp::MAX, call);
        self.counters.calls_restored += 1;
        call
    }

    /// Gives a line the streams that it had.
    fn restore_streams(&mut self, line: u32, state: &LineState) {
        let streams_max = self.config.limits.streams_per_line_max;
        let line = self.line_mut(line);
        for stream in &state.streams {
            if let Some(stream) = Stream::from_state(stream, &line.formats) {
                line.latest_rtp = line.latest_rtp.max(stream.latest);
                line.add_stream(stream, streams_max);
            }
        }
    }
}
