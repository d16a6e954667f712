//! What a media node holds besides calls and ports: memory, files, entries of BPF maps.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

/// What resident memory may be above that of the first wave: a share, and at least so much.
const GROWTH_PERCENT: u64 = 8;
const GROWTH_BYTES: u64 = 3 << 20;

/// What a node holds when it has no call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Holdings {
    /// Resident memory.
    pub resident_bytes: u64,
    /// Open files, sockets among them.
    pub files: u64,
    /// Entries of BPF maps, by name and number.
    pub map_entries: BTreeMap<String, u64>,
}

impl Holdings {
    /// Of a process.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        // Without the privilege to look at maps there are none of the node either.
        let maps = ebpf::maps_of(pid).unwrap_or_default();
        Ok(Self {
            resident_bytes: crate::usage::resident_bytes(pid)?,
            files,
            map_entries: maps
                .into_iter()
                .filter_map(|(id, map)| Some((format!("{}/{id}", map.name), map.entries?)))
                .collect(),
        })
    }

    /// What there is more of, or fewer, than there was; memory apart.
    pub fn differences(&self, before: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.files != before.files {
            found.push(format!("{} open files were {}", self.files, before.files));
        }
        if self.map_entries != before.map_entries {
            found.push(format!(
                "entries of BPF maps {:?} were {:?}",
                self.map_entries, before.map_entries
            ));
        }
        found
    }

    /// Whether resident memory has grown beyond what allocators do.
    pub fn growth(&self, before: &Self) -> Option<String> {
        let allowed = before.resident_bytes + GROWTH_BYTES.max(before.resident_bytes * GROWTH_PERCENT / 100);
        (self.resident_bytes > allowed).then(|| {
            format!(
                "{} bytes of resident memory were {}",
                self.resident_bytes, before.resident_bytes
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_back_is_named() {
        let before = Holdings {
            resident_bytes: 20 << 20,
            files: 12,
            map_entries: BTreeMap::from([("flows/1".to_owned(), 0)]),
        };
        assert!(before.differences(&before).is_empty() && before.growth(&before).is_none());
        let after = Holdings {
            resident_bytes: 30 << 20,
            files: 13,
            map_entries: BTreeMap::from([("flows/1".to_owned(), 2)]),
        };
        let said = after.differences(&before).join("; ");
        assert!(
            said.contains("13 open files were 12") && said.contains("flows"),
            "{said}"
        );
        assert!(after.growth(&before).is_some());
    }
}
