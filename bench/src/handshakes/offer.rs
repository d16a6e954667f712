//! Handshakes at a rate.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use dtls::Endpoint;
use hdrhistogram::Histogram;
use media_types::{DtlsRole, Fingerprint};
use ops::clock::MonotonicClock;
use sans_io::Timestamp;

use crate::handshakes::party::Party;
use crate::node_client::NodeClient;
use crate::relay::contender::faces_of;
use crate::wait;

/// Handshakes at once, each with its connection to the node: at a thousand a second each may take that many milliseconds. More threads
/// would cost the load's core more than they bring.
const PARTIES: usize = 16;
/// How far parties stand behind the load.
const NICE: i32 = 10;
/// A party may be done before the node is, and a call that ends then counts for nothing.
const CALL_STAYS: Duration = Duration::from_millis(200);

/// What is offered.
#[derive(Debug)]
pub struct Offer {
    /// Handshakes a second; in every other one the party begins.
    pub rate: u32,
    /// How long.
    pub duration: Duration,
    /// The node's gRPC.
    pub grpc: SocketAddr,
    /// Where the parties are.
    pub local: Ipv4Addr,
    /// Where the other parties of their calls would be.
    pub callee: SocketAddr,
    /// What the parties shake hands with.
    pub endpoint: Endpoint,
    /// What the node shows.
    pub fingerprint: Fingerprint,
}

/// What came of it.
#[derive(Debug)]
pub struct Done {
    /// Handshakes that parties completed within the time.
    pub completed: u64,
    /// Those that they completed after it.
    pub late: u64,
    /// Those that were due, and were not begun within the time.
    pub missed: u64,
    /// Those that came to nothing.
    pub failed: u64,
    /// Why the first of these did.
    pub failure: Option<String>,
    /// From when a handshake was due, its call not yet made, to its end at the party, microseconds.
    pub took_us: Histogram<u64>,
}

impl Done {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            completed: 0,
            late: 0,
            missed: 0,
            failed: 0,
            failure: None,
            took_us: Histogram::new_with_bounds(1, 60_000_000, 3)?,
        })
    }
}

impl Offer {
    /// All of it. Their calls are gone afterwards.
    pub fn make(&self) -> anyhow::Result<Done> {
        let (clock, next) = (MonotonicClock::start(), AtomicU64::new(0));
        let begun = clock.now();
        let mut all = Done::new()?;
        std::thread::scope(|scope| -> anyhow::Result<()> {
            let parties: Vec<_> = (0..PARTIES)
                .map(|_| scope.spawn(|| self.some(clock, begun, &next)))
                .collect();
            for party in parties {
                let some = party.join().map_err(|_| anyhow!("a party panicked"))??;
                all.completed += some.completed;
                all.late += some.late;
                all.missed += some.missed;
                all.failed += some.failed;
                all.failure = all.failure.take().or(some.failure);
                all.took_us.add(some.took_us)?;
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// One after the other, each the next that nobody has taken.
    fn some(&self, clock: MonotonicClock, begun: Timestamp, next: &AtomicU64) -> anyhow::Result<Done> {
        // Of this thread: what sends and counts the established calls' packets on the same core comes first.
        rustix::process::nice(NICE)?;
        let mut client = NodeClient::connect(self.grpc)?;
        let mut done = Done::new()?;
        let mut calls: VecDeque<(Timestamp, String)> = VecDeque::new();
        let total = u64::from(self.rate) * self.duration.as_secs();
        let end = begun + self.duration;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= total {
                break;
            }
            if clock.now() >= end {
                // So is the measurement: what is begun now would be measured without the load beside it.
                done.missed += 1;
                continue;
            }
            let due = begun + Duration::from_secs(1) * u32::try_from(number)? / self.rate;
            while let Some((until, call)) = calls.front()
                && *until <= clock.now()
            {
                client.delete(call)?;
                calls.pop_front();
            }
            wait::pass(due.saturating_since(clock.now()));
            let call = format!("handshake-{}-{number}", self.rate);
            match self.one(&mut client, &call, number) {
                Ok(()) if clock.now() > end => done.late += 1,
                Ok(()) => {
                    done.completed += 1;
                    let took = clock.now().saturating_since(due);
                    done.took_us.saturating_record(took.as_micros() as u64);
                }
                Err(error) => {
                    done.failed += 1;
                    done.failure.get_or_insert_with(|| format!("{call}: {error:#}"));
                }
            }
            calls.push_back((clock.now() + CALL_STAYS, call));
        }
        for (until, call) in calls {
            wait::pass(until.saturating_since(clock.now()));
            client.delete(&call).with_context(|| format!("deleting {call}"))?;
        }
        Ok(done)
    }

    fn one(&self, client: &mut NodeClient, call: &str, number: u64) -> anyhow::Result<()> {
        let role = match number % 2 {
            0 => DtlsRole::Active,
            _ => DtlsRole::Passive,
        };
        let party = Party::new(self.local, &self.endpoint, role)?;
        let made = client.create(party.request(call, self.callee)?)?;
        party.shake_hands(faces_of(&made)?[0], &self.fingerprint)
    }
}
