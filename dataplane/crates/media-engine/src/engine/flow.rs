use std::net::SocketAddr;
use std::time::Duration;

use sans_io::Timestamp;

use super::{Component, Engine};
use crate::line::Egress;
use crate::line_flow::{Counted, Installed};
use crate::stream::Stream;
use crate::{FLOW_CLOCKS_MAX, Flow, FlowError, FlowMedia, FlowReading, PathReason, Shell};

/// A flow is installed when none of its packets has come for this long: what came before has left by then, so that
/// nothing in the kernel overtakes it.
const FLOW_PAUSE: Duration = Duration::from_millis(2);
/// A flow that finds no pause is told of after this time; after it, too, packets that may still wait elsewhere in the
/// back-end hold nothing up any more: a worker that never gets to their end is helped by the kernel most of all.
const PATIENCE: Duration = Duration::from_secs(1);
/// How soon a flow is looked at again that has waited for longer.
const SLOW_RETRY: Duration = Duration::from_millis(50);
/// How soon a flow is looked at again that packets in the back-end hold up.
const BEHIND_RETRY: Duration = Duration::from_millis(1);
/// How soon a refused flow is tried again: others may have ended.
const ERROR_RETRY: Duration = Duration::from_secs(5);
/// The same where the next hop was just asked for who it is.
const NEIGHBOUR_RETRY: Duration = Duration::from_millis(200);
/// The same where there is no route: what routes there are is known, so that the question costs little, and a route that
/// comes back after a fault is to carry all its calls again at once.
const ROUTE_RETRY: Duration = Duration::from_secs(1);
/// The same where there is no table: an interface seldom gets one.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(60);
/// The same after a flow was lost or gave most of its packets back.
const LOST_RETRY: Duration = Duration::from_secs(1);
const PASSED_UP_RETRY: Duration = Duration::from_secs(30);
/// Packets of a second that came up, below which nothing is concluded from them: a pause in speech has few of any kind.
const PASSED_UP_MIN: u32 = 10;

const COMPONENTS: [Component; 2] = [Component::Rtp, Component::Rtcp];

impl Engine {
    /// The path of this line's flows is to be decided anew, soon. Does not allocate.
    pub(super) fn undecide(&mut self, line: u32) {
        if self.config.kernel && !std::mem::replace(&mut self.line_mut(line).is_undecided, true) {
            self.undecided.push(line);
        }
    }

    /// Decides the path of a line's flows, and has the table obey.
    pub(super) fn decide(&mut self, now: Timestamp, shell: &mut impl Shell, line: u32) {
        self.stop_waiting(line);
        for component in COMPONENTS {
            let (reason, again) = match self.wanted(line, component) {
                Ok(flow) => self.put_in(now, shell, line, component, flow),
                Err(reason) => {
                    self.take_out(shell, line, component);
                    (reason, None)
                }
            };
            if reason != Some(PathReason::Pause) && reason != Some(PathReason::NoPause) {
                self.line_mut(line).flow_mut(component).waits_since = None;
            }
            self.set_reason(line, component, reason);
            if let Some(again) = again {
                let at = self.line(line).pause_at.min(again);
                self.stop_waiting(line);
                self.line_mut(line).pause_at = at;
                self.pauses.set(at, line);
            }
        }
    }

    /// Decides anew for all lines of a call, at once: after a command, and also what was refused before.
    pub(super) fn decide_call(&mut self, now: Timestamp, shell: &mut impl Shell, call: u32) {
        for line in self.line_keys(call) {
            for component in COMPONENTS {
                self.line_mut(line).flow_mut(component).retry_at = Timestamp::ZERO;
            }
            self.decide(now, shell, line);
        }
    }

    /// Takes all flows of a call out. Their reasons stay: the last report still says where the packets went.
    pub(super) fn take_out_call(&mut self, shell: &mut impl Shell, call: u32) {
        for line in self.line_keys(call) {
            for component in COMPONENTS {
                self.take_out(shell, line, component);
            }
        }
    }

