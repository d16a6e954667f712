//! Calls between SIPp and SIPp whose session descriptions point to the kit's endpoints, and the speech in them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sans_io::Random;

use crate::call_log::{CallLog, Entry};
use crate::endpoint::EndpointSockets;
use crate::report::Times;
use crate::sipp::{Script, Sipp};
use crate::speech::{Law, PTIME_MS, Speech};
use crate::stand::Stand;
use crate::talk::{Outcome, Pair, Talk};
use crate::wait;

/// The scenario that takes its ports from fields and logs where to send.
pub const SCENARIO: &str = "basic-call/answer";
/// The caller hangs up this long after the last packet is due, so that none is on its way when the ports are closed.
const HANG_UP_AFTER: Duration = Duration::from_millis(2_000);
/// Number that call 0 dials.
const FIRST_NUMBER: usize = 100_000;

/// The endpoints of calls to be, and the fields that point SIPp to them.
#[derive(Debug)]
pub struct Prepared {
    pairs: Vec<Pair>,
    caller_fields: String,
    callee_fields: String,
}

impl Prepared {
    /// Binds a pair of endpoints a call and writes the fields into the stand's folder. A-law and µ-law take turns.
    pub fn new(stand: &mut Stand, calls: u32, name: &str) -> anyhow::Result<Self> {
        let host = stand.host();
        let pairs = (0..calls)
            .map(|call| {
                Ok(Pair {
                    sockets: [EndpointSockets::bind(host)?, EndpointSockets::bind(host)?],
                    law: if call % 2 == 0 { Law::A } else { Law::Mu },
                })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        // The callee's scenario names its file, so there is one set of calls at a time in a folder.
        let prepared = Self {
            pairs,
            caller_fields: format!("{name}.caller.csv"),
            callee_fields: "callee.csv".to_owned(),
        };
        prepared.write_fields(stand.folder())?;
        Ok(prepared)
    }

    /// SIPp as the callee of these calls.
    pub fn callee<'a>(&'a self, stand: &Stand, calls: u32) -> Script<'a> {
        Script {
            fields: Some(&self.callee_fields),
            ..stand.callee(SCENARIO, calls)
        }
    }

    /// SIPp as their caller.
    pub fn caller<'a>(&'a self, stand: &Stand, calls: u32) -> Script<'a> {
        Script {
            fields: Some(&self.caller_fields),
            ..stand.caller(SCENARIO, calls)
        }
    }

    /// The caller's name, port and number, and the callee's port by the number.
    fn write_fields(&self, folder: &Path) -> anyhow::Result<()> {
        let (mut caller, mut callee) = ("SEQUENTIAL\n".to_owned(), "SEQUENTIAL\n".to_owned());
        for (call, pair) in self.pairs.iter().enumerate() {
            let number = FIRST_NUMBER + call;
            let (payload_type, encoding) = (pair.law.payload_type(), pair.law.encoding());
            let [calls, answers] = [pair.sockets[0].local().port(), pair.sockets[1].local().port()];
            writeln!(caller, "{call};{calls};{number};{payload_type};{encoding}")?;
            writeln!(callee, "{number};{answers};{payload_type};{encoding}")?;
        }
        fs::write(folder.join(&self.caller_fields), caller)?;
        fs::write(folder.join(&self.callee_fields), callee)?;
        Ok(())
    }
}

/// Calls under way.
#[derive(Debug)]
pub struct SpeechCalls {
    calls: u32,
    /// SIPp as caller.
    pub caller: Sipp,
    /// SIPp as callee.
    pub callee: Sipp,
    talk: Talk,
    logs: [CallLog; 2],
    times: Times,
    numbers: HashMap<String, usize>,
    within: Duration,
}

