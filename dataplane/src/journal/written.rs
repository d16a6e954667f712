use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use media_types::CallId;
use prost::Message as _;

use super::record::{Call, Change, Entry, Head};
use super::{Counters, frame};

/// A file smaller than this is not written anew because most of it is over.
const REWRITE_BYTES_MIN: u64 = 1 << 20;
/// Entries between two attempts to write the file anew, at most, while that fails.
const REST_MAX: u32 = 1_024;

/// Calls as they are in memory, which has what the entry at hand says.
pub(super) struct Live<'a> {
    pub(super) calls: &'a HashMap<CallId, Box<[u8]>>,
    /// Bytes of a file with these alone.
    pub(super) bytes: u64,
}

/// The file, and how far it is what it should be.
#[derive(Debug)]
pub(super) struct JournalFile {
    path: PathBuf,
    head: Head,
    file: File,
    /// Its length: whole entries.
    pub(super) bytes: u64,
    /// Entries are missing, since they could not be written: it is to be written anew.
    is_behind: bool,
    /// Half an entry is at its end and cannot be taken away: what came behind it would not be read.
    is_torn: bool,
    /// Attempts to write it anew that failed, one after the other.
    failed: u32,
    /// Entries until the next attempt.
    rest: u32,
}

impl JournalFile {
    /// A new file in the place of one that is there, with these calls.
    pub(super) fn begin(path: PathBuf, head: Head, calls: &HashMap<CallId, Box<[u8]>>) -> io::Result<Self> {
        let (file, bytes) = write_anew(&path, &head, calls)?;
        Ok(Self {
            path,
            head,
            file,
            bytes,
            is_behind: false,
            is_torn: false,
            failed: 0,
            rest: 0,
        })
    }

    /// Writes an entry. The file is written anew, without what is over, when that would be the larger part of it, when it
    /// would grow beyond its limit, or when entries are missing.
    pub(super) fn append(
        &mut self,
        change: Change,
        live: &Live<'_>,
        bytes_max: u64,
        counters: &mut Counters,
    ) {
        let mut bytes = Vec::with_capacity(512);
        encode(change, &mut bytes);
        let grown = self.bytes + bytes.len() as u64;
        let is_full = grown > bytes_max;
        let is_mostly_over = grown > REWRITE_BYTES_MIN && grown > 2 * live.bytes;
        if (is_full || is_mostly_over || self.is_behind)
            && self.is_rested()
            && self.rewrite(live.calls, counters)
        {
            return;
        }
        if is_full || self.is_torn {
            counters.errors += 1;
            self.is_behind = true;
            return;
        }
        match self.file.write_all(&bytes) {
            Ok(()) => self.bytes = grown,
            Err(error) => {
                if counters.errors == 0 {
                    tracing::error!(path = %self.path.display(), %error, "the journal cannot be written: calls may not outlive the process");
                }
                counters.errors += 1;
                self.is_behind = true;
                self.is_torn = self.file.set_len(self.bytes).is_err();
            }
        }
    }

    /// Whether it is time for an attempt to write the file anew: while that fails, the rests between attempts double.
    const fn is_rested(&mut self) -> bool {
        let is_rested = self.rest == 0;
        self.rest = self.rest.saturating_sub(1);
        is_rested
    }

    /// Writes the file anew, with one entry a call, and puts it in the place of the old one. False, with the old one as it was, when
    /// that fails.
    pub(super) fn rewrite(&mut self, calls: &HashMap<CallId, Box<[u8]>>, counters: &mut Counters) -> bool {
        match write_anew(&self.path, &self.head, calls) {
            Ok((file, bytes)) => {
                (self.file, self.bytes) = (file, bytes);
                (self.is_behind, self.is_torn, self.failed) = (false, false, 0);
                counters.rewrites += 1;
                true
            }
            Err(error) => {
                if self.failed == 0 {
                    tracing::error!(path = %self.path.display(), %error, "the journal cannot be written anew");
                }
                self.rest = 1_u32
                    .checked_shl(self.failed)
                    .map_or(REST_MAX, |rest| rest.min(REST_MAX));
                self.failed += 1;
                counters.rewrite_errors += 1;
                false
            }
        }
    }

    /// Takes everything out. Where no new file can be written, as on a full disk, this one is emptied: nobody may make calls again
    /// that have ended.
    pub(super) fn clear(&mut self, counters: &mut Counters) {
        if self.rewrite(&HashMap::new(), counters) {
            return;
        }
        match empty(&self.path) {
            // It has no head: nothing may come behind it before it is written anew.
            Ok(()) => (self.bytes, self.is_behind, self.is_torn) = (0, true, true),
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "the journal keeps calls that have ended: remove it before the next start");
            }
        }
    }

    #[cfg(test)]
    pub(super) const fn head(&self) -> &Head {
        &self.head
    }
}

/// A new file at `path` with these calls, and its length.
fn write_anew(path: &Path, head: &Head, calls: &HashMap<CallId, Box<[u8]>>) -> io::Result<(File, u64)> {
    let mut bytes = frame::MARK.to_vec();
    encode(Change::Head(head.clone()), &mut bytes);
    for call in calls.values().filter_map(|call| Call::decode(&**call).ok()) {
        encode(Change::Call(call), &mut bytes);
    }
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(&bytes)?;
    fs::rename(&beside, path)?;
    Ok((file, bytes.len() as u64))
}

/// Empties the file at `path`, or removes it.
pub(super) fn empty(path: &Path) -> io::Result<()> {
    let emptied = OpenOptions::new().write(true).truncate(true).open(path);
    match emptied.map(drop).or_else(|_| fs::remove_file(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        emptied => emptied,
    }
}

pub(super) fn encode(change: Change, bytes: &mut Vec<u8>) {
    let payload = Entry { change: Some(change) }.encode_to_vec();
    let fits = frame::encode(&payload, bytes);
    debug_assert!(fits, "entries are checked before they are kept");
}