    /// Nothing of a line waits any more.
    pub(super) fn stop_waiting(&mut self, line: u32) {
        let at = std::mem::replace(&mut self.line_mut(line).pause_at, Timestamp::MAX);
        self.pauses.remove(at, line);
    }

    /// A line is going: it leaves nothing behind in the lists.
    pub(super) fn forget_flows(&mut self, line: u32) {
        self.stop_waiting(line);
        for component in COMPONENTS {
            self.set_reason(line, component, None);
        }
        if self.line(line).is_undecided {
            self.undecided.retain(|queued| *queued != line);
        }
        if self.line(line).has_aside {
            self.asides.retain(|queued| *queued != line);
        }
    }

    /// The flow that the table should have, else the reason why it should not; no reason when there is no such flow.
    fn wanted(&self, line: u32, component: Component) -> Result<Flow, Option<PathReason>> {
        let local = self.local(line, component).ok_or(match component {
            Component::Rtp => Some(PathReason::Disabled),
            Component::Rtcp => None,
        })?;
        let line = self.line(line);
        let (source, egress) = match component {
            Component::Rtp => (line.latch.locked(), line.rtp_egress),
            Component::Rtcp => (line.rtcp_source, line.rtcp_egress),
        };
        if !self.config.kernel {
            return Err(Some(PathReason::KernelOff));
        }
        if line.is_secured || line.peer_is_secured {
            return Err(Some(PathReason::Srtp));
        }
        if line.setup.is_some() {
            return Err(Some(PathReason::Ice));
        }
        if component == Component::Rtp && !line.party_sends {
            return Err(Some(PathReason::PartyNotSending));
        }
        if component == Component::Rtp && !line.peer_receives {
            return Err(Some(PathReason::PeerNotReceiving));
        }
        let egress = egress.ok_or(Some(PathReason::NoDestination))?;
        let source = source.ok_or(Some(PathReason::Learning))?;
        let media = match component {
            Component::Rtcp => FlowMedia::Rtcp,
            Component::Rtp if !line.streams.iter().any(|stream| stream.statistics.is_valid()) => {
                return Err(Some(PathReason::Probation));
            }
            Component::Rtp => {
                let (types, clocks) = line.formats.flow_types(line.is_audio);
                if clocks > FLOW_CLOCKS_MAX {
                    return Err(Some(PathReason::Clocks));
                }
                if !line.rtcp_mux {
                    FlowMedia::Rtp(types)
                } else if line.rtcp_egress == line.rtp_egress {
                    FlowMedia::Mux(types)
                } else {
                    return Err(Some(PathReason::MuxDiffers));
                }
            }
        };
        if self.pool.is_ours(source.ip()) || self.pool.is_ours(egress.to.ip()) {
            return Err(Some(PathReason::Hairpin));
        }
        let egress_local = self
            .egress_local(line.peer, egress)
            .ok_or(Some(PathReason::NoDestination))?;
        Ok(Flow {
            local,
            source,
            egress_local,
            destination: egress.to,
            media,
        })
    }

    /// The address that a way out through `peer` leaves from.
    fn egress_local(&self, peer: u32, egress: Egress) -> Option<SocketAddr> {
        let ports = self.line(peer).ports?;
        let offset = u16::from(ports.rtcp == Some(egress.port));
        Some(self.pool.local(ports.pair, offset))
    }

