//! The load: any number of calls both ways, 50 packets a second each way, sent and counted by one thread.
//!
//! All callers share one address and port, and so do all callees; a relay tells calls apart by its own ports. That is what lets
//! one core offer as much as a relay in user space can take. The packets of all streams are spread evenly over the 20 ms. A
//! packet that is late is sent late, never left out.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use ops::clock::MonotonicClock;
use sans_io::Timestamp;

use crate::endpoint::Faults;
use crate::reception::Reception;
use crate::relay::load_stream::{Arrived, LoadStream, PACKET};
use crate::relay::outcome::Outcome;
use crate::relay::secured_caller::{CallerKeys, SecuredCaller, TAG};
use crate::relay::wire::{Arrival, CALLERS, Wire};
use crate::schedule::{Schedule, wall_ns};
use crate::speech::PTIME_MS;

/// Short, so that the generator itself brings few packets at once.
const TICK: Duration = Duration::from_micros(100);
/// Packets that leave at one tick at most, a quarter of the ring of a veth: who was late does not bring all at once.
const BURST: u32 = 64;
/// How long packets may be on their way after the last was sent.
const DRAIN: Duration = Duration::from_millis(500);
const PTIME: Duration = Duration::from_millis(PTIME_MS);

/// The wire of both sides, and the relay's ports.
#[derive(Debug)]
pub struct Generator {
    wire: Box<dyn Wire>,
    faces: Vec<[SocketAddrV4; 2]>,
    /// Of each call, or none.
    callers: Vec<SecuredCaller>,
    run: u32,
    /// Packets that each stream has sent in earlier runs.
    sent_before: Vec<u64>,
}

impl Generator {
    /// For packets that travel by `wire`.
    pub fn new(wire: impl Wire + 'static) -> Self {
        Self {
            wire: Box::new(wire),
            faces: Vec::new(),
            callers: Vec::new(),
            run: 0,
            sent_before: Vec::new(),
        }
    }

    /// Where all callers, and where all callees, receive.
    pub fn parties(&self) -> [SocketAddr; 2] {
        self.wire.parties().map(SocketAddr::from)
    }

    /// The ports of the relay, by call: that of the caller, that of the callee. All are in clear.
    pub fn direct(&mut self, faces: &[[SocketAddr; 2]]) -> anyhow::Result<()> {
        self.callers.clear();
        self.faces = faces
            .iter()
            .map(|pair| match pair {
                [SocketAddr::V4(caller), SocketAddr::V4(callee)] => Ok([*caller, *callee]),
                _ => anyhow::bail!("the relay's ports are on IPv4 here"),
            })
            .collect::<anyhow::Result<_>>()?;
        self.sent_before = vec![0; self.faces.len() * 2];
        Ok(())
    }

    /// Gives the caller of each call SRTP.
    pub fn secure(&mut self, keys: &[CallerKeys]) -> anyhow::Result<()> {
        ensure!(keys.len() == self.faces.len(), "keys of every call");
        self.callers = keys
            .iter()
            .map(SecuredCaller::new)
            .collect::<anyhow::Result<_>>()?;
        Ok(())
    }

    /// Sends on the first `calls` calls for `duration`, and waits for what is on its way.
    pub fn run(&mut self, calls: usize, duration: Duration) -> anyhow::Result<Outcome> {
        ensure!(
            (1..=self.faces.len()).contains(&calls),
            "the relay has no {calls} calls"
        );
        let per_stream = duration.as_nanos() / PTIME.as_nanos();
        let per_stream = u32::try_from(per_stream).context("too long a run")?.max(1);
        self.run += 1;
        let streams: Vec<LoadStream> = (0..calls * 2)
            .map(|place| LoadStream::new(place as u32, self.run, self.sent_before[place]))
            .collect();
        let mut counts = Counts {
            receptions: streams
                .iter()
                .map(|stream| Reception::new(stream.stream(), per_stream.into()))
                .collect::<anyhow::Result<_>>()?,
            latencies: vec![None; streams.len()],
            jitter_us: Histogram::new_with_bounds(1, 60_000_000, 2)?,
            streams,
            run: self.run,
            faults: Faults::default(),
        };
        for sent in &mut self.sent_before[..calls * 2] {
            *sent += u64::from(per_stream);
        }
        let total = u64::from(per_stream) * calls as u64 * 2;
        let planned = PTIME * per_stream;
        let no_room_before = self.wire.no_room();
        let mut send_late_us = Histogram::new_with_bounds(1, 60_000_000, 2)?;
        let clock = MonotonicClock::start();
        let start = clock.now();
        let mut schedule = Schedule::start(TICK);
        let mut next = 0;
        let mut sent = 0;
        let mut sending = Duration::ZERO;
        let mut drain_until = Timestamp::MAX;
        loop {
            schedule.wait_for_tick()?;
            let mut burst = BURST;
            while burst > 0 && next < total && due(next, calls) <= clock.now().saturating_since(start) {
                burst -= 1;
                let late = clock
                    .now()
                    .saturating_since(start)
                    .saturating_sub(due(next, calls));
                send_late_us.saturating_record((late.as_micros() as u64).max(1));
                self.queue(&mut counts, next, calls)?;
                next += 1;
                if self.wire.is_full() {
                    sent += self.wire.flush(&mut counts.faults)?;
                    self.receive(&mut counts)?;
                }
            }
            sent += self.wire.flush(&mut counts.faults)?;
            self.receive(&mut counts)?;
            if next == total && drain_until == Timestamp::MAX {
                sending = clock.now().saturating_since(start);
                drain_until = clock.now() + DRAIN;
            }
            if drain_until != Timestamp::MAX && (counts.received() >= sent || clock.now() >= drain_until) {
                break;
            }
        }
        let outcome = counts.outcome(sent, sending, planned, send_late_us)?;
        Ok(Outcome {
            no_room: self.wire.no_room() - no_room_before,
            ..outcome
        })
    }

