use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ebpf::{Error, FlowKey, FlowTable, TapRecord, Taps};

/// Records that wait for one tap; a tap looks every few milliseconds.
const RECORDS_MAX: usize = 4_096;
/// Records that one look takes out of the ring, so that other tasks of the control thread have their turn.
const RECORDS_PER_LOOK: usize = 4_096;

/// What the kernel's table of flows copies for taps. It has one ring, and every tap that looks hands the others their records.
///
/// Used on the control thread; the lock is never held across an await.
#[derive(Debug)]
pub struct KernelTaps {
    table: FlowTable,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ring: Taps,
    readers: HashMap<u64, Reader>,
    next: u64,
}

/// One tap's part.
#[derive(Debug, Default)]
struct Reader {
    keys: HashMap<FlowKey, Lost>,
    records: VecDeque<TapRecord>,
}

/// Packets of a flow of which no record was made or kept.
#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    /// What the flow's counter was when it was read last; a new flow counts from zero.
    read: u64,
    sum: u64,
}

impl KernelTaps {
    /// Taps of the flows in `table`, whose records are in `ring`.
    pub fn new(table: FlowTable, ring: Taps) -> Self {
        Self {
            table,
            state: Mutex::new(State {
                ring,
                readers: HashMap::new(),
                next: 0,
            }),
        }
    }

    /// A tap of no port yet.
    pub fn begin(self: &Arc<Self>) -> KernelTap {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.readers.insert(id, Reader::default());
        drop(state);
        KernelTap {
            taps: self.clone(),
            id,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes records out of the ring and gives them to whom they are for.
    fn look(&mut self) -> Result<(), Error> {
        for _ in 0..RECORDS_PER_LOOK {
            let Some(record) = self.ring.next_record()? else {
                break;
            };
            for reader in self.readers.values_mut() {
                let Some(lost) = reader.keys.get_mut(&record.key) else {
                    continue;
                };
                if reader.records.len() < RECORDS_MAX {
                    reader.records.push_back(record.clone());
                } else {
                    lost.sum += 1;
                }
            }
        }
        Ok(())
    }
}

/// One tap of the kernel's flows. It ends when it is dropped.
#[derive(Debug)]
pub struct KernelTap {
    taps: Arc<KernelTaps>,
    id: u64,
}

impl KernelTap {
    /// From now on packets that come to these addresses are copied, and no others. A port may have no flow in the kernel now
    /// and get one later.
    pub fn set_ports(&self, locals: impl Iterator<Item = SocketAddr>) {
        let keys: Vec<FlowKey> = locals.map(FlowKey::new).collect();
        let mut state = self.taps.state();
        let Some(reader) = state.readers.get_mut(&self.id) else {
            return;
        };
        let gone: Vec<FlowKey> = reader
            .keys
            .keys()
            .filter(|key| !keys.contains(key))
            .copied()
            .collect();
        for key in &gone {
            reader.keys.remove(key);
        }
        for key in keys {
            reader.keys.entry(key).or_insert_with(|| Lost {
                read: self.lost_now(key),
                sum: 0,
            });
            self.taps.table.set_tap(key, true);
        }
        self.let_go(&state, &gone);
    }

    /// The records since the last time, oldest first.
    ///
    /// # Errors
    /// When the ring is broken.
    pub fn take(&self) -> Result<VecDeque<TapRecord>, Error> {
        let mut state = self.taps.state();
        state.look()?;
        let reader = state.readers.get_mut(&self.id);
        Ok(reader
            .map(|reader| std::mem::take(&mut reader.records))
            .unwrap_or_default())
    }

    /// Packets that came to each address and were left out, as far as the flows that are there now tell. To be asked now and
    /// then: a flow that goes takes its count along.
    pub fn left_out(&self) -> Vec<(SocketAddr, u64)> {
        let mut state = self.taps.state();
        let Some(reader) = state.readers.get_mut(&self.id) else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for (key, lost) in &mut reader.keys {
            let now = self.lost_now(*key);
            lost.sum += if now >= lost.read { now - lost.read } else { now };
            lost.read = now;
            if lost.sum > 0 {
                all.push((key.local(), lost.sum));
            }
        }
        all
    }

    fn lost_now(&self, key: FlowKey) -> u64 {
        self.taps.table.read(key).map_or(0, |reading| reading.taps_lost())
    }

    /// Ends the copying of what no other tap wants.
    fn let_go(&self, state: &State, keys: &[FlowKey]) {
        for key in keys {
            if !state.readers.values().any(|reader| reader.keys.contains_key(key)) {
                self.taps.table.set_tap(*key, false);
            }
        }
    }
}

impl Drop for KernelTap {
    fn drop(&mut self) {
        let mut state = self.taps.state();
        if let Some(reader) = state.readers.remove(&self.id) {
            let keys: Vec<FlowKey> = reader.keys.into_keys().collect();
            self.let_go(&state, &keys);
        }
    }
}
