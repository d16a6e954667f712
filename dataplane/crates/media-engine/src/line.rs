use std::net::SocketAddr;
use std::time::Duration;

use media_types::Latching;
use rtp::Ssrc;
use sans_io::Timestamp;

use crate::counters::Drops;
use crate::engine::Component;
use crate::format::{Format, Formats};
use crate::latch::{Latch, is_same};
use crate::line_flow::LineFlow;
use crate::port_pool::Pair;
use crate::round_trip::PassedReport;
use crate::security::{Protocol, Security, SecurityState, Unprotected};
use crate::settings::{LineSettings, Remote};
use crate::setup::{self, Setup};
use crate::stream::Stream;
use crate::{DropReason, FLOW_STREAMS_MAX, PortId, StreamState};

/// The local ports of a line that is enabled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinePorts {
    pub(crate) pair: Pair,
    pub(crate) rtp: PortId,
    /// `None` while RTCP shares the RTP port: then the second port of the pair is reserved and not open.
    pub(crate) rtcp: Option<PortId>,
}

/// Where packets leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Egress {
    pub(crate) to: SocketAddr,
    pub(crate) port: PortId,
}

/// One media line of one leg: what comes in from the party, and where it goes.
///
/// What every packet reads is in the first two cache lines. `rtp_egress` and `rtcp_egress` are the *peer* line's way
/// out, kept here so that a packet touches one line and one stream.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Line {
    pub(crate) rtp_egress: Option<Egress>,
    /// The slab key of the line that this one is relayed to.
    pub(crate) peer: u32,
    pub(crate) latest_rtp: Timestamp,
    pub(crate) streams: Vec<Stream>,
    /// The slab key of the call.
    pub(crate) call: u32,
    /// The line's place in the description.
    pub(crate) place: u16,
    /// 0 or 1.
    pub(crate) leg: u8,
    pub(crate) rtcp_mux: bool,
    pub(crate) party_sends: bool,
    pub(crate) peer_receives: bool,
    pub(crate) has_received: bool,
    pub(crate) timed_out: bool,
    /// Its RTP is forwarded by the table of flows; what comes here all the same was passed up.
    pub(crate) in_kernel: bool,
    /// A packet of a valid stream may decide its path.
    pub(crate) awaits_packet: bool,
    /// It is in the engine's list of lines to decide.
    pub(crate) is_undecided: bool,
    /// It is in the engine's list of lines whose flow is to be told of packets that it has not seen.
    pub(crate) has_aside: bool,
    /// Its packets are to be unprotected: `security` is there, and in use.
    pub(crate) is_secured: bool,
    /// The same of its peer: what goes there is to be protected.
    pub(crate) peer_is_secured: bool,
    /// The locked source is its first field.
    pub(crate) latch: Latch,
    // From here on, what RTCP, learning, timeouts and reports read.
    pub(crate) formats: Formats,
    pub(crate) rtcp_egress: Option<Egress>,
    /// The source that RTCP was learned from, when it has a port of its own.
    pub(crate) rtcp_source: Option<SocketAddr>,
    /// Media should flow from this party: both may, and both have said where.
    pub(crate) expects_media: bool,
    /// Since when.
    pub(crate) expects_since: Timestamp,
    pub(crate) latest_rtcp: Timestamp,
    /// RTP packets that were passed up since the flow was read last.
    pub(crate) passed_up: u32,
    pub(crate) rtp_flow: LineFlow,
    pub(crate) rtcp_flow: LineFlow,
    /// Its entry in the engine's `pauses`; [`Timestamp::MAX`] without one.
    pub(crate) pause_at: Timestamp,
    pub(crate) drops: Drops,
    pub(crate) rtcp_forwarded: u64,
    pub(crate) passed_report: PassedReport,
    /// From here to the party and back, by its latest answer to a report.
    pub(crate) round_trip: Option<Duration>,
    pub(crate) ports: Option<LinePorts>,
    pub(crate) remote_rtcp: Option<SocketAddr>,
    pub(crate) held: bool,
    pub(crate) party_receives: bool,
    pub(crate) is_audio: bool,
    pub(crate) own_formats: Box<[Format]>,
    /// There from its first keys on, also while it is in clear.
    pub(crate) security: Option<Box<Security>>,
    /// Of a line with DTLS or ICE.
    pub(crate) setup: Option<Box<Setup>>,
}

