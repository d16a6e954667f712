use std::net::SocketAddr;

use media_types::EventKind;
use rtp::rtcp::Compound;
use rtp::{Class, Packet, classify};
use sans_io::Timestamp;

use super::{Component, Engine, Slot};
use crate::latch::Admission;
use crate::line::Egress;
use crate::security::{Protocol, Unprotected};
use crate::stream::Stream;
use crate::{DropReason, PortId, Verdict};

impl Engine {
    /// Decides what becomes of the datagram in `buffer[..len]`, which came to `port` from `source`, and counts it. Where
    /// parties encrypt, it is changed in place and may grow into the rest of the buffer. Neither allocates, locks nor logs.
    pub fn handle_packet(
        &mut self,
        now: Timestamp,
        port: PortId,
        source: SocketAddr,
        buffer: &mut [u8],
        len: usize,
    ) -> Verdict {
        let (line, component) = match self.slots.get(port.0 as usize) {
            Some(slot) if slot.line != Slot::FREE => (slot.line, slot.component),
            _ => {
                self.counters.drops.count(DropReason::UnknownPort);
                return Verdict::Drop(DropReason::UnknownPort);
            }
        };
        let class = classify(&buffer[..len]);
        let way = match class {
            Class::Rtp => self.handle_rtp(now, line, component, source, buffer, len),
            Class::Rtcp => self.handle_rtcp(now, line, component, source, buffer, len),
            other => match self.setup_datagram(now, line, component, source, other, &buffer[..len]) {
                Ok(id) => {
                    self.counters.set_up += 1;
                    return Verdict::SetUp(id);
                }
                Err(reason) => Err(reason),
            },
        };
        match way {
            Ok((Egress { port, to }, len)) => {
                self.counters.bytes_forwarded += len as u64;
                if class == Class::Rtp {
                    self.counters.rtp_forwarded += 1;
                } else {
                    self.counters.rtcp_forwarded += 1;
                    self.line_mut(line).rtcp_forwarded += 1;
                }
                Verdict::Forward { port, to, len }
            }
            Err(reason) => {
                self.counters.drops.count(reason);
                self.line_mut(line).drops.count(reason);
                Verdict::Drop(reason)
            }
        }
    }

    #[inline]
    fn handle_rtp(
        &mut self,
        now: Timestamp,
        key: u32,
        component: Component,
        source: SocketAddr,
        buffer: &mut [u8],
        len: usize,
    ) -> Result<(Egress, usize), DropReason> {
        if component == Component::Rtcp {
            return Err(DropReason::RtpOnRtcpPort);
        }
        let streams_max = self.config.limits.streams_per_line_max;
        let line = &mut self.lines[key as usize];
        let Unprotected { len, is_by_previous } =
            line.unprotect(now, source, Protocol::Rtp, &mut buffer[..len])?;
        let packet = Packet::parse(&buffer[..len])?;
        let types = &line.formats.payload_types;
        if is_by_previous {
            if !line.is_from_party(source) {
                return Err(DropReason::SourceLearning);
            }
        } else if line
            .latch
            .admit(now, source, &packet, types, &self.config.learning)?
            == Admission::Locked
        {
            self.rtp_locked(key, source);
        }
        let line = &mut self.lines[key as usize];
        if !line.party_sends {
            return Err(DropReason::PartyNotSending);
        }
        line.latest_rtp = now;
        line.timed_out = false;
        line.passed_up += u32::from(line.in_kernel);
        let first = !std::mem::replace(&mut line.has_received, true);
        match line
            .streams
            .iter_mut()
            .find(|stream| stream.ssrc == packet.ssrc())
        {
            Some(stream) => stream.observe(now, &packet, &line.formats),
            None => {
                let stream = Stream::new(now, &packet, &line.formats);
                self.counters.streams_evicted += u64::from(line.add_stream(stream, streams_max));
            }
        }
        let (receives, way) = (line.peer_receives, line.rtp_egress);
        if line.in_kernel && !std::mem::replace(&mut line.has_aside, true) {
            self.asides.push(key);
        }
        let line = &self.lines[key as usize];
        if line.awaits_packet && line.streams.iter().any(|stream| stream.statistics.is_valid()) {
            self.undecide(key);
        }
        if first {
            self.first_packet(key);
        }
        if !receives {
            return Err(DropReason::PeerNotReceiving);
        }
        let way = way.ok_or(DropReason::NoDestination)?;
        Ok((way, self.protect(key, Protocol::Rtp, buffer, len)?))
    }

