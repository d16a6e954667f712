use rtp::{Packet, PayloadType, Ssrc, StreamStatistics};
use sans_io::Timestamp;

use crate::StreamState;
use crate::format::Formats;

/// One SSRC as it comes from a party.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) ssrc: Ssrc,
    /// Clock rate of `payload_type`, kept so that it is looked up only when the type changes.
    clock_rate_hz: u32,
    pub(crate) first: Timestamp,
    pub(crate) latest: Timestamp,
    pub(crate) statistics: StreamStatistics,
    payload_type: PayloadType,
}

impl Stream {
    pub(crate) fn new(now: Timestamp, packet: &Packet<'_>, formats: &Formats) -> Self {
        let payload_type = packet.payload_type();
        let clock_rate_hz = formats.jitter_clock_hz(payload_type);
        Self {
            ssrc: packet.ssrc(),
            clock_rate_hz,
            first: now,
            latest: now,
            statistics: StreamStatistics::new(packet, clock_rate_hz, now.as_nanos()),
            payload_type,
        }
    }

    /// Counts a packet. Does not allocate.
    pub(crate) fn observe(&mut self, now: Timestamp, packet: &Packet<'_>, formats: &Formats) {
        if packet.payload_type() != self.payload_type {
            self.payload_type = packet.payload_type();
            self.clock_rate_hz = formats.jitter_clock_hz(self.payload_type);
        }
        self.latest = now;
        self.statistics
            .observe(packet, self.clock_rate_hz, now.as_nanos());
    }

    /// A stream that was counted elsewhere until now; `None` when what is said of it contradicts itself.
    pub(crate) fn from_state(state: &StreamState, formats: &Formats) -> Option<Self> {
        let statistics = StreamStatistics::from_state(&state.statistics)?;
        let payload_type = statistics.payload_type();
        Some(Self {
            ssrc: state.ssrc,
            clock_rate_hz: formats.jitter_clock_hz(payload_type),
            first: state.first,
            latest: state.latest,
            statistics,
            payload_type,
        })
    }

    /// What is known of it, to be counted on elsewhere.
    pub(crate) const fn state(&self) -> StreamState {
        StreamState {
            ssrc: self.ssrc,
            first: self.first,
            latest: self.latest,
            statistics: self.statistics.state(),
        }
    }

    /// The formats of the line have changed.
    pub(crate) fn reformat(&mut self, formats: &Formats) {
        self.clock_rate_hz = formats.jitter_clock_hz(self.payload_type);
    }
}