impl Line {
    /// A line without ports, formats and peer yet; memory for its streams is reserved here.
    pub(crate) fn new(call: u32, leg: u8, place: u16, streams_max: usize) -> Self {
        Self {
            latch: Latch::new(Latching::Off, None),
            rtp_egress: None,
            rtcp_egress: None,
            rtcp_source: None,
            latest_rtp: Timestamp::ZERO,
            streams: Vec::with_capacity(streams_max),
            formats: Formats::default(),
            call,
            peer: u32::MAX,
            leg,
            place,
            rtcp_mux: false,
            party_sends: false,
            peer_receives: false,
            has_received: false,
            timed_out: false,
            in_kernel: false,
            awaits_packet: true,
            is_undecided: false,
            has_aside: false,
            is_secured: false,
            peer_is_secured: false,
            latest_rtcp: Timestamp::ZERO,
            passed_up: 0,
            rtp_flow: LineFlow::default(),
            rtcp_flow: LineFlow::default(),
            pause_at: Timestamp::MAX,
            expects_media: false,
            expects_since: Timestamp::ZERO,
            drops: Drops::default(),
            rtcp_forwarded: 0,
            passed_report: PassedReport::default(),
            round_trip: None,
            ports: None,
            remote_rtcp: None,
            held: false,
            party_receives: false,
            is_audio: false,
            own_formats: Box::default(),
            security: None,
            setup: None,
        }
    }

    /// Takes over a specification. Ports and what depends on the peer are the engine's part.
    pub(crate) fn apply(&mut self, now: Timestamp, settings: LineSettings) {
        let (latching, signalled) = match (&settings.ice, settings.remote) {
            // The selected pair alone says where the party is; another line than before has none yet.
            (Some(_), _) if self.is_found_by_ice() => (Latching::Off, self.latch.signalled()),
            (Some(_), _) => (Latching::Off, None),
            (None, Remote::Address(address)) => (settings.latching, Some(address)),
            (None, Remote::Unknown) => (settings.latching, None),
            (None, Remote::Held) => (settings.latching, self.latch.signalled()),
        };
        let relearn = settings.relearn && settings.ice.is_none();
        let rtcp_moved = self.remote_rtcp != settings.remote_rtcp || self.rtcp_mux != settings.rtcp_mux;
        if self.latch.change(latching, signalled, relearn) || settings.relearn || rtcp_moved {
            self.rtcp_source = None;
        }
        // A party with ICE has an unspecified address before it knows one.
        self.held = settings.remote == Remote::Held && settings.ice.is_none();
        self.remote_rtcp = settings.remote_rtcp;
        self.rtcp_mux = settings.rtcp_mux;
        self.party_sends = settings.direction.sends();
        self.party_receives = settings.direction.receives();
        self.is_audio = settings.kind == media_types::MediaKind::Audio;
        self.own_formats = settings.formats;
        self.is_secured = settings.keys.is_some() || settings.dtls.is_some();
        if self.is_secured || self.security.is_some() {
            let before = self.setup.as_ref().and_then(|setup| setup.dtls.as_ref());
            let goes_on = setup::goes_on(before, settings.dtls.as_ref());
            let security = self
                .security
                .get_or_insert_with(|| Security::new(SecurityState::default()));
            // The keys of a handshake come when it is done, and stay while it is the same one.
            if !goes_on {
                security.change(now, settings.keys.map(|keys| *keys));
            }
        }
    }

