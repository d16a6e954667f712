//! The ports of a ring, each a slot of its file table, from opening to the last completion.
//!
//! ```text
//!            open                 receive asked for           receive ended, more wanted
//!  Vacant ────────▶ Open(Idle) ──────────────────▶ Open(Armed) ───────────────────────▶ Open(Idle)
//!    ▲                  │ close                        │ close
//!    │                  ▼                              ▼
//!    └──────────── Closing ◀── receive ended ── Closing(receive still out)
//!     file removed
//! ```
//!
//! A slot is vacant, and its index given to another port, only when the kernel has told the end of the receive *and*
//! the removal of the file. Until then nothing can be misattributed; the generation is the second line of defence.

use std::net::SocketAddr;

use media_engine::PortId;

use super::token::GENERATION_MASK;

#[derive(Debug)]
pub(super) struct PortSlots {
    slots: Vec<Slot>,
    vacant: Vec<u32>,
    capacity: u32,
    closing: u32,
    armed: u32,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    state: State,
    /// A multishot receive is with the kernel.
    armed: bool,
    /// The file table has a socket at this index.
    file: bool,
    /// Datagrams that the kernel has dropped at this socket, as far as they are counted.
    drops: u32,
}

#[derive(Debug)]
enum State {
    Vacant,
    Open(SocketAddr),
    Closing,
}

