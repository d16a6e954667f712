//! What the journal has of a call, in plain types and as it is written.

use std::net::SocketAddr;

use media_types::{CallReport, CallSpec, IdempotencyKey, LegSpec, LineSpec};
use prost::Message as _;
use proto::convert::{self, FieldError};
use proto::media_v1 as wire;

/// A call as the journal has it: what is needed to make it again with the ports that its parties know.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The worker that has it.
    pub worker: usize,
    /// The key that it was made with.
    pub key: IdempotencyKey,
    /// The key of the latest update.
    pub updated_with: Option<IdempotencyKey>,
    /// What it was asked to be, updates included.
    pub spec: CallSpec,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// Whether a line of it has, or had, SRTP keys, DTLS or ICE. Such a call is never written: a process that knows it and not its keys
    /// could begin anew with one of them, and what would be written are secrets.
    pub has_had_keys: bool,
    /// Its enabled lines.
    pub lines: Vec<Line>,
}

/// An enabled line of a [`Record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Place of the leg, 0 or 1.
    pub leg: usize,
    /// The line's place in the description.
    pub place: usize,
    /// The local RTP port.
    pub port: u16,
    /// The source that RTP was learned from.
    pub learned: Option<SocketAddr>,
    /// What was signalled before the party was put on hold with an unspecified address.
    pub signalled: Option<SocketAddr>,
}

