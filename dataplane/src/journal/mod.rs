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
mod written;

use std::collections::HashMap;

use media_types::{CallId, CallReport, CallSpec, IdempotencyKey, LegId, LegSpec};
use prost::Message as _;

use record::{Call, Change, Learned};
use written::JournalFile;

pub use directory::StateDirectory;
pub use found::Found;
pub use record::Record;

use open::{Opened, open};
pub use open::{begin, discard};

/// The calls of the node, in memory as in the file.
#[derive(Debug)]
pub struct Journal {
    /// `None`: nothing is kept.
    file: Option<JournalFile>,
    /// Every call as its latest entry has it.
    calls: HashMap<CallId, Box<[u8]>>,
    /// Calls that have or had keys, which are never written: they end with the process, unless another one takes them over from it.
    secured: HashMap<CallId, Record>,
    /// Bytes of a file with these entries alone.
    live_bytes: u64,
    bytes_max: u64,
    counters: Counters,
}

/// What became of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls that are not in the file since there is no room for them: they would not outlive the process.
    pub refused_full: u64,
    /// Calls that are not in the file since no entry may be as large: they would not outlive the process.
    pub refused_too_large: u64,
    /// Entries that could not be written.
    pub errors: u64,
    /// Times that the file was written anew.
    pub rewrites: u64,
    /// Times that the file could not be written anew.
    pub rewrite_errors: u64,
    /// Bytes of the file that an earlier process left, from an entry on that was cut off or damaged: they were not read.
    pub left_out_bytes: u64,
}

impl Journal {
    /// One that keeps nothing.
    pub fn off() -> Self {
        Self {
            file: None,
            calls: HashMap::new(),
            secured: HashMap::new(),
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
        if self.is_on() && !self.calls.contains_key(&spec.id) && !self.secured.contains_key(&spec.id) {
            let record = Record::new(worker, key, spec, now_ms, report);
            // Calls that are in the file may grow, and what is over needs a place until the file is written anew.
            self.keep(&record, self.bytes_max / 2, None);
        }
    }

    /// A call was given new media.
    pub fn updated(&mut self, key: &IdempotencyKey, call: &CallId, legs: &[LegSpec], report: &CallReport) {
        if let Some(mut record) = self.record(call) {
            record.update(key, legs, report);
            self.keep(&record, self.kept_bytes_max(), None);
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
        let learned = Learned {
            call: call.to_string(),
            leg: leg as u32,
            place: place as u32,
            source: source.to_string(),
        };
        self.keep(&record, self.kept_bytes_max(), Some(Change::Learned(learned)));
    }

    /// A call is gone.
    pub fn gone(&mut self, call: &CallId) {
        self.secured.remove(call);
        self.forget(call);
    }

    /// The file is not to have a call any more.
    fn forget(&mut self, call: &CallId) {
        if let Some(bytes) = self.calls.remove(call) {
            self.live_bytes -= entry_bytes(&bytes);
            self.append(Change::Gone(call.to_string()));
        }
    }

    /// Lets go of the file, which is another process's from now on. Nothing is written any more.
    pub fn leave(&mut self) {
        *self = Self {
            counters: self.counters,
            ..Self::off()
        };
    }

    /// Every call is gone.
    pub fn clear(&mut self) {
        self.calls.clear();
        self.secured.clear();
        self.live_bytes = 0;
        if let Some(file) = &mut self.file {
            file.clear(&mut self.counters);
        }
    }

    /// A call as the journal has it.
    pub fn record(&self, call: &CallId) -> Option<Record> {
        if let Some(record) = self.secured.get(call) {
            return Some(record.clone());
        }
        let bytes = self.calls.get(call)?;
        Record::from_wire(Call::decode(&**bytes).ok()?).ok()
    }

    /// What calls that are in the file may take of it: a quarter is left to what is over, so that the file is not written anew with
    /// every other entry.
    const fn kept_bytes_max(&self) -> u64 {
        self.bytes_max / 4 * 3
    }

    /// Keeps a call as it is now, in so many bytes of all calls at most. `change`: what to write of it instead of all.
    fn keep(&mut self, record: &Record, live_bytes_max: u64, change: Option<Change>) {
        if record.has_had_keys {
            self.forget(&record.spec.id);
            self.secured.insert(record.spec.id.clone(), record.clone());
            return;
        }
        let call = record.to_wire();
        let bytes = call.encode_to_vec();
        let is_full = self.live_bytes_with(record, &bytes) > live_bytes_max;
        if is_full || bytes.len() + 16 > frame::PAYLOAD_MAX {
            self.refuse(record, is_full);
            return;
        }
        self.put(&record.spec.id, bytes);
        self.append(change.unwrap_or(Change::Call(call)));
    }

    fn live_bytes_with(&self, record: &Record, bytes: &[u8]) -> u64 {
        let before = self.calls.get(&record.spec.id);
        self.live_bytes - before.map_or(0, |bytes| entry_bytes(bytes)) + entry_bytes(bytes)
    }

    fn refuse(&mut self, record: &Record, is_full: bool) {
        let (refused, reason) = match is_full {
            true => (
                &mut self.counters.refused_full,
                "limits.journal_bytes_max leaves no room",
            ),
            false => (&mut self.counters.refused_too_large, "no entry may be as large"),
        };
        if *refused == 0 {
            tracing::warn!(call = %record.spec.id, "a call, and more from now on, will not outlive the process: {reason}");
        }
        *refused += 1;
        // What the file has of it is not true any more.
        self.forget(&record.spec.id);
    }

    fn put(&mut self, call: &CallId, bytes: Vec<u8>) {
        self.live_bytes += entry_bytes(&bytes);
        if let Some(before) = self.calls.insert(call.clone(), bytes.into()) {
            self.live_bytes -= entry_bytes(&before);
        }
    }

    fn append(&mut self, change: Change) {
        if let Some(file) = &mut self.file {
            let live = written::Live {
                calls: &self.calls,
                bytes: self.live_bytes,
            };
            file.append(change, &live, self.bytes_max, &mut self.counters);
        }
    }
}

/// What an encoded call takes in the file: its frame, and the tag and length of the entry around it.
fn entry_bytes(call: &[u8]) -> u64 {
    (frame::HEAD + call.len() + 8) as u64
}

#[cfg(test)]
mod tests;
