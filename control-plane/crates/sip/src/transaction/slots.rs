/// Values at stable places, each under a key that never comes back: a place that is used again gets a new generation.
#[derive(Debug)]
pub(super) struct Slots<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    occupied: usize,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

/// Where a value is, and which of those that were ever there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SlotKey {
    pub(super) slot: u32,
    generation: u32,
}

impl<T> Slots<T> {
    pub(super) const fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            occupied: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.occupied
    }

    pub(super) fn insert(&mut self, value: T) -> SlotKey {
        self.occupied += 1;
        if let Some(slot) = self.free.pop() {
            let place = &mut self.places[slot as usize];
            place.value = Some(value);
            return SlotKey {
                slot,
                generation: place.generation,
            };
        }
        let slot = self.places.len() as u32;
        self.places.push(Place {
            generation: 0,
            value: Some(value),
        });
        SlotKey { slot, generation: 0 }
    }

    pub(super) fn find(&self, key: SlotKey) -> Option<&T> {
        self.places
            .get(key.slot as usize)
            .filter(|place| place.generation == key.generation)?
            .value
            .as_ref()
    }

    pub(super) fn find_mut(&mut self, key: SlotKey) -> Option<&mut T> {
        let place = self.places.get_mut(key.slot as usize)?;
        if place.generation == key.generation {
            place.value.as_mut()
        } else {
            None
        }
    }

    /// The key of what is at `slot` now.
    pub(super) fn key_at(&self, slot: u32) -> Option<SlotKey> {
        let place = self.places.get(slot as usize)?;
        place.value.as_ref().map(|_| SlotKey {
            slot,
            generation: place.generation,
        })
    }

    pub(super) fn remove(&mut self, key: SlotKey) -> Option<T> {
        let place = self
            .places
            .get_mut(key.slot as usize)
            .filter(|place| place.generation == key.generation)?;
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.occupied -= 1;
        self.free.push(key.slot);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_reach_what_came_after_its_value() {
        let mut slots = Slots::new();
        let first = slots.insert("first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second");
        assert_eq!(first.slot, second.slot, "the place is used again");
        assert_eq!(slots.find(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.find_mut(second), Some(&mut "second"));
        assert_eq!(slots.key_at(second.slot), Some(second));
        assert_eq!(slots.len(), 1);
    }
}
