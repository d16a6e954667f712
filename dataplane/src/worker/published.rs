use std::sync::atomic::{AtomicU64, Ordering};

use media_engine::{DropReason, Engine, FlowError, PathReason, ScoreHistogram};
use media_types::{EndCause, EventKind};
use net_io::{IoCounters, SendError};

/// What a worker lets others read of its counters. The worker alone writes, after each turn of its loop; whoever scrapes
/// reads. Each number is right by itself; two of them may be a turn apart.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Published {
    received: AtomicU64,
    received_bytes: AtomicU64,
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    send_errors: [AtomicU64; SendError::COUNT],
    receive_errors: AtomicU64,
    truncated: AtomicU64,
    malformed: AtomicU64,
    xdp_received: AtomicU64,
    xdp_sent: AtomicU64,
    port_closed: AtomicU64,
    no_buffer: AtomicU64,
    kernel_drops: AtomicU64,
    wake_ups: AtomicU64,
    system_calls: AtomicU64,
    receives_rearmed: AtomicU64,
    completion_overflows: AtomicU64,
    submissions_full: AtomicU64,
    rtp_forwarded: AtomicU64,
    rtcp_forwarded: AtomicU64,
    set_up: AtomicU64,
    dropped: PerReason,
    latches: AtomicU64,
    streams_evicted: AtomicU64,
    ports_in_use: AtomicU64,
    ports_refused: AtomicU64,
    ports_exhausted: AtomicU64,
    calls_created: AtomicU64,
    calls_deleted: AtomicU64,
    calls_ended: AtomicU64,
    calls: AtomicU64,
    port_pairs: AtomicU64,
    port_pairs_free: AtomicU64,
    port_pairs_quarantined: AtomicU64,
    events: [AtomicU64; EVENT_KINDS.len()],
    events_lost: AtomicU64,
    engine_events_missed: AtomicU64,
    turns: AtomicU64,
    kernel_rtp_forwarded: AtomicU64,
    kernel_rtcp_forwarded: AtomicU64,
    kernel_forwarded_bytes: AtomicU64,
    kernel_dropped: PerReason,
    kernel_flows_installed: AtomicU64,
    kernel_flows_changed: AtomicU64,
    kernel_flows_removed: AtomicU64,
    kernel_flows_lost: AtomicU64,
    kernel_flows_adopted: AtomicU64,
    kernel_flows_refused: [AtomicU64; FlowError::ALL.len()],
    flows: [AtomicU64; PathReason::COUNT],
    scores: [AtomicU64; ScoreHistogram::BOUNDS_X100.len() + 1],
    scores_sum_x100: AtomicU64,
    /// The core that the worker is pinned to, plus one; 0 when it is not pinned.
    core: AtomicU64,
}

/// A number a reason.
#[derive(Debug)]
struct PerReason([AtomicU64; DropReason::COUNT]);

impl Default for PerReason {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; DropReason::COUNT])
    }
}

/// The labels of events, in the order of [`Published::events`].
pub const EVENT_KINDS: [&str; 6] = [
    "first_packet",
    "latched",
    "media_timeout",
    "ended_lease_expired",
    "ended_shutdown",
    "setup_failed",
];

/// Place of an event in [`EVENT_KINDS`].
const fn event_place(kind: &EventKind) -> usize {
    match kind {
        EventKind::FirstPacket { .. } => 0,
        EventKind::Latched { .. } => 1,
        EventKind::MediaTimeout { .. } => 2,
        EventKind::Ended {
            cause: EndCause::LeaseExpired,
            ..
        } => 3,
        EventKind::Ended {
            cause: EndCause::Shutdown,
            ..
        } => 4,
        EventKind::SetupFailed { .. } => 5,
    }
}

fn put(place: &AtomicU64, value: u64) {
    place.store(value, Ordering::Relaxed);
}

macro_rules! readers {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        impl Published {
            $($(#[$doc])*
            pub fn $name(&self) -> u64 {
                self.$name.load(Ordering::Relaxed)
            })*
        }
    };
}