    fn is_found_by_ice(&self) -> bool {
        self.setup.as_ref().is_some_and(|setup| setup.ice.is_some())
    }

    /// Unprotects what came from `source`, in place. A packet of a line in clear stays as it is. Does not allocate.
    #[inline]
    pub(crate) fn unprotect(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        protocol: Protocol,
        packet: &mut [u8],
    ) -> Result<Unprotected, DropReason> {
        match self.is_secured {
            true => self.unprotect_secured(now, source, protocol, packet),
            false => Ok(Unprotected::of(packet.len())),
        }
    }

    fn unprotect_secured(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        protocol: Protocol,
        packet: &mut [u8],
    ) -> Result<Unprotected, DropReason> {
        // Strangers are told apart by their address where that is known: a comparison is cheaper than a tag.
        let (known, stranger) = match protocol {
            Protocol::Rtp => (self.latch.locked(), DropReason::SourceLocked),
            Protocol::Rtcp if self.rtcp_mux => (self.latch.destination(), DropReason::RtcpSource),
            Protocol::Rtcp => (self.rtcp_source, DropReason::RtcpSource),
        };
        if known.is_some_and(|known| !is_same(known, source)) {
            return Err(stranger);
        }
        let security = self.security.as_mut().ok_or(DropReason::NoKey)?;
        security.unprotect(now, protocol, packet)
    }

    /// Whether RTP under the keys before, which teaches nothing, comes from where the party is taken to be.
    pub(crate) fn is_from_party(&self, source: SocketAddr) -> bool {
        self.latch
            .destination()
            .is_some_and(|party| is_same(party, source))
    }

    /// The same of RTCP.
    pub(crate) fn is_rtcp_from_party(&self, source: SocketAddr) -> bool {
        match self.rtcp_mux {
            true => self.is_from_party(source),
            false => {
                let known = self.rtcp_source.or_else(|| self.signalled_rtcp());
                known.is_some_and(|known| is_same(known, source))
            }
        }
    }

    /// The way out to this line's party for RTP.
    pub(crate) fn rtp_way(&self) -> Option<Egress> {
        let ports = self.ports?;
        if self.held {
            return None;
        }
        Some(Egress {
            to: self.latch.destination()?,
            port: ports.rtp,
        })
    }

    /// The way out to this line's party for RTCP: where its RTCP comes from, else where it says, else the port after
    /// the signalled one (RFC 3550 §11) unless its RTP turned out to come from another address.
    pub(crate) fn rtcp_way(&self) -> Option<Egress> {
        if self.rtcp_mux {
            return self.rtp_way();
        }
        let port = self.ports?.rtcp?;
        if self.held {
            return None;
        }
        if let Some(to) = self.rtcp_source {
            return Some(Egress { to, port });
        }
        let to = self.signalled_rtcp()?;
        match self.latch.locked() {
            Some(locked) if locked.ip() != to.ip() && self.remote_rtcp.is_none() => None,
            _ => Some(Egress { to, port }),
        }
    }

