//! What a process finds in its state directory when it starts.

use std::collections::HashMap;
use std::fs;
use std::io;

use media_types::CallId;
use prost::Message as _;

use super::record::{Change, Entry, Head, Record, RecordError, address};
use super::{Counters, Journal, JournalFile, StateDirectory, frame, write_anew};

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
}

/// Opens the journal in `directory`, or begins one. One that is damaged, or of another version, node or boot, is set aside.
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
    let (calls, set_aside) = match read(&found, &head) {
        Ok(calls) => (calls, None),
        Err(reason) => {
            fs::rename(&path, path.with_extension("unused"))?;
            (HashMap::new(), Some(reason))
        }
    };
    let mut records: Vec<Record> = calls.into_values().collect();
    records.sort_unstable_by(|a, b| a.spec.id.cmp(&b.spec.id));
    // Written anew: a torn entry at the end would hide those that follow.
    Ok(Opened {
        journal: begin(directory, node_id, &records, bytes_max)?,
        records,
        set_aside,
    })
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
        live_bytes: 0,
        bytes_max,
        counters: Counters::default(),
    };
    for record in records {
        journal.put(&record.spec.id, record.to_wire().encode_to_vec());
    }
    let (file, bytes) = write_anew(&path, &head, &journal.calls)?;
    journal.file = Some(JournalFile {
        path,
        head,
        file,
        bytes,
    });
    Ok(journal)
}

fn head(node_id: &str) -> Head {
    Head {
        node_id: node_id.to_owned(),
        boot_id: boot_id(),
    }
}

/// The calls of a file, or why it is not to be used.
pub(super) fn read(bytes: &[u8], head: &Head) -> Result<HashMap<CallId, Record>, String> {
    let payloads = frame::payloads(bytes).map_err(|damage| damage.to_string())?;
    let mut calls = HashMap::new();
    for (number, payload) in payloads.into_iter().enumerate() {
        let at = payload.start;
        let wrong =
            |error: &dyn std::fmt::Display| format!("the record at byte {at} makes no sense: {error}");
        let entry = Entry::decode(&bytes[payload]).map_err(|error| wrong(&error))?;
        match (number, entry.change) {
            (0, Some(Change::Head(found))) => check(&found, head)?,
            (0, _) => return Err("it does not say whose it is".to_owned()),
            (_, Some(change)) => apply(&mut calls, change).map_err(|error| wrong(&error))?,
            (_, None) => return Err(wrong(&"it is empty")),
        }
    }
    Ok(calls)
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
