use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use call::{MediaAnswer, MediaError, MediaKind, MediaRequest};
use media_types::{
    CallId, CallReport, EndCause, Event, EventKind, LegReport, LegSpec, LineReport, LocalLine, NodeName,
    Path, Refusal, StreamReport,
};

use super::script::Script;

/// The mood in which no answer comes.
pub(super) const SILENT: u8 = 3;

/// A media node that is in a mood, and holds the B2BUA to the contract of [`MediaRequest`].
#[derive(Default)]
pub(super) struct Node {
    pub(super) mood: u8,
    pub(super) answers: VecDeque<MediaAnswer>,
    calls: HashMap<CallId, Kept>,
}

/// What is known of a call.
struct Kept {
    legs: Vec<LegSpec>,
    /// The creation was not refused, so a deletion must follow.
    is_created: bool,
    is_deleted: bool,
}

impl Node {
    pub(super) fn name() -> NodeName {
        NodeName::new("media-1").expect("a name")
    }

    pub(super) fn handle(&mut self, request: MediaRequest) {
        let MediaRequest { id, call, kind, .. } = request;
        let mood = self.mood % 6;
        let refusal = match mood {
            1 => Some(MediaError::Refused(Refusal::NoPorts)),
            2 => Some(MediaError::NoNode {
                retry_after: Duration::from_secs(5),
            }),
            4 => Some(MediaError::Refused(Refusal::Invalid("mood"))),
            _ => None,
        };
        let kept = self.calls.entry(call.clone()).or_insert(Kept {
            legs: Vec::new(),
            is_created: false,
            is_deleted: false,
        });
        assert!(
            !kept.is_deleted,
            "a request after the deletion of {call}: {kind:?}"
        );
        match kind {
            MediaKind::Create(spec) => {
                assert!(!kept.is_created, "two creations of {call}");
                kept.is_created = refusal.is_none();
                kept.legs = spec.legs;
            }
            MediaKind::Update(legs) if refusal.is_none() => kept.legs = legs,
            MediaKind::Update(_) => {}
            MediaKind::Delete => kept.is_deleted = true,
        }
        let result = match (refusal, mood) {
            (Some(refusal), _) => Err(refusal),
            (None, 5) => Err(MediaError::Lost),
            (None, _) => Ok((Self::name(), report(&call, &kept.legs))),
        };
        if mood != SILENT {
            self.answers.push_back(MediaAnswer {
                id,
                result,
                fingerprint: None,
            });
        }
    }

    /// Something that the node says of a call that it has.
    pub(super) fn event(&mut self, script: &mut Script<'_>) -> Option<Event> {
        let mut calls: Vec<&CallId> = self.calls.keys().collect();
        calls.sort();
        let call = (*calls.get(script.below(4))?).clone();
        let kept = &self.calls[&call];
        let leg = kept.legs.get(script.below(2)).map(|leg| leg.id.clone());
        let kind = match (script.below(3), leg) {
            (0, Some(leg)) => EventKind::MediaTimeout {
                leg,
                line: script.below(3),
            },
            (1, Some(leg)) => EventKind::FirstPacket { leg, line: 0 },
            _ => {
                let cause = script.one_of(&[EndCause::LeaseExpired, EndCause::Shutdown]);
                EventKind::Ended {
                    cause,
                    report: Box::new(report(&call, &kept.legs)),
                }
            }
        };
        Some(Event { call, kind })
    }

    pub(super) fn check_all_deleted(&self) {
        for (call, kept) in &self.calls {
            assert!(
                kept.is_deleted || !kept.is_created,
                "{call} was created and not deleted"
            );
        }
    }
}

fn report(call: &CallId, legs: &[LegSpec]) -> CallReport {
    let line = |leg: usize, index: usize, enabled: bool| {
        let ip = IpAddr::from([198, 51, 100, 11]);
        let port = 10_000 + 100 * leg as u16 + 2 * index as u16;
        let local = LocalLine {
            rtp: SocketAddr::new(ip, port),
            rtcp: SocketAddr::new(ip, port + 1),
        };
        LineReport {
            local: enabled.then_some(local),
            learned: None,
            path: Path::Simulated,
            path_reason: "simulated",
            rtcp_path: None,
            drops: Vec::new(),
            rtcp_forwarded: 0,
            srtp: None,
            dtls: None,
            ice: None,
            streams: vec![StreamReport::default()],
        }
    };
    let legs = legs.iter().enumerate().map(|(number, leg)| LegReport {
        id: leg.id.clone(),
        lines: leg
            .lines
            .iter()
            .enumerate()
            .map(|(index, spec)| line(number, index, spec.enabled))
            .collect(),
    });
    CallReport {
        id: call.clone(),
        age: Duration::ZERO,
        lease_left: Duration::ZERO,
        legs: legs.collect(),
    }
}
