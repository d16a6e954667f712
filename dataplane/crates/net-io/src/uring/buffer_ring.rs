//! The provided buffer ring: how frames go to the kernel to be received into.
//!
//! A ring of `(address, length, id)` entries in our memory, whose tail we publish and whose head only the kernel
//! knows. Each entry names a whole frame, and its id is the frame's index, so a completion says which frame it filled.

use std::alloc::{self, Layout};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

/// Our side of a buffer ring. Does not know the kernel: whoever consumes the entries may be a test.
#[derive(Debug)]
pub(super) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    /// Number of entries, a power of two up to 32,768.
    size: u16,
    /// The next entry to write, modulo 2^16 as the kernel counts.
    tail: u16,
    /// Entries written and not yet consumed.
    provided: u16,
}

impl BufferRing {
    /// The kernel wants the ring at a page boundary.
    const ALIGNMENT: usize = 4096;

    /// An empty ring of `size` entries: a power of two up to 32,768.
    pub(super) fn new(size: u16) -> Self {
        assert!(size.is_power_of_two());
        let layout = Self::layout(size);
        // SAFETY: validity: the layout is not of size zero, since `size` is a power of two.
        let memory = unsafe { alloc::alloc_zeroed(layout) };
        let Some(entries) = NonNull::new(memory.cast::<BufRingEntry>()) else {
            alloc::handle_alloc_error(layout)
        };
        Self {
            entries,
            size,
            tail: 0,
            provided: 0,
        }
    }

    fn layout(size: u16) -> Layout {
        Layout::from_size_align(usize::from(size) * size_of::<BufRingEntry>(), Self::ALIGNMENT)
            .expect("32,768 entries of 16 bytes fit the address space")
    }

    /// Where the ring begins, for registering it.
    pub(super) fn address(&self) -> u64 {
        self.entries.as_ptr() as u64
    }

    pub(super) fn size(&self) -> u16 {
        self.size
    }

    /// Buffers that the kernel has.
    pub(super) fn provided(&self) -> u16 {
        self.provided
    }

    /// Gives a buffer to the kernel.
    ///
    /// Safe, because it hands over an address as a number; that nobody else uses the memory there until the kernel has
    /// given it back is the caller's invariant (number 1 of the crate). Panics when the ring is full.
    pub(super) fn provide(&mut self, id: u16, address: u64, length: u32) {
        assert!(
            self.provided < self.size,
            "more buffers than the ring has room for"
        );
        let place = usize::from(self.tail & (self.size - 1));
        let entry = self.entries.as_ptr().wrapping_add(place);
        // SAFETY: validity and bounds: `place` is below `size`, so the entry lies in the allocation. Alignment: page
        // aligned base, entries of 16 bytes. Initialisation: allocated zeroed, and any bits are an entry. Aliasing:
        // between its tail and ours the kernel reads entries, and this one is not among them since the ring
        // is not full; the tail inside of entry 0 is written by this thread only, and not through this reference.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address);
        entry.set_len(length);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        self.provided += 1;
        self.shared_tail().store(self.tail, Ordering::Release);
    }

    /// Takes note that the kernel has used a buffer.
    pub(super) fn consumed(&mut self) {
        debug_assert!(self.provided > 0);
        self.provided = self.provided.saturating_sub(1);
    }

    /// The tail that the kernel reads, which lies in the reserved part of the first entry.
    fn shared_tail(&self) -> &AtomicU16 {
        // SAFETY: validity: the address of the first entry of an initialised ring, which is what `tail` asks for.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: validity: within the first entry, alive as long as `self`. Alignment: at offset 14 of a page.
        // Aliasing: all accesses, ours and the kernel's, are atomic from here on.
        unsafe { AtomicU16::from_ptr(tail.cast_mut()) }
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: validity: allocated in `new` with this layout and not freed since. Aliasing: the ring was
        // unregistered before it is dropped (see `Uring`'s drop), so the kernel does not read it any more.
        unsafe { alloc::dealloc(self.entries.as_ptr().cast(), Self::layout(self.size)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    /// What the kernel does with the ring, over plain memory.
    struct Kernel {
        head: u16,
    }

    impl Kernel {
        fn consume(&mut self, ring: &BufferRing) -> Option<(u16, u64, u32)> {
            if self.head == ring.shared_tail().load(Ordering::Acquire) {
                return None;
            }
            let place = usize::from(self.head & (ring.size() - 1));
            let entry = ring.entries.as_ptr().wrapping_add(place);
            // SAFETY: an entry within the ring, which this thread alone reads and writes.
            let entry = unsafe { &*entry };
            self.head = self.head.wrapping_add(1);
            Some((entry.bid(), entry.addr(), entry.len()))
        }
    }

    proptest! {
        #[test]
        fn the_ring_is_a_queue(
            size in (0u32..6).prop_map(|power| 1u16 << power),
            start: u16,
            steps in proptest::collection::vec(any::<Option<(u16, u64, u32)>>(), 0..300),
        ) {
            let mut ring = BufferRing::new(size);
            let mut model = VecDeque::new();
            // Any place in the life of the ring, so that the wrap of its 16-bit tail is met.
            ring.tail = start;
            ring.shared_tail().store(start, Ordering::Release);
            let mut kernel = Kernel { head: start };
            for step in steps {
                match step {
                    Some((id, address, length)) if model.len() < usize::from(size) => {
                        ring.provide(id, address, length);
                        model.push_back((id, address, length));
                    }
                    _ => {
                        let taken = kernel.consume(&ring);
                        prop_assert_eq!(taken, model.pop_front());
                        if taken.is_some() {
                            ring.consumed();
                        }
                    }
                }
                prop_assert_eq!(usize::from(ring.provided()), model.len());
            }
        }
    }

    #[test]
    #[should_panic(expected = "more buffers than the ring has room for")]
    fn an_overfull_ring_is_refused() {
        let mut ring = BufferRing::new(2);
        (0..3).for_each(|id| ring.provide(id, 0, 0));
    }

    #[test]
    fn the_ring_lies_as_the_kernel_wants_it() {
        assert_eq!(size_of::<BufRingEntry>(), 16);
        let ring = BufferRing::new(8);
        assert_eq!(ring.address() % 4096, 0);
        assert_eq!(std::ptr::from_ref(ring.shared_tail()) as u64, ring.address() + 14);
    }
}
