use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::entry::EntryRef;
use crate::segment::SegmentNames;
use crate::{AppendError, BindingChange, CallRecord, Counters, RECORD_BYTES_MAX, frame};

/// A segment is closed to new records when it has this many bytes, so that its space can be given back while records
/// keep coming. Small enough that the replay of one takes well under a second.
const SEGMENT_BYTES: u64 = 1024 * 1024;

/// With more than this share of its size limit in use the journal asks its owner to take no new calls; the rest is
/// for the ends of the calls that exist.
const ROOM_NUMERATOR: u64 = 9;
const ROOM_DENOMINATOR: u64 = 10;

/// The highest number that a segment's name has room for.
const NUMBER_MAX: u32 = 99_999_999;

/// The journal's writing half. Cheap to clone; any thread may append.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
}

/// What the two halves share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) names: SegmentNames,
    pub(crate) counters: Counters,
    /// Woken after each append.
    pub(crate) appended: Notify,
    bytes_max: u64,
    files: Mutex<Files>,
    /// Keeps other processes out while either half lives.
    _lock: File,
}

#[derive(Debug)]
struct Files {
    /// Closed segments and how many bytes each has, oldest first.
    closed: VecDeque<(u32, u64)>,
    number: u32,
    file: File,
    length: u64,
    buffer: Vec<u8>,
}

/// Where the drain shall read next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Front {
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    /// Bytes that are whole frames.
    pub(crate) length: u64,
}

impl Journal {
    /// Begins with a new, empty segment; none may exist. `lock` is the lock file, locked.
    pub(crate) fn begin(names: SegmentNames, bytes_max: u64, lock: File) -> io::Result<Self> {
        let number = 1;
        let file = names.create(number)?;
        let files = Files {
            closed: VecDeque::new(),
            number,
            file,
            length: 0,
            buffer: Vec::new(),
        };
        let shared = Shared {
            names,
            counters: Counters::default(),
            appended: Notify::new(),
            bytes_max,
            files: Mutex::new(files),
            _lock: lock,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Writes `record` with one `write(2)`. When this returns `Ok` the record outlives the process.
    ///
    /// Takes a few microseconds: the page cache is written, not the disk. A record that fails is counted by reason
    /// and is in no file; those before and after it are not touched.
    ///
    /// # Errors
    /// Why it is in no file.
    pub fn append(&self, record: &CallRecord) -> Result<(), AppendError> {
        self.append_entry(&EntryRef::Call(record))
    }

    /// Writes what happened to a contact, as [`append`](Self::append) does.
    ///
    /// # Errors
    /// Why it is in no file.
    pub fn append_binding(&self, change: &BindingChange) -> Result<(), AppendError> {
        self.append_entry(&EntryRef::Binding { binding: change })
    }

    fn append_entry(&self, entry: &EntryRef<'_>) -> Result<(), AppendError> {
        let counters = &self.shared.counters;
        let result = self.shared.append(entry);
        match &result {
            Ok(()) => {
                counters.appended.fetch_add(1, Relaxed);
                self.shared.appended.notify_one();
            }
            Err(AppendError::Full) => {
                counters.append_full.fetch_add(1, Relaxed);
            }
            Err(AppendError::TooLarge { .. }) => {
                counters.append_too_large.fetch_add(1, Relaxed);
            }
            Err(AppendError::Io(_)) => {
                counters.append_io.fetch_add(1, Relaxed);
            }
        }
        result
    }

    /// Whether new calls may begin: false from nine tenths of the size limit on. The last tenth takes the ends of
    /// calls that exist; beyond the limit [`AppendError::Full`] says that a record is lost.
    pub fn has_room(&self) -> bool {
        let bytes = self.shared.counters.journal_bytes.load(Relaxed);
        bytes.saturating_mul(ROOM_DENOMINATOR) < self.shared.bytes_max.saturating_mul(ROOM_NUMERATOR)
    }

    /// The counters of both halves.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }
}

impl Shared {
    fn files(&self) -> MutexGuard<'_, Files> {
        // A panic while the lock was held cannot have left the state half changed in a way that loses a record: the
        // length moves last.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, entry: &EntryRef<'_>) -> Result<(), AppendError> {
        let payload = serde_json::to_vec(entry).map_err(io::Error::from)?;
        if payload.len() > RECORD_BYTES_MAX {
            return Err(AppendError::TooLarge { bytes: payload.len() });
        }
        let mut files = self.files();
        let files = &mut *files;
        files.buffer.clear();
        frame::encode(&payload, &mut files.buffer);
        let frame_bytes = files.buffer.len() as u64;
        if self.counters.journal_bytes.load(Relaxed) + frame_bytes > self.bytes_max {
            return Err(AppendError::Full);
        }
        if files.length >= SEGMENT_BYTES {
            // When no new file can be made the old one goes on growing, up to the journal's limit.
            self.roll(files)
                .unwrap_or_else(|error| tracing::warn!(%error, "no new journal segment"));
        }
        let written = files.file.write(&files.buffer);
        let problem = match written {
            Ok(bytes) if bytes as u64 == frame_bytes => {
                files.length += frame_bytes;
                self.counters.journal_bytes.fetch_add(frame_bytes, Relaxed);
                self.counters.pending_records.fetch_add(1, Relaxed);
                return Ok(());
            }
            // The file system was full in the middle of the record.
            Ok(_) => io::Error::from(io::ErrorKind::StorageFull),
            Err(error) => error,
        };
        // The file is opened for appending, so cutting off the torn record puts the next one in its place. If even
        // that fails, readers step over the torn bytes: they are no frame.
        if files.file.set_len(files.length).is_err() {
            let length = files
                .file
                .metadata()
                .map_or(files.length, |metadata| metadata.len());
            self.counters
                .journal_bytes
                .fetch_add(length - files.length.min(length), Relaxed);
            files.length = files.length.max(length);
        }
        Err(problem.into())
    }

    /// Closes the current segment and opens the next.
    fn roll(&self, files: &mut Files) -> io::Result<()> {
        if files.number >= NUMBER_MAX {
            return Err(io::Error::other(
                "segment numbers are used up; restart to begin again from 1",
            ));
        }
        let file = self.names.create(files.number + 1)?;
        files.closed.push_back((files.number, files.length));
        files.number += 1;
        files.file = file;
        files.length = 0;
        Ok(())
    }

    /// The oldest segment.
    pub(crate) fn front(&self) -> Front {
        let files = self.files();
        let (number, length) = files
            .closed
            .front()
            .copied()
            .unwrap_or((files.number, files.length));
        Front {
            number,
            path: self.names.path(number),
            length,
        }
    }

    /// Gives back the space of segment `number` if nothing stands behind `drained`, all before it being committed.
    /// True when it was given back; the caller's place in the segment is then void.
    pub(crate) fn release(&self, number: u32, drained: u64) -> io::Result<bool> {
        let mut files = self.files();
        let files = &mut *files;
        let released = match files.closed.front().copied() {
            Some((closed, length)) if closed == number && drained >= length => {
                files.closed.pop_front();
                fs::remove_file(self.names.path(number))?;
                length
            }
            None if files.number == number && drained > 0 && drained >= files.length => {
                files.file.set_len(0)?;
                std::mem::take(&mut files.length)
            }
            _ => return Ok(false),
        };
        self.counters.journal_bytes.fetch_sub(released, Relaxed);
        Ok(true)
    }
}
