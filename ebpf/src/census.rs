//! What BPF maps a process holds, as the kernel counts them: for measurements and soak tests of that process.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};

use crate::Error;

/// One map that a process has open, whichever of its descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapUse {
    /// Its name, cut to 15 characters by the kernel.
    pub name: String,
    /// Bytes of kernel memory that it takes.
    pub bytes: u64,
    /// Entries of a hash, or those of an array of at most 8 bytes each that are not zero; `None` of other maps.
    pub entries: Option<u64>,
}

/// The maps of process `pid`, by their number. Needs the privilege to look into the process, and CAP_SYS_ADMIN.
pub fn maps_of(pid: u32) -> Result<BTreeMap<u32, MapUse>, Error> {
    let failed = |source: io::Error| Error::kernel("reading what maps a process has", source);
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).map_err(failed)? {
        // A descriptor may be closed while the list is read.
        let Ok(text) = fs::read_to_string(entry.map_err(failed)?.path()) else {
            continue;
        };
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
                .and_then(|value| value.trim().parse::<u64>().ok())
        };
        let (Some(id), Some(bytes)) = (value("map_id"), value("memlock")) else {
            continue;
        };
        let id = id as u32;
        if maps.contains_key(&id) {
            continue;
        }
        let map = MapHandle::from_map_id(id).map_err(|error| Error::libbpf("opening a map", &error))?;
        let entries = match map.map_type() {
            MapType::Hash | MapType::LruHash | MapType::LpmTrie | MapType::Sockhash => {
                Some(map.keys().count() as u64)
            }
            // A table of ports or the like, zero where there is nothing. Larger values are counters.
            MapType::Array if map.value_size() <= 8 => Some(used(&map)?),
            _ => None,
        };
        let name = map.name().to_string_lossy().into_owned();
        maps.insert(id, MapUse { name, bytes, entries });
    }
    Ok(maps)
}

fn used(array: &MapHandle) -> Result<u64, Error> {
    const BATCH: u32 = 8_192;
    let batches = array.lookup_batch(BATCH, MapFlags::ANY, MapFlags::ANY);
    let values = batches.map_err(|error| Error::libbpf("reading a map", &error))?;
    Ok(values
        .filter(|(_, value)| value.iter().any(|byte| *byte != 0))
        .count() as u64)
}
