//! The load without sockets: frames made and counted by BPF programs on the load's interface, so that one core offers more
//! than a million packets a second both ways. `ebpf/src/bpf/load.bpf.c` has the programs.
//!
//! The program that sends is run by a child process, one for each run: the system call lasts as long as the run, and
//! ends when the child does.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use ebpf::{Attachment, Load, LoadEnds, LoadPlan, LoadStream, LoadTime, Mode};
use hdrhistogram::Histogram;
use ops::clock::MonotonicClock;

use crate::binary;
use crate::endpoint::Faults;
use crate::process::Process;
use crate::relay::bed::{Bed, LOAD, RELAY};
use crate::relay::outcome::Outcome;
use crate::wait;

/// Ports that stand for all callers and for all callees. Nothing listens there: the sink takes what comes.
const PARTIES: [u16; 2] = [4_000, 4_002];
/// How often packets leave that are due: as often as a network card interrupts, whose moderation makes that 10,000 to
/// 20,000 times a second.
pub const TICK: Duration = Duration::from_micros(100);
/// What may leave together at any rate: a quarter of the ring of a veth.
const BURST: u32 = 64;
/// Packets on their way through a relay that keeps them in the kernel, whose two rings hold 256 each.
const WINDOW: u32 = 230;
/// How long packets may be on their way after the last was sent.
const DRAIN: Duration = Duration::from_millis(500);
/// Beyond its time, after which a run has failed.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);

/// The programs on the load's interface, and the relay's ports.
#[derive(Debug)]
pub struct LiveLoad {
    load: Load,
    /// Detached with this.
    _sink: Attachment,
    ends: LoadEnds,
    interface: String,
    faces: Vec<[u16; 2]>,
    /// Packets that each stream has sent in earlier runs.
    sent_before: Vec<u64>,
    run: u32,
    waits_for_room: bool,
    folder: PathBuf,
}

impl LiveLoad {
    /// Loads the programs and attaches the sink; the calling thread is at the load's end of `bed`. Logs go to `folder`.
    pub fn attach(bed: &Bed, calls_max: u32, folder: &Path) -> anyhow::Result<Self> {
        let load = Load::new(calls_max * 2)?;
        let interface = bed.load_interface().to_owned();
        let sink = Attachment::new(load.sink(), &interface, &[Mode::Native])?;
        Ok(Self {
            load,
            _sink: sink,
            ends: LoadEnds {
                load_mac: bed.load_mac(),
                relay_mac: bed.relay_mac(),
                load: LOAD,
                relay: RELAY,
                parties: PARTIES,
            },
            interface,
            faces: Vec::new(),
            sent_before: Vec::new(),
            run: 0,
            waits_for_room: false,
            folder: folder.to_owned(),
        })
    }

    /// Whether a packet waits while as many are on their way as the rings of the bed hold. For relays that keep packets in
    /// the kernel only: others may have more of them.
    pub fn wait_for_room(&mut self, waits: bool) {
        self.waits_for_room = waits;
    }

    /// Where all callers, and where all callees, receive.
    pub fn parties(&self) -> [SocketAddr; 2] {
        PARTIES.map(|port| (LOAD, port).into())
    }

    /// The ports of the relay, by call: that of the caller, that of the callee.
    pub fn direct(&mut self, faces: &[[SocketAddr; 2]]) -> anyhow::Result<()> {
        for face in faces.iter().flatten() {
            ensure!(face.ip() == IpAddr::from(RELAY), "{face} is not of the relay");
        }
        self.faces = faces.iter().map(|pair| pair.map(|face| face.port())).collect();
        self.sent_before = vec![0; faces.len() * 2];
        Ok(())
    }