    /// Has `flow` in the table, if it may be; why not otherwise, and when to look again.
    fn put_in(
        &mut self,
        now: Timestamp,
        shell: &mut impl Shell,
        key: u32,
        component: Component,
        flow: Flow,
    ) -> (Option<PathReason>, Option<Timestamp>) {
        let relay = (Some(PathReason::PlainRelay), None);
        if self.is_installed(key, component, Some(&flow)) {
            return relay;
        }
        if self.is_installed(key, component, None) {
            // A table that has lost the flow would begin a new one that nothing was lent to.
            self.read_flow(now, shell, key, component);
        }
        let line = self.line_mut(key);
        let state = line.flow_mut(component);
        if let Some(installed) = &mut state.installed {
            // One step for the table: no packet takes the way through user space meanwhile.
            return match shell.install(&flow, &[]) {
                Ok(()) => {
                    installed.flow = flow;
                    self.counters.kernel.flows_changed += 1;
                    relay
                }
                Err(error) => {
                    self.take_out(shell, key, component);
                    self.refused(now, key, component, error)
                }
            };
        }
        if state.retry_at > now && state.reason.is_some_and(PathReason::is_failure) {
            // A retry that is nearer than the line's next turn must not be forgotten.
            let soon = state.retry_at <= now + PATIENCE;
            return (state.reason, soon.then_some(state.retry_at));
        }
        let line = self.line_mut(key);
        let state = line.flow_mut(component);
        let since = *state.waits_since.get_or_insert(now);
        let is_late = since + PATIENCE <= now;
        let quiet_at = line.latest_packet(component) + FLOW_PAUSE;
        let again = match (quiet_at > now, shell.is_behind()) {
            (true, _) if is_late => Some(quiet_at.max(now + SLOW_RETRY)),
            (true, _) => Some(quiet_at),
            (false, true) if !is_late => Some(now + BEHIND_RETRY),
            (false, _) => None,
        };
        if again.is_some() {
            let reason = if is_late {
                PathReason::NoPause
            } else {
                PathReason::Pause
            };
            return (Some(reason), again);
        }
        let lent = match component {
            Component::Rtp => self.line_mut(key).lend_streams(),
            Component::Rtcp => Vec::new(),
        };
        match shell.install(&flow, &lent) {
            Ok(()) => {
                let line = self.line_mut(key);
                line.in_kernel |= component == Component::Rtp;
                line.flow_mut(component).installed = Some(Box::new(Installed {
                    flow,
                    counted: Counted::default(),
                    swept: 0,
                }));
                self.counters.kernel.flows_installed += 1;
                relay
            }
            Err(error) => {
                if component == Component::Rtp {
                    self.line_mut(key).return_streams();
                }
                self.refused(now, key, component, error)
            }
        }
    }

    /// Whether a line's flow is in the table: this one, or any.
    fn is_installed(&mut self, line: u32, component: Component, flow: Option<&Flow>) -> bool {
        let installed = self.line_mut(line).flow_mut(component).installed.as_ref();
        installed.is_some_and(|installed| flow.is_none_or(|flow| installed.flow == *flow))
    }

    fn refused(
        &mut self,
        now: Timestamp,
        line: u32,
        component: Component,
        error: FlowError,
    ) -> (Option<PathReason>, Option<Timestamp>) {
        self.counters.kernel.flow_errors[error as usize] += 1;
        let wait = match error {
            FlowError::Unavailable => UNAVAILABLE_RETRY,
            FlowError::NoNeighbour => NEIGHBOUR_RETRY,
            FlowError::NoRoute => ROUTE_RETRY,
            FlowError::Full | FlowError::Refused => ERROR_RETRY,
        };
        let retry_at = now + wait;
        self.line_mut(line).flow_mut(component).retry_at = retry_at;
        // The others wait for the line's turn to be looked at.
        let again = (error == FlowError::NoNeighbour).then_some(retry_at);
        (Some(error.into()), again)
    }

    /// Takes a flow out, if it is in, with its last counts. Packets come to user space from then on.
    pub(super) fn take_out(&mut self, shell: &mut impl Shell, line: u32, component: Component) {
        let Some(installed) = self.line_mut(line).flow_mut(component).installed.take() else {
            return;
        };
        match shell.remove(installed.flow.local) {
            Some(reading) => {
                self.absorb(line, component, &installed.counted, &reading);
                self.counters.kernel.flows_removed += 1;
            }
            None => self.counters.kernel.flows_lost += 1,
        }
        if component == Component::Rtp {
            let line = self.line_mut(line);
            line.in_kernel = false;
            line.return_streams();
        }
    }

