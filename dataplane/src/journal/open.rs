//! What a process finds in its state directory when it starts.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use media_types::CallId;
use prost::Message as _;

use super::record::{Change, Entry, Head, Record, RecordError, address};
use super::{Counters, Journal, JournalFile, StateDirectory, frame, written};

/// The name of the file.
const NAME: &str = "journal";

/// A journal, and what an earlier process left in it.
#[derive(Debug)]
pub struct Opened {
    /// To go on with: the calls are in it.
    pub journal: Journal,
    /// The calls, in the order of their names.
    pub records: Vec<Record>,
    /// Why the journal that was found is not used, for people. It lies beside the new one, under another name.
    pub set_aside: Option<String>,
    /// The end of the journal that was not read. The whole file lies beside the new one, under another name.
    pub left_out: Option<LeftOut>,
    /// Why the whole file could not be kept, for people.
    pub not_kept: Option<String>,
}

/// The end of a file, from an entry on that is not whole or makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// How much it is.
    pub bytes: usize,
    /// Why, for people.
    pub reason: String,
}

/// The file of a journal that was not used, and of one whose end was not.
pub const SET_ASIDE: &str = "journal.unused";
pub const DAMAGED: &str = "journal.damaged";

/// Opens the journal in `directory`, or begins one. One that is of another version, node or boot is set aside; of one that is damaged,
/// or whose last entry was cut off, what came before that is read.
///
/// # Errors
/// When the directory cannot be read or written.
pub fn open(directory: &StateDirectory, node_id: &str, bytes_max: u64) -> io::Result<Opened> {
    let path = directory.file(NAME);
    let head = head(node_id);
    let found = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let (read, set_aside) = match read(&found, &head) {
        Ok(read) => (read, None),
        Err(reason) => {
            fs::rename(&path, directory.file(SET_ASIDE))?;
            (Read::default(), Some(reason))
        }
    };
    let not_kept = match read.left_out {
        // Only people read it: no reason to go without the calls that can be read.
        Some(_) => keep(&path, &directory.file(DAMAGED)).err(),
        None => None,
    };
    let mut records: Vec<Record> = read.calls.into_values().collect();
    records.sort_unstable_by(|a, b| a.spec.id.cmp(&b.spec.id));
    // Written anew: what was left out would hide what follows.
    let mut journal = begin(directory, node_id, &records, bytes_max)?;
    journal.counters.left_out_bytes = read.left_out.as_ref().map_or(0, |left_out| left_out.bytes as u64);
    Ok(Opened {
        journal,
        records,
        set_aside,
        left_out: read.left_out,
        not_kept: not_kept.map(|error| error.to_string()),
    })
}

/// Keeps a file under a second name, so that at no moment there is no journal; as a copy where files have one name only.
fn keep(path: &Path, kept: &Path) -> io::Result<()> {
    match fs::remove_file(kept) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::hard_link(path, kept).or_else(|_| fs::copy(path, kept).map(drop))
}

/// Ends the journal of a process that has left its calls, when this one cannot write one: what it says is not true any more. An empty
/// file is as good as none.
///
/// # Errors
/// When it stays as it is.
pub fn discard(directory: &StateDirectory) -> io::Result<()> {
    written::empty(&directory.file(NAME))
}

/// A journal with these calls, in the place of one that is there.
///
/// # Errors
/// When it cannot be written.
pub fn begin(
    directory: &StateDirectory,
    node_id: &str,
    records: &[Record],
    bytes_max: u64,
) -> io::Result<Journal> {
    let (path, head) = (directory.file(NAME), head(node_id));
    let mut journal = Journal {
        file: None,
        calls: HashMap::new(),
        secured: HashMap::new(),
        live_bytes: 0,
        bytes_max,
        counters: Counters::default(),
    };
    for record in records {
        if record.has_had_keys {
            journal.secured.insert(record.spec.id.clone(), record.clone());
            continue;
        }
        let bytes = record.to_wire().encode_to_vec();
        // The limit may have been lowered since.
        if journal.live_bytes_with(record, &bytes) > journal.kept_bytes_max() {
            journal.refuse(record, true);
        } else {
            journal.put(&record.spec.id, bytes);
        }
    }
    journal.file = Some(JournalFile::begin(path, head, &journal.calls)?);
    Ok(journal)
}

fn head(node_id: &str) -> Head {
    Head {
        node_id: node_id.to_owned(),
        boot_id: boot_id(),
    }
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) calls: HashMap<CallId, Record>,
    pub(super) left_out: Option<LeftOut>,
}

/// The calls of a file, or why it is not to be used.
pub(super) fn read(bytes: &[u8], head: &Head) -> Result<Read, String> {
    let payloads = frame::payloads(bytes).map_err(|damage| damage.to_string())?;
    let mut read = Read::default();
    // The length of the whole entries so far.
    let mut end = frame::MARK.len().min(bytes.len());
    let mut wrong = "is cut off or damaged".to_owned();
    for (number, payload) in payloads.into_iter().enumerate() {
        let next = payload.end;
        let entry = Entry::decode(&bytes[payload]).map_err(RecordError::from);
        if number == 0 {
            match entry.map(|entry| entry.change) {
                Ok(Some(Change::Head(found))) => check(&found, head)?,
                _ => return Err("it does not say whose it is".to_owned()),
            }
        } else {
            let empty = RecordError::Range("what happened");
            let applied = entry
                .and_then(|entry| entry.change.ok_or(empty))
                .and_then(|change| apply(&mut read.calls, change));
            if let Err(error) = applied {
                wrong = format!("makes no sense: {error}");
                break;
            }
        }
        end = next;
    }
    if end < bytes.len() {
        read.left_out = Some(LeftOut {
            bytes: bytes.len() - end,
            reason: format!("the entry at byte {end} {wrong}"),
        });
    }
    Ok(read)
}

fn check(found: &Head, head: &Head) -> Result<(), String> {
    if found.node_id != head.node_id {
        return Err(format!("it is of node {:?}", found.node_id));
    }
    if found.boot_id != head.boot_id {
        return Err("it is of an earlier boot of this machine".to_owned());
    }
    Ok(())
}

fn apply(calls: &mut HashMap<CallId, Record>, change: Change) -> Result<(), RecordError> {
    match change {
        Change::Head(_) => return Err(RecordError::Range("a second head")),
        Change::Call(call) => {
            let record = Record::from_wire(call)?;
            calls.insert(record.spec.id.clone(), record);
        }
        Change::Learned(learned) => {
            let source = address(&learned.source)?.ok_or(RecordError::Range("an address"))?;
            let call = CallId::new(&learned.call)?;
            if let Some(record) = calls.get_mut(&call) {
                record.learn(learned.leg as usize, learned.place as usize, source);
            }
        }
        Change::Gone(call) => {
            calls.remove(&CallId::new(&call)?);
        }
    }
    Ok(())
}

/// Which boot of the kernel this is; empty where it does not say.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}
