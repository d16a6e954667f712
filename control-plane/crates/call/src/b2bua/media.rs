use std::sync::Arc;

use media_types::{
    CallId, CallReport, CallSpec, Fingerprint, LegSpec, LineSpec, LocalLine, NodeName, Refusal,
};
use sans_io::Timestamp;

use super::deadlines::Deadline;
use super::hub::{CallKey, Hub};
use super::line::{Line, Lines};
use super::side::{Both, Side};
use crate::{MediaError, MediaKind, MediaRequestId, Quality};

/// What a media request is a step of, so that the call goes on when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ports for both legs, before an offer is passed to the other side.
    Reserve,
    /// An answer in a provisional response. Nothing waits for it.
    Early,
    /// The answer to the INVITE.
    Answer,
    /// Ports for the lines that an offer within the dialog adds.
    Extend,
    /// The answer to such an offer.
    Settle,
    /// Ports for the lines that the offer of a newcomer adds.
    ExtendForNewcomer,
    /// The answer to such an offer.
    SettleNewcomer,
    /// Back to what was agreed, after such an offer failed. Nothing waits for it.
    Restore,
    /// The ports are freed.
    Delete,
}

/// A call's media: what its node has of it, and the one request that is under way.
///
/// Requests are given one after the other, so that a node never sees them in another order than the call made them.
#[derive(Debug)]
pub(super) struct Media {
    call: CallKey,
    id: CallId,
    node: Option<NodeName>,
    state: State,
    under_way: Option<Box<UnderWay>>,
    /// What comes next; a newer plan replaces an older one.
    queued: Option<Box<(Step, Lines)>>,
    ipv6: Both<bool>,
    /// The lines as the node has them.
    lines: Lines,
    locals: Both<Vec<Option<LocalLine>>>,
    /// The most lines that the node was ever asked for: none are taken away again.
    line_count: u16,
    /// The callee's source is to be learned anew with the next update: another party is behind the leg.
    relearns_callee: bool,
    /// Once the call is over.
    quality: Option<Box<Quality>>,
    /// Of the certificate that the node shows in handshakes, if it makes any.
    fingerprint: Option<Arc<Fingerprint>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The node has nothing, for all we know.
    Absent,
    /// The node has the call, or may have it.
    Present,
    /// To be deleted when the request under way is done.
    Leaving,
    /// The deletion was asked for.
    Deleting,
    /// Nothing is left to be done.
    Gone,
}

#[derive(Debug)]
struct UnderWay {
    request: MediaRequestId,
    step: Step,
    lines: Lines,
}

impl Media {
    pub(super) fn new(call: CallKey, id: CallId) -> Self {
        Self {
            call,
            id,
            node: None,
            state: State::Absent,
            under_way: None,
            queued: None,
            ipv6: Both::default(),
            lines: Lines::default(),
            locals: Both::default(),
            line_count: 0,
            relearns_callee: false,
            quality: None,
            fingerprint: None,
        }
    }

    /// Notes what certificate the node shows. One that is not told again stays.
    pub(super) fn shows(&mut self, fingerprint: Option<Arc<Fingerprint>>) {
        if fingerprint.is_some() {
            self.fingerprint = fingerprint;
        }
    }

    /// Of the certificate that the node shows in handshakes.
    pub(super) fn fingerprint(&self) -> Option<&Fingerprint> {
        self.fingerprint.as_deref()
    }

    /// Asks for ports. `ipv6` decides the family of each leg for the life of the call.
    pub(super) fn create(&mut self, hub: &mut Hub, now: Timestamp, ipv6: Both<bool>, lines: Lines) {
        self.ipv6 = ipv6;
        self.state = State::Present;
        hub.media_calls.insert(self.id.clone(), self.call);
        let legs = Side::BOTH.map(|side| self.leg(hub, side, &lines)).to_vec();
        let spec = CallSpec {
            id: self.id.clone(),
            legs,
            lease: hub.config.media_lease,
            media_timeout: hub.config.media_timeout,
        };
        self.ask(hub, now, Step::Reserve, lines, MediaKind::Create(spec));
    }

    /// Asks for other lines, after what is under way.
    pub(super) fn update(&mut self, hub: &mut Hub, now: Timestamp, step: Step, lines: Lines) {
        if self.state != State::Present {
            return;
        }
        if self.under_way.is_some() {
            self.queued = Some(Box::new((step, lines)));
            return;
        }
        let legs = Side::BOTH.map(|side| self.leg(hub, side, &lines)).to_vec();
        self.relearns_callee = false;
        self.ask(hub, now, step, lines, MediaKind::Update(legs));
    }

    /// Another party is behind the callee's leg from the next update on.
    pub(super) const fn relearn_callee(&mut self) {
        self.relearns_callee = true;
    }

    /// Whether the node has these lines, and nothing else is to be told to it.
    pub(super) fn has(&self, lines: &Both<Vec<Line>>) -> bool {
        self.lines() == lines && self.is_idle() && !self.relearns_callee
    }

    /// Frees the ports, once nothing is under way. Does so once, however often it is called.
    pub(super) fn release(&mut self, hub: &mut Hub, now: Timestamp) {
        match self.state {
            State::Absent => self.state = State::Gone,
            State::Present => {
                self.queued = None;
                self.state = State::Leaving;
                self.leave(hub, now);
            }
            State::Leaving | State::Deleting | State::Gone => {}
        }
    }

