use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::flow::{is_user_space, user_space};
use crate::mapping::States;
use crate::plain::{bytes_of, from_bytes};
use crate::{Error, FlowKey, FlowReading, FlowSpec, Media, SpecError, StreamState, layout, stream};

/// The flows of a relay: what is in the kernel's map, and which places for counters are free.
///
/// Clones are the same table, for any threads of one process; changes wait for one another, packets for none of them.
/// One process writes a table at a time. Packets see a change of a flow whole or not at all.
#[derive(Clone, Debug)]
pub struct FlowTable {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    flows: MapHandle,
    states: MapHandle,
    mapped: States,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    /// The slot of each flow; `None` for a port of user space.
    by_key: HashMap<FlowKey, Option<u32>>,
    /// Oldest first, so that a slot is not taken again while a packet that saw its last flow may still be on its way.
    free: VecDeque<u32>,
}

/// A flow that is in the table, as an adopting process finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledFlow {
    /// Where packets come to.
    pub local: SocketAddr,
    /// Where they must come from.
    pub source: SocketAddr,
    /// Where they leave from.
    pub egress_local: SocketAddr,
    /// Where they go.
    pub destination: SocketAddr,
    /// What they are; payload types in rising order.
    pub media: Media,
    /// What was counted so far.
    pub reading: FlowReading,
}

/// Why a flow was not put in or changed.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The description was wrong: the caller's mistake.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// All places are taken.
    #[error("all {0} flows are in use")]
    Full(u32),
    /// The key has a flow already.
    #[error("{} has a flow already", .0.local())]
    Occupied(FlowKey),
    /// The key has no flow.
    #[error("{} has no flow", .0.local())]
    Absent(FlowKey),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] Error),
}

impl FlowTable {
    /// The table of these maps, with the flows that are in them.
    pub(crate) fn new(flows: MapHandle, states: MapHandle) -> Result<Self, Error> {
        let mapped = States::map(&states)?;
        let shared = Shared {
            flows,
            states,
            mapped,
            slots: Mutex::default(),
        };
        *shared.slots() = shared.scan()?;
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Looks at the maps again, which another process has written since. That one must have stopped writing.
    pub fn reload(&self) -> Result<(), Error> {
        let mut slots = self.shared.slots();
        *slots = self.shared.scan()?;
        Ok(())
    }

    /// The maps of flows and of states.
    pub(crate) fn maps(&self) -> (&MapHandle, &MapHandle) {
        (&self.shared.flows, &self.shared.states)
    }

    /// Flows that fit in all.
    pub fn flows_max(&self) -> u32 {
        self.shared.states.max_entries()
    }

    /// Flows and ports of user space that are in the table.
    pub fn len(&self) -> usize {
        self.shared.slots().by_key.len()
    }

    /// Whether nothing is in the table.
    pub fn is_empty(&self) -> bool {
        self.shared.slots().by_key.is_empty()
    }

    /// The keys in the table, in no order; `true` for flows, `false` for ports of user space.
    pub fn keys(&self) -> Vec<(FlowKey, bool)> {
        let slots = self.shared.slots();
        slots
            .by_key
            .iter()
            .map(|(key, slot)| (*key, slot.is_some()))
            .collect()
    }

    /// The flows in the table with what each has counted, in no order; ports of user space left out. One system call a
    /// flow.
    pub fn flows(&self) -> Result<Vec<InstalledFlow>, Error> {
        let slots = self.shared.slots();
        let mut flows = Vec::with_capacity(slots.by_key.len());
        for (key, slot) in &slots.by_key {
            let (Some(slot), Some(flow)) = (slot, self.shared.flow(*key)?) else {
                continue;
            };
            let (source, egress_local, destination) = flow.addresses();
            flows.push(InstalledFlow {
                local: key.local(),
                source,
                egress_local,
                destination,
                media: flow.media(),
                reading: self.shared.state(*slot)?,
            });
        }
        Ok(flows)
    }

    /// Puts a flow in. From the next packet on the kernel forwards, and counts on from `streams`, of which the four
    /// latest heard are kept apart; all other counters begin at zero.
    pub fn install(&self, spec: &FlowSpec, streams: &[StreamState]) -> Result<(), TableError> {
        let key = spec.key();
        let mut slots = self.shared.slots();
        if slots.by_key.contains_key(&key) {
            return Err(TableError::Occupied(key));
        }
        self.shared.put(&mut slots, spec, streams, MapFlags::NO_EXIST)
    }

    /// Changes a flow, whose counters go on, or makes one of a port of user space, which counts on from `streams`. No
    /// packet falls between the two.
    pub fn replace(&self, spec: &FlowSpec, streams: &[StreamState]) -> Result<(), TableError> {
        let key = spec.key();
        let mut slots = self.shared.slots();
        match slots.by_key.get(&key) {
            None => Err(TableError::Absent(key)),
            Some(Some(slot)) => {
                let epoch = self.shared.flow(key)?.map_or(0, |flow| flow.epoch);
                let flow = layout::Flow {
                    epoch: epoch.wrapping_add(1),
                    ..spec.encode(*slot)?
                };
                Ok(self.shared.write(key, &flow, MapFlags::EXIST)?)
            }
            Some(None) => self.shared.put(&mut slots, spec, streams, MapFlags::EXIST),
        }
    }

    /// Says that user space takes the packets of a port: they go up, whatever is said of unowned ports. Gives what a
    /// flow counted that was there before; no packet falls between the two.
    pub fn leave_to_user_space(&self, key: FlowKey) -> Result<Option<FlowReading>, TableError> {
        let shared = &self.shared;
        let mut slots = shared.slots();
        if !slots.by_key.contains_key(&key) && slots.by_key.len() >= shared.flows.max_entries() as usize {
            return Err(TableError::Full(shared.flows.max_entries()));
        }
        shared.write(key, &user_space(), MapFlags::ANY)?;
        match slots.by_key.insert(key, None).flatten() {
            None => Ok(None),
            Some(slot) => {
                slots.free.push_back(slot);
                Ok(Some(shared.state(slot)?))
            }
        }
    }

    /// Takes a flow out and gives what it counted; `None` for a port of user space. A packet that another CPU has in
    /// hand at this very moment may be forwarded still, and counted after the reading.
    pub fn remove(&self, key: FlowKey) -> Result<Option<FlowReading>, TableError> {
        let shared = &self.shared;
        let mut slots = shared.slots();
        let slot = *slots.by_key.get(&key).ok_or(TableError::Absent(key))?;
        shared
            .flows
            .delete(bytes_of(&key.encode()))
            .map_err(|error| Error::libbpf("removing a flow", &error))?;
        slots.by_key.remove(&key);
        let Some(slot) = slot else {
            return Ok(None);
        };
        slots.free.push_back(slot);
        Ok(Some(shared.state(slot)?))
    }

    /// What a flow has counted so far; `None` when the key has none. No system call: see docs/performance.md.
    pub fn read(&self, key: FlowKey) -> Result<Option<FlowReading>, Error> {
        let slots = self.shared.slots();
        match slots.by_key.get(&key) {
            Some(Some(slot)) => self.shared.state(*slot).map(Some),
            _ => Ok(None),
        }
    }
}

impl Shared {
    /// What is in the maps.
    fn scan(&self) -> Result<Slots, Error> {
        let mut slots = Slots::default();
        let mut used = vec![false; self.states.max_entries() as usize];
        for key in self.flows.keys() {
            let Some(key) = from_bytes::<layout::FlowKey>(&key) else {
                continue;
            };
            let key = FlowKey::decode(&key);
            let Some(flow) = self.flow(key)? else {
                continue;
            };
            let slot = (!is_user_space(&flow)).then_some(flow.slot);
            if let Some(used) = slot.and_then(|slot| used.get_mut(slot as usize)) {
                *used = true;
            }
            slots.by_key.insert(key, slot);
        }
        slots
            .free
            .extend((0..self.states.max_entries()).filter(|slot| !used[*slot as usize]));
        Ok(slots)
    }

