use std::collections::{HashMap, VecDeque};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::flow::{is_user_space, user_space};
use crate::plain::{bytes_of, from_bytes, zeroed};
use crate::{Error, FlowKey, FlowReading, FlowSpec, SpecError, layout};

/// Times that a state is read again while programs write it.
const READS_MAX: usize = 16;

/// The flows of a relay: what is in the kernel's map, and which places for counters are free.
///
/// One process writes a table at a time. Packets see a change of a flow whole or not at all.
#[derive(Debug)]
pub struct FlowTable {
    flows: MapHandle,
    states: MapHandle,
    /// The slot of each flow; `None` for a port of user space.
    slots: HashMap<FlowKey, Option<u32>>,
    /// Oldest first, so that a slot is not taken again while a packet that saw its last flow may still be on its way.
    free: VecDeque<u32>,
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
        let mut table = Self {
            free: (0..states.max_entries()).collect(),
            flows,
            states,
            slots: HashMap::new(),
        };
        let mut used = vec![false; table.states.max_entries() as usize];
        for key in table.flows.keys() {
            let Some(key) = from_bytes::<layout::FlowKey>(&key) else {
                continue;
            };
            let key = FlowKey::decode(&key);
            let Some(flow) = table.flow(key)? else {
                continue;
            };
            let slot = (!is_user_space(&flow)).then_some(flow.slot);
            if let Some(used) = slot.and_then(|slot| used.get_mut(slot as usize)) {
                *used = true;
            }
            table.slots.insert(key, slot);
        }
        table.free.retain(|slot| !used[*slot as usize]);
        Ok(table)
    }

    /// The maps of flows and of states.
    pub(crate) const fn maps(&self) -> (&MapHandle, &MapHandle) {
        (&self.flows, &self.states)
    }

    /// Flows that fit in all.
    pub fn flows_max(&self) -> u32 {
        self.states.max_entries()
    }

    /// Flows and ports of user space that are in the table.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing is in the table.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The keys in the table, in no order; `true` for flows, `false` for ports of user space.
    pub fn keys(&self) -> impl Iterator<Item = (FlowKey, bool)> + '_ {
        self.slots.iter().map(|(key, slot)| (*key, slot.is_some()))
    }

    /// Puts a flow in, with counters at zero. From the next packet on the kernel forwards.
    pub fn install(&mut self, spec: &FlowSpec) -> Result<(), TableError> {
        let key = spec.key();
        if self.slots.contains_key(&key) {
            return Err(TableError::Occupied(key));
        }
        self.put(spec, MapFlags::NO_EXIST)
    }

    /// Writes a flow that takes a free slot.
    fn put(&mut self, spec: &FlowSpec, flags: MapFlags) -> Result<(), TableError> {
        let &slot = self.free.front().ok_or(TableError::Full(self.flows_max()))?;
        let flow = spec.encode(slot)?;
        self.states
            .update(
                &slot.to_ne_bytes(),
                bytes_of(&zeroed::<layout::State>()),
                MapFlags::ANY,
            )
            .map_err(|error| Error::libbpf("clearing a flow's counters", &error))?;
        self.write(spec.key(), &flow, flags)?;
        self.free.pop_front();
        self.slots.insert(spec.key(), Some(slot));
        Ok(())
    }

    /// Changes a flow, whose counters go on, or makes one of a port of user space. No packet falls between the two.
    pub fn replace(&mut self, spec: &FlowSpec) -> Result<(), TableError> {
        let key = spec.key();
        match self.slots.get(&key) {
            None => Err(TableError::Absent(key)),
            Some(Some(slot)) => {
                let epoch = self.flow(key)?.map_or(0, |flow| flow.epoch);
                let flow = layout::Flow {
                    epoch: epoch.wrapping_add(1),
                    ..spec.encode(*slot)?
                };
                Ok(self.write(key, &flow, MapFlags::EXIST)?)
            }
            Some(None) => self.put(spec, MapFlags::EXIST),
        }
    }

    /// Says that user space takes the packets of a port: they go up, whatever is said of unowned ports. Gives what a
    /// flow counted that was there before; no packet falls between the two.
    pub fn leave_to_user_space(&mut self, key: FlowKey) -> Result<Option<FlowReading>, TableError> {
        if !self.slots.contains_key(&key) && self.slots.len() >= self.flows.max_entries() as usize {
            return Err(TableError::Full(self.flows.max_entries()));
        }
        self.write(key, &user_space(), MapFlags::ANY)?;
        match self.slots.insert(key, None).flatten() {
            None => Ok(None),
            Some(slot) => {
                self.free.push_back(slot);
                Ok(Some(self.state(slot)?))
            }
        }
    }

    /// Takes a flow out and gives what it counted; `None` for a port of user space.
    pub fn remove(&mut self, key: FlowKey) -> Result<Option<FlowReading>, TableError> {
        let slot = *self.slots.get(&key).ok_or(TableError::Absent(key))?;
        self.flows
            .delete(bytes_of(&key.encode()))
            .map_err(|error| Error::libbpf("removing a flow", &error))?;
        self.slots.remove(&key);
        let Some(slot) = slot else {
            return Ok(None);
        };
        self.free.push_back(slot);
        Ok(Some(self.state(slot)?))
    }

    /// What a flow has counted so far; `None` when the key has none.
    pub fn read(&self, key: FlowKey) -> Result<Option<FlowReading>, Error> {
        match self.slots.get(&key) {
            Some(Some(slot)) => self.state(*slot).map(Some),
            _ => Ok(None),
        }
    }

    fn flow(&self, key: FlowKey) -> Result<Option<layout::Flow>, Error> {
        let value = self
            .flows
            .lookup(bytes_of(&key.encode()), MapFlags::ANY)
            .map_err(|error| Error::libbpf("reading a flow", &error))?;
        Ok(value.as_deref().and_then(from_bytes))
    }

    /// Read until no program wrote meanwhile, so that the figures belong together: an even version, and nothing that
    /// differs in a second reading. The version alone would not do, as the kernel copies a value in any order. A flow of 100 packets a second is at rest most of the time; one that
    /// never is gives its figures as they are, and says so.
    fn state(&self, slot: u32) -> Result<FlowReading, Error> {
        let mut state = self.state_once(slot)?;
        for _ in 0..READS_MAX {
            let again = self.state_once(slot)?;
            let whole = state.version.is_multiple_of(2) && state == again;
            if whole {
                return Ok(FlowReading { state, whole });
            }
            state = again;
        }
        Ok(FlowReading { state, whole: false })
    }

    fn state_once(&self, slot: u32) -> Result<layout::State, Error> {
        let value = self
            .states
            .lookup(&slot.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| Error::libbpf("reading a flow's counters", &error))?;
        value
            .as_deref()
            .and_then(from_bytes)
            .ok_or_else(|| Error::Layout {
                map: self.states.name().to_string_lossy().into_owned(),
                key_len: self.states.key_size(),
                value_len: self.states.value_size(),
            })
    }

    fn write(&self, key: FlowKey, flow: &layout::Flow, flags: MapFlags) -> Result<(), Error> {
        self.flows
            .update(bytes_of(&key.encode()), bytes_of(flow), flags)
            .map_err(|error| Error::libbpf("writing a flow", &error))
    }
}
