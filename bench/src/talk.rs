//! Many endpoints that talk in pairs, driven by one thread.
//!
//! The thread wakes every millisecond of an absolute schedule, sends what is due and takes what has arrived. One that
//! wakes late catches up: a packet is late, never left out. Endpoints start when they are told where to send.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use ops::clock::MonotonicClock;
use rustix::event::epoll;
use rustix::time::Timespec;
use sans_io::{Random, Timestamp};

use crate::endpoint::{Endpoint, EndpointSockets, Faults};
use crate::reception::{Account, Stream};
use crate::schedule::{Schedule, wall_ns};
use crate::speech::{Law, PTIME_MS, Speech};

const TICK: Duration = Duration::from_millis(1);
const RTCP_INTERVAL: Duration = Duration::from_millis(2_500);
/// Events taken from the kernel at once.
const EVENTS: usize = 512;

/// Two endpoints that will talk to each other, endpoint 0 and endpoint 1 of the pair.
#[derive(Debug)]
pub struct Pair {
    /// The sockets, already bound.
    pub sockets: [EndpointSockets; 2],
    /// What both speak.
    pub law: Law,
}

enum Command {
    Send { endpoint: usize, to: SocketAddr },
    Finish { within: Duration },
}

/// The running thread. Endpoint `2 × pair + side`.
#[derive(Debug)]
pub struct Talk {
    commands: Sender<Command>,
    received: Arc<[AtomicU64]>,
    thread: JoinHandle<anyhow::Result<Outcome>>,
}

/// What every endpoint counted.
#[derive(Debug)]
pub struct Outcome {
    /// By endpoint: the stream that it *received*, against what its peer sent.
    pub accounts: Vec<Account>,
    /// All endpoints' together.
    pub faults: Faults,
    /// RTCP packets sent and received, all endpoints together.
    pub rtcp_sent: u64,
    /// See `rtcp_sent`.
    pub rtcp_received: u64,
    /// The latest that a packet was sent after its time: this program's own share of the jitter.
    pub send_late_ms_max: f64,
}

impl Talk {
    /// Starts the thread. Each endpoint will send `packets` packets from when [`Talk::direct`] tells it where to.
    pub fn start(
        pairs: Vec<Pair>,
        speech: Arc<Speech>,
        packets: u64,
        random: &mut Random,
    ) -> anyhow::Result<Self> {
        let mut endpoints = Vec::with_capacity(pairs.len() * 2);
        for Pair { sockets, law } in pairs {
            let streams = [(); 2].map(|()| Stream {
                ssrc: random.next_u64() as u32,
                first_seq: random.next_u64() as u16,
                first_timestamp: random.next_u64() as u32,
            });
            let [first, second] = sockets;
            endpoints.push(Endpoint::new(first, law, streams[0], streams[1], packets)?);
            endpoints.push(Endpoint::new(second, law, streams[1], streams[0], packets)?);
        }
        let received: Arc<[AtomicU64]> = endpoints.iter().map(|_| AtomicU64::new(0)).collect();
        let readiness = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (place, endpoint) in endpoints.iter().enumerate() {
            epoll::add(
                &readiness,
                endpoint.socket(),
                epoll::EventData::new_u64(place as u64),
                epoll::EventFlags::IN,
            )?;
        }
        let (commands, from) = mpsc::channel();
        let driver = Driver {
            rtcp_due: endpoints.iter().map(|_| Timestamp::MAX).collect(),
            endpoints,
            readiness,
            speech,
            due: BinaryHeap::new(),
            clock: MonotonicClock::start(),
            commands: from,
            received: Arc::clone(&received),
            finish_by: None,
            send_late_ns_max: 0,
        };
        let thread = std::thread::Builder::new()
            .name("talk".to_owned())
            .spawn(move || driver.run())?;
        Ok(Self {
            commands,
            received,
            thread,
        })
    }

    /// Tells an endpoint where to send, and starts it if it has not started.
    pub fn direct(&self, endpoint: usize, to: SocketAddr) -> anyhow::Result<()> {
        self.command(Command::Send { endpoint, to })
    }

    /// Distinct packets that an endpoint has received so far.
    pub fn received(&self, endpoint: usize) -> u64 {
        self.received[endpoint].load(Ordering::Relaxed)
    }

    /// Waits until everything that was started has been sent and received, at most `within`, and gives the accounts.
    pub fn finish(self, within: Duration) -> anyhow::Result<Outcome> {
        // A thread that has failed has dropped its end; its own error says more.
        let _ = self.commands.send(Command::Finish { within });
        self.thread
            .join()
            .map_err(|_| anyhow!("the talk thread panicked"))?
    }

