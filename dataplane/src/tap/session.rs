use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ebpf::{Direction, TapRecord};
use media_engine::CallPorts;
use media_types::CallId;
use ops::clock::MonotonicClock;
use proto::media_v1::{self as wire, tap_call_response::Part};
use rtrb::Consumer;
use sans_io::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::MissedTickBehavior;
use tonic::Status;

use super::kernel::KernelTap;
use super::packet;
use super::record::{Place, Record};
use super::shared::{Ended, Shared};

/// How often the ring is looked into. A ring of a megabyte then holds what a hundred calls send meanwhile.
const TURN: Duration = Duration::from_millis(20);
/// Packets, and bytes of them, in one message.
const MESSAGE_PACKETS: usize = 256;
const MESSAGE_BYTES: usize = 128 * 1024;
/// Turns after which the kernel is asked what it left out.
const TURNS_PER_COUNT: u64 = 50;
/// How long a client that does not read may keep a tap whose time is over.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What was agreed on.
#[derive(Debug)]
pub struct Terms {
    /// The call.
    pub call: CallId,
    /// The process's clock.
    pub clock: MonotonicClock,
    /// The path of packets in user space.
    pub path: wire::Path,
    /// When the tap's time is over.
    pub until: Timestamp,
    /// Packets at most.
    pub packets_max: u64,
    /// Bytes of a payload that are kept.
    pub snap_bytes: u16,
}

/// One tap, from its beginning to its end. Worker and kernel notice when it is dropped.
#[derive(Debug)]
pub struct Session {
    terms: Terms,
    /// When it began, on the monotonic clock and in nanoseconds since 1970.
    began: (Timestamp, u64),
    ring: Consumer<u8>,
    kernel: Option<KernelTap>,
    /// What the kernel has copied and nobody was told of.
    records: VecDeque<TapRecord>,
    shared: Arc<Shared>,
    ports: Option<CallPorts>,
    ports_version: u32,
    points: Vec<Point>,
    packets_left: u64,
    turns: u64,
    payload: Vec<u8>,
    _place: OwnedSemaphorePermit,
}

/// Where packets are seen, as it was announced.
#[derive(Debug)]
struct Point {
    place: Place,
    path: wire::Path,
    captured: u64,
}

type Answers = mpsc::Sender<Result<wire::TapCallResponse, Status>>;