    /// What a panicked thread has left is whole: the book is written after the map, in one step.
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a flow that takes a free slot.
    fn put(
        &self,
        slots: &mut Slots,
        spec: &FlowSpec,
        streams: &[StreamState],
        flags: MapFlags,
    ) -> Result<(), TableError> {
        let full = TableError::Full(self.states.max_entries());
        let &slot = slots.free.front().ok_or(full)?;
        let flow = spec.encode(slot)?;
        let state = stream::begin(streams);
        self.states
            .update(&slot.to_ne_bytes(), bytes_of(&state), MapFlags::ANY)
            .map_err(|error| Error::libbpf("writing a flow's counters", &error))?;
        self.write(spec.key(), &flow, flags)?;
        slots.free.pop_front();
        slots.by_key.insert(spec.key(), Some(slot));
        Ok(())
    }

    fn flow(&self, key: FlowKey) -> Result<Option<layout::Flow>, Error> {
        let value = self
            .flows
            .lookup(bytes_of(&key.encode()), MapFlags::ANY)
            .map_err(|error| Error::libbpf("reading a flow", &error))?;
        Ok(value.as_deref().and_then(from_bytes))
    }

    /// A flow of 100 packets a second is at rest most of the time; one that never is gives its figures as they are, and
    /// says so.
    fn state(&self, slot: u32) -> Result<FlowReading, Error> {
        let (state, whole) = self.mapped.read(slot).ok_or_else(|| Error::Layout {
            map: self.states.name().to_string_lossy().into_owned(),
            key_len: self.states.key_size(),
            value_len: self.states.value_size(),
        })?;
        Ok(FlowReading { state, whole })
    }

    fn write(&self, key: FlowKey, flow: &layout::Flow, flags: MapFlags) -> Result<(), Error> {
        self.flows
            .update(bytes_of(&key.encode()), bytes_of(flow), flags)
            .map_err(|error| Error::libbpf("writing a flow", &error))
    }
}