    /// Reads a flow that is in the table; one that is gone goes on in user space.
    pub(super) fn read_flow(
        &mut self,
        now: Timestamp,
        shell: &mut impl Shell,
        line: u32,
        component: Component,
    ) {
        let Some(mut installed) = self.line_mut(line).flow_mut(component).installed.take() else {
            return;
        };
        let Some(reading) = shell.read(installed.flow.local) else {
            // A table that can't be read at the moment may forward all the same: two must not.
            match shell.remove(installed.flow.local) {
                Some(last) => {
                    self.absorb(line, component, &installed.counted, &last);
                    self.counters.kernel.flows_removed += 1;
                }
                None => self.counters.kernel.flows_lost += 1,
            }
            let state = self.line_mut(line).flow_mut(component);
            state.retry_at = now + LOST_RETRY;
            if component == Component::Rtp {
                let line = self.line_mut(line);
                line.in_kernel = false;
                line.return_streams();
            }
            self.set_reason(line, component, Some(PathReason::Lost));
            return;
        };
        self.absorb(line, component, &installed.counted, &reading);
        installed.counted = Counted::of(&reading);
        self.line_mut(line).flow_mut(component).installed = Some(installed);
    }

    /// Adds what a flow has counted since it was read last.
    fn absorb(&mut self, key: u32, component: Component, before: &Counted, reading: &FlowReading) {
        let new = Counted::of(reading).since(before);
        let totals = &mut self.counters.kernel;
        totals.rtp_forwarded += new.rtp_packets;
        totals.rtcp_forwarded += new.rtcp_packets;
        totals.bytes_forwarded += new.bytes;
        totals.drops.add_all(&new.drops);
        self.counters.streams_evicted += new.streams_evicted;
        let line = self.line_mut(key);
        line.rtcp_forwarded += new.rtcp_packets;
        line.drops.add_all(&new.drops);
        if component == Component::Rtp {
            self.absorb_streams(key, reading);
        }
    }

    /// Takes over what a table knows of a line's streams.
    pub(super) fn absorb_streams(&mut self, key: u32, reading: &FlowReading) {
        let streams_max = self.config.limits.streams_per_line_max;
        let line = self.line_mut(key);
        if let Some(latest) = reading.latest_rtp
            && latest > line.latest_rtp
        {
            line.latest_rtp = latest;
            line.timed_out = false;
        }
        let known = |stream: &Stream| {
            reading
                .streams
                .iter()
                .flatten()
                .any(|state| state.ssrc == stream.ssrc)
        };
        // What was lent and did not come back made room for another stream there.
        line.streams.retain(|stream| !stream.is_lent || known(stream));
        for state in reading.streams.iter().flatten() {
            let Some(mut stream) = Stream::from_state(state, &line.formats) else {
                continue;
            };
            stream.is_lent = true;
            match line.streams.iter_mut().find(|known| known.ssrc == stream.ssrc) {
                Some(known) => known.replace(stream),
                None => drop(line.add_stream(stream, streams_max)),
            }
        }
        line.streams
            .sort_unstable_by_key(|stream| (stream.first, stream.ssrc.0));
        // What it could not keep before, and streams that came here first.
        let untold = line.streams.iter().any(|stream| stream.untold().is_some());
        if untold && !std::mem::replace(&mut line.has_aside, true) {
            self.asides.push(key);
        }
    }

