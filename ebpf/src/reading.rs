use crate::{Reason, StreamState, layout};

/// What was counted of a flow, read at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowReading {
    pub(crate) state: layout::State,
    pub(crate) streams: layout::Streams,
    pub(crate) whole: bool,
}

/// What was counted of one SSRC. The counts are those of `rtp::StreamStatistics` on the same packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamReading {
    stream: layout::Stream,
}

impl FlowReading {
    /// Whether all figures are of one moment. `false` when packets came so fast that every try to read met one.
    pub const fn is_whole(&self) -> bool {
        self.whole
    }

    /// RTP packets forwarded: those of all streams, less what the flow was given when it was made.
    pub fn rtp_packets(&self) -> u64 {
        let counted: u64 = self.streams.stream.iter().map(|stream| stream.packets).sum();
        (counted + self.state.evicted_packets).wrapping_sub(self.state.given_packets)
    }

    /// Bytes of RTP forwarded, headers included.
    pub fn rtp_bytes(&self) -> u64 {
        let counted: u64 = self.streams.stream.iter().map(|stream| stream.bytes).sum();
        (counted + self.state.evicted_bytes).wrapping_sub(self.state.given_bytes)
    }

    /// When the latest RTP packet was forwarded, in ns of CLOCK_MONOTONIC; 0 before the first.
    pub fn last_rtp_ns(&self) -> u64 {
        if self.rtp_packets() == 0 {
            return 0;
        }
        let streams = self.streams.stream.iter();
        streams
            .map(|stream| stream.last_seen_ns)
            .max()
            .unwrap_or_default()
    }

    /// When the latest RTCP packet was forwarded, in ns of CLOCK_MONOTONIC; 0 before the first.
    pub const fn last_rtcp_ns(&self) -> u64 {
        self.state.rtcp_seen_ns
    }

    /// RTCP packets forwarded.
    pub const fn rtcp_packets(&self) -> u64 {
        self.state.rtcp_packets
    }

    /// Bytes of RTCP forwarded.
    pub const fn rtcp_bytes(&self) -> u64 {
        self.state.rtcp_bytes
    }

    /// When the latest packet was forwarded, in ns of CLOCK_MONOTONIC; 0 before the first.
    pub fn last_packet_ns(&self) -> u64 {
        self.last_rtp_ns().max(self.last_rtcp_ns())
    }

    /// RTCP packets of which user space got no copy, since the ring was full.
    pub const fn copies_lost(&self) -> u64 {
        self.state.copies_lost
    }

    /// Packets of which a tap got no record, since the ring was full.
    pub const fn taps_lost(&self) -> u64 {
        self.state.taps_lost
    }

    /// Streams that made room for newer ones; their packets are in [`Self::rtp_packets`] still.
    pub const fn streams_evicted(&self) -> u64 {
        self.state.evicted
    }

    /// Packets lost in streams that made room for newer ones.
    pub const fn lost_evicted(&self) -> u64 {
        self.state.evicted_lost
    }

    /// Packets refused for `reason`; 0 for those that are found before a flow is known.
    pub const fn refused(&self, reason: Reason) -> u64 {
        match reason.index().checked_sub(Reason::Source.index()) {
            Some(place) => self.state.refused[place],
            None => 0,
        }
    }

    /// Packets refused for any reason.
    pub fn refused_total(&self) -> u64 {
        self.state.refused.iter().sum()
    }

    /// The streams that are told apart, in no order.
    pub fn streams(&self) -> impl Iterator<Item = StreamReading> + '_ {
        self.streams
            .stream
            .iter()
            .filter(|stream| stream.used != 0)
            .map(|stream| StreamReading { stream: *stream })
    }
}

impl StreamReading {
    /// All that is known of it, for whoever goes on counting.
    pub const fn state(&self) -> StreamState {
        StreamState::decode(&self.stream)
    }

    /// SSRC.
    pub const fn ssrc(&self) -> u32 {
        self.stream.ssrc
    }

    /// Packets received, duplicates and strays included.
    pub const fn packets(&self) -> u64 {
        self.stream.packets
    }

    /// Bytes of RTP, headers included.
    pub const fn bytes(&self) -> u64 {
        self.stream.bytes
    }