    /// Sends on the first `calls` calls for `duration`, a packet every `ptime` on each stream, and waits for what is on its
    /// way. Without `ptime` as fast as can be, for about `duration`.
    pub fn run(
        &mut self,
        calls: usize,
        duration: Duration,
        ptime: Option<Duration>,
    ) -> anyhow::Result<Outcome> {
        ensure!(
            (1..=self.faces.len()).contains(&calls),
            "the relay has no {calls} calls"
        );
        self.run += 1;
        let streams: Vec<LoadStream> = (0..calls * 2)
            .map(|place| LoadStream {
                face: self.faces[place / 2][place % 2],
                sent_before: self.sent_before[place],
            })
            .collect();
        let per_stream = match ptime {
            Some(ptime) => u32::try_from(duration.as_nanos() / ptime.as_nanos())?.max(1),
            None => u32::MAX / streams.len() as u32,
        };
        let planned = ptime.map_or(duration, |ptime| ptime * per_stream);
        let plan = LoadPlan {
            run: self.run,
            per_stream,
            ptime,
            tick: TICK,
            burst: burst(streams.len(), ptime),
            window: if self.waits_for_room { WINDOW } else { 0 },
        };
        self.load.prepare(&self.ends, &plan, &streams)?;
        let mut child = self.start()?;
        let sent = self.wait_for_the_end(&mut child, planned, ptime.is_some());
        self.load.close()?;
        // It has nothing to say, and ends with its system call.
        child.kill()?;
        sent?;
        let outcome = self.outcome(planned)?;
        for (place, sent) in self.sent_before[..calls * 2].iter_mut().enumerate() {
            // The first streams may have sent one more when the run was cut short.
            let rest = u64::from((place as u64) < outcome.sent % streams.len() as u64);
            *sent += outcome.sent / streams.len() as u64 + rest;
        }
        Ok(outcome)
    }

    /// The child that runs the program, in the namespace and on the core of the calling thread.
    fn start(&self) -> anyhow::Result<Process> {
        let program = self.load.generator_id()?.to_string();
        let words = [
            "live-load",
            "--program",
            program.as_str(),
            "--interface",
            self.interface.as_str(),
        ];
        Process::start(
            "live-load",
            binary::find("ringpath-kit")?,
            words,
            &[],
            &self.folder,
        )
    }

    /// Waits until everything has been sent and has arrived, or had time to.
    fn wait_for_the_end(&self, child: &mut Process, planned: Duration, paced: bool) -> anyhow::Result<()> {
        wait::until_true("the load to begin", PATIENCE, || {
            ensure!(
                child.is_running()?,
                "the load could not be sent\n{}",
                child.tail()
            );
            Ok(self.load.progress()?.start_ns > 0)
        })?;
        // Looking costs the load's core time.
        wait::pass(planned);
        if !paced {
            return Ok(());
        }
        let total = self.load.planned()?;
        // A load that cannot keep its pace may take longer, and says so; not for ever.
        let sent_within = planned / 2 + PATIENCE;
        wait::until_true("the whole load to be sent", sent_within, || {
            wait::pass(LOOK);
            Ok(self.load.progress()?.sent >= total)
        })?;
        let clock = MonotonicClock::start();
        let until = clock.now() + DRAIN;
        while self.load.counts()?.received < total && clock.now() < until {
            wait::pass(LOOK);
        }
        Ok(())
    }

    fn outcome(&self, planned: Duration) -> anyhow::Result<Outcome> {
        let (progress, counts) = (self.load.progress()?, self.load.counts()?);
        let micros = |kind: LoadTime| -> anyhow::Result<Histogram<u64>> {
            let mut histogram = Histogram::new_with_bounds(1, 60_000_000, 2)?;
            for (ns, count) in self.load.times(kind)? {
                histogram.saturating_record_n((ns / 1_000).max(1), count);
            }
            Ok(histogram)
        };
        Ok(Outcome {
            sent: progress.sent,
            received: counts.received,
            lost: progress.sent.saturating_sub(counts.received),
            no_room: 0,
            duplicates: counts.duplicates,
            reordered: counts.reordered,
            faults: Faults {
                foreign: counts.foreign + counts.ancient,
                corrupt: counts.corrupt,
                asymmetric: counts.asymmetric,
                send_errors: 0,
            },
            latency_us: micros(LoadTime::Latency)?,
            jitter_us: micros(LoadTime::Jitter)?,
            send_late_us: micros(LoadTime::Late)?,
            sending: Duration::from_nanos(progress.last_ns.saturating_sub(progress.start_ns)),
            planned,
            holds: progress.holds,
        })
    }
}

/// What may leave at a tick: what is due, and a quarter more to catch up with.
fn burst(streams: usize, ptime: Option<Duration>) -> u32 {
    let Some(ptime) = ptime else { return BURST };
    let due = streams as u128 * TICK.as_nanos() / ptime.as_nanos().max(1);
    u32::try_from(due + due / 4 + 1).unwrap_or(u32::MAX).max(BURST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_lets_through_what_is_due_and_some_more() {
        let ptime = Some(Duration::from_millis(20));
        assert_eq!(burst(200, ptime), BURST);
        // A million packets a second.
        assert_eq!(burst(20_000, ptime), 126);
    }
}
