use media_types::{BurstReport, CallId, CallReport, LegReport, LineReport, LocalLine, StreamReport};
use sans_io::Timestamp;

use super::{Component, Engine};
use crate::line::Line;
use crate::stream::Stream;
use crate::{Capacity, Counters, FlowCounts, PathReason, ScoreHistogram, Shell, quality};

impl Engine {
    /// A call with its statistics, those of its flows in the kernel read now; `None` when there is no such call.
    pub fn query(&mut self, now: Timestamp, shell: &mut impl Shell, id: &CallId) -> Option<CallReport> {
        let call = self.key(id)?;
        for line in self.line_keys(call) {
            self.read_flow(now, shell, line, Component::Rtp);
            self.read_flow(now, shell, line, Component::Rtcp);
        }
        Some(self.report(now, call))
    }

    /// Whether there is a call of this name.
    pub fn has(&self, id: &CallId) -> bool {
        self.names.contains_key(id)
    }

    /// The names of all calls, in no particular order.
    pub fn call_ids(&self) -> impl Iterator<Item = &CallId> {
        self.names.keys()
    }

    /// What the engine holds and can hold.
    pub fn capacity(&self) -> Capacity {
        let (port_pairs, port_pairs_free, port_pairs_quarantined) = self.pool.counts();
        Capacity {
            calls: self.calls.len(),
            calls_max: self.config.calls_max,
            port_pairs,
            port_pairs_free,
            port_pairs_quarantined,
        }
    }

    /// Totals since the engine was made.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Flows now, by the reason of their path.
    pub const fn flow_counts(&self) -> &FlowCounts {
        &self.flow_counts
    }

    /// A score for each second of each stream that had packets in it.
    pub const fn scores(&self) -> &ScoreHistogram {
        &self.scores
    }

    pub(super) fn report(&self, now: Timestamp, key: u32) -> CallReport {
        let call = self.call(key);
        let leg = |leg: &crate::call::Leg| LegReport {
            id: leg.id.clone(),
            lines: leg
                .lines
                .iter()
                .map(|line| self.report_line(now, self.line(*line)))
                .collect(),
        };
        CallReport {
            id: call.id.clone(),
            age: now.saturating_since(call.created),
            lease_left: call.lease_until.saturating_since(now),
            legs: call.legs.iter().map(leg).collect(),
        }
    }

    fn report_line(&self, now: Timestamp, line: &Line) -> LineReport {
        let local = line.ports.map(|ports| LocalLine {
            rtp: self.pool.advertised(ports.pair, 0),
            rtcp: self.pool.advertised(ports.pair, u16::from(!line.rtcp_mux)),
        });
        let reason = line.rtp_flow.reason.unwrap_or(PathReason::Disabled);
        let (path, path_reason) = self.path(reason);
        LineReport {
            local,
            learned: line.latch.locked(),
            path,
            path_reason,
            rtcp_path: line.rtcp_flow.reason.map(|reason| self.path(reason)),
            drops: line.drops.report(),
            rtcp_forwarded: line.rtcp_forwarded,
            srtp: line
                .security
                .as_ref()
                .filter(|_| line.is_secured)
                .map(|security| security.report()),
            dtls: line
                .setup
                .as_ref()
                .filter(|it| it.dtls.is_some())
                .map(|it| it.handshake),
            ice: line
                .setup
                .as_ref()
                .filter(|it| it.ice.is_some())
                .map(|it| it.search),
            streams: line
                .streams
                .iter()
                .map(|stream| self.report_stream(now, line, stream))
                .collect(),
        }
    }

    /// The path of a flow, and the words for its reason.
    const fn path(&self, reason: PathReason) -> (media_types::Path, &'static str) {
        match reason {
            PathReason::KernelOff => (self.config.path, self.config.path_reason),
            reason if reason.is_kernel() => (media_types::Path::Kernel, reason.text()),
            reason => (self.config.path, reason.text()),
        }
    }

    fn report_stream(&self, now: Timestamp, line: &Line, stream: &Stream) -> StreamReport {
        let statistics = &stream.counted();
        let bursts = statistics.bursts().figures();
        let permille = |share: f64| (share * 1e3).round() as u16;
        let microseconds = |nanoseconds: u64| u32::try_from(nanoseconds / 1_000).unwrap_or(u32::MAX);
        StreamReport {
            ssrc: stream.ssrc.0,
            payload_type: statistics.payload_type().value(),
            packets: statistics.packets(),
            bytes: statistics.bytes(),
            lost: statistics.lost(),
            reordered: statistics.reordered(),
            duplicates: statistics.duplicates(),
            jitter_us: microseconds(statistics.jitter_ns()),
            jitter_us_max: microseconds(statistics.jitter_max_ns()),
            idle: now.saturating_since(stream.latest),
            mos_x100_second: stream.mos_x100,
            bursts: BurstReport {
                bursts: bursts.bursts,
                burst_loss_permille: permille(bursts.burst_density),
                gap_loss_permille: permille(bursts.gap_density),
                burst_packets: bursts.burst_packets.round() as u32,
                gap_packets: bursts.gap_packets.round() as u32,
            },
            mos_x100: quality::score_x100(statistics, statistics.loss_ratio(), line, self.line(line.peer)),
        }
    }
}
