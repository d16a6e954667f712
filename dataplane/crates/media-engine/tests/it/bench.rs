//! A back-end without sockets, and specifications to start from.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use media_engine::{
    Address, Aside, Engine, EngineConfig, Flow, FlowError, FlowReading, Flows, Interface, OpenError, PortId,
    Ports, StreamState, Verdict,
};
use media_types::{
    CallId, CallReport, CallSpec, Codec, Direction, Event, IdempotencyKey, InterfaceName, Latching, LegId,
    LegSpec, LineSpec, MediaKind, Path,
};
use sans_io::{Random, Timestamp};

/// Ports as a table; says what is open, and refuses on demand.
#[derive(Debug, Default)]
pub struct FakePorts {
    pub open: HashMap<SocketAddr, PortId>,
    locals: Vec<Option<SocketAddr>>,
    pub opened: u64,
    pub closed: u64,
    /// Answers to the next attempts to open, last first; `None` lets one succeed.
    pub failures: Vec<Option<OpenError>>,
    /// Every attempt fails so while this is set.
    pub always: Option<OpenError>,
}

impl Ports for FakePorts {
    fn open(&mut self, local: SocketAddr) -> Result<PortId, OpenError> {
        if let Some(error) = self.always.or(self.failures.pop().flatten()) {
            return Err(error);
        }
        if self.open.contains_key(&local) {
            return Err(OpenError::InUse);
        }
        let id = match self.locals.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.locals.push(None);
                self.locals.len() - 1
            }
        };
        self.locals[id] = Some(local);
        let id = PortId(id as u32);
        self.open.insert(local, id);
        self.opened += 1;
        Ok(id)
    }

    fn close(&mut self, port: PortId) {
        let local = self.locals[port.0 as usize].take().expect("the port is open");
        assert_eq!(self.open.remove(&local), Some(port));
        self.closed += 1;
    }
}

impl Flows for FakePorts {
    fn install(&mut self, _: &Flow, _: &[StreamState]) -> Result<(), FlowError> {
        Err(FlowError::Unavailable)
    }

    fn remove(&mut self, _: SocketAddr) -> Option<FlowReading> {
        None
    }

    fn read(&mut self, _: SocketAddr) -> Option<FlowReading> {
        None
    }

    fn keep_aside(&mut self, _: SocketAddr, _: rtp::Ssrc, _: Aside) -> bool {
        false
    }
}

impl FakePorts {
    pub fn local(&self, port: PortId) -> SocketAddr {
        self.locals[port.0 as usize].expect("the port is open")
    }
}

/// An engine with its ports and its clock.
pub struct Bench {
    pub engine: Engine,
    pub ports: FakePorts,
    pub now: Timestamp,
    keys: u64,
}

pub fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub fn call_id(name: &str) -> CallId {
    CallId::new(name).expect("a name")
}

pub fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey::new(name).expect("a key")
}

pub fn leg_id(name: &str) -> LegId {
    LegId::new(name).expect("a name")
}

/// Two interfaces of both families, 100 pairs on each address.
pub fn config() -> EngineConfig {
    let same = |ip: &str| Address {
        local: ip.parse().unwrap(),
        advertised: ip.parse().unwrap(),
    };
    let natted = Address {
        local: "10.1.0.1".parse().unwrap(),
        advertised: "198.51.100.1".parse().unwrap(),
    };
    let interface = |name: &str, addresses| Interface {
        name: InterfaceName::new(name).unwrap(),
        addresses,
        ports: (20_000..20_200).step_by(2).collect(),
    };
    EngineConfig::new(
        vec![
            interface("inside", vec![same("10.0.0.1"), same("2001:db8::1")]),
            interface("outside", vec![natted, same("2001:db8:1::1")]),
        ],
        Path::Simulated,
        "a test",
    )
}

pub fn codec(payload_type: u8, name: &str) -> Codec {
    Codec {
        payload_type,
        name: name.into(),
        clock_rate_hz: 8_000,
        channels: 1,
        ptime_ms: 20,
    }
}

/// An audio line with PCMA and events.
pub fn line(remote: &str) -> LineSpec {
    LineSpec {
        kind: MediaKind::Audio,
        enabled: true,
        direction: Direction::SendRecv,
        remote: Some(at(remote)),
        remote_rtcp: None,
        rtcp_mux: false,
        latching: Latching::SameAddress,
        relearn: false,
        srtp: None,
        dtls: None,
        ice: None,
        codecs: vec![codec(8, "PCMA"), codec(101, "telephone-event")],
    }
}