    fn command(&self, command: Command) -> anyhow::Result<()> {
        self.commands
            .send(command)
            .map_err(|_| anyhow!("the talk thread has ended"))
    }
}

struct Driver {
    endpoints: Vec<Endpoint>,
    readiness: rustix::fd::OwnedFd,
    speech: Arc<Speech>,
    /// Endpoints that are sending, by when their next packet is due.
    due: BinaryHeap<Reverse<(Timestamp, usize)>>,
    rtcp_due: Vec<Timestamp>,
    clock: MonotonicClock,
    commands: Receiver<Command>,
    received: Arc<[AtomicU64]>,
    finish_by: Option<Timestamp>,
    send_late_ns_max: u64,
}

impl Driver {
    fn run(mut self) -> anyhow::Result<Outcome> {
        let mut schedule = Schedule::start(TICK);
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }; EVENTS];
        loop {
            schedule.wait_for_tick()?;
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command);
            }
            self.send_due();
            self.receive(&mut events)?;
            if let Some(by) = self.finish_by
                && (self.is_complete() || self.clock.now() >= by)
            {
                return Ok(self.outcome());
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Send { endpoint, to } => {
                let Some(sender) = self.endpoints.get_mut(endpoint) else {
                    return;
                };
                if sender.to().is_none() {
                    let now = self.clock.now();
                    self.due.push(Reverse((now, endpoint)));
                    self.rtcp_due[endpoint] = now + RTCP_INTERVAL / 2;
                }
                sender.direct(to);
            }
            Command::Finish { within } => self.finish_by = Some(self.clock.now() + within),
        }
    }

    fn send_due(&mut self) {
        let now = self.clock.now();
        while let Some(&Reverse((at, place))) = self.due.peek() {
            if at > now {
                break;
            }
            self.due.pop();
            let endpoint = &mut self.endpoints[place];
            endpoint.send(&self.speech, wall_ns());
            let late = self.clock.now().saturating_since(at);
            self.send_late_ns_max = self.send_late_ns_max.max(late.as_nanos() as u64);
            if self.rtcp_due[place] <= now {
                self.rtcp_due[place] = now + RTCP_INTERVAL;
                endpoint.send_rtcp();
            }
            if endpoint.left() > 0 {
                self.due
                    .push(Reverse((at + Duration::from_millis(PTIME_MS), place)));
            }
        }
    }

    fn receive(&mut self, events: &mut [epoll::Event; EVENTS]) -> anyhow::Result<()> {
        loop {
            let ready = match epoll::wait(&self.readiness, &mut events[..], Some(&Timespec::default())) {
                Ok(ready) => ready,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error).context("waiting for RTP"),
            };
            for event in &events[..ready] {
                let place = event.data.u64() as usize;
                let (endpoint, peer) = pair_of(&mut self.endpoints, place);
                endpoint.receive(&self.speech, |number| peer.sent_at_ns(number))?;
                endpoint.receive_rtcp();
                let distinct = endpoint.reception().received();
                self.received[place].store(distinct, Ordering::Relaxed);
            }
            if ready < EVENTS {
                return Ok(());
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.due.is_empty()
            && (0..self.endpoints.len())
                .all(|place| self.received[place].load(Ordering::Relaxed) >= self.endpoints[place ^ 1].sent())
    }

    fn outcome(mut self) -> Outcome {
        let mut faults = Faults::default();
        let (mut rtcp_sent, mut rtcp_received) = (0, 0);
        for endpoint in &mut self.endpoints {
            endpoint.receive_rtcp();
            faults.add(endpoint.faults());
            let (sent, received) = endpoint.rtcp();
            rtcp_sent += sent;
            rtcp_received += received;
        }
        let accounts = (0..self.endpoints.len())
            .map(|place| {
                self.endpoints[place]
                    .reception()
                    .account(self.endpoints[place ^ 1].sent())
            })
            .collect();
        Outcome {
            accounts,
            faults,
            rtcp_sent,
            rtcp_received,
            send_late_ms_max: self.send_late_ns_max as f64 / 1e6,
        }
    }
}

/// An endpoint and its peer.
fn pair_of(endpoints: &mut [Endpoint], place: usize) -> (&mut Endpoint, &Endpoint) {
    let first = place & !1;
    let (low, high) = endpoints[first..first + 2].split_at_mut(1);
    if place == first {
        (&mut low[0], &high[0])
    } else {
        (&mut high[0], &low[0])
    }
}
