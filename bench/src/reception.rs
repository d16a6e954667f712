//! What one endpoint received of the stream that was sent to it, counted where it arrived.

use hdrhistogram::Histogram;

use crate::speech::PTIME_MS;

/// Delay beyond the quickest packet's that a receiver's playout buffer takes up; a later packet comes too late to be
/// heard. 60 ms is a common fixed buffer for 20 ms packets.
pub const PLAYOUT_BUFFER_MS: u64 = 60;

/// The stream as it was sent: what the receiver compares with.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Its synchronisation source.
    pub ssrc: u32,
    /// The sequence number of its first packet.
    pub first_seq: u16,
    /// The RTP timestamp of its first packet.
    pub first_timestamp: u32,
}

/// RFC 3550 accounting of one stream, and the delay of its packets.
#[derive(Debug)]
pub struct Reception {
    stream: Stream,
    seen: Vec<u64>,
    distinct: u64,
    duplicates: u64,
    reordered: u64,
    highest: Option<u64>,
    /// Arrival less media time of the packet before, in nanoseconds.
    transit_ns: Option<i64>,
    jitter_ns: f64,
    jitter_ns_max: f64,
    delay_us: Histogram<u64>,
}

impl Reception {
    /// Nothing received yet. Room for `packets` is made at once.
    pub fn new(stream: Stream, packets: u64) -> anyhow::Result<Self> {
        Ok(Self {
            stream,
            seen: vec![0; packets.div_ceil(64) as usize],
            distinct: 0,
            duplicates: 0,
            reordered: 0,
            highest: None,
            transit_ns: None,
            jitter_ns: 0.0,
            jitter_ns_max: 0.0,
            delay_us: Histogram::new_with_bounds(1, 60_000_000, 2)?,
        })
    }

    /// The stream that is expected.
    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// Which packet of the stream, from 0, a sequence number is: the candidate nearest to the highest one received.
    pub fn number(&self, seq: u16) -> Option<u64> {
        let low = seq.wrapping_sub(self.stream.first_seq);
        let near = self.highest.unwrap_or(0);
        let ahead = low.wrapping_sub(near as u16) as i16;
        near.checked_add_signed(ahead.into())
    }

    /// Counts packet `number`, which arrived at `arrival_ns` and was sent at `sent_ns` of the same clock. False if no
    /// such packet was to come.
    pub fn count(&mut self, number: u64, timestamp: u32, sent_ns: u64, arrival_ns: u64) -> bool {
        let Some(word) = self.seen.get_mut((number / 64) as usize) else {
            return false;
        };
        let bit = 1 << (number % 64);
        if *word & bit != 0 {
            self.duplicates += 1;
            return true;
        }
        *word |= bit;
        self.distinct += 1;
        match self.highest {
            Some(highest) if number < highest => self.reordered += 1,
            _ => self.highest = Some(number),
        }
        // 60 s is beyond every deadline of a run; a clock that was set back counts as no delay.
        let delay_us = arrival_ns.saturating_sub(sent_ns) / 1_000;
        self.delay_us.saturating_record(delay_us.max(1));

        // RFC 3550 §6.4.1, with nanoseconds as the unit: D is the difference of the transit times, J moves by a
        // sixteenth of what |D| exceeds it by.
        let media_ns = u64::from(timestamp.wrapping_sub(self.stream.first_timestamp)) * 125_000;
        let transit = arrival_ns as i64 - media_ns as i64;
        if let Some(before) = self.transit_ns.replace(transit) {
            let difference = (transit - before).unsigned_abs() as f64;
            self.jitter_ns += (difference - self.jitter_ns) / 16.0;
            self.jitter_ns_max = self.jitter_ns_max.max(self.jitter_ns);
        }
        true
    }

    /// Distinct packets so far.
    pub fn received(&self) -> u64 {
        self.distinct
    }

    /// One-way delays in microseconds, one record a distinct packet.
    pub fn delays_us(&self) -> &Histogram<u64> {
        &self.delay_us
    }

    /// The account, when `sent` packets were sent.
    pub fn account(&self, sent: u64) -> Account {
        let quickest = self.delay_us.min();
        let late_from = quickest + PLAYOUT_BUFFER_MS * 1_000;
        Account {
            sent,
            received: self.distinct,
            lost: sent.saturating_sub(self.distinct),
            duplicates: self.duplicates,
            reordered: self.reordered,
            late: self.delay_us.count_between(late_from, u64::MAX),
            jitter_ms: self.jitter_ns / 1e6,
            jitter_ms_max: self.jitter_ns_max / 1e6,
            delay_ms_p50: self.delay_us.value_at_quantile(0.5) as f64 / 1e3,
            delay_ms_p99: self.delay_us.value_at_quantile(0.99) as f64 / 1e3,
            delay_ms_max: self.delay_us.max() as f64 / 1e3,
        }
    }
}

