use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use call::{MediaAnswer, MediaError, MediaKind, MediaRequest, MediaRequestId};
use media_types::{
    CallId, CallReport, Fingerprint, HashFunction, LegReport, LegSpec, LineReport, LocalLine, NodeName, Path,
    Refusal, StreamReport,
};
use sans_io::Timestamp;

/// How a simulated media node behaves towards the next requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Does what it is asked.
    Willing,
    /// Has no ports.
    Full,
    /// Refuses the request as a contradiction.
    Strict,
    /// No node is there at all.
    Nobody,
    /// Does it and its answer is lost, as the client finds out.
    Lost,
    /// Does it and never answers.
    Silent,
}

/// A simulated media node with its client: allocates ports, answers after a delay, and checks the contract of
/// `MediaRequest`.
#[derive(Debug)]
pub struct Node {
    pub mood: Mood,
    pub delay: Duration,
    pub calls: HashMap<CallId, Vec<LegSpec>>,
    /// No line may be in clear.
    pub is_secured: bool,
    /// Of the certificate that it shows; `None` for one that knows no handshakes.
    pub fingerprint: Option<Arc<Fingerprint>>,
    pub ports_allocated: u64,
    pub ports_freed: u64,
    pub creates: u64,
    pub updates: u64,
    pub deletes: u64,
    deleted: HashMap<CallId, ()>,
    under_way: HashMap<CallId, MediaRequestId>,
    answers: Vec<(Timestamp, MediaAnswer)>,
    ports: HashMap<(CallId, usize, usize), u16>,
}

impl Node {
    pub fn new() -> Self {
        Self {
            mood: Mood::Willing,
            delay: Duration::from_millis(2),
            calls: HashMap::new(),
            is_secured: false,
            fingerprint: Fingerprint::new(HashFunction::Sha256, &[0x4d; 32])
                .ok()
                .map(Arc::new),
            ports_allocated: 0,
            ports_freed: 0,
            creates: 0,
            updates: 0,
            deletes: 0,
            deleted: HashMap::new(),
            under_way: HashMap::new(),
            answers: Vec::new(),
            ports: HashMap::new(),
        }
    }

    pub fn name() -> NodeName {
        NodeName::new("media-1").unwrap()
    }

    pub fn handle(&mut self, now: Timestamp, request: MediaRequest) {
        let MediaRequest { id, call, kind, .. } = request;
        assert!(
            !self.deleted.contains_key(&call),
            "a request after the Delete of {call}: {kind:?}"
        );
        if self.mood != Mood::Silent {
            let before = self.under_way.insert(call.clone(), id);
            assert!(before.is_none(), "{call} has two requests under way");
        }
        if let Some(result) = self.act(&call, kind) {
            let fingerprint = self.fingerprint.clone();
            let answer = MediaAnswer {
                id,
                result,
                fingerprint,
            };
            self.answers.push((now + self.delay, answer));
        }
    }

    fn act(&mut self, call: &CallId, kind: MediaKind) -> Option<Result<(NodeName, CallReport), MediaError>> {
        let refusal = match self.mood {
            Mood::Full => Some(MediaError::Refused(Refusal::NoPorts)),
            Mood::Strict => Some(MediaError::Refused(Refusal::Invalid("strict"))),
            Mood::Nobody => Some(MediaError::NoNode {
                retry_after: Duration::from_secs(7),
            }),
            Mood::Willing | Mood::Lost | Mood::Silent => None,
        };
        let is_delete = kind == MediaKind::Delete;
        if let (Some(refusal), false) = (refusal, is_delete) {
            return Some(Err(refusal));
        }
        let report = match kind {
            MediaKind::Create(spec) => {
                self.creates += 1;
                assert_eq!(spec.legs.len(), 2);
                self.place(call, spec.legs)
            }
            MediaKind::Update(legs) => {
                self.updates += 1;
                let Some(before) = self.calls.get(call) else {
                    return Some(Err(MediaError::Refused(Refusal::UnknownCall)));
                };
                for (before, after) in before.iter().zip(&legs) {
                    assert!(
                        after.lines.len() >= before.lines.len(),
                        "lines were taken away: {after:?}"
                    );
                    assert_eq!((before.ipv6, &before.id), (after.ipv6, &after.id));
                }
                self.place(call, legs)
            }
            MediaKind::Delete => {
                self.deletes += 1;
                self.deleted.insert(call.clone(), ());
                let Some(legs) = self.calls.remove(call) else {
                    return Some(Err(MediaError::Refused(Refusal::UnknownCall)));
                };
                let report = self.report(call, &legs);
                let freed = self.ports.extract_if(|(owner, ..), _| owner == call).count();
                self.ports_freed += freed as u64;
                report
            }
        };
        match self.mood {
            Mood::Silent => None,
            Mood::Lost => Some(Err(MediaError::Lost)),
            _ => Some(Ok((Self::name(), report))),
        }
    }