/// Why bytes are no record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// They are not the protocol's.
    #[error(transparent)]
    Protocol(#[from] prost::DecodeError),
    /// A field is out of its range.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A name cannot be one.
    #[error(transparent)]
    Name(#[from] media_types::InvalidName),
    /// A number or an address is out of its range.
    #[error("{0} is out of its range")]
    Range(&'static str),
}

/// One entry of the file.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Entry {
    #[prost(oneof = "Change", tags = "1, 2, 3, 4")]
    pub(super) change: Option<Change>,
}

/// What happened to a call.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Change {
    /// The first entry of a file: whose it is.
    #[prost(message, tag = "1")]
    Head(Head),
    /// The call is this from now on.
    #[prost(message, tag = "2")]
    Call(Call),
    /// A source was learned.
    #[prost(message, tag = "3")]
    Learned(Learned),
    /// The call is gone.
    #[prost(string, tag = "4")]
    Gone(String),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Head {
    #[prost(string, tag = "1")]
    pub(super) node_id: String,
    /// Of the kernel: ports and flows of an earlier boot are gone.
    #[prost(string, tag = "2")]
    pub(super) boot_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Call {
    #[prost(message, optional, tag = "1")]
    request: Option<wire::CreateCallRequest>,
    #[prost(uint32, tag = "2")]
    worker: u32,
    #[prost(string, tag = "3")]
    updated_with: String,
    #[prost(uint64, tag = "4")]
    created_ms: u64,
    #[prost(message, repeated, tag = "5")]
    lines: Vec<WireLine>,
    #[prost(bool, tag = "6")]
    has_had_keys: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireLine {
    #[prost(uint32, tag = "1")]
    leg: u32,
    #[prost(uint32, tag = "2")]
    place: u32,
    #[prost(uint32, tag = "3")]
    port: u32,
    #[prost(string, tag = "4")]
    learned: String,
    #[prost(string, tag = "5")]
    signalled: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Learned {
    #[prost(string, tag = "1")]
    pub(super) call: String,
    #[prost(uint32, tag = "2")]
    pub(super) leg: u32,
    #[prost(uint32, tag = "3")]
    pub(super) place: u32,
    #[prost(string, tag = "4")]
    pub(super) source: String,
}

impl Record {
    /// The record of a call that was just made.
    pub fn new(
        worker: usize,
        key: &IdempotencyKey,
        spec: &CallSpec,
        created_ms: u64,
        report: &CallReport,
    ) -> Self {
        let mut record = Self {
            worker,
            key: key.clone(),
            updated_with: None,
            spec: spec.clone(),
            created_ms,
            has_had_keys: spec.legs.iter().any(has_keys),
            lines: Vec::new(),
        };
        record.spec.legs.iter_mut().for_each(settle);
        record.take_lines(report);
        record
    }

    /// Takes over an update and what the call became by it.
    pub fn update(&mut self, key: &IdempotencyKey, legs: &[LegSpec], report: &CallReport) {
        self.updated_with = Some(key.clone());
        self.has_had_keys |= legs.iter().any(has_keys);
        for new in legs {
            let Some(at) = self.spec.legs.iter().position(|leg| leg.id == new.id) else {
                continue;
            };
            let before = std::mem::replace(&mut self.spec.legs[at], new.clone());
            let leg = &mut self.spec.legs[at];
            settle(leg);
            // An update may leave out the interface that the leg is on.
            leg.interface = leg.interface.take().or(before.interface);
            for line in self.lines.iter_mut().filter(|line| line.leg == at) {
                let signalled = before.lines.get(line.place).and_then(|line| line.remote);
                line.signalled = signalled
                    .filter(|address| !address.ip().is_unspecified())
                    .or(line.signalled);
            }
        }
        self.take_lines(report);
    }

    /// Notes the source that a line has learned.
    pub fn learn(&mut self, leg: usize, place: usize, source: SocketAddr) {
        let found = self
            .lines
            .iter_mut()
            .find(|line| (line.leg, line.place) == (leg, place));
        if let Some(line) = found {
            line.learned = Some(source);
        }
    }

    /// Ports and sources as the worker reports them.
    fn take_lines(&mut self, report: &CallReport) {
        let before = std::mem::take(&mut self.lines);
        for (leg, reported) in report.legs.iter().enumerate() {
            for (place, line) in reported.lines.iter().enumerate() {
                let Some(local) = line.local else { continue };
                let known = before.iter().find(|line| (line.leg, line.place) == (leg, place));
                let spec = self.spec.legs.get(leg).and_then(|leg| leg.lines.get(place));
                let held = spec
                    .and_then(|line| line.remote)
                    .is_some_and(|address| address.ip().is_unspecified());
                self.lines.push(Line {
                    leg,
                    place,
                    port: local.rtp.port(),
                    learned: line.learned,
                    signalled: known.and_then(|line| line.signalled).filter(|_| held),
                });
            }
        }
    }

    /// As bytes, for the next process.
    pub fn encode(&self) -> Vec<u8> {
        self.to_wire().encode_to_vec()
    }

    /// What [`Self::encode`] made.
    ///
    /// # Errors
    /// When it did not.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        Self::from_wire(Call::decode(bytes)?)
    }

    pub(super) fn to_wire(&self) -> Call {
        let text = |address: Option<SocketAddr>| address.map(|it| it.to_string()).unwrap_or_default();
        let line = |line: &Line| WireLine {
            leg: line.leg as u32,
            place: line.place as u32,
            port: line.port.into(),
            learned: text(line.learned),
            signalled: text(line.signalled),
        };
        Call {
            request: Some(convert::create_to_wire(&self.key, &self.spec)),
            worker: self.worker as u32,
            updated_with: self
                .updated_with
                .as_ref()
                .map(IdempotencyKey::to_string)
                .unwrap_or_default(),
            created_ms: self.created_ms,
            lines: self.lines.iter().map(line).collect(),
            has_had_keys: self.has_had_keys,
        }
    }

    pub(super) fn from_wire(call: Call) -> Result<Self, RecordError> {
        let request = call.request.ok_or(RecordError::Range("the call"))?;
        let (key, spec) = convert::create_from_wire(request)?;
        let updated_with = match call.updated_with.as_str() {
            "" => None,
            key => Some(IdempotencyKey::new(key)?),
        };
        let line = |line: WireLine| -> Result<Line, RecordError> {
            let found = Line {
                leg: line.leg as usize,
                place: line.place as usize,
                port: u16::try_from(line.port).map_err(|_| RecordError::Range("a port"))?,
                learned: address(&line.learned)?,
                signalled: address(&line.signalled)?,
            };
            let exists = spec
                .legs
                .get(found.leg)
                .is_some_and(|leg| found.place < leg.lines.len());
            exists.then_some(found).ok_or(RecordError::Range("a line"))
        };
        let lines = call
            .lines
            .into_iter()
            .map(line)
            .collect::<Result<Vec<_>, RecordError>>()?;
        Ok(Self {
            worker: call.worker as usize,
            key,
            updated_with,
            created_ms: call.created_ms,
            has_had_keys: call.has_had_keys,
            lines,
            spec,
        })
    }
}

fn has_keys(leg: &LegSpec) -> bool {
    let has_keys = |line: &LineSpec| line.srtp.is_some() || line.dtls.is_some() || line.ice.is_some();
    leg.lines.iter().any(has_keys)
}

/// What was done already is not to be done again: a source that was forgotten and learned anew.
fn settle(leg: &mut LegSpec) {
    for line in &mut leg.lines {
        line.relearn = false;
    }
}

pub(super) fn address(text: &str) -> Result<Option<SocketAddr>, RecordError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| RecordError::Range("an address"))
}
