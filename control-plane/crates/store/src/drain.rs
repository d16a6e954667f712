use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::entry::Entry;
use crate::frame::{HEADER_BYTES, Step};
use crate::journal::Shared;
use crate::{Counters, Database, RECORD_BYTES_MAX, StoreError, frame};

/// Records in a transaction at most: with a disk flush each, the batch is what sets the rate.
const BATCH_RECORDS_MAX: usize = 4_096;

/// Bytes read at once: more than one frame can have, so that every read makes progress.
const READ_BYTES: usize = 2 * 1024 * 1024;

/// How long records are gathered before a transaction: what a transaction takes is paid ten times a second at most, several
/// records of a short call become one row, and at most this much later a record is on the disk.
const GATHER: Duration = Duration::from_millis(100);

/// How long to wait after a failed transaction, at first and at most.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

const _: () = assert!(READ_BYTES > RECORD_BYTES_MAX + HEADER_BYTES);

/// The journal's reading half: moves records into the database.
#[derive(Debug)]
pub struct Drain {
    shared: Arc<Shared>,
    database: Database,
    place: Option<Place>,
}

/// How far the drain is in the oldest segment.
#[derive(Debug)]
struct Place {
    number: u32,
    file: File,
    offset: u64,
}

/// The records read from one stretch of a file.
pub(crate) struct Batch {
    pub(crate) records: Vec<Entry>,
    /// Frames, readable or not.
    pub(crate) frames: u64,
    /// Bytes from the place of reading to the next.
    pub(crate) bytes: u64,
}

impl Drain {
    pub(crate) fn new(shared: Arc<Shared>, database: Database) -> Self {
        Self {
            shared,
            database,
            place: None,
        }
    }

    /// Moves records as they come, until `stop` is ready; then the rest, and closes the database.
    ///
    /// Meant for a thread of its own: a batch of hundreds of rows shall not come between two SIP messages.
    ///
    /// A transaction that fails is tried again for ever while running (the journal holds the records meanwhile). After
    /// `stop` it is tried once more: what is not stored then stays in the journal for the next start.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), StoreError> {
        let mut stop = pin!(stop);
        let mut retry = RETRY_MIN;
        loop {
            let wait = match self.drain().await {
                Ok(()) => {
                    retry = RETRY_MIN;
                    None
                }
                Err(error) => {
                    self.shared.counters.database_errors.fetch_add(1, Relaxed);
                    tracing::error!(%error, retry_in_ms = retry.as_millis() as u64, "records stay in the journal");
                    let wait = retry;
                    retry = (retry * 2).min(RETRY_MAX);
                    Some(wait)
                }
            };
            let again = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => {
                        self.shared.appended.notified().await;
                        tokio::time::sleep(GATHER).await;
                    }
                }
            };
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = again => {}
            }
        }
        self.drain().await?;
        self.database.close().await
    }

    /// Moves everything that the journal has.
    async fn drain(&mut self) -> Result<(), StoreError> {
        loop {
            let front = self.shared.front();
            let place = match &mut self.place {
                Some(place) if place.number == front.number => place,
                place => {
                    let file = File::open(&front.path).map_err(StoreError::file(&front.path))?;
                    place.insert(Place {
                        number: front.number,
                        file,
                        offset: 0,
                    })
                }
            };
            if place.offset < front.length {
                let batch = read_batch(&place.file, place.offset, front.length, &self.shared.counters)
                    .map_err(StoreError::file(&front.path))?;
                let refused = self.database.store(&batch.records).await?;
                place.offset += batch.bytes;
                let counters = &self.shared.counters;
                counters
                    .stored
                    .fetch_add(batch.records.len() as u64 - refused, Relaxed);
                counters.refused.fetch_add(refused, Relaxed);
                counters.batches.fetch_add(1, Relaxed);
                counters.pending_records.fetch_sub(batch.frames, Relaxed);
            }
            let drained = place.offset;
            if self
                .shared
                .release(front.number, drained)
                .map_err(StoreError::file(&front.path))?
            {
                self.place = None;
            } else if drained >= front.length && self.shared.front() == front {
                return Ok(());
            }
        }
    }
}

/// Reads whole frames from `offset` on, up to a batch; `length` is where the whole frames of the file end.
pub(crate) fn read_batch(file: &File, offset: u64, length: u64, counters: &Counters) -> io::Result<Batch> {
    let left = length - offset;
    let mut bytes = vec![0; READ_BYTES.min(usize::try_from(left).unwrap_or(READ_BYTES))];
    file.read_exact_at(&mut bytes, offset)?;
    let last = bytes.len() as u64 == left;
    let mut batch = Batch {
        records: Vec::new(),
        frames: 0,
        bytes: 0,
    };
    let mut at = 0;
    while batch.records.len() < BATCH_RECORDS_MAX {
        match frame::step(&bytes, at, last) {
            Step::Frame(payload) => {
                at = payload.end;
                batch.frames += 1;
                match Entry::read(&bytes[payload]) {
                    Ok(record) => batch.records.push(record),
                    Err(error) => {
                        counters.unreadable.fetch_add(1, Relaxed);
                        tracing::error!(%error, "a journal frame holds no record");
                    }
                }
            }
            Step::Skip(to) => {
                counters.torn_bytes.fetch_add((to - at) as u64, Relaxed);
                at = to;
            }
            Step::More | Step::End => break,
        }
    }
    batch.bytes = at as u64;
    Ok(batch)
}