    /// Queues packet `next` of the whole load. Streams take turns, those of callers and callees alternating.
    fn queue(&mut self, counts: &mut Counts, next: u64, calls: usize) -> anyhow::Result<()> {
        let streams = calls as u64 * 2;
        let place = (next % streams) as usize;
        let number = (next / streams) as u32;
        let (call, side) = (place / 2, place % 2);
        let mut packet = [0; PACKET + TAG];
        counts.streams[place].write(
            number,
            wall_ns(),
            packet.first_chunk_mut().context("room for a packet")?,
        );
        let caller = self.callers.get_mut(call).filter(|_| side == CALLERS);
        let len = match caller {
            Some(caller) => caller.protect(&mut packet, PACKET)?,
            None => PACKET,
        };
        let to = self.faces[call][side];
        self.wire.queue(side, &packet[..len], to, &mut counts.faults);
        Ok(())
    }

    fn receive(&mut self, counts: &mut Counts) -> anyhow::Result<()> {
        let (faces, callers) = (&self.faces, &mut self.callers);
        // What arrives at a side was sent by the other, and must come from this side's face of the call.
        self.wire.receive(&mut |arrival: Arrival<'_>| {
            let packet = if arrival.side == CALLERS && !callers.is_empty() {
                open(callers, arrival.packet)
            } else {
                arrival.packet
            };
            counts.take(faces, arrival.side, packet, arrival.source, arrival.at_ns);
        })
    }
}

/// The RTP packet in an SRTP packet to one of the callers, whose call its SSRC tells; nothing of one that does not open.
fn open<'a>(callers: &mut [SecuredCaller], packet: &'a mut [u8]) -> &'a [u8] {
    let caller = LoadStream::place_of(packet).and_then(|place| callers.get_mut(place as usize / 2));
    match caller.and_then(|caller| caller.unprotect(packet).ok()) {
        Some(len) => &packet[..len],
        None => &[],
    }
}

/// When packet `next` of the whole load is due after the start.
fn due(next: u64, calls: usize) -> Duration {
    let nanoseconds = u128::from(next) * PTIME.as_nanos() / (calls as u128 * 2);
    Duration::from_nanos(nanoseconds as u64)
}

/// What one run has counted so far. Stream `2 × call` goes from caller to callee, the next one back.
struct Counts {
    streams: Vec<LoadStream>,
    receptions: Vec<Reception>,
    /// Of the packet before, nanoseconds.
    latencies: Vec<Option<u64>>,
    jitter_us: Histogram<u64>,
    run: u32,
    faults: Faults,
}

impl Counts {
    fn take(
        &mut self,
        faces: &[[SocketAddrV4; 2]],
        side: usize,
        packet: &[u8],
        source: SocketAddrV4,
        arrival_ns: u64,
    ) {
        let Some(arrived) = Arrived::read(packet) else {
            self.faults.corrupt += 1;
            return;
        };
        if arrived.run != self.run {
            // Left over from the run before, where it was counted as lost.
            return;
        }
        let place = arrived.place as usize;
        let ours = place % 2 != side && place < self.receptions.len();
        if !ours {
            self.faults.foreign += 1;
            return;
        }
        if !self.streams[place].is_whole(&arrived) {
            self.faults.corrupt += 1;
            return;
        }
        if faces[place / 2][side] != source {
            self.faults.asymmetric += 1;
        }
        let number = u64::from(arrived.number);
        if !self.receptions[place].count(number, arrived.timestamp, arrived.sent_ns, arrival_ns) {
            self.faults.foreign += 1;
            return;
        }
        let latency = arrival_ns.saturating_sub(arrived.sent_ns);
        if let Some(before) = self.latencies[place].replace(latency) {
            let difference = latency.abs_diff(before) / 1_000;
            self.jitter_us.saturating_record(difference.max(1));
        }
    }

    fn received(&self) -> u64 {
        self.receptions.iter().map(Reception::received).sum()
    }

    fn outcome(
        self,
        sent: u64,
        sending: Duration,
        planned: Duration,
        send_late_us: Histogram<u64>,
    ) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome {
            sent,
            received: 0,
            lost: 0,
            no_room: 0,
            duplicates: 0,
            reordered: 0,
            faults: self.faults,
            latency_us: Histogram::new_with_bounds(1, 60_000_000, 2)?,
            jitter_us: self.jitter_us,
            send_late_us,
            sending,
            planned,
            holds: 0,
        };
        for reception in &self.receptions {
            let account = reception.account(0);
            outcome.received += account.received;
            outcome.duplicates += account.duplicates;
            outcome.reordered += account.reordered;
            outcome.latency_us.add(reception.delays_us())?;
        }
        outcome.lost = sent.saturating_sub(outcome.received);
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_spread_evenly_over_the_time_of_one() {
        assert_eq!(due(0, 10), Duration::ZERO);
        assert_eq!(due(1, 10), Duration::from_millis(1));
        assert_eq!(due(20, 10), PTIME);
        assert_eq!(due(20 * 50 * 3_600, 10), Duration::from_secs(3_600));
    }
}
