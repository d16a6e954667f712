use std::sync::Arc;
use std::time::Duration;

use ops::clock::MonotonicClock;
use proto::convert::{self, FieldError, Problem};
use proto::media_v1 as wire;
use rtrb::RingBuffer;
use tokio::sync::Semaphore;
use tonic::Status;

use super::copier::Order;
use super::kernel::KernelTaps;
use super::session::{Session, Terms};
use super::shared::Shared;
use crate::config::Limits;
use crate::node::Node;

/// What a request without a time gets, in seconds.
const SECONDS_DEFAULT: u32 = 10;

/// Lets taps in, as many, as long and as large as configured.
#[derive(Debug)]
pub struct Admission {
    node: Arc<Node>,
    clock: MonotonicClock,
    /// Of packets in user space.
    path: wire::Path,
    /// Of the flows in the kernel.
    kernel: Option<Arc<KernelTaps>>,
    places: Arc<Semaphore>,
    taps_max: usize,
    seconds_max: u32,
    packets_max: u64,
    ring_bytes: usize,
    lines_max: usize,
}

impl Admission {
    /// For calls of `node`.
    pub fn new(node: Arc<Node>, clock: MonotonicClock, kernel: Option<KernelTaps>, limits: &Limits) -> Self {
        let path = match node.identity().backend {
            "xsk" => wire::Path::Xsk,
            "uring" => wire::Path::Uring,
            "socket" => wire::Path::Socket,
            _ => wire::Path::Unspecified,
        };
        Self {
            node,
            clock,
            path,
            kernel: kernel.map(Arc::new),
            places: Arc::new(Semaphore::new(limits.taps_max)),
            taps_max: limits.taps_max,
            seconds_max: limits.tap_seconds_max,
            packets_max: limits.tap_packets_max,
            ring_bytes: limits.tap_ring_bytes,
            lines_max: limits.lines_max,
        }
    }

    /// Taps a call. What is returned holds its place until it is dropped.
    ///
    /// # Errors
    /// A status that says why not: no taps allowed, too many, out of range, unknown call, busy worker.
    pub async fn begin(&self, request: &wire::TapCallRequest) -> Result<Session, Status> {
        let call = convert::call_id_from_wire(&request.call_id)?;
        let seconds = u64::from(request.seconds);
        let seconds = in_range(
            "seconds",
            seconds,
            u64::from(self.seconds_max),
            u64::from(SECONDS_DEFAULT),
        )?;
        let packets_max = in_range(
            "packets_max",
            request.packets_max,
            self.packets_max,
            self.packets_max,
        )?;
        let snap_bytes = match u16::try_from(request.snap_bytes) {
            Ok(0) | Err(_) => u16::MAX,
            Ok(bytes) => bytes,
        };
        if self.taps_max == 0 {
            return Err(Status::failed_precondition(
                "limits.taps_max is 0: this node allows no taps",
            ));
        }
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!("limits.taps_max: {} taps are at work", self.taps_max))
        })?;
        let (ring, taken) = RingBuffer::new(self.ring_bytes);
        let shared = Arc::new(Shared::new(self.lines_max));
        let from = self.clock.now();
        let until = from + Duration::from_secs(seconds);
        let order = Order {
            call: call.clone(),
            snap_bytes,
            packets_max,
            until,
            ring,
            shared: shared.clone(),
        };
        self.node
            .tap(call.clone(), order)
            .await
            .map_err(convert::refusal_to_status)?;
        // Whoever may do this listens to people: it is to be seen afterwards that somebody did.
        tracing::info!(%call, seconds, packets_max, "tap begun");
        let terms = Terms {
            call,
            clock: self.clock,
            path: self.path,
            until,
            packets_max,
            snap_bytes,
        };
        let kernel = self.kernel.as_ref().map(KernelTaps::begin);
        Ok(Session::new(terms, taken, kernel, shared, place))
    }
}

/// Zero takes the default, or the limit if that is less.
fn in_range(name: &str, value: u64, max: u64, default: u64) -> Result<u64, FieldError> {
    match value {
        0 => Ok(default.min(max)),
        value if value <= max => Ok(value),
        value => Err(FieldError::new(name, Problem::Range { min: 1, max, value })),
    }
}
