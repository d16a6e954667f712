use std::net::SocketAddr;
use std::sync::Arc;

use media_engine::{DropReason, Engine, PortId, Verdict};
use media_types::{CallId, Refusal};
use net_io::FRAME_SIZE;
use rtrb::Producer;
use sans_io::Timestamp;

use super::packet;
use super::record::{Place, Record};
use super::shared::{Ended, Shared};

/// What a worker is asked to copy, and where it puts it.
#[derive(Debug)]
pub struct Order {
    /// The call.
    pub call: CallId,
    /// Bytes of a payload that are kept.
    pub snap_bytes: u16,
    /// Records at most.
    pub packets_max: u64,
    /// No packet is copied from then on, also when nobody ends the tap.
    pub until: Timestamp,
    /// The ring. The control thread lets go of its end to end the tap.
    pub ring: Producer<u8>,
    /// What is told besides.
    pub shared: Arc<Shared>,
}

/// A worker's taps. Without any, a packet costs one look at a flag.
#[derive(Debug, Default)]
pub struct Copier {
    taps: Vec<Tap>,
    /// In the order of their identities; a port is there once for each tap of its call.
    ports: Vec<TappedPort>,
    /// The packet at hand as it came: encryption changes it in its frame.
    received: Vec<u8>,
}

#[derive(Debug)]
struct Tap {
    order: Order,
    taken: u64,
}

#[derive(Clone, Copy, Debug)]
struct TappedPort {
    port: PortId,
    local: SocketAddr,
    leg: u8,
    line: u16,
    /// Its place in `taps`.
    tap: u8,
}

impl Copier {
    /// Whether any call is tapped.
    pub fn is_at_work(&self) -> bool {
        !self.taps.is_empty()
    }

    /// Begins a tap.
    ///
    /// # Errors
    /// [`Refusal::UnknownCall`]; [`Refusal::Busy`] when the worker has as many taps as it can.
    pub fn begin(&mut self, now: Timestamp, engine: &Engine, order: Order) -> Result<(), Refusal> {
        self.tidy(now);
        if self.taps.len() > usize::from(u8::MAX) {
            return Err(Refusal::Busy);
        }
        let ports = engine.call_ports(&order.call).ok_or(Refusal::UnknownCall)?;
        self.received.reserve(FRAME_SIZE);
        order.shared.set_ports(ports);
        self.taps.push(Tap { order, taken: 0 });
        self.find_ports(engine);
        Ok(())
    }

    /// Ends the taps that nobody reads any more, whose time is over or which have all that they wanted. Once a turn.
    pub fn tidy(&mut self, now: Timestamp) {
        self.keep(|tap| {
            if tap.taken >= tap.order.packets_max {
                tap.order.shared.end(now, Ended::Packets);
                return false;
            }
            !tap.order.ring.is_abandoned() && now < tap.order.until
        });
    }

    /// A call's ports are others now, or it has ended.
    pub fn call_changed(&mut self, now: Timestamp, engine: &Engine, call: &CallId) {
        let mut changed = false;
        self.keep(|tap| {
            if tap.order.call != *call {
                return true;
            }
            changed = true;
            match engine.call_ports(call) {
                Some(ports) => tap.order.shared.set_ports(ports),
                None => tap.order.shared.end(now, Ended::Gone),
            }
            engine.has(call)
        });
        if changed {
            self.find_ports(engine);
        }
    }

    /// Calls may have ended.
    pub fn calls_may_have_ended(&mut self, now: Timestamp, engine: &Engine) {
        self.keep(|tap| {
            let is_there = engine.has(&tap.order.call);
            if !is_there {
                tap.order.shared.end(now, Ended::Gone);
            }
            is_there
        });
    }

    /// The worker stops.
    pub fn stop(&mut self, now: Timestamp) {
        for tap in &self.taps {
            tap.order.shared.end(now, Ended::Stopping);
        }
        self.taps.clear();
        self.ports.clear();
    }

    /// Keeps the packet that is looked at next as it came, for [`copy`](Self::copy). Within the memory reserved when a tap
    /// began.
    pub fn keep_received(&mut self, payload: &[u8]) {
        self.received.clear();
        self.received.extend_from_slice(payload);
    }