readers! {
    /// Datagrams received and handed to the engine.
    received;
    /// Their payload in bytes.
    received_bytes;
    /// Packets that the kernel took for sending.
    sent;
    /// Their payload in bytes.
    sent_bytes;
    /// Errors of receiving calls.
    receive_errors;
    /// Datagrams too large for a frame.
    truncated;
    /// Datagrams with a wrong checksum or length (`xsk`).
    malformed;
    /// Datagrams that came by AF_XDP (`xsk`).
    xdp_received;
    /// Packets that left by AF_XDP (`xsk`).
    xdp_sent;
    /// Datagrams whose port was closed before they were looked at.
    port_closed;
    /// Times that no frame was free.
    no_buffer;
    /// Datagrams that the kernel dropped at full sockets, as far as it tells.
    kernel_drops;
    /// Waits ended by a command.
    wake_ups;
    /// System calls on the packet path.
    system_calls;
    /// Multishot receives that were asked for again (`uring`).
    receives_rearmed;
    /// Times that the completion queue was full (`uring`).
    completion_overflows;
    /// Times that the submission queue was full (`uring`).
    submissions_full;
    /// RTP packets forwarded.
    rtp_forwarded;
    /// RTCP datagrams forwarded.
    rtcp_forwarded;
    /// Datagrams of ICE and DTLS that were for a line's setting up.
    set_up;
    /// Sources learned.
    latches;
    /// Streams whose statistics gave way to newer ones.
    streams_evicted;
    /// Ports that something else on the machine had.
    ports_in_use;
    /// Ports that the kernel refused.
    ports_refused;
    /// Ports that found no room in the process or the back-end.
    ports_exhausted;
    /// Calls made.
    calls_created;
    /// Calls that their control planes deleted.
    calls_deleted;
    /// Calls that the node ended.
    calls_ended;
    /// Calls.
    calls;
    /// Port pairs in all.
    port_pairs;
    /// Port pairs free.
    port_pairs_free;
    /// Port pairs that rest after their calls.
    port_pairs_quarantined;
    /// Turns of the worker's loop.
    turns;
    /// RTP packets that the kernel forwarded.
    kernel_rtp_forwarded;
    /// RTCP datagrams that the kernel forwarded.
    kernel_rtcp_forwarded;
    /// Their UDP payload.
    kernel_forwarded_bytes;
    /// Flows put into the kernel.
    kernel_flows_installed;
    /// Flows that were changed there.
    kernel_flows_changed;
    /// Flows taken out.
    kernel_flows_removed;
    /// Flows that were found gone.
    kernel_flows_lost;
    /// Flows of an earlier process that were taken over.
    kernel_flows_adopted;
    /// Sum of all scores × 100.
    scores_sum_x100;
}

impl Published {
    /// Copies what the engine and the back-end have counted. Does not allocate.
    pub(super) fn store(&self, engine: &Engine, io: &IoCounters) {
        put(&self.received, io.received);
        put(&self.received_bytes, io.received_bytes);
        put(&self.sent, io.sent);
        put(&self.sent_bytes, io.sent_bytes);
        for (place, count) in self.send_errors.iter().zip(io.send_errors) {
            put(place, count);
        }
        put(&self.receive_errors, io.receive_errors);
        put(&self.truncated, io.truncated);
        put(&self.malformed, io.malformed);
        put(&self.xdp_received, io.xdp_received);
        put(&self.xdp_sent, io.xdp_sent);
        put(&self.port_closed, io.port_closed);
        put(&self.no_buffer, io.no_buffer);
        put(&self.kernel_drops, io.kernel_drops.unwrap_or_default());
        put(&self.wake_ups, io.wake_ups);
        put(&self.system_calls, io.system_calls);
        put(&self.receives_rearmed, io.receives_rearmed);
        put(&self.completion_overflows, io.completion_overflows);
        put(&self.submissions_full, io.submissions_full);
        let counters = engine.counters();
        put(&self.rtp_forwarded, counters.rtp_forwarded);
        put(&self.rtcp_forwarded, counters.rtcp_forwarded);
        put(&self.set_up, counters.set_up);
        for (place, reason) in self.dropped.0.iter().zip(DropReason::ALL) {
            put(place, counters.dropped(*reason));
        }
        put(&self.latches, counters.latches);
        put(&self.streams_evicted, counters.streams_evicted);
        put(&self.ports_in_use, counters.ports_in_use);
        put(&self.ports_refused, counters.ports_refused);
        put(&self.ports_exhausted, counters.ports_exhausted);
        put(&self.calls_created, counters.calls_created);
        put(&self.calls_deleted, counters.calls_deleted);
        put(&self.calls_ended, counters.calls_ended);
        put(&self.engine_events_missed, counters.events_missed);
        let capacity = engine.capacity();
        put(&self.calls, capacity.calls as u64);
        put(&self.port_pairs, capacity.port_pairs as u64);
        put(&self.port_pairs_free, capacity.port_pairs_free as u64);
        put(
            &self.port_pairs_quarantined,
            capacity.port_pairs_quarantined as u64,
        );
        put(&self.turns, self.turns() + 1);
        self.store_flows(engine);
    }