    /// Where the party's description has its RTCP.
    fn signalled_rtcp(&self) -> Option<SocketAddr> {
        self.remote_rtcp.or_else(|| {
            let rtp = self.latch.signalled()?;
            Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?))
        })
    }

    /// Judges the source of RTCP, whose first packet names `sender`. True when this packet has just locked it. Does
    /// not allocate.
    ///
    /// The signalled address is locked at once. Another port of the party's address is, when the packet names a stream
    /// that this party sends: who else sits at that address, or forges it, does not know the SSRC.
    pub(crate) fn admit_rtcp(
        &mut self,
        source: SocketAddr,
        sender: Option<Ssrc>,
    ) -> Result<bool, DropReason> {
        let same = |known: Option<SocketAddr>| known.is_some_and(|known| is_same(known, source));
        if self.rtcp_mux {
            // It shares the port, so it shares the lock. It does not make one: a lock takes RTP.
            return match same(self.latch.destination()) {
                true => Ok(false),
                false => Err(DropReason::RtcpSource),
            };
        }
        if self.rtcp_source.is_some() {
            return match same(self.rtcp_source) {
                true => Ok(false),
                false => Err(DropReason::RtcpSource),
            };
        }
        let learnable = self.is_at_party(source) && self.is_by_party(sender);
        if !learnable && !same(self.signalled_rtcp()) {
            return Err(DropReason::RtcpSource);
        }
        self.rtcp_source = Some(source);
        Ok(true)
    }

    /// Whether RTCP from a port that was not signalled comes from the party's address.
    fn is_at_party(&self, source: SocketAddr) -> bool {
        let party = match (self.latch.policy(), self.latch.locked()) {
            (Latching::Off, _) => None,
            (_, Some(locked)) => Some(locked),
            (Latching::SameAddress, None) => self.latch.signalled(),
            (Latching::AnyAddress, None) => None,
        };
        party.is_some_and(|party| party.ip() == source.ip())
    }

    /// Whether RTCP names a stream of the party. One that may not send has none to name.
    fn is_by_party(&self, sender: Option<Ssrc>) -> bool {
        match self.streams.is_empty() {
            true => !self.party_sends,
            false => self.streams.iter().any(|stream| Some(stream.ssrc) == sender),
        }
    }

    /// RTP was locked on `source`: RTCP learned from another address before was not this party's.
    pub(crate) fn rtp_locked(&mut self, source: SocketAddr) {
        if self.rtcp_source.is_some_and(|rtcp| rtcp.ip() != source.ip()) {
            self.rtcp_source = None;
        }
    }

    /// One of its flows.
    pub(crate) const fn flow_mut(&mut self, component: Component) -> &mut LineFlow {
        match component {
            Component::Rtp => &mut self.rtp_flow,
            Component::Rtcp => &mut self.rtcp_flow,
        }
    }

    /// When the latest packet of one of its flows came to user space.
    pub(crate) fn latest_packet(&self, component: Component) -> Timestamp {
        match component {
            Component::Rtp if self.rtcp_mux => self.latest_rtp.max(self.latest_rtcp),
            Component::Rtp => self.latest_rtp,
            Component::Rtcp => self.latest_rtcp,
        }
    }

    /// Gives the streams heard last to the table of flows, as many as it has room for. From now on it counts them.
    pub(crate) fn lend_streams(&mut self) -> Vec<StreamState> {
        let mut order: Vec<&mut Stream> = self.streams.iter_mut().collect();
        order.sort_unstable_by_key(|stream| std::cmp::Reverse(stream.latest));
        order
            .into_iter()
            .take(FLOW_STREAMS_MAX)
            .map(Stream::lend)
            .collect()
    }

    /// Its streams are counted here again, as they are.
    pub(crate) fn return_streams(&mut self) {
        for stream in &mut self.streams {
            stream.is_lent = false;
        }
    }

    /// Adds a stream; within the memory reserved by evicting the one that was silent for longest. True when one was
    /// evicted. Does not allocate.
    pub(crate) fn add_stream(&mut self, stream: Stream, streams_max: usize) -> bool {
        let full = self.streams.len() >= streams_max;
        if full {
            let oldest = self
                .streams
                .iter()
                .enumerate()
                .min_by_key(|(_, stream)| stream.latest);
            match oldest.map(|(at, _)| at) {
                Some(at) => drop(self.streams.remove(at)),
                None => return true,
            }
        }
        self.streams.push(stream);
        full
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// 10,000 calls on one core must not wait for memory more than they have to.
    #[test]
    fn what_a_packet_reads_is_in_two_cache_lines() {
        assert!(offset_of!(Line, latch) + Latch::HOT_LEN <= 128);
        assert!(
            size_of::<Option<Line>>() <= 1_152,
            "{}",
            size_of::<Option<Line>>()
        );
        assert!(size_of::<Stream>() <= 224, "{}", size_of::<Stream>());
    }
}