    fn handle_rtcp(
        &mut self,
        now: Timestamp,
        key: u32,
        component: Component,
        source: SocketAddr,
        buffer: &mut [u8],
        len: usize,
    ) -> Result<(Egress, usize), DropReason> {
        let line = &mut self.lines[key as usize];
        if component == Component::Rtp && !line.rtcp_mux {
            return Err(DropReason::RtcpNotMuxed);
        }
        let Unprotected { len, is_by_previous } =
            line.unprotect(now, source, Protocol::Rtcp, &mut buffer[..len])?;
        let compound = Compound::parse(&buffer[..len])?;
        let locked = match is_by_previous {
            true if line.is_rtcp_from_party(source) => false,
            true => return Err(DropReason::RtcpSource),
            false => line.admit_rtcp(source, compound.sender())?,
        };
        line.latest_rtcp = now;
        let peer = line.peer;
        if locked {
            self.route(peer, key);
            self.undecide(key);
        }
        self.read_rtcp(now, key, &compound);
        let way = self.line(key).rtcp_egress.ok_or(DropReason::NoDestination)?;
        Ok((way, self.protect(key, Protocol::Rtcp, buffer, len)?))
    }

    /// Protects what leaves towards the peer of a line, if that is secured; its length.
    #[inline]
    fn protect(
        &mut self,
        key: u32,
        protocol: Protocol,
        buffer: &mut [u8],
        len: usize,
    ) -> Result<usize, DropReason> {
        let line = &self.lines[key as usize];
        if !line.peer_is_secured {
            return Ok(len);
        }
        let peer = line.peer;
        let security = self.line_mut(peer).security.as_mut();
        security.ok_or(DropReason::NoKey)?.protect(protocol, buffer, len)
    }

    /// Learns from the copy of an RTCP datagram that a flow has forwarded from `local` at `arrival`: what
    /// [`Self::handle_packet`] learns from others. The flow has counted it. Does not allocate.
    pub fn handle_rtcp_copy(&mut self, arrival: Timestamp, local: SocketAddr, payload: &[u8]) {
        let Some((_, line)) = self.pool.line_at(local) else {
            return;
        };
        if let Ok(compound) = Compound::parse(payload) {
            self.read_rtcp(arrival, line, &compound);
        }
    }

    /// Takes note of reports, and of the round trips that they show.
    fn read_rtcp(&mut self, now: Timestamp, key: u32, compound: &Compound<'_>) {
        let line = &mut self.lines[key as usize];
        line.passed_report.note(now, compound);
        let peer = line.peer;
        if let Some(round_trip) = self.line(peer).passed_report.round_trip(now, compound) {
            self.line_mut(key).round_trip = Some(round_trip);
        }
    }

    /// A line has just locked the source of its RTP: what the peer sends now goes there.
    #[cold]
    pub(super) fn rtp_locked(&mut self, key: u32, source: SocketAddr) {
        let line = self.line_mut(key);
        line.rtp_locked(source);
        let (peer, call, leg, place) = (line.peer, line.call, line.leg, line.place);
        self.route(peer, key);
        // RTCP from elsewhere may just have been unlearned.
        self.undecide(key);
        self.counters.latches += 1;
        let leg = self.call(call).legs[usize::from(leg)].id.clone();
        self.tell(
            call,
            EventKind::Latched {
                leg,
                line: usize::from(place),
                source,
            },
        );
    }

    #[cold]
    fn first_packet(&mut self, key: u32) {
        let line = self.line(key);
        let (call, leg, place) = (line.call, line.leg, line.place);
        let leg = self.call(call).legs[usize::from(leg)].id.clone();
        self.tell(
            call,
            EventKind::FirstPacket {
                leg,
                line: usize::from(place),
            },
        );
    }
}
