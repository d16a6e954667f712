//! The RTCP that the kernel has forwarded, on its way to the engines that read reports from it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ebpf::{RtcpCopies, RtcpCopy};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::table::{Counts, SharedTable};

/// Copies that are taken before other tasks of the control thread have their turn.
const COPIES_PER_TURN: usize = 256;

/// Between two looks whether the workers are held still, which ends within `limits.takeover_ms`.
const HELD_PAUSE: Duration = Duration::from_millis(10);

/// The reader of copies, a task of the control thread.
#[derive(Debug)]
pub struct Copies {
    shared: Arc<SharedTable>,
    ring: AsyncFd<RtcpCopies>,
}

impl Copies {
    /// Reads the ring of the relay whose table is `shared`; within a Tokio runtime.
    #[expect(
        deprecated,
        reason = "the ring owns its descriptor, which is all that the unsafe constructor asks for beyond this one"
    )]
    pub(super) fn new(shared: Arc<SharedTable>, ring: RtcpCopies) -> io::Result<Self> {
        let ring = AsyncFd::with_interest(ring, Interest::READABLE)?;
        Ok(Self { shared, ring })
    }

    /// Hands copies to `tell` with the number of the worker whose port they came to, as long as the ring can be read. `tell`
    /// answers whether the worker has taken them. While `is_held` they stay in the ring, for whichever process goes on.
    pub async fn run(
        mut self,
        tell: impl Fn(usize, Vec<RtcpCopy>) -> bool,
        is_held: impl Fn() -> bool,
    ) -> io::Result<()> {
        loop {
            let mut ready = self.ring.readable_mut().await?;
            if is_held() {
                drop(ready);
                tokio::time::sleep(HELD_PAUSE).await;
                continue;
            }
            let mut shares: HashMap<usize, Vec<RtcpCopy>> = HashMap::new();
            let mut taken = 0;
            while taken < COPIES_PER_TURN {
                let Some(copy) = ready.get_inner_mut().next_copy().map_err(io::Error::other)? else {
                    ready.clear_ready();
                    break;
                };
                taken += 1;
                // Without an owner the call is gone.
                if let Some(worker) = self.shared.owner(copy.key) {
                    shares.entry(worker).or_default().push(copy);
                }
            }
            for (worker, copies) in shares {
                let count = copies.len() as u64;
                if !tell(worker, copies) {
                    Counts::add(&self.shared.counts.copies_dropped, count);
                }
            }
            tokio::task::yield_now().await;
        }
    }
}