/// One stream at the end of a run. Delays are from the sender's system call to the arrival at the receiver's socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Account {
    /// Packets that the sender handed to the kernel.
    pub sent: u64,
    /// Distinct packets that arrived.
    pub received: u64,
    /// Sent and not received.
    pub lost: u64,
    /// Copies beyond the first.
    pub duplicates: u64,
    /// Arrived after one with a higher sequence number.
    pub reordered: u64,
    /// Arrived, but more than [`PLAYOUT_BUFFER_MS`] after the quickest would have.
    pub late: u64,
    /// Interarrival jitter at the end (RFC 3550 §6.4.1).
    pub jitter_ms: f64,
    /// The highest interarrival jitter.
    pub jitter_ms_max: f64,
    /// Median one-way delay.
    pub delay_ms_p50: f64,
    /// 99 % of the packets were as quick.
    pub delay_ms_p99: f64,
    /// The slowest packet.
    pub delay_ms_max: f64,
}

impl Account {
    /// The share of packets that a listener does not hear: lost or too late.
    pub fn unheard(&self) -> f64 {
        if self.sent == 0 {
            return 1.0;
        }
        (self.lost + self.late) as f64 / self.sent as f64
    }

    /// Delay from mouth to ear in milliseconds: one packet's time to fill it, the network, the playout buffer.
    pub fn mouth_to_ear_ms(&self) -> f64 {
        (PTIME_MS + PLAYOUT_BUFFER_MS) as f64 + self.delay_ms_p50
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: Stream = Stream {
        ssrc: 7,
        first_seq: 65_530,
        first_timestamp: u32::MAX - 100,
    };

    fn receive(reception: &mut Reception, number: u64, delay_ms: u64) {
        let seq = STREAM.first_seq.wrapping_add(number as u16);
        let timestamp = STREAM.first_timestamp.wrapping_add(number as u32 * 160);
        let sent = 1_000_000_000 + number * 20_000_000;
        let number = reception.number(seq).expect("it is in range");
        assert!(reception.count(number, timestamp, sent, sent + delay_ms * 1_000_000));
    }

    #[test]
    fn loss_duplicates_and_order_are_counted_across_the_wrap() {
        let mut reception = Reception::new(STREAM, 200).unwrap();
        for number in (0..100).filter(|n| *n != 3 && *n != 50) {
            receive(&mut reception, number, 1);
        }
        receive(&mut reception, 50, 1);
        receive(&mut reception, 99, 1);
        let account = reception.account(100);
        assert_eq!((account.received, account.lost), (99, 1));
        assert_eq!((account.duplicates, account.reordered), (1, 1));
    }

    #[test]
    fn numbers_go_beyond_one_turn_of_the_sequence() {
        let mut reception = Reception::new(STREAM, 140_000).unwrap();
        for number in 0..140_000 {
            receive(&mut reception, number, 1);
        }
        let account = reception.account(140_000);
        assert_eq!(
            (account.received, account.lost, account.duplicates),
            (140_000, 0, 0)
        );
    }

    #[test]
    fn even_arrivals_have_no_jitter_and_uneven_ones_have() {
        let mut even = Reception::new(STREAM, 100).unwrap();
        let mut uneven = Reception::new(STREAM, 100).unwrap();
        for number in 0..100 {
            receive(&mut even, number, 5);
            receive(&mut uneven, number, if number % 2 == 0 { 5 } else { 9 });
        }
        let (even, uneven) = (even.account(100), uneven.account(100));
        assert_eq!(even.jitter_ms_max, 0.0);
        // |D| is 4 ms every time, and J goes there.
        assert!((3.9..=4.0).contains(&uneven.jitter_ms), "{uneven:?}");
        assert!((4.9..=5.1).contains(&even.delay_ms_max), "{even:?}");
    }

    #[test]
    fn a_packet_after_its_playout_time_is_late_not_lost() {
        let mut reception = Reception::new(STREAM, 10).unwrap();
        for number in 0..10 {
            receive(&mut reception, number, if number == 4 { 90 } else { 2 });
        }
        let account = reception.account(10);
        assert_eq!((account.lost, account.late), (0, 1));
        assert_eq!(account.unheard(), 0.1);
        assert_eq!(Account::default().unheard(), 1.0, "silence is not good quality");
    }

    #[test]
    fn a_packet_that_was_not_to_come_is_refused() {
        let mut reception = Reception::new(STREAM, 64).unwrap();
        assert!(!reception.count(64, 0, 0, 0));
        assert_eq!(reception.number(STREAM.first_seq.wrapping_sub(1)), None);
    }
}