pub fn leg(name: &str, lines: Vec<LineSpec>) -> LegSpec {
    let ipv6 = lines
        .iter()
        .any(|line| line.remote.is_some_and(|remote| remote.is_ipv6()));
    LegSpec {
        id: leg_id(name),
        interface: None,
        ipv6,
        lines,
    }
}

pub fn call(name: &str, a: LineSpec, b: LineSpec) -> CallSpec {
    CallSpec {
        id: call_id(name),
        legs: vec![leg("a", vec![a]), leg("b", vec![b])],
        lease: Duration::from_secs(600),
        media_timeout: Duration::ZERO,
    }
}

impl Bench {
    pub fn new(config: EngineConfig) -> Self {
        Self::seeded(config, 1)
    }

    pub fn seeded(config: EngineConfig, seed: u64) -> Self {
        Self {
            engine: Engine::new(config, Random::from_number(seed)),
            ports: FakePorts::default(),
            now: Timestamp::from_millis(1_000),
            keys: 0,
        }
    }

    /// A key that was not used before.
    pub fn fresh_key(&mut self) -> IdempotencyKey {
        self.keys += 1;
        key(&format!("key-{}", self.keys))
    }

    pub fn create(&mut self, spec: &CallSpec) -> CallReport {
        let key = self.fresh_key();
        self.engine
            .create(self.now, &mut self.ports, &key, spec)
            .expect("the call is made")
    }

    pub fn update(&mut self, call: &str, legs: &[LegSpec]) -> CallReport {
        let key = self.fresh_key();
        let id = call_id(call);
        self.engine
            .update(self.now, &mut self.ports, &key, &id, legs)
            .expect("the call is updated")
    }

    pub fn delete(&mut self, call: &str) -> CallReport {
        let key = self.fresh_key();
        self.engine
            .delete(self.now, &mut self.ports, &key, &call_id(call))
            .expect("the call is deleted")
    }

    pub fn query(&mut self, call: &str) -> Option<CallReport> {
        self.engine.query(self.now, &mut self.ports, &call_id(call))
    }

    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.engine.handle_timeout(self.now, &mut self.ports);
    }

    /// Hands over a datagram that came to the local address `to`.
    pub fn packet(&mut self, to: SocketAddr, from: &str, payload: &[u8]) -> Verdict {
        let port = *self
            .ports
            .open
            .get(&to)
            .unwrap_or_else(|| panic!("{to} is not open"));
        hand_over(&mut self.engine, self.now, port, at(from), payload)
    }

    /// Hands over a datagram; where it was forwarded from and to, or the label of the drop.
    pub fn fate(
        &mut self,
        to: SocketAddr,
        from: &str,
        payload: &[u8],
    ) -> Result<(SocketAddr, SocketAddr), &'static str> {
        match self.packet(to, from, payload) {
            Verdict::Forward { port, to, .. } => Ok((self.ports.local(port), to)),
            Verdict::Drop(reason) => Err(reason.reason()),
            Verdict::SetUp(_) => Err("set_up"),
        }
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.engine.poll_event()).collect()
    }
}

/// Hands over a datagram that no party encrypts: nothing changes in it.
pub fn hand_over(
    engine: &mut Engine,
    now: Timestamp,
    port: PortId,
    source: SocketAddr,
    payload: &[u8],
) -> Verdict {
    let mut buffer = payload.to_vec();
    let verdict = engine.handle_packet(now, port, source, &mut buffer, payload.len());
    assert_eq!(buffer, payload);
    if let Verdict::Forward { len, .. } = verdict {
        assert_eq!(len, payload.len());
    }
    verdict
}

/// An RTP packet of 160 bytes of payload.
pub fn rtp(payload_type: u8, seq: u16, timestamp: u32, ssrc: u32) -> Vec<u8> {
    let mut bytes = vec![0x80, payload_type];
    bytes.extend(seq.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend([0xd5; 160]);
    bytes
}

/// An empty receiver report.
pub fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut bytes = vec![0x80, 201, 0, 1];
    bytes.extend(ssrc.to_be_bytes());
    bytes
}