    fn leave(&mut self, hub: &mut Hub, now: Timestamp) {
        if self.state == State::Leaving && self.under_way.is_none() {
            self.state = State::Deleting;
            self.ask(hub, now, Step::Delete, Lines::default(), MediaKind::Delete);
        }
    }

    /// Takes an answer, or the lack of one. Gives the step that it ends; `None` for an answer that nobody waits for
    /// any more.
    pub(super) fn answered(
        &mut self,
        hub: &mut Hub,
        now: Timestamp,
        request: Option<MediaRequestId>,
        result: Result<(NodeName, CallReport), MediaError>,
    ) -> Option<(Step, Result<(), MediaError>)> {
        let under_way = self
            .under_way
            .take_if(|it| request.is_none_or(|request| request == it.request))?;
        hub.media.remove(&under_way.request);
        hub.deadlines.clear(self.call, Deadline::Media);
        if let Err(error) = &result {
            hub.counters.media_failures += 1;
            tracing::warn!(call = %self.id, step = ?under_way.step, %error, "the media request failed");
        }
        let result = self.take_result(under_way.step, under_way.lines, result);
        if under_way.step == Step::Delete {
            self.state = State::Gone;
        }
        if self.state == State::Gone {
            hub.media_calls.remove(&self.id);
        }
        self.leave(hub, now);
        if let Some((step, lines)) = self.queued.take().map(|queued| *queued) {
            self.update(hub, now, step, lines);
        }
        Some((under_way.step, result))
    }

    fn take_result(
        &mut self,
        step: Step,
        lines: Lines,
        result: Result<(NodeName, CallReport), MediaError>,
    ) -> Result<(), MediaError> {
        match result {
            Ok((node, report)) => {
                self.node = Some(node);
                if step == Step::Delete {
                    self.quality = Some(Box::new(Quality::of_report(&report)));
                    return Ok(());
                }
                let has_handshake = |line: &Line| line.security.handshake().is_some();
                if self.fingerprint.is_none() && lines.caller.iter().chain(&lines.callee).any(has_handshake) {
                    // One that knows of no handshakes would relay in clear what it was told to secure by them.
                    return Err(MediaError::Refused(Refusal::Invalid("the node knows no DTLS")));
                }
                self.lines = lines;
                for (side, leg) in Side::BOTH.into_iter().zip(report.legs) {
                    self.locals[side] = leg.lines.into_iter().map(|line| line.local).collect();
                }
                Ok(())
            }
            Err(error) => {
                // A refused creation left nothing behind; a lost one may have.
                if step == Step::Reserve && error != MediaError::Lost {
                    self.state = State::Gone;
                }
                Err(error)
            }
        }
    }

    fn ask(&mut self, hub: &mut Hub, now: Timestamp, step: Step, lines: Lines, kind: MediaKind) {
        self.line_count =
            u16::try_from(lines.caller.len()).map_or(u16::MAX, |count| count.max(self.line_count));
        let request = hub.ask_media(self.call, &self.id, self.node.clone(), kind);
        self.under_way = Some(Box::new(UnderWay { request, step, lines }));
        hub.deadlines
            .set(self.call, Deadline::Media, now + hub.config.media_answer_timeout);
    }

    fn leg(&self, hub: &Hub, side: Side, lines: &Both<Vec<Line>>) -> LegSpec {
        let (interface, latching) = match side {
            Side::Caller => (&hub.config.caller_interface, hub.config.caller_latching),
            Side::Callee => (&hub.config.callee_interface, hub.config.callee_latching),
        };
        let mut lines: Vec<LineSpec> = lines[side]
            .iter()
            .map(|line| LineSpec {
                latching,
                relearn: line.spec.relearn || side == Side::Callee && self.relearns_callee,
                ..line.to_node()
            })
            .collect();
        while lines.len() < usize::from(self.line_count)
            && let Some(last) = lines.last()
        {
            lines.push(LineSpec {
                enabled: false,
                remote: None,
                remote_rtcp: None,
                srtp: None,
                dtls: None,
                ice: None,
                ..last.clone()
            });
        }
        LegSpec {
            id: side.leg_id(),
            interface: interface.clone(),
            ipv6: self.ipv6[side],
            lines,
        }
    }

    /// The node ended the call on its own; its last statistics are kept for the record, if there are any: a node that
    /// vanished gives a report without legs.
    pub(super) fn lost(&mut self, report: &CallReport) {
        self.quality = (!report.legs.is_empty()).then(|| Box::new(Quality::of_report(report)));
    }

    pub(super) const fn node(&self) -> Option<&NodeName> {
        self.node.as_ref()
    }

    /// The lines as the node has them.
    pub(super) fn lines(&self) -> &Both<Vec<Line>> {
        &self.lines
    }

    /// Our addresses towards a party, by line.
    pub(super) fn locals(&self, side: Side) -> &[Option<LocalLine>] {
        &self.locals[side]
    }

    /// Whether a leg has IPv6 addresses.
    pub(super) fn is_ipv6(&self, side: Side) -> bool {
        self.ipv6[side]
    }

    /// Whether the node was never asked for the call.
    pub(super) fn is_absent(&self) -> bool {
        self.state == State::Absent
    }

    /// Whether no request is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.state == State::Gone && self.under_way.is_none()
    }

    pub(super) fn quality(&self) -> Option<Quality> {
        self.quality.as_deref().copied()
    }
}