    fn place(&mut self, call: &CallId, legs: Vec<LegSpec>) -> CallReport {
        for (leg, spec) in legs.iter().enumerate() {
            for (line, spec) in spec.lines.iter().enumerate() {
                assert!(
                    !self.is_secured || !spec.enabled || spec.srtp.is_some() || spec.dtls.is_some(),
                    "a line in clear: {spec:?}"
                );
                let is_set_up = spec.dtls.is_some() || spec.ice.is_some();
                assert!(
                    !is_set_up || spec.rtcp_mux && spec.srtp.is_none(),
                    "what a node refuses: {spec:?}"
                );
                let key = (call.clone(), leg, line);
                if spec.enabled && !self.ports.contains_key(&key) {
                    self.ports_allocated += 1;
                    self.ports
                        .insert(key, 10_000 + 2 * (self.ports_allocated % 20_000) as u16);
                } else if !spec.enabled && self.ports.remove(&key).is_some() {
                    self.ports_freed += 1;
                }
            }
        }
        let report = self.report(call, &legs);
        self.calls.insert(call.clone(), legs);
        report
    }

    fn report(&self, call: &CallId, legs: &[LegSpec]) -> CallReport {
        let line = |leg: usize, index: usize, spec: &media_types::LineSpec, ipv6: bool| {
            let local = self.ports.get(&(call.clone(), leg, index)).map(|&port| {
                let ip = if ipv6 {
                    format!("[2001:db8:f::{leg}]")
                } else {
                    format!("198.51.100.{}", 11 + leg)
                };
                let rtp: SocketAddr = format!("{ip}:{port}").parse().unwrap();
                let rtcp = SocketAddr::new(rtp.ip(), port + u16::from(!spec.rtcp_mux));
                LocalLine { rtp, rtcp }
            });
            LineReport {
                local,
                learned: None,
                path: Path::Simulated,
                path_reason: "simulated",
                rtcp_path: None,
                drops: Vec::new(),
                rtcp_forwarded: 0,
                srtp: None,
                dtls: None,
                ice: None,
                streams: vec![StreamReport {
                    packets: 100 + leg as u64,
                    bytes: 17_200,
                    mos_x100: 440,
                    ..StreamReport::default()
                }],
            }
        };
        let legs = legs.iter().enumerate().map(|(number, leg)| LegReport {
            id: leg.id.clone(),
            lines: leg
                .lines
                .iter()
                .enumerate()
                .map(|(index, spec)| line(number, index, spec, leg.ipv6))
                .collect(),
        });
        CallReport {
            id: call.clone(),
            age: Duration::ZERO,
            lease_left: Duration::ZERO,
            legs: legs.collect(),
        }
    }

    /// The last statistics of a call that the node is about to end by itself.
    pub fn end(&mut self, call: &CallId) -> CallReport {
        let legs = self.calls.remove(call).expect("the node has the call");
        let report = self.report(call, &legs);
        self.ports_freed += self.ports.extract_if(|(owner, ..), _| owner == call).count() as u64;
        report
    }

    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.answers.iter().map(|&(at, _)| at).min()
    }

    pub fn answer(&mut self, now: Timestamp) -> Option<MediaAnswer> {
        let place = self.answers.iter().position(|&(at, _)| at <= now)?;
        let (_, answer) = self.answers.remove(place);
        self.under_way.retain(|_, id| *id != answer.id);
        Some(answer)
    }
}