    /// Copies the packet that was kept, received at `port`, and what it has become, `sent`, for each tap of the ports that it
    /// came and goes by.
    ///
    /// Does not allocate, lock or log.
    pub fn copy(&mut self, now: Timestamp, port: PortId, source: SocketAddr, sent: &[u8], verdict: Verdict) {
        let dropped = match verdict {
            Verdict::Forward { .. } | Verdict::SetUp(_) => None,
            Verdict::Drop(reason) => Some(reason),
        };
        let received = std::mem::take(&mut self.received);
        self.copy_at(port, |tapped| Seen {
            at: now,
            source,
            destination: tapped.local,
            sent: false,
            dropped,
            payload: &received,
        });
        self.received = received;
        if let Verdict::Forward { port, to, .. } = verdict {
            self.copy_at(port, |tapped| Seen {
                at: now,
                source: tapped.local,
                destination: to,
                sent: true,
                dropped: None,
                payload: sent,
            });
        }
    }

    /// Copies a datagram of the node's own that leaves from `port`, for each tap of that port.
    pub fn copy_sent(&mut self, now: Timestamp, port: PortId, to: SocketAddr, payload: &[u8]) {
        self.copy_at(port, |tapped| Seen {
            at: now,
            source: tapped.local,
            destination: to,
            sent: true,
            dropped: None,
            payload,
        });
    }

    fn copy_at<'a>(&mut self, port: PortId, seen: impl Fn(&TappedPort) -> Seen<'a>) {
        let first = self.ports.partition_point(|tapped| tapped.port < port);
        for tapped in self.ports[first..]
            .iter()
            .take_while(|tapped| tapped.port == port)
        {
            if let Some(tap) = self.taps.get_mut(usize::from(tapped.tap)) {
                tap.take(tapped, &seen(tapped));
            }
        }
    }

    /// Drops the taps that are not to be kept, and their ports with them.
    fn keep(&mut self, mut is_kept: impl FnMut(&Tap) -> bool) {
        let mut index = 0;
        while index < self.taps.len() {
            if is_kept(&self.taps[index]) {
                index += 1;
                continue;
            }
            self.taps.remove(index);
            let gone = index as u8;
            self.ports.retain(|tapped| tapped.tap != gone);
            for tapped in &mut self.ports {
                tapped.tap -= u8::from(tapped.tap > gone);
            }
        }
    }

    fn find_ports(&mut self, engine: &Engine) {
        self.ports.clear();
        for (index, tap) in self.taps.iter().enumerate() {
            let ports = engine.call_ports(&tap.order.call).map(|call| call.ports);
            self.ports
                .extend(ports.unwrap_or_default().iter().map(|port| TappedPort {
                    port: port.port,
                    local: port.local,
                    leg: port.leg,
                    line: port.line,
                    tap: index as u8,
                }));
        }
        self.ports.sort_by_key(|tapped| tapped.port);
    }
}

/// A packet at one side of the relay.
struct Seen<'a> {
    at: Timestamp,
    source: SocketAddr,
    destination: SocketAddr,
    sent: bool,
    dropped: Option<DropReason>,
    payload: &'a [u8],
}

impl Tap {
    fn take(&mut self, tapped: &TappedPort, seen: &Seen<'_>) {
        let order = &mut self.order;
        if self.taken >= order.packets_max || seen.at >= order.until {
            return;
        }
        let place = Place {
            leg: tapped.leg,
            line: tapped.line,
            sent: seen.sent,
        };
        let length = seen.payload.len().min(usize::from(u16::MAX)) as u16;
        let record = Record {
            at: seen.at,
            place,
            source: seen.source,
            destination: seen.destination,
            length,
            kept: length.min(order.snap_bytes),
            sum: packet::sum(seen.payload),
            dropped: seen.dropped,
        };
        if record.push(&mut order.ring, seen.payload) {
            self.taken += 1;
        } else {
            order.shared.count_left_out(place);
        }
    }
}
