use std::cmp::Reverse;

use crate::{layout, plain::zeroed};

/// All that is known of one SSRC: the fields of `rtp::StreamStatistics`, when it was heard, and its losses in bursts.
///
/// Counting moves with it: a flow is installed with what user space has counted, and what it has counted when it is
/// removed goes on in user space. Times are ns of CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// SSRC.
    pub ssrc: u32,
    /// When the first packet came.
    pub first_seen_ns: u64,
    /// When the latest packet came.
    pub last_seen_ns: u64,
    /// Packets received, duplicates and strays included.
    pub packets: u64,
    /// Bytes of RTP, headers included.
    pub bytes: u64,
    /// Packets whose number had been received already.
    pub duplicates: u64,
    /// Distinct packets that came after one with a higher number.
    pub reordered: u64,
    /// Packets far off the sequence that nothing followed.
    pub strays: u64,
    /// Loss of the sequences that ended in a restart.
    pub lost_before: u64,
    /// The first number of the sequence, extended.
    pub base: u64,
    /// The newest number, extended.
    pub highest: u64,
    /// Distinct packets from `base` to `highest`.
    pub distinct: u64,
    /// Bit *k* is set when the packet *k* before `highest` was received.
    pub window: u128,
    /// When the packet came that the jitter is compared with.
    pub last_arrival_ns: u64,
    /// Jitter × 16 (RFC 3550 §A.8).
    pub jitter_x16: u64,
    /// The highest jitter so far.
    pub jitter_max_ns: u64,
    /// Its timestamp.
    pub last_timestamp: u32,
    /// Its clock rate; 0 when there is none to compare with.
    pub clock_rate_hz: u32,
    /// The number that would confirm a jump.
    pub after_stray: Option<u16>,
    /// Payload type of the latest packet.
    pub payload_type: u8,
    /// Packets in sequence still wanted; 0 once the stream is valid.
    pub probation: u8,
    /// Losses in bursts and gaps (RFC 3611).
    pub bursts: BurstState,
    /// Packets that user space got while the flow counted, and that are not among those above.
    pub aside_packets: u32,
    /// Their bytes.
    pub aside_bytes: u32,
}

/// The sums of RFC 3611 §A.2, whose names these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the RFC has the words")]
pub struct BurstState {
    pub c11: u32,
    pub c13: u32,
    pub c14: u32,
    pub c22: u32,
    pub c23: u32,
    pub c33: u32,
    /// Losses of the burst that is going on.
    pub burst_lost: u32,
    /// Packets received since the last of them.
    pub since_loss: u32,
}

impl Default for BurstState {
    /// As if a gap had gone before, so that a first loss is not within a burst.
    fn default() -> Self {
        Self {
            c11: 0,
            c13: 0,
            c14: 0,
            c22: 0,
            c23: 0,
            c33: 0,
            burst_lost: 0,
            since_loss: 17,
        }
    }
}

impl StreamState {
    pub(crate) const fn decode(stream: &layout::Stream) -> Self {
        Self {
            ssrc: stream.ssrc,
            first_seen_ns: stream.first_seen_ns,
            last_seen_ns: stream.last_seen_ns,
            packets: stream.packets,
            bytes: stream.bytes,
            duplicates: stream.duplicates,
            reordered: stream.reordered,
            strays: stream.strays,
            lost_before: stream.lost_before,
            base: stream.base,
            highest: stream.highest,
            distinct: stream.distinct,
            window: (stream.window[1] as u128) << 64 | stream.window[0] as u128,
            last_arrival_ns: stream.last_arrival_ns,
            jitter_x16: stream.jitter_x16,
            jitter_max_ns: stream.jitter_max_ns,
            last_timestamp: stream.last_timestamp,
            clock_rate_hz: stream.clock_rate_hz,
            after_stray: if stream.has_after_stray != 0 {
                Some(stream.after_stray)
            } else {
                None
            },
            payload_type: stream.payload_type,
            probation: stream.probation,
            bursts: BurstState {
                c11: stream.c11,
                c13: stream.c13,
                c14: stream.c14,
                c22: stream.c22,
                c23: stream.c23,
                c33: stream.c33,
                burst_lost: stream.burst_lost,
                since_loss: stream.since_loss,
            },
            aside_packets: stream.aside_packets,
            aside_bytes: stream.aside_bytes,
        }
    }

    fn encode(&self) -> layout::Stream {
        let bursts = self.bursts;
        layout::Stream {
            packets: self.packets,
            bytes: self.bytes,
            duplicates: self.duplicates,
            reordered: self.reordered,
            strays: self.strays,
            lost_before: self.lost_before,
            base: self.base,
            highest: self.highest,
            distinct: self.distinct,
            window: [self.window as u64, (self.window >> 64) as u64],
            last_arrival_ns: self.last_arrival_ns,
            jitter_x16: self.jitter_x16,
            jitter_max_ns: self.jitter_max_ns,
            first_seen_ns: self.first_seen_ns,
            // An unused stream was last seen at 0.
            last_seen_ns: self.last_seen_ns.max(1),
            c11: bursts.c11,
            c13: bursts.c13,
            c14: bursts.c14,
            c22: bursts.c22,
            c23: bursts.c23,
            c33: bursts.c33,
            burst_lost: bursts.burst_lost,
            since_loss: bursts.since_loss,
            aside_packets: self.aside_packets,
            aside_bytes: self.aside_bytes,
            ssrc: self.ssrc,
            last_timestamp: self.last_timestamp,
            clock_rate_hz: self.clock_rate_hz,
            after_stray: self.after_stray.unwrap_or_default(),
            has_after_stray: self.after_stray.is_some().into(),
            probation: self.probation,
            payload_type: self.payload_type,
            used: 1,
            ..zeroed()
        }
    }

    const fn lost(&self) -> u64 {
        (self.lost_before + self.highest + 1).saturating_sub(self.base + self.distinct)
    }
}

/// The state of a flow that begins with these streams. Of more than a flow tells apart the latest heard are kept, and
/// the others counted as having made room for them.
pub(crate) fn begin(streams: &[StreamState]) -> (layout::State, layout::Streams) {
    let mut state: layout::State = zeroed();
    let mut kept: layout::Streams = zeroed();
    let mut latest_first: Vec<&StreamState> = streams.iter().collect();
    latest_first.sort_by_key(|stream| Reverse(stream.last_seen_ns));
    let (latest, evicted) = latest_first.split_at(latest_first.len().min(layout::STREAMS));
    for (place, stream) in kept.stream.iter_mut().zip(latest) {
        *place = stream.encode();
    }
    for stream in evicted {
        state.evicted += 1;
        state.evicted_packets += stream.packets;
        state.evicted_bytes += stream.bytes;
        state.evicted_lost += stream.lost();
    }
    state.given_packets = streams.iter().map(|stream| stream.packets).sum();
    state.given_bytes = streams.iter().map(|stream| stream.bytes).sum();
    (state, kept)
}
