//! Open ports by index.

use media_engine::PortId;

/// Open ports with what a back-end keeps for each, by an index that is used again. A generation a slot, counted up
/// when the port closes, tells what belonged to an earlier port of the same index.
#[derive(Debug)]
pub(crate) struct PortTable<T> {
    slots: Vec<Slot<T>>,
    /// Slots that were open once and may be used again, the last closed on top.
    vacant: Vec<u32>,
    capacity: u32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    port: Option<T>,
}

impl<T> PortTable<T> {
    pub(crate) fn new(capacity: u32) -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            capacity,
        }
    }

    /// Index and generation of the port that [`Self::insert`] would make now; `None` when the table is full.
    pub(crate) fn next(&self) -> Option<(u32, u32)> {
        match self.vacant.last() {
            Some(&index) => Some((index, self.slots[index as usize].generation)),
            None if (self.slots.len() as u32) < self.capacity => Some((self.slots.len() as u32, 0)),
            None => None,
        }
    }

    /// Puts a port into the slot that [`Self::next`] named; gives it back when the table is full.
    pub(crate) fn insert(&mut self, port: T) -> Result<PortId, T> {
        let Some((index, _)) = self.next() else {
            return Err(port);
        };
        if self.vacant.pop().is_some() {
            self.slots[index as usize].port = Some(port);
        } else {
            self.slots.push(Slot {
                generation: 0,
                port: Some(port),
            });
        }
        Ok(PortId(index))
    }

    /// Closes a port: its index is vacant and its generation is over. `None` if it was not open.
    pub(crate) fn remove(&mut self, id: PortId) -> Option<T> {
        let slot = self.slots.get_mut(id.0 as usize)?;
        let port = slot.port.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.vacant.push(id.0);
        Some(port)
    }

    pub(crate) fn at(&self, id: PortId) -> Option<&T> {
        self.slots.get(id.0 as usize)?.port.as_ref()
    }

    pub(crate) fn at_mut(&mut self, id: PortId) -> Option<&mut T> {
        self.slots.get_mut(id.0 as usize)?.port.as_mut()
    }

    /// All ports that are open.
    pub(crate) fn open(&self) -> Vec<PortId> {
        let open = |(index, slot): (usize, &Slot<T>)| slot.port.is_some().then_some(PortId(index as u32));
        self.slots.iter().enumerate().filter_map(open).collect()
    }

    /// The generation of a slot that is or was open.
    pub(crate) fn generation(&self, id: PortId) -> Option<u32> {
        self.slots.get(id.0 as usize).map(|slot| slot.generation)
    }

    /// Whether this very port is still the one that is open under its index.
    pub(crate) fn is_current(&self, id: PortId, generation: u32) -> bool {
        self.slots
            .get(id.0 as usize)
            .is_some_and(|slot| slot.port.is_some() && slot.generation == generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_used_again_in_a_new_generation() {
        let mut table = PortTable::new(2);
        let first = table.insert("a").unwrap();
        let second = table.insert("b").unwrap();
        assert_eq!(table.insert("c"), Err("c"));
        assert!(table.is_current(first, 0));

        assert_eq!(table.remove(first), Some("a"));
        assert_eq!(table.remove(first), None);
        assert!(!table.is_current(first, 0));
        assert_eq!(table.insert("d"), Ok(first));
        assert!(!table.is_current(first, 0));
        assert!(table.is_current(first, 1));
        assert_eq!((table.at(first), table.at(second)), (Some(&"d"), Some(&"b")));
    }
}
