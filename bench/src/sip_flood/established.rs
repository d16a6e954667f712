//! Calls that exist, and how long requests within them take.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use hdrhistogram::Histogram;
use ops::clock::MonotonicClock;

use crate::relay::bed;
use crate::sip_load::callee::Callee;
use crate::sip_load::dialog::{Dialog, bind};
use crate::sip_load::probe::NUMBER;
use crate::wait;

/// Between two requests.
const REST: Duration = Duration::from_millis(2);
/// What is asked: the server passes it on to the other party and its answer back (RFC 6086).
const METHOD: &str = "INFO";

/// Times from a request sent to its 200 received, in microseconds.
#[derive(Debug)]
pub struct Times {
    /// Through the server.
    pub through: Histogram<u64>,
    /// To the callee without a server, in turns with them: what the load's own core takes.
    pub direct: Histogram<u64>,
    /// Requests without an answer in a second. None is repeated.
    pub unanswered: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Established {
    socket: UdpSocket,
    server: SocketAddr,
    /// The callee's address, and its call without a server.
    direct: (SocketAddr, Dialog),
    calls: Vec<Dialog>,
    /// The one whose turn it is.
    next: usize,
    callee: Callee,
    core: usize,
}

impl Established {
    /// Sets up so many, through the server, and one without it.
    pub fn set_up(
        [caller, callee]: [SocketAddr; 2],
        server: SocketAddr,
        core: usize,
        calls: u64,
    ) -> anyhow::Result<Self> {
        let socket = bind(caller)?;
        let answering = Callee::start(callee, core)?;
        let set_up = |target, number| {
            let (dialog, _) = Dialog::set_up(&socket, target, NUMBER, number)?
                .with_context(|| format!("{target} did not answer call {number}"))?;
            anyhow::Ok(dialog)
        };
        let direct = (callee, set_up(callee, 0)?);
        let calls = (1..=calls)
            .map(|number| set_up(server, number))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            socket,
            server,
            direct,
            calls,
            next: 0,
            callee: answering,
            core,
        })
    }

    /// Asks within one call after the other for so long, in turns with requests past the server.
    pub fn measure(&mut self, duration: Duration) -> anyhow::Result<Times> {
        // The calling thread is nobody's: only one of ours is bound to the load's core.
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    bed::pin(None, self.core)?;
                    self.ask(duration)
                })
                .join()
                .map_err(|_| anyhow!("who asks within calls panicked"))?
        })
    }

    fn ask(&mut self, duration: Duration) -> anyhow::Result<Times> {
        let mut times = Times {
            through: Histogram::new(3)?,
            direct: Histogram::new(3)?,
            unanswered: 0,
        };
        let clock = MonotonicClock::start();
        let end = clock.now() + duration;
        while clock.now() < end {
            let place = self.next % self.calls.len();
            self.next += 1;
            let (callee, direct) = &mut self.direct;
            let turns = [
                (&mut self.calls[place], self.server, &mut times.through),
                (direct, *callee, &mut times.direct),
            ];
            for (dialog, target, histogram) in turns {
                match dialog.request(&self.socket, target, METHOD)? {
                    Some(took) => histogram.saturating_record(took.as_micros() as u64),
                    None => times.unanswered += 1,
                }
                wait::pass(REST);
            }
        }
        Ok(times)
    }

    /// Hangs up: how many calls through the server still existed.
    pub fn end(mut self) -> anyhow::Result<u64> {
        let mut alive = 0;
        for call in &mut self.calls {
            alive += u64::from(call.request(&self.socket, self.server, "BYE")?.is_some());
        }
        self.callee.finish()?;
        Ok(alive)
    }
}