impl Session {
    pub(super) fn new(
        terms: Terms,
        ring: Consumer<u8>,
        kernel: Option<KernelTap>,
        shared: Arc<Shared>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let now = terms.clock.now();
        // A clock before 1970 tells no time.
        let unix = terms.clock.wall_time(now).duration_since(std::time::UNIX_EPOCH);
        let unix_ns = unix.map_or(0, |unix| u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX));
        let mut session = Self {
            began: (now, unix_ns),
            ring,
            kernel,
            records: VecDeque::new(),
            shared,
            ports: None,
            ports_version: 0,
            points: Vec::new(),
            packets_left: terms.packets_max,
            turns: 0,
            payload: Vec::new(),
            _place: place,
            terms,
        };
        session.take_ports();
        session
    }

    /// Tells packets until the tap ends or the client goes. A worker that stops ends its taps.
    pub async fn run(mut self, answers: Answers) {
        let last = tokio::time::Instant::from_std(self.terms.clock.instant(self.terms.until + LAST_WORDS));
        let told = tokio::select! {
            told = self.tell_all(&answers) => told,
            () = answers.closed() => false,
            () = tokio::time::sleep_until(last) => false,
        };
        let packets: u64 = self.points.iter().map(|point| point.captured).sum();
        tracing::info!(call = %self.terms.call, packets, whole = told, "tap ended");
    }

    /// True when the last word was taken, too.
    async fn tell_all(&mut self, answers: &Answers) -> bool {
        let mut turn = tokio::time::interval(TURN);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turn.tick().await;
            // Before the look into the rings: what was put in before the end is then found.
            let cause = self.cause();
            self.take_ports();
            if let Err(error) = self.take_records() {
                // Without the kernel's part the rest is worth something, too.
                tracing::warn!(%error, "the kernel's taps cannot be read");
                self.kernel = None;
            }
            while let Some(part) = self.message() {
                for part in part {
                    if !tell(answers, part).await {
                        return false;
                    }
                }
            }
            if let Some(cause) = cause {
                return self.tell_end(answers, cause).await;
            }
        }
    }

    /// The call's ports as they are now.
    fn take_ports(&mut self) {
        let Some(ports) = self.shared.new_ports(&mut self.ports_version) else {
            return;
        };
        if let Some(kernel) = &self.kernel {
            kernel.set_ports(ports.ports.iter().map(|port| port.local));
        }
        self.ports = Some(ports);
    }

    /// What the kernel has copied since the last time.
    fn take_records(&mut self) -> Result<(), ebpf::Error> {
        let Some(kernel) = &self.kernel else {
            return Ok(());
        };
        // A call's port may be another's soon after its end.
        let end = self.shared.ended().map_or(Timestamp::MAX, |(_, at)| at);
        let taken = kernel.take()?;
        let ours = |record: &TapRecord| Timestamp::from_nanos(record.at_ns) < end;
        self.records.extend(taken.into_iter().filter(ours));
        self.turns += 1;
        if self.turns.is_multiple_of(TURNS_PER_COUNT) {
            // The answer at the end goes on from this one.
            kernel.left_out();
        }
        Ok(())
    }

    /// Why it is over, if it is.
    fn cause(&self) -> Option<wire::TapEndCause> {
        if self.packets_left == 0 {
            return Some(wire::TapEndCause::Packets);
        }
        match self.shared.ended() {
            Some((Ended::Packets, _)) => Some(wire::TapEndCause::Packets),
            Some((Ended::Gone, _)) => Some(wire::TapEndCause::CallEnded),
            Some((Ended::Stopping, _)) => Some(wire::TapEndCause::NodeStopping),
            None if self.terms.clock.now() >= self.terms.until => Some(wire::TapEndCause::Time),
            // The worker has gone without a word: so does the node.
            None if self.ring.is_abandoned() => Some(wire::TapEndCause::NodeStopping),
            None => None,
        }
    }

    /// The next message with packets, behind the points that are new in it; `None` when there are no packets.
    fn message(&mut self) -> Option<Vec<Part>> {
        let mut parts = Vec::new();
        let mut packets = Vec::new();
        let mut bytes = 0;
        let mut payload = std::mem::take(&mut self.payload);
        while packets.len() < MESSAGE_PACKETS && bytes < MESSAGE_BYTES && self.packets_left > 0 {
            let Some(record) = Record::pop(&mut self.ring, &mut payload) else {
                break;
            };
            let point = self.point(record.place, self.terms.path, &mut parts);
            let (packet, length) = packet::build(
                record.source,
                record.destination,
                record.length,
                &payload,
                record.sum,
            );
            bytes += packet.len();
            packets.push(wire::TapPacket {
                point_id: point,
                unix_ns: self.unix_ns(record.at),
                packet,
                length,
                dropped: record.dropped.map_or("", |reason| reason.reason()).to_owned(),
            });
        }
        self.payload = payload;
        while packets.len() < MESSAGE_PACKETS && bytes < MESSAGE_BYTES && self.packets_left > 0 {
            let Some(record) = self.records.pop_front() else {
                break;
            };
            let Some(place) = self.place(record.key.local(), record.direction == Direction::Sent) else {
                continue;
            };
            let point = self.point(place, wire::Path::Kernel, &mut parts);
            let unix_ns = self.unix_ns(Timestamp::from_nanos(record.at_ns));
            let mut packet = record.packet;
            packet.truncate(packet::header_bytes(&packet) + usize::from(self.terms.snap_bytes));
            bytes += packet.len();
            packets.push(wire::TapPacket {
                point_id: point,
                unix_ns,
                packet,
                length: record.length.into(),
                dropped: String::new(),
            });
        }
        if packets.is_empty() {
            return None;
        }
        parts.push(Part::Packets(wire::TapPackets { packets }));
        Some(parts)
    }

    /// The number of a point, which is announced in `parts` when it is new; counts a packet there.
    fn point(&mut self, place: Place, path: wire::Path, parts: &mut Vec<Part>) -> u32 {
        let known = self
            .points
            .iter()
            .position(|point| point.place == place && point.path == path);
        let index = known.unwrap_or_else(|| {
            self.announce(place, path, parts);
            self.points.len() - 1
        });
        self.points[index].captured += 1;
        self.packets_left -= 1;
        index as u32
    }

    fn announce(&mut self, place: Place, path: wire::Path, parts: &mut Vec<Part>) {
        let leg = self
            .ports
            .as_ref()
            .map(|ports| ports.legs[usize::from(place.leg & 1)].to_string());
        let direction = match place.sent {
            false => wire::TapDirection::Received,
            true => wire::TapDirection::Sent,
        };
        parts.push(Part::Point(wire::TapPoint {
            point_id: self.points.len() as u32,
            leg_id: leg.unwrap_or_default(),
            line: place.line.into(),
            direction: direction.into(),
            path: path.into(),
        }));
        self.points.push(Point {
            place,
            path,
            captured: 0,
        });
    }

    /// The side of the line that has the port `local`; for what is sent, of the line that it is relayed to.
    fn place(&self, local: SocketAddr, sent: bool) -> Option<Place> {
        let ports = self.ports.as_ref()?;
        let port = ports.ports.iter().find(|port| port.local == local)?;
        Some(Place {
            leg: if sent { 1 - port.leg } else { port.leg },
            line: port.line,
            sent,
        })
    }

    /// What found no room, by point. The kernel does not tell the side, so it stands with what was received.
    fn left_out(&self) -> Vec<(Place, wire::Path, u64)> {
        let places = self.shared.places_left_out().into_iter();
        let mut all: Vec<(Place, wire::Path, u64)> = places
            .map(|place| (place, self.terms.path, self.shared.left_out(place)))
            .collect();
        for (local, count) in self.kernel.iter().flat_map(KernelTap::left_out) {
            let Some(place) = self.place(local, false) else {
                continue;
            };
            match all
                .iter_mut()
                .find(|(other, path, _)| *other == place && *path == wire::Path::Kernel)
            {
                Some((_, _, sum)) => *sum += count,
                None => all.push((place, wire::Path::Kernel, count)),
            }
        }
        all
    }

    async fn tell_end(&mut self, answers: &Answers, cause: wire::TapEndCause) -> bool {
        let left_out = self.left_out();
        let mut parts = Vec::new();
        for (place, path, _) in &left_out {
            // One where nothing found room has not been announced yet.
            if !self
                .points
                .iter()
                .any(|point| point.place == *place && point.path == *path)
            {
                self.announce(*place, *path, &mut parts);
            }
        }
        let counts = self.points.iter().enumerate().map(|(index, point)| {
            let of_point =
                |(place, path, _): &&(Place, wire::Path, u64)| *place == point.place && *path == point.path;
            wire::TapCount {
                point_id: index as u32,
                captured: point.captured,
                left_out: left_out.iter().find(of_point).map_or(0, |(_, _, count)| *count),
            }
        });
        parts.push(Part::End(wire::TapEnd {
            cause: cause.into(),
            counts: counts.collect(),
        }));
        for part in parts {
            if !tell(answers, part).await {
                return false;
            }
        }
        true
    }

    /// The wall clock's time as it ran when the tap began: packets stay in their order when somebody sets it meanwhile.
    fn unix_ns(&self, at: Timestamp) -> u64 {
        let (from, unix_ns) = self.began;
        unix_ns
            .saturating_add(at.saturating_since(from).as_nanos() as u64)
            .saturating_sub(from.saturating_since(at).as_nanos() as u64)
    }
}

async fn tell(answers: &Answers, part: Part) -> bool {
    answers
        .send(Ok(wire::TapCallResponse { part: Some(part) }))
        .await
        .is_ok()
}
