use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::segment::SegmentNames;
use crate::{AppendError, BindingChange, CallRecord, Counters, Entry, RECORD_BYTES_MAX, frame};

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
    /// Frames that are to be written.
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

    /// Writes one record: see [`append_all`](Self::append_all).
    ///
    /// # Errors
    /// Why it is in no file.
    pub fn append(&self, record: &CallRecord) -> Result<(), AppendError> {
        self.append_one(Entry::Call(Box::new(record.clone())))
    }

    /// Writes what happened to a contact: see [`append_all`](Self::append_all).
    ///
    /// # Errors
    /// Why it is in no file.
    pub fn append_binding(&self, change: &BindingChange) -> Result<(), AppendError> {
        self.append_one(Entry::Binding {
            binding: change.clone(),
        })
    }

    fn append_one(&self, entry: Entry) -> Result<(), AppendError> {
        let mut failed = Ok(());
        self.append_all(&[entry], |_, error| failed = Err(error));
        failed
    }

    /// Writes `entries` with one `write(2)`. When this returns, all of them outlive the process but those that `failed` was
    /// called for.
    ///
    /// Takes a few microseconds: the page cache is written, not the disk. An entry that fails is counted by reason
    /// and is in no file; those before and after it are not touched.
    pub fn append_all(&self, entries: &[Entry], mut failed: impl FnMut(&Entry, AppendError)) {
        let counters = &self.shared.counters;
        let mut appended = entries.len() as u64;
        self.shared.append(entries, &mut |entry, error| {
            appended -= 1;
            let counter = match &error {
                AppendError::Full => &counters.append_full,
                AppendError::TooLarge { .. } => &counters.append_too_large,
                AppendError::Io(_) => &counters.append_io,
            };
            counter.fetch_add(1, Relaxed);
            failed(entry, error);
        });
        counters.appended.fetch_add(appended, Relaxed);
        if appended > 0 {
            self.shared.appended.notify_one();
        }
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

    fn append(&self, entries: &[Entry], failed: &mut dyn FnMut(&Entry, AppendError)) {
        let mut files = self.files();
        let files = &mut *files;
        if files.length >= SEGMENT_BYTES {
            // When no new file can be made the old one goes on growing, up to the journal's limit.
            self.roll(files)
                .unwrap_or_else(|error| tracing::warn!(%error, "no new journal segment"));
        }
        files.buffer.clear();
        let mut framed = Vec::new();
        for entry in entries {
            match self.frame(files, entry) {
                Ok(()) => framed.push(entry),
                Err(error) => failed(entry, error),
            }
        }
        let Err(error) = self.write(files, framed.len()) else {
            return;
        };
        if let [entry] = framed[..] {
            return failed(entry, error.into());
        }
        // There may be room for some of them.
        for entry in framed {
            files.buffer.clear();
            let written = self
                .frame(files, entry)
                .and_then(|()| self.write(files, 1).map_err(AppendError::Io));
            if let Err(error) = written {
                failed(entry, error);
            }
        }
    }

    /// Adds the frame of `entry` to what is to be written.
    fn frame(&self, files: &mut Files, entry: &Entry) -> Result<(), AppendError> {
        let before = files.buffer.len();
        let bytes = frame::encode(&mut files.buffer, |out| {
            serde_json::to_writer(out, entry).map_err(io::Error::from)
        })?;
        if bytes > RECORD_BYTES_MAX {
            return Err(AppendError::TooLarge { bytes });
        }
        let all = self.counters.journal_bytes.load(Relaxed) + files.buffer.len() as u64;
        if all > self.bytes_max {
            files.buffer.truncate(before);
            return Err(AppendError::Full);
        }
        Ok(())
    }

    /// Writes the frames in the buffer, `records` of them: all or none.
    fn write(&self, files: &mut Files, records: usize) -> io::Result<()> {
        let frame_bytes = files.buffer.len() as u64;
        if frame_bytes == 0 {
            return Ok(());
        }
        let written = files.file.write(&files.buffer);
        let problem = match written {
            Ok(bytes) if bytes as u64 == frame_bytes => {
                files.length += frame_bytes;
                self.counters.journal_bytes.fetch_add(frame_bytes, Relaxed);
                self.counters.pending_records.fetch_add(records as u64, Relaxed);
                return Ok(());
            }
            // The file system was full in the middle of a record.
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
        Err(problem)
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
        let released = match files.closed.front().copied() {
            Some((closed, length)) if closed == number && drained >= length => {
                files.closed.pop_front();
                // Nobody but us has it any longer: whoever appends does not wait while its blocks are freed.
                std::mem::drop(files);
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
