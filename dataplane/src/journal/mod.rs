//! What the next process needs to go on with the calls of this one: an append-only file in the state directory.
//!
//! The control thread writes it as it hears the workers' answers and events, before a caller hears of them, so a call that
//! a control plane knows of is in the file; no worker waits for it. Each entry is one `write`. What was written outlives
//! the process, however that ends; it need not outlive the machine, whose ports and flows end with it, so nothing is synced
//! and the file belongs on a tmpfs.

mod directory;
mod found;
mod frame;
mod open;
mod record;
mod restore;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use media_types::{CallId, CallReport, CallSpec, IdempotencyKey, LegId, LegSpec};
use prost::Message as _;

use record::{Call, Change, Entry, Head, Learned};

pub use directory::StateDirectory;
pub use found::Found;
pub use record::Record;

pub use open::begin;
use open::{Opened, open};

/// A file smaller than this is not rewritten.
const REWRITE_BYTES_MIN: u64 = 1 << 20;

/// The calls of the node, in memory as in the file.
#[derive(Debug)]
pub struct Journal {
    /// `None`: nothing is kept.
    file: Option<JournalFile>,
    /// Every call as its latest entry has it.
    calls: HashMap<CallId, Box<[u8]>>,
    /// Bytes of a file with these entries alone.
    live_bytes: u64,
    bytes_max: u64,
    counters: Counters,
}

#[derive(Debug)]
struct JournalFile {
    path: PathBuf,
    head: Head,
    file: File,
    /// Its length: whole entries.
    bytes: u64,
}

/// What became of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls that are not in the file since it would be larger than its limit: they would not outlive the process.
    pub refused: u64,
    /// Entries that could not be written.
    pub errors: u64,
    /// Times that the file was written anew.
    pub rewrites: u64,
}

impl Journal {
    /// One that keeps nothing.
    pub fn off() -> Self {
        Self {
            file: None,
            calls: HashMap::new(),
            live_bytes: 0,
            bytes_max: 0,
            counters: Counters::default(),
        }
    }

    /// Whether anything is kept.
    pub fn is_on(&self) -> bool {
        self.file.is_some()
    }

    /// Calls that would outlive the process.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.file.as_ref().map_or(0, |file| file.bytes)
    }

    /// What became of entries.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// A call was made, or its making was repeated. `now_ms`: milliseconds since 1970.
    pub fn created(
        &mut self,
        worker: usize,
        key: &IdempotencyKey,
        spec: &CallSpec,
        now_ms: u64,
        report: &CallReport,
    ) {
        if self.is_on() && !self.calls.contains_key(&spec.id) {
            let record = Record::new(worker, key, spec, now_ms, report);
            self.keep(&record);
        }
    }

    /// A call was given new media.
    pub fn updated(&mut self, key: &IdempotencyKey, call: &CallId, legs: &[LegSpec], report: &CallReport) {
        if let Some(mut record) = self.record(call) {
            record.update(key, legs, report);
            self.keep(&record);
        }
    }

    /// A line has learned its source.
    pub fn learned(&mut self, call: &CallId, leg: &LegId, place: usize, source: std::net::SocketAddr) {
        let Some(mut record) = self.record(call) else {
            return;
        };
        let Some(leg) = record.spec.legs.iter().position(|it| it.id == *leg) else {
            return;
        };
        record.learn(leg, place, source);
        self.put(call, record.to_wire().encode_to_vec());
        let learned = Learned {
            call: call.to_string(),
            leg: leg as u32,
            place: place as u32,
            source: source.to_string(),
        };
        self.append(Change::Learned(learned));
    }

    /// A call is gone.
    pub fn gone(&mut self, call: &CallId) {
        if let Some(bytes) = self.calls.remove(call) {
            self.live_bytes -= entry_bytes(&bytes);
            self.append(Change::Gone(call.to_string()));
        }
    }

    /// Writes the file anew: another process, which was to take over, may have written its own.
    pub fn restore_file(&mut self) {
        self.rewrite();
    }

    /// Every call is gone.
    pub fn clear(&mut self) {
        self.calls.clear();
        self.live_bytes = 0;
        self.rewrite();
    }

    /// A call as the journal has it.
    pub fn record(&self, call: &CallId) -> Option<Record> {
        let bytes = self.calls.get(call)?;
        Record::from_wire(Call::decode(&**bytes).ok()?).ok()
    }

    fn keep(&mut self, record: &Record) {
        let call = record.to_wire();
        let bytes = call.encode_to_vec();
        let before = self
            .calls
            .get(&record.spec.id)
            .map_or(0, |bytes| entry_bytes(bytes));
        let after = self.live_bytes - before + entry_bytes(&bytes);
        if after > self.bytes_max || bytes.len() + 16 > frame::PAYLOAD_MAX {
            self.counters.refused += 1;
            // What the file has of it is not true any more.
            self.gone(&record.spec.id);
            return;
        }
        self.put(&record.spec.id, bytes);
        self.append(Change::Call(call));
    }

    fn put(&mut self, call: &CallId, bytes: Vec<u8>) {
        self.live_bytes += entry_bytes(&bytes);
        if let Some(before) = self.calls.insert(call.clone(), bytes.into()) {
            self.live_bytes -= entry_bytes(&before);
        }
    }

    /// Writes an entry. The file is written anew, without what is over, when that would be the larger part of it, or when it
    /// would grow beyond its limit.
    fn append(&mut self, change: Change) {
        let Some(file) = &mut self.file else { return };
        let mut bytes = Vec::with_capacity(512);
        encode(change, &mut bytes);
        let grown = file.bytes + bytes.len() as u64;
        if grown > self.bytes_max || (grown > REWRITE_BYTES_MIN && grown > 2 * self.live_bytes) {
            return self.rewrite();
        }
        match file.file.write_all(&bytes) {
            Ok(()) => file.bytes = grown,
            Err(error) => {
                if self.counters.errors == 0 {
                    tracing::error!(path = %file.path.display(), %error, "the journal cannot be written: calls may not outlive the process");
                }
                self.counters.errors += 1;
                // Half an entry would hide those behind it. If this fails, too, the file ends as damaged.
                let _ = file.file.set_len(file.bytes);
            }
        }
    }

    /// Writes the file anew, with one entry a call, and puts it in the place of the old one.
    fn rewrite(&mut self) {
        let Some(file) = &mut self.file else { return };
        match write_anew(&file.path, &file.head, &self.calls) {
            Ok((written, bytes)) => {
                (file.file, file.bytes) = (written, bytes);
                self.counters.rewrites += 1;
            }
            Err(error) => {
                tracing::error!(path = %file.path.display(), %error, "the journal cannot be written anew");
                self.counters.errors += 1;
            }
        }
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

fn encode(change: Change, bytes: &mut Vec<u8>) {
    let payload = Entry { change: Some(change) }.encode_to_vec();
    let fits = frame::encode(&payload, bytes);
    debug_assert!(fits, "entries are checked before they are kept");
}

/// What an encoded call takes in the file: its frame, and the tag and length of the entry around it.
fn entry_bytes(call: &[u8]) -> u64 {
    (frame::HEAD + call.len() + 8) as u64
}

#[cfg(test)]
mod tests;
