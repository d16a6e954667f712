use std::sync::Arc;
use std::time::Duration;

use media_engine::CallPorts;
use media_types::CallId;
use ops::clock::MonotonicClock;
use proto::media_v1::{self as wire, tap_call_response::Part};
use rtrb::Consumer;
use sans_io::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::MissedTickBehavior;
use tonic::Status;

use super::packet;
use super::record::{Place, Record};
use super::shared::{Ended, Shared};

/// How often the ring is looked into. A ring of a megabyte then holds what a hundred calls send meanwhile.
const TURN: Duration = Duration::from_millis(20);
/// Packets, and bytes of them, in one message.
const MESSAGE_PACKETS: usize = 256;
const MESSAGE_BYTES: usize = 128 * 1024;
/// How long a client that does not read may keep a tap whose time is over.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// One tap, from its beginning to its end. The worker notices when it is dropped.
#[derive(Debug)]
pub struct Session {
    call: CallId,
    clock: MonotonicClock,
    /// When, on the monotonic clock and in nanoseconds since 1970.
    began: (Timestamp, u64),
    path: wire::Path,
    until: Timestamp,
    ring: Consumer<u8>,
    shared: Arc<Shared>,
    ports: Option<CallPorts>,
    ports_version: u32,
    points: Vec<Point>,
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
        call: CallId,
        clock: MonotonicClock,
        path: wire::Path,
        until: Timestamp,
        ring: Consumer<u8>,
        shared: Arc<Shared>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let now = clock.now();
        // A clock before 1970 tells no time.
        let unix = clock.wall_time(now).duration_since(std::time::UNIX_EPOCH);
        let unix_ns = unix.map_or(0, |unix| u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX));
        Self {
            call,
            clock,
            began: (now, unix_ns),
            path,
            until,
            ring,
            shared,
            ports: None,
            ports_version: 0,
            points: Vec::new(),
            payload: Vec::new(),
            _place: place,
        }
    }

    /// Tells packets until the tap ends or the client goes. A worker that stops ends its taps.
    pub async fn run(mut self, answers: Answers) {
        let last = tokio::time::Instant::from_std(self.clock.instant(self.until + LAST_WORDS));
        let told = tokio::select! {
            told = self.tell_all(&answers) => told,
            () = answers.closed() => false,
            () = tokio::time::sleep_until(last) => false,
        };
        let packets: u64 = self.points.iter().map(|point| point.captured).sum();
        tracing::info!(call = %self.call, packets, whole = told, "tap ended");
    }

    /// True when the last word was taken, too.
    async fn tell_all(&mut self, answers: &Answers) -> bool {
        let mut turn = tokio::time::interval(TURN);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turn.tick().await;
            if let Some(ports) = self.shared.new_ports(&mut self.ports_version) {
                self.ports = Some(ports);
            }
            // Before the look into the ring: what was put in before the end is then found.
            let cause = self.cause();
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

    /// Why it is over, if it is.
    fn cause(&self) -> Option<wire::TapEndCause> {
        match self.shared.ended() {
            Some((Ended::Packets, _)) => Some(wire::TapEndCause::Packets),
            Some((Ended::Gone, _)) => Some(wire::TapEndCause::CallEnded),
            Some((Ended::Stopping, _)) => Some(wire::TapEndCause::NodeStopping),
            None if self.clock.now() >= self.until => Some(wire::TapEndCause::Time),
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
        while packets.len() < MESSAGE_PACKETS && bytes < MESSAGE_BYTES {
            let Some(record) = Record::pop(&mut self.ring, &mut payload) else {
                break;
            };
            let point = self.point(record.place, self.path, &mut parts);
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

    async fn tell_end(&mut self, answers: &Answers, cause: wire::TapEndCause) -> bool {
        // A point of which nothing found room has not been announced yet.
        let mut parts = Vec::new();
        for place in self.shared.places_left_out() {
            let path = self.path;
            if !self
                .points
                .iter()
                .any(|point| point.place == place && point.path == path)
            {
                self.announce(place, path, &mut parts);
            }
        }
        let counts = self
            .points
            .iter()
            .enumerate()
            .map(|(index, point)| wire::TapCount {
                point_id: index as u32,
                captured: point.captured,
                left_out: match point.path == self.path {
                    true => self.shared.left_out(point.place),
                    false => 0,
                },
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
