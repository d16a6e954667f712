//! Random commands, with ports that fail to open, leases that end and packets in between: nothing leaks, nothing is
//! half done. After each step the engine is held against a model that knows only what was answered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use media_engine::OpenError;
use media_types::{
    CallId, CallReport, CallSpec, Direction, EventKind, IdempotencyKey, InterfaceName, Latching, LegSpec,
    LineSpec, Refusal,
};
use sans_io::{Random, Timestamp};

use crate::bench::{Bench, call_id, config, hand_over, leg_id, line, rtcp, rtp};
use crate::seeds;

const STEPS: u32 = 400;

/// What the answers say that a call is.
#[derive(Clone)]
struct Known {
    /// Of each leg: whether each line is enabled, and multiplexes.
    lines: [Vec<(bool, bool)>; 2],
    interfaces: [(Option<InterfaceName>, bool); 2],
    lease: Duration,
    lease_until: Timestamp,
}

struct Model {
    bench: Bench,
    random: Random,
    calls: BTreeMap<CallId, Known>,
    /// The latest command of each kind, to be repeated; an update only while its call lasts.
    created: Option<(IdempotencyKey, CallSpec)>,
    updated: Option<(IdempotencyKey, CallId, Vec<LegSpec>)>,
    deleted: Option<(Timestamp, IdempotencyKey, CallId, CallReport)>,
    ended: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut config = config();
        config.calls_max = 12;
        for interface in &mut config.interfaces {
            interface.ports = (20_000..20_040).step_by(2).collect();
        }
        Self {
            bench: Bench::seeded(config, seed),
            random: Random::from_number(seed),
            calls: BTreeMap::new(),
            created: None,
            updated: None,
            deleted: None,
            ended: 0,
        }
    }

    fn step(&mut self) {
        self.bench.ports.failures = match self.random.below(4) {
            0 => (0..self.random.below(12)).map(|_| self.failure()).collect(),
            _ => Vec::new(),
        };
        match self.random.below(12) {
            0..3 => self.create(),
            3..5 => self.update(),
            5 => self.delete(),
            6 => self.repeat(),
            7 => self.renew(),
            8 => self.pass(),
            _ => self.packet(),
        }
        self.check();
    }

    fn failure(&mut self) -> Option<OpenError> {
        match self.random.below(8) {
            0 => Some(OpenError::Exhausted),
            1 => Some(OpenError::Refused),
            2 | 3 => Some(OpenError::InUse),
            _ => None,
        }
    }

    fn any_call(&mut self) -> Option<CallId> {
        let at = self.random.below(self.calls.len() as u64) as usize;
        self.calls.keys().nth(at).cloned()
    }

    fn any_line(&mut self, ipv6: bool) -> LineSpec {
        let random = &mut self.random;
        let (host, port) = (random.below(250) + 1, random.below(30_000) + 1_024);
        let remote = if ipv6 {
            format!("[2001:db8:9::{host}]:{port}")
        } else {
            format!("192.0.2.{host}:{port}")
        };
        let directions = [
            Direction::SendRecv,
            Direction::SendOnly,
            Direction::RecvOnly,
            Direction::Inactive,
        ];
        let latching = [Latching::Off, Latching::SameAddress, Latching::AnyAddress];
        let mut spec = LineSpec {
            enabled: !random.chance_permille(200),
            rtcp_mux: random.chance_permille(400),
            relearn: random.chance_permille(200),
            srtp: None,
            dtls: None,
            ice: None,
            direction: directions[random.below(4) as usize],
            latching: latching[random.below(3) as usize],
            ..line(&remote)
        };
        if random.chance_permille(200) {
            spec.remote = None;
        }
        // Now and then one that is refused.
        if random.chance_permille(20) {
            spec.codecs[0].clock_rate_hz = 0;
        }
        spec
    }

    fn any_leg(&mut self, name: &str, on: (Option<InterfaceName>, bool), lines: usize) -> LegSpec {
        let lines = (0..lines).map(|_| self.any_line(on.1)).collect();
        LegSpec {
            id: leg_id(name),
            interface: on.0,
            ipv6: on.1,
            lines,
        }
    }

    fn create(&mut self) {
        let interface = |random: &mut Random| {
            let names = [None, Some("inside"), Some("outside")];
            let name = names[random.below(3) as usize].map(|name| InterfaceName::new(name).unwrap());
            (name, random.chance_permille(300))
        };
        let on = [interface(&mut self.random), interface(&mut self.random)];
        let count = self.random.below(3) as usize + 1;
        let [on_a, on_b] = on.clone();
        let legs = vec![self.any_leg("a", on_a, count), self.any_leg("b", on_b, count)];
        let id = call_id(&format!("c{}", self.random.below(20)));
        let lease = Duration::from_secs(10 + self.random.below(100));
        let spec = CallSpec {
            id: id.clone(),
            legs,
            lease,
            media_timeout: Duration::from_secs(7),
        };
        let key = self.bench.fresh_key();
        let exists = self.calls.contains_key(&id);
        let full = self.calls.len() == 12;
        let answer = self
            .bench
            .engine
            .create(self.bench.now, &mut self.bench.ports, &key, &spec);
        match answer {
            Ok(report) => {
                assert!(!exists && !full);
                assert_eq!(report.lease_left, lease);
                let lines = [0, 1].map(|at: usize| flags(&spec.legs[at]));
                let lease_until = self.bench.now + lease;
                self.calls.insert(
                    id,
                    Known {
                        lines,
                        interfaces: on,
                        lease,
                        lease_until,
                    },
                );
                self.created = Some((key, spec));
            }
            Err(Refusal::CallExists) => assert!(exists),
            Err(refusal) => assert!(!exists, "{refusal}"),
        }
    }

    fn update(&mut self) {
        let Some(id) = self.any_call() else { return };
        let known = self.calls[&id].clone();
        let more = usize::from(self.random.chance_permille(200));
        let mut legs = Vec::new();
        for (at, name) in ["a", "b"].into_iter().enumerate() {
            // Sometimes both legs, sometimes one; appended lines need both.
            if more == 1 || self.random.chance_permille(700) {
                let leg = self.any_leg(name, known.interfaces[at].clone(), known.lines[at].len() + more);
                legs.push(leg);
            }
        }
        let key = self.bench.fresh_key();
        if self
            .bench
            .engine
            .update(self.bench.now, &mut self.bench.ports, &key, &id, &legs)
            .is_ok()
        {
            let known = self.calls.get_mut(&id).expect("it is known");
            for leg in &legs {
                known.lines[usize::from(leg.id == leg_id("b"))] = flags(leg);
            }
            self.updated = Some((key, id, legs));
        }
    }

    fn delete(&mut self) {
        let Some(id) = self.any_call() else { return };
        let key = self.bench.fresh_key();
        let report = self
            .bench
            .engine
            .delete(self.bench.now, &mut self.bench.ports, &key, &id);
        let report = report.expect("it is known");
        self.forget(&id);
        self.deleted = Some((self.bench.now, key, id, report));
    }

    fn forget(&mut self, id: &CallId) -> Known {
        self.updated.take_if(|(_, updated, _)| updated == id);
        self.calls.remove(id).expect("it was known")
    }

    /// Sends the latest commands again: as if their answers had been lost.
    fn repeat(&mut self) {
        let (now, ports) = (self.bench.now, &mut self.bench.ports);
        let opened = ports.opened;
        if let Some((key, spec)) = &self.created
            && self.calls.contains_key(&spec.id)
        {
            // Another call may have the name by now; then the key is not its own.
            match self.bench.engine.create(now, ports, key, spec) {
                Ok(report) => assert_eq!(report.id, spec.id),
                Err(refusal) => assert_eq!(refusal, Refusal::CallExists),
            }
        }
        if let Some((key, id, legs)) = &self.updated {
            self.bench
                .engine
                .update(now, ports, key, id, legs)
                .expect("it was answered before");
        }
        if let Some((at, key, id, report)) = &self.deleted
            && now.saturating_since(*at) < Duration::from_secs(60)
        {
            let again = self.bench.engine.delete(now, ports, key, id);
            assert_eq!(again.as_ref(), Ok(report));
        }
        assert_eq!(self.bench.ports.opened, opened, "a repetition opened a port");
    }

    fn renew(&mut self) {
        let Some(id) = self.any_call() else { return };
        assert!(self.bench.engine.renew(self.bench.now, &id));
        let now = self.bench.now;
        let known = self.calls.get_mut(&id).expect("it is known");
        known.lease_until = now + known.lease;
    }

    /// Time passes; the engine is called when it asked to be.
    fn pass(&mut self) {
        let until = self.bench.now + Duration::from_millis(self.random.below(15_000));
        while let Some(at) = self.bench.engine.poll_timeout().filter(|at| *at <= until) {
            self.bench.now = at.max(self.bench.now);
            self.bench
                .engine
                .handle_timeout(self.bench.now, &mut self.bench.ports);
        }
        self.bench.now = until;
    }

    fn packet(&mut self) {
        let at = self.random.below(self.bench.ports.open.len() as u64) as usize;
        let mut open: Vec<_> = self
            .bench
            .ports
            .open
            .iter()
            .map(|(local, port)| (*local, *port))
            .collect();
        open.sort_unstable();
        let Some((local, port)) = open.get(at).copied() else {
            return;
        };
        let source = if local.is_ipv6() {
            "[2001:db8:9::7]:4000"
        } else {
            "192.0.2.7:4000"
        };
        for seq in 0..self.random.below(5) as u16 {
            let bytes = if self.random.chance_permille(800) {
                rtp(8, seq, 0, 7)
            } else {
                rtcp(7)
            };
            let _ = hand_over(
                &mut self.bench.engine,
                self.bench.now,
                port,
                source.parse().unwrap(),
                &bytes,
            );
        }
    }

    fn check(&mut self) {
        let now = self.bench.now;
        for event in self.bench.events() {
            if let EventKind::Ended { report, .. } = event.kind {
                let known = self.forget(&event.call);
                assert!(known.lease_until <= now && report.lease_left.is_zero());
                self.ended += 1;
            }
        }
        assert!(
            self.calls.values().all(|known| known.lease_until > now),
            "a lease ended unnoticed"
        );
        let ids: BTreeSet<CallId> = self.bench.engine.call_ids().cloned().collect();
        assert!(ids.iter().eq(self.calls.keys()));
        let lines = || self.calls.values().flat_map(|known| known.lines.iter().flatten());
        let pairs = lines().filter(|(enabled, _)| *enabled).count();
        let ports = lines()
            .map(|(enabled, mux)| usize::from(*enabled) * (2 - usize::from(*mux)))
            .sum();
        assert_eq!(self.bench.ports.open.len(), ports);
        let capacity = self.bench.engine.capacity();
        assert_eq!(capacity.calls, self.calls.len());
        assert_eq!(
            capacity.port_pairs,
            capacity.port_pairs_free + capacity.port_pairs_quarantined + pairs
        );
    }

    /// Everything goes, and all ports come back.
    fn finish(mut self) {
        self.bench.ports.failures.clear();
        if self.random.chance_permille(500) {
            self.bench.engine.shutdown(self.bench.now, &mut self.bench.ports);
        } else {
            while self.any_call().is_some() {
                self.delete();
            }
        }
        assert!(self.bench.ports.open.is_empty());
        assert_eq!(self.bench.ports.opened, self.bench.ports.closed);
        while let Some(at) = self.bench.engine.poll_timeout() {
            self.bench.now = at;
            self.bench.engine.handle_timeout(at, &mut self.bench.ports);
        }
        let capacity = self.bench.engine.capacity();
        assert_eq!(
            (capacity.calls, capacity.port_pairs_free),
            (0, capacity.port_pairs)
        );
        let counters = self.bench.engine.counters();
        assert_eq!(
            counters.calls_created,
            counters.calls_deleted + counters.calls_ended
        );
    }
}

fn flags(leg: &LegSpec) -> Vec<(bool, bool)> {
    leg.lines
        .iter()
        .map(|line| (line.enabled, line.rtcp_mux))
        .collect()
}

#[test]
fn random_commands_leak_nothing() {
    seeds::for_each("sequences", 60, |seed| {
        let mut model = Model::new(seed);
        for _ in 0..STEPS {
            model.step();
        }
        model.finish();
    });
}