impl SpeechCalls {
    /// Starts SIPp at both ends: as many calls as are prepared, `rate` a second, `speech` long each way.
    pub fn start(
        stand: &mut Stand,
        prepared: Prepared,
        speech: &Arc<Speech>,
        rate: u32,
        length: Duration,
        random: &mut Random,
    ) -> anyhow::Result<Self> {
        let calls = u32::try_from(prepared.pairs.len())?;
        let callee = prepared.callee(stand, calls);
        let callee = stand.run(&callee)?;
        let caller = Script {
            rate,
            talk: length + HANG_UP_AFTER,
            ..prepared.caller(stand, calls)
        };
        let caller = stand.run(&caller)?;
        let packets = length.as_millis() as u64 / PTIME_MS;
        Ok(Self {
            calls,
            logs: [CallLog::new(caller.call_log()), CallLog::new(callee.call_log())],
            caller,
            callee,
            talk: Talk::start(prepared.pairs, Arc::clone(speech), packets, random)?,
            times: Times::default(),
            numbers: (0..calls as usize)
                .map(|call| ((FIRST_NUMBER + call).to_string(), call))
                .collect(),
            within: Duration::from_secs(u64::from(calls / rate) + 60) + length + HANG_UP_AFTER,
        })
    }

    /// Packets that each endpoint has received so far: caller and callee of call 0, of call 1, and so on.
    pub fn received(&self) -> Vec<u64> {
        (0..self.calls as usize * 2)
            .map(|endpoint| self.talk.received(endpoint))
            .collect()
    }

    /// Takes what SIPp has logged and starts the endpoints that are told where to send.
    pub fn follow(&mut self) -> anyhow::Result<()> {
        for entry in self.logs[0].read()? {
            self.times.take(&entry);
            if let Entry::Talk { call, to } = entry {
                self.talk.direct(call.parse::<usize>()? * 2, to)?;
            }
        }
        for entry in self.logs[1].read()? {
            if let Entry::Talk { call, to } = entry {
                let call = self
                    .numbers
                    .get(&call)
                    .with_context(|| format!("the callee was asked for {call}"))?;
                self.talk.direct(call * 2 + 1, to)?;
            }
        }
        Ok(())
    }

    /// Follows until every endpoint has received `packets` more than `before`.
    pub fn follow_until_received(
        &mut self,
        before: &[u64],
        packets: u64,
        within: Duration,
    ) -> anyhow::Result<()> {
        let waited = wait::until_true("speech at every endpoint", within, || {
            self.follow()?;
            let received = self.received();
            Ok(received
                .iter()
                .zip(before)
                .all(|(now, before)| now - before >= packets))
        });
        waited.with_context(|| {
            format!(
                "before {before:?}, now {:?}\n{}",
                self.received(),
                self.caller.complaint()
            )
        })
    }

    /// Follows until SIPp has ended at both ends, or one end cannot end well any more.
    pub fn follow_to_the_end(&mut self, stand: &mut Stand) -> anyhow::Result<()> {
        let within = self.within;
        let waited = wait::until_true("all calls to end", within, || {
            // Looked at first: what was logged before the end is read after it.
            let calling = self.caller.process().is_running()?;
            let called = self.callee.process().is_running()?;
            self.follow()?;
            for plane in stand.nodes.iter_mut().chain([&mut stand.control]) {
                let running = plane.process().is_running()?;
                ensure!(running, "a plane ended\n{}", plane.process().tail());
            }
            // A caller that has ended with failed calls leaves a callee that waits for more.
            Ok(!calling && (!called || self.caller.tally()?.failed > 0))
        });
        if waited.is_err() || self.callee.process().is_running()? {
            eprintln!("{}\n{}", self.caller.complaint(), self.callee.complaint());
            self.caller.process().kill()?;
            self.callee.process().kill()?;
        }
        waited
    }

    /// Set-up times in milliseconds, ascending, and what the endpoints counted.
    pub fn finish(self) -> anyhow::Result<(Vec<f64>, Outcome)> {
        Ok((self.times.set_up_ms(), self.talk.finish(Duration::from_secs(2))?))
    }
}