    /// Has the table keep what came past it: with every timeout, and before another process reads the table. A batch has few such
    /// packets: the table's lock is not taken for each.
    pub fn keep_asides(&mut self, shell: &mut impl Shell) {
        while let Some(key) = self.asides.pop() {
            let line = self.line_mut(key);
            line.has_aside = false;
            let Some(installed) = &line.rtp_flow.installed else {
                continue;
            };
            let local = installed.flow.local;
            for stream in &mut line.streams {
                if let Some(untold) = stream.untold()
                    && shell.keep_aside(local, stream.ssrc, untold)
                {
                    stream.told();
                }
            }
        }
    }

    /// What becomes of a line's flow in the kernel when its packets came up more often than not: back to user space.
    pub(super) fn check_passed_up(&mut self, now: Timestamp, shell: &mut impl Shell, key: u32) {
        let line = self.line_mut(key);
        let passed_up = std::mem::take(&mut line.passed_up);
        let Some(installed) = &mut line.rtp_flow.installed else {
            return;
        };
        let counted = installed.counted.rtp_packets;
        let forwarded = counted.saturating_sub(std::mem::replace(&mut installed.swept, counted));
        if passed_up >= PASSED_UP_MIN && u64::from(passed_up) > forwarded {
            line.rtp_flow.retry_at = now + PASSED_UP_RETRY;
            self.take_out(shell, key, Component::Rtp);
            self.set_reason(key, Component::Rtp, Some(PathReason::PassedUp));
        }
    }

    /// Takes over a flow that an earlier process has left in the table, when it is to be there still.
    pub(super) fn adopt(&mut self, now: Timestamp, shell: &mut impl Shell, key: u32, component: Component) {
        let Some(local) = self.local(key, component) else {
            return;
        };
        let Some(reading) = shell.read(local) else { return };
        let counted = Counted::of(&reading);
        let line = self.line_mut(key);
        line.rtcp_forwarded += counted.rtcp_packets;
        line.drops.add_all(&counted.drops);
        if component == Component::Rtp {
            line.has_received |= reading.rtp_packets > 0;
            let known = |stream: &Stream| {
                reading
                    .streams
                    .iter()
                    .flatten()
                    .any(|state| state.ssrc == stream.ssrc)
            };
            line.streams.retain(|stream| !known(stream));
            self.absorb_streams(key, &reading);
        }
        let (flow, error) = match self.wanted(key, component) {
            Ok(flow) => match shell.install(&flow, &[]) {
                Ok(()) => (Some(flow), None),
                Err(error) => (None, Some(error)),
            },
            Err(_) => (None, None),
        };
        if let Some(flow) = flow {
            let line = self.line_mut(key);
            line.in_kernel |= component == Component::Rtp;
            line.flow_mut(component).installed = Some(Box::new(Installed {
                flow,
                swept: counted.rtp_packets,
                counted,
            }));
            self.counters.kernel.flows_adopted += 1;
            return;
        }
        if let Some(last) = shell.remove(local) {
            self.absorb(key, component, &counted, &last);
            self.counters.kernel.flows_removed += 1;
        }
        if component == Component::Rtp {
            self.line_mut(key).return_streams();
        }
        if let Some(error) = error {
            let (reason, _) = self.refused(now, key, component, error);
            self.set_reason(key, component, reason);
        }
    }

    /// Where the packets of a line's flow come to.
    fn local(&self, line: u32, component: Component) -> Option<SocketAddr> {
        let ports = self.line(line).ports?;
        match component {
            Component::Rtp => Some(self.pool.local(ports.pair, 0)),
            Component::Rtcp => ports.rtcp.map(|_| self.pool.local(ports.pair, 1)),
        }
    }

    fn set_reason(&mut self, line: u32, component: Component, reason: Option<PathReason>) {
        let line = &mut self.lines[line as usize];
        if component == Component::Rtp {
            // A packet may be all that it takes.
            line.awaits_packet = matches!(reason, Some(PathReason::Learning | PathReason::Probation));
        }
        let before = std::mem::replace(&mut line.flow_mut(component).reason, reason);
        self.flow_counts.change(before, reason);
    }
}