    /// The same for the kernel path and the quality of streams.
    fn store_flows(&self, engine: &Engine) {
        let kernel = &engine.counters().kernel;
        put(&self.kernel_rtp_forwarded, kernel.rtp_forwarded);
        put(&self.kernel_rtcp_forwarded, kernel.rtcp_forwarded);
        put(&self.kernel_forwarded_bytes, kernel.bytes_forwarded);
        for (place, reason) in self.kernel_dropped.0.iter().zip(DropReason::ALL) {
            put(place, kernel.drops.of(*reason));
        }
        put(&self.kernel_flows_installed, kernel.flows_installed);
        put(&self.kernel_flows_changed, kernel.flows_changed);
        put(&self.kernel_flows_removed, kernel.flows_removed);
        put(&self.kernel_flows_lost, kernel.flows_lost);
        put(&self.kernel_flows_adopted, kernel.flows_adopted);
        for (place, error) in self.kernel_flows_refused.iter().zip(FlowError::ALL) {
            put(place, kernel.refused(error));
        }
        for (place, reason) in self.flows.iter().zip(PathReason::ALL) {
            put(place, engine.flow_counts().of(*reason));
        }
        let scores = engine.scores();
        for (place, count) in self.scores.iter().zip(scores.counts()) {
            put(place, *count);
        }
        put(&self.scores_sum_x100, scores.sum_x100());
    }

    /// Counts an event that the engine told, whether or not it finds a place.
    pub(super) fn count_event(&self, kind: &EventKind) {
        let place = &self.events[event_place(kind)];
        put(place, place.load(Ordering::Relaxed) + 1);
    }

    /// Counts an event that found no place in the ring.
    pub(super) fn count_lost_event(&self) {
        put(&self.events_lost, self.events_lost.load(Ordering::Relaxed) + 1);
    }

    /// The worker is pinned to this core.
    pub(super) fn set_core(&self, core: usize) {
        put(&self.core, core as u64 + 1);
    }

    /// The core that the worker is pinned to.
    pub fn core(&self) -> Option<u64> {
        self.core.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Packets that the kernel did not take, by the label of the kind.
    pub fn send_errors(&self) -> impl Iterator<Item = (&'static str, u64)> {
        SendError::ALL
            .iter()
            .zip(&self.send_errors)
            .map(|(kind, n)| (kind.reason(), n.load(Ordering::Relaxed)))
    }

    /// Packets that the engine dropped, by the label of the reason.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        DropReason::ALL
            .iter()
            .zip(&self.dropped.0)
            .map(|(reason, n)| (reason.reason(), n.load(Ordering::Relaxed)))
    }

    /// Packets received and not forwarded, for any reason, those of the kernel path among them.
    pub fn dropped_total(&self) -> u64 {
        let dropped = self.dropped().chain(self.kernel_dropped());
        dropped.map(|(_, count)| count).sum::<u64>()
            + self.truncated()
            + self.malformed()
            + self.port_closed()
    }

    /// Packets that the kernel dropped for flows of the engine, by the label of the reason.
    pub fn kernel_dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        DropReason::ALL
            .iter()
            .zip(&self.kernel_dropped.0)
            .map(|(reason, n)| (reason.reason(), n.load(Ordering::Relaxed)))
    }

    /// Packets that the kernel forwarded.
    pub fn kernel_forwarded(&self) -> u64 {
        self.kernel_rtp_forwarded() + self.kernel_rtcp_forwarded()
    }

    /// Packets that came to flows in the kernel and went no further.
    pub fn kernel_received(&self) -> u64 {
        self.kernel_forwarded() + self.kernel_dropped().map(|(_, count)| count).sum::<u64>()
    }

    /// Flows that did not get into the kernel, by the label of the error.
    pub fn kernel_flows_refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FlowError::ALL
            .iter()
            .zip(&self.kernel_flows_refused)
            .map(|(error, n)| (error.reason(), n.load(Ordering::Relaxed)))
    }

    /// Flows now, by the reason of their path.
    pub fn flows(&self) -> impl Iterator<Item = (PathReason, u64)> {
        PathReason::ALL
            .iter()
            .zip(&self.flows)
            .map(|(reason, n)| (*reason, n.load(Ordering::Relaxed)))
    }

    /// Scores of a second of a stream, by bucket: up to each of [`ScoreHistogram::BOUNDS_X100`], and above.
    pub fn scores(&self) -> impl Iterator<Item = u64> {
        self.scores.iter().map(|n| n.load(Ordering::Relaxed))
    }

    /// Events that the engine told, by their labels.
    pub fn events(&self) -> impl Iterator<Item = (&'static str, u64)> {
        EVENT_KINDS
            .into_iter()
            .zip(&self.events)
            .map(|(kind, n)| (kind, n.load(Ordering::Relaxed)))
    }

    /// Events of one of [`EVENT_KINDS`].
    pub fn events_of(&self, kind: &str) -> u64 {
        self.events()
            .filter(|(label, _)| *label == kind)
            .map(|(_, count)| count)
            .sum()
    }

    /// Events that nobody was told: no place in the engine's queue, or in the worker's ring.
    pub fn events_lost(&self) -> u64 {
        self.events_lost.load(Ordering::Relaxed) + self.engine_events_missed.load(Ordering::Relaxed)
    }
}
