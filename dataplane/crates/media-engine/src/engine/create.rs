use media_types::{CallReport, CallSpec, IdempotencyKey, LegSpec, Refusal};
use sans_io::Timestamp;

use super::Engine;
use super::opening::Opened;
use crate::Shell;
use crate::call::{Call, Leg};
use crate::line::{Line, LinePorts};
use crate::port_pool::{AddressKey, Pair};
use crate::settings::{LineSettings, Remote};

/// A leg that was checked and has no ports yet.
struct Planned {
    address: AddressKey,
    lines: Vec<LineSettings>,
}

impl Engine {
    /// Makes a call: allocates and opens its ports. A repetition with the same key answers with the call as it is now
    /// and changes nothing.
    pub fn create(
        &mut self,
        now: Timestamp,
        shell: &mut impl Shell,
        key: &IdempotencyKey,
        spec: &CallSpec,
    ) -> Result<CallReport, Refusal> {
        if let Some(call) = self.key(&spec.id) {
            return match self.call(call).created_with == *key {
                true => Ok(self.report(now, call)),
                false => Err(Refusal::CallExists),
            };
        }
        let (first, second) = self.plan(spec)?;
        if self.calls.len() >= self.config.calls_max {
            return Err(Refusal::NoCapacity);
        }
        self.pool.reclaim(now);
        let opened = self.open_all(now, shell, [&first, &second])?;
        let call = self.commit(now, key, spec, [first, second], opened);
        self.decide_call(now, shell, call);
        Ok(self.report(now, call))
    }

    /// Checks a specification against the limits and the interfaces.
    fn plan(&self, spec: &CallSpec) -> Result<(Planned, Planned), Refusal> {
        if spec.lease > self.config.lease_max {
            return Err(Refusal::Invalid("the lease is longer than the node's limit"));
        }
        let [first, second] = spec.legs.as_slice() else {
            return Err(Refusal::Invalid("a call has exactly two legs"));
        };
        if first.id == second.id {
            return Err(Refusal::Invalid("the legs have the same name"));
        }
        if first.lines.len() != second.lines.len() {
            return Err(Refusal::Invalid("the legs differ in their number of lines"));
        }
        Ok((self.plan_leg(first)?, self.plan_leg(second)?))
    }

    fn plan_leg(&self, spec: &LegSpec) -> Result<Planned, Refusal> {
        let address = self.pool.address(spec.interface.as_ref(), spec.ipv6);
        let address = address.ok_or(Refusal::UnknownInterface)?;
        Ok(Planned {
            address,
            lines: self.check_lines(spec, address)?,
        })
    }

    /// Checks the lines of a leg that is reached at `address`.
    pub(super) fn check_lines(
        &self,
        spec: &LegSpec,
        address: AddressKey,
    ) -> Result<Vec<LineSettings>, Refusal> {
        let limits = &self.config.limits;
        if spec.lines.is_empty() {
            return Err(Refusal::Invalid("a leg has no line"));
        }
        if spec.lines.len() > limits.lines_max {
            return Err(Refusal::Invalid("a leg has more lines than the node's limit"));
        }
        let local = self.pool.address_of(address);
        spec.lines
            .iter()
            .map(|line| LineSettings::new(line, local, limits))
            .collect()
    }

    /// Opens the ports of all enabled lines, or none.
    fn open_all(
        &mut self,
        now: Timestamp,
        shell: &mut impl Shell,
        legs: [&Planned; 2],
    ) -> Result<Vec<LinePorts>, Refusal> {
        let mut opened = Vec::new();
        match self.try_open_all(now, shell, legs, &mut opened) {
            Ok(()) => Ok(opened),
            Err(refusal) => {
                self.take_back(shell, opened.into_iter().map(Opened::Pair));
                Err(refusal)
            }
        }
    }

    /// As [`Self::open_all`], but leaves in `opened` what was opened before a failure.
    fn try_open_all(
        &mut self,
        now: Timestamp,
        shell: &mut impl Shell,
        legs: [&Planned; 2],
        opened: &mut Vec<LinePorts>,
    ) -> Result<(), Refusal> {
        for leg in legs {
            for line in leg.lines.iter().filter(|line| line.enabled) {
                opened.push(self.open_pair(now, shell, leg.address, !line.rtcp_mux)?);
            }
        }
        let pairs: Vec<Pair> = opened.iter().map(|ports| ports.pair).collect();
        self.check_loops(legs.into_iter().flat_map(|leg| &leg.lines), &pairs)
    }

    /// Refuses lines that would send to the call's own ports `ours`.
    pub(super) fn check_loops<'a>(
        &self,
        lines: impl IntoIterator<Item = &'a LineSettings>,
        ours: &[Pair],
    ) -> Result<(), Refusal> {
        for line in lines {
            let rtp = match line.remote {
                Remote::Address(address) => Some(address),
                Remote::Unknown | Remote::Held => None,
            };
            if [rtp, line.remote_rtcp]
                .into_iter()
                .flatten()
                .any(|remote| self.leads_back(remote, ours))
            {
                return Err(Refusal::Invalid("a remote address leads back to the call itself"));
            }
        }
        Ok(())
    }

    fn commit(
        &mut self,
        now: Timestamp,
        key: &IdempotencyKey,
        spec: &CallSpec,
        planned: [Planned; 2],
        opened: Vec<LinePorts>,
    ) -> u32 {
        let or_default =
            |wanted: std::time::Duration, default| if wanted.is_zero() { default } else { wanted };
        let lease = or_default(spec.lease, self.config.lease_default);
        let leg = |at: usize| Leg {
            id: spec.legs[at].id.clone(),
            address: planned[at].address,
            lines: Vec::with_capacity(planned[at].lines.len()),
        };
        let call = self.add_call(Call {
            id: spec.id.clone(),
            legs: [leg(0), leg(1)],
            created: now,
            lease,
            lease_until: now + lease,
            media_timeout: or_default(spec.media_timeout, self.config.media_timeout_default),
            timer: Timestamp::MAX,
            created_with: key.clone(),
            updated_with: None,
        });
        let mut opened = opened.into_iter();
        for (leg, planned) in planned.into_iter().enumerate() {
            for settings in planned.lines {
                let line = self.add_line(call, leg);
                if settings.enabled
                    && let Some(ports) = opened.next()
                {
                    self.attach(line, Opened::Pair(ports));
                }
                self.apply(now, line, settings);
            }
        }
        self.wire(now, call);
        self.timers.set(Timestamp::MAX, call);
        self.arm(now, call);
        self.counters.calls_created += 1;
        call
    }

    /// Adds a call that has no lines yet.
    pub(super) fn add_call(&mut self, call: Call) -> u32 {
        let id = call.id.clone();
        let key = self.calls.insert(call) as u32;
        self.names.insert(id, key);
        key
    }

    /// Adds a line at the end of a leg.
    pub(super) fn add_line(&mut self, call: u32, leg: usize) -> u32 {
        let place = self.call(call).legs[leg].lines.len() as u16;
        let streams_max = self.config.limits.streams_per_line_max;
        let line = self.lines.insert(Line::new(call, leg as u8, place, streams_max)) as u32;
        self.call_mut(call).legs[leg].lines.push(line);
        self.undecided.reserve(self.lines.len() - self.undecided.len());
        self.asides.reserve(self.lines.len() - self.asides.len());
        line
    }
}