impl PortSlots {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            capacity,
            closing: 0,
            armed: 0,
        }
    }

    /// The slot that [`Self::open`] would take now; `None` when none is vacant.
    pub(super) fn next(&self) -> Option<PortId> {
        match self.vacant.last() {
            Some(&index) => Some(PortId(index)),
            None if (self.slots.len() as u32) < self.capacity => Some(PortId(self.slots.len() as u32)),
            None => None,
        }
    }

    /// Takes the slot that [`Self::next`] named, whose place in the file table has the port's socket. Returns its
    /// generation.
    pub(super) fn open(&mut self, local: SocketAddr) -> Option<(PortId, u32)> {
        let port = self.next()?;
        if self.vacant.pop().is_none() {
            self.slots.push(Slot {
                generation: 0,
                state: State::Vacant,
                armed: false,
                file: false,
                drops: 0,
            });
        }
        let slot = &mut self.slots[port.0 as usize];
        slot.state = State::Open(local);
        slot.file = true;
        slot.drops = 0;
        Some((port, slot.generation))
    }

    /// Ends a port. Returns its generation, for the requests that now have to be made: removing the file and, if
    /// [`Self::is_armed`], cancelling the receive. `None` if it was not open.
    pub(super) fn close(&mut self, port: PortId) -> Option<u32> {
        let slot = self.slots.get_mut(port.0 as usize)?;
        if !matches!(slot.state, State::Open(_)) {
            return None;
        }
        slot.state = State::Closing;
        self.closing += 1;
        let generation = slot.generation;
        slot.generation = (generation + 1) & GENERATION_MASK;
        Some(generation)
    }

    /// A receive of this port is with the kernel from now on.
    pub(super) fn receive_started(&mut self, port: PortId) {
        let slot = &mut self.slots[port.0 as usize];
        debug_assert!(!slot.armed);
        slot.armed = true;
        self.armed += 1;
    }

    /// The kernel told the end of this port's receive. True if the port is open, so that it wants a new one.
    pub(super) fn receive_ended(&mut self, port: PortId) -> bool {
        let Some(slot) = self.slots.get_mut(port.0 as usize) else {
            return false;
        };
        if std::mem::take(&mut slot.armed) {
            self.armed -= 1;
        }
        let open = matches!(slot.state, State::Open(_));
        self.vacate(port);
        open
    }

    /// The kernel told that the socket is out of the file table.
    pub(super) fn file_removed(&mut self, port: PortId) {
        let Some(slot) = self.slots.get_mut(port.0 as usize) else {
            return;
        };
        slot.file = false;
        self.vacate(port);
    }

    fn vacate(&mut self, port: PortId) {
        let slot = &mut self.slots[port.0 as usize];
        if matches!(slot.state, State::Closing) && !slot.armed && !slot.file {
            slot.state = State::Vacant;
            self.vacant.push(port.0);
            self.closing -= 1;
        }
    }

    /// The address of an open port.
    pub(super) fn local(&self, port: PortId) -> Option<SocketAddr> {
        match self.slots.get(port.0 as usize)?.state {
            State::Open(local) => Some(local),
            State::Vacant | State::Closing => None,
        }
    }

    /// Whether this very port is still open.
    pub(super) fn is_current(&self, port: PortId, generation: u32) -> bool {
        self.slots
            .get(port.0 as usize)
            .is_some_and(|slot| matches!(slot.state, State::Open(_)) && slot.generation == generation)
    }

    /// Whether a receive of this slot is with the kernel.
    pub(super) fn is_armed(&self, port: PortId) -> bool {
        self.slots.get(port.0 as usize).is_some_and(|slot| slot.armed)
    }

    /// Datagrams that the kernel has dropped at this slot's socket, as far as they are counted.
    pub(super) fn drops(&mut self, port: PortId) -> Option<&mut u32> {
        self.slots.get_mut(port.0 as usize).map(|slot| &mut slot.drops)
    }

    /// Whether a receive of this generation, which is over, is still with the kernel.
    pub(super) fn is_lingering(&self, port: PortId, generation: u32) -> bool {
        self.is_armed(port) && !self.is_current(port, generation)
    }

    /// All ports that are open.
    pub(super) fn open_ports(&self) -> Vec<PortId> {
        let open = |(index, slot): (usize, &Slot)| {
            matches!(slot.state, State::Open(_)).then_some(PortId(index as u32))
        };
        self.slots.iter().enumerate().filter_map(open).collect()
    }

    /// The generation of an open port.
    pub(super) fn generation(&self, port: PortId) -> Option<u32> {
        let slot = self.slots.get(port.0 as usize)?;
        matches!(slot.state, State::Open(_)).then_some(slot.generation)
    }

    /// Receives with the kernel, all ports together.
    pub(super) fn armed(&self) -> u32 {
        self.armed
    }

    /// Ports that wait for the kernel to let go of them.
    pub(super) fn closing(&self) -> u32 {
        self.closing
    }

    /// Slots ever used: more requests of a kind than these can't be waiting.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> SocketAddr {
        "127.0.0.1:20000".parse().unwrap()
    }

    #[test]
    fn a_slot_is_used_again_only_when_receive_and_file_are_gone() {
        for receive_first in [true, false] {
            let mut slots = PortSlots::new(1);
            let (port, generation) = slots.open(local()).unwrap();
            slots.receive_started(port);
            assert!(slots.is_current(port, generation));
            assert_eq!(slots.next(), None);

            assert_eq!(slots.close(port), Some(generation));
            assert_eq!(slots.close(port), None);
            assert!(!slots.is_current(port, generation));
            assert_eq!((slots.closing(), slots.next()), (1, None));
            assert!(slots.is_lingering(port, generation) && slots.open_ports().is_empty());
            if receive_first {
                assert!(!slots.receive_ended(port));
                assert_eq!(slots.next(), None);
                slots.file_removed(port);
            } else {
                slots.file_removed(port);
                assert_eq!(slots.next(), None);
                assert!(!slots.receive_ended(port));
            }
            assert_eq!((slots.closing(), slots.armed(), slots.next()), (0, 0, Some(port)));

            let (again, later) = slots.open(local()).unwrap();
            assert_eq!(again, port);
            assert_ne!(later, generation);
            assert!(!slots.is_current(port, generation));
        }
    }

    #[test]
    fn a_receive_that_ends_on_an_open_port_is_wanted_again() {
        let mut slots = PortSlots::new(2);
        let (port, generation) = slots.open(local()).unwrap();
        slots.receive_started(port);
        assert!(slots.is_armed(port) && !slots.is_lingering(port, generation));
        assert_eq!(slots.open_ports(), [port]);
        assert!(slots.receive_ended(port));
        assert!(!slots.is_armed(port));
        assert!(slots.is_current(port, generation));
        assert_eq!(slots.local(port), Some(local()));
    }

    #[test]
    fn a_port_that_never_received_waits_for_its_file_only() {
        let mut slots = PortSlots::new(1);
        let (port, _) = slots.open(local()).unwrap();
        slots.close(port);
        slots.file_removed(port);
        assert_eq!(slots.next(), Some(port));
    }

    #[test]
    fn completions_of_unknown_ports_change_nothing() {
        let mut slots = PortSlots::new(1);
        assert!(!slots.receive_ended(PortId(7)));
        slots.file_removed(PortId(7));
        assert_eq!(
            (slots.close(PortId(7)), slots.local(PortId(7)), slots.len()),
            (None, None, 0)
        );
    }
}