    /// Packets whose number had been received already.
    pub const fn duplicates(&self) -> u64 {
        self.stream.duplicates
    }

    /// Distinct packets that came after one with a higher number.
    pub const fn reordered(&self) -> u64 {
        self.stream.reordered
    }

    /// Packets far off the sequence that nothing followed.
    pub const fn strays(&self) -> u64 {
        self.stream.strays
    }

    /// Packets expected less distinct packets received (RFC 3550 §A.3).
    pub const fn lost(&self) -> u64 {
        self.stream.lost_before + (self.stream.highest - self.stream.base + 1) - self.stream.distinct
    }

    /// The newest number received, extended; the first cycle begins at 65,536.
    pub const fn highest(&self) -> u64 {
        self.stream.highest
    }

    /// Whether enough packets have come in sequence for the stream to be one (RFC 3550 §A.1).
    pub const fn is_valid(&self) -> bool {
        self.stream.probation == 0
    }

    /// Payload type of the latest packet.
    pub const fn payload_type(&self) -> u8 {
        self.stream.payload_type
    }

    /// Interarrival jitter in nanoseconds (RFC 3550 §A.8).
    pub const fn jitter_ns(&self) -> u64 {
        self.stream.jitter_x16 >> 4
    }

    /// The highest jitter so far, in nanoseconds.
    pub const fn jitter_max_ns(&self) -> u64 {
        self.stream.jitter_max_ns
    }

    /// Interarrival jitter in units of the RTP clock; 0 before the clock is known.
    pub const fn jitter_rtp_units(&self) -> u32 {
        (self.jitter_ns() as u128 * self.stream.clock_rate_hz as u128 / 1_000_000_000) as u32
    }

    /// When the first packet came, in ns of CLOCK_MONOTONIC.
    pub const fn first_seen_ns(&self) -> u64 {
        self.stream.first_seen_ns
    }

    /// When the latest packet came, in ns of CLOCK_MONOTONIC.
    pub const fn last_seen_ns(&self) -> u64 {
        self.stream.last_seen_ns
    }
}

/// What the relay did with all packets, the counters of all CPUs added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    pub(crate) totals: layout::Totals,
}

impl Totals {
    pub(crate) fn add(mut self, cpu: &layout::Totals) -> Self {
        let sum = &mut self.totals;
        sum.sent_back += cpu.sent_back;
        sum.redirected += cpu.redirected;
        sum.bytes += cpu.bytes;
        sum.copies_lost += cpu.copies_lost;
        sum.taps_lost += cpu.taps_lost;
        sum.uncounted += cpu.uncounted;
        for (sum, cpu) in sum.passed.iter_mut().zip(cpu.passed) {
            *sum += cpu;
        }
        for (sum, cpu) in sum.dropped.iter_mut().zip(cpu.dropped) {
            *sum += cpu;
        }
        self
    }

    /// Packets forwarded by the interface that they came by.
    pub const fn sent_back(&self) -> u64 {
        self.totals.sent_back
    }

    /// Packets forwarded by another interface. Whether that took them only its own counters say.
    pub const fn redirected(&self) -> u64 {
        self.totals.redirected
    }

    /// Bytes of RTP and RTCP forwarded.
    pub const fn bytes(&self) -> u64 {
        self.totals.bytes
    }

    /// RTCP packets of which user space got no copy, since the ring was full.
    pub const fn copies_lost(&self) -> u64 {
        self.totals.copies_lost
    }

    /// Packets of which a tap got no record, since the ring was full.
    pub const fn taps_lost(&self) -> u64 {
        self.totals.taps_lost
    }

    /// Packets that were forwarded and not counted by their flow, since another CPU was counting a packet of it.
    pub const fn uncounted(&self) -> u64 {
        self.totals.uncounted
    }

    /// Packets that went up for `reason`.
    pub const fn passed(&self, reason: Reason) -> u64 {
        self.totals.passed[reason.index()]
    }

    /// Packets dropped for `reason`.
    pub const fn dropped(&self, reason: Reason) -> u64 {
        self.totals.dropped[reason.index()]
    }
}
