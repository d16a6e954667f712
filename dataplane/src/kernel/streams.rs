//! What is known of a stream, in the words of the engine and of the kernel's table. Both clocks are CLOCK_MONOTONIC.

use media_engine::{Aside, StreamState};
use rtp::{BurstSums, PayloadType, Ssrc, StatisticsState};
use sans_io::Timestamp;

/// For the kernel to go on counting.
pub(super) fn to_kernel(stream: &StreamState) -> ebpf::StreamState {
    let counted = &stream.statistics;
    let bursts = &counted.bursts;
    ebpf::StreamState {
        ssrc: stream.ssrc.0,
        first_seen_ns: stream.first.as_nanos(),
        last_seen_ns: stream.latest.as_nanos(),
        packets: counted.packets,
        bytes: counted.bytes,
        duplicates: counted.duplicates,
        reordered: counted.reordered,
        strays: counted.strays,
        lost_before: counted.lost_before,
        base: counted.base,
        highest: counted.highest,
        distinct: counted.distinct,
        window: counted.window,
        last_arrival_ns: counted.last_arrival_ns,
        jitter_x16: counted.jitter_x16,
        jitter_max_ns: counted.jitter_max_ns,
        last_timestamp: counted.last_timestamp,
        clock_rate_hz: counted.clock_rate_hz,
        after_stray: counted.after_stray,
        payload_type: counted.payload_type.value(),
        probation: counted.probation,
        bursts: ebpf::BurstState {
            c11: bursts.c11,
            c13: bursts.c13,
            c14: bursts.c14,
            c22: bursts.c22,
            c23: bursts.c23,
            c33: bursts.c33,
            burst_lost: bursts.burst_lost,
            since_loss: bursts.since_loss,
        },
        aside_packets: stream.aside.packets,
        aside_bytes: stream.aside.bytes,
    }
}

/// For user space to go on counting. `None` for a payload type that no packet can have.
pub(super) fn from_kernel(stream: &ebpf::StreamState) -> Option<StreamState> {
    let bursts = &stream.bursts;
    Some(StreamState {
        ssrc: Ssrc(stream.ssrc),
        first: Timestamp::from_nanos(stream.first_seen_ns),
        latest: Timestamp::from_nanos(stream.last_seen_ns),
        statistics: StatisticsState {
            window: stream.window,
            packets: stream.packets,
            bytes: stream.bytes,
            duplicates: stream.duplicates,
            reordered: stream.reordered,
            strays: stream.strays,
            lost_before: stream.lost_before,
            base: stream.base,
            highest: stream.highest,
            distinct: stream.distinct,
            last_arrival_ns: stream.last_arrival_ns,
            jitter_x16: stream.jitter_x16,
            jitter_max_ns: stream.jitter_max_ns,
            bursts: BurstSums {
                c11: bursts.c11,
                c13: bursts.c13,
                c14: bursts.c14,
                c22: bursts.c22,
                c23: bursts.c23,
                c33: bursts.c33,
                burst_lost: bursts.burst_lost,
                since_loss: bursts.since_loss,
            },
            last_timestamp: stream.last_timestamp,
            clock_rate_hz: stream.clock_rate_hz,
            after_stray: stream.after_stray,
            payload_type: PayloadType::new(stream.payload_type)?,
            probation: stream.probation,
        },
        aside: Aside {
            packets: stream.aside_packets,
            bytes: stream.aside_bytes,
        },
    })
}

#[cfg(test)]
mod tests {
    use rtp::StreamStatistics;

    use super::*;

    #[test]
    fn a_stream_comes_back_as_it_went() {
        let mut random = sans_io::Random::from_seed([3; 32]);
        let packet = |sequence: u16| {
            let mut bytes = vec![0x80, 0];
            bytes.extend(sequence.to_be_bytes());
            bytes.extend((u32::from(sequence) * 160).to_be_bytes());
            bytes.extend(7u32.to_be_bytes());
            bytes.extend([0; 160]);
            bytes
        };
        let mut statistics: Option<StreamStatistics> = None;
        for sequence in 0..500u16 {
            if random.chance_permille(100) {
                continue;
            }
            let bytes = packet(sequence);
            let packet = rtp::Packet::parse(&bytes).expect("RTP");
            let now = u64::from(sequence) * 20_000_000 + random.below(5_000_000);
            match &mut statistics {
                Some(statistics) => drop(statistics.observe(&packet, 8_000, now)),
                None => statistics = Some(StreamStatistics::new(&packet, 8_000, now)),
            }
        }
        let there = StreamState {
            ssrc: Ssrc(7),
            first: Timestamp::from_millis(1),
            latest: Timestamp::from_millis(10_000),
            statistics: statistics.expect("counted").state(),
            aside: Aside {
                packets: 3,
                bytes: 516,
            },
        };
        assert_eq!(from_kernel(&to_kernel(&there)), Some(there));
    }
}
