//! A ring of an AF_XDP socket: a fixed number of places that this process and the kernel share, one of them producing and the
//! other consuming.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::xdp::XdpRingOffset;

/// One ring, of which this process is either the producer or the consumer.
///
/// Numbers grow without end, modulo 2^32; a number's place is what is left of it by the size, a power of two.
#[derive(Debug)]
pub(super) struct Ring<T: Copy> {
    map: NonNull<u8>,
    bytes: usize,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    places: NonNull<T>,
    size: u32,
    /// Our own number, which may be ahead of what the kernel has been told.
    ours: u32,
    /// The kernel's number as last seen.
    theirs: u32,
}

impl<T: Copy> Ring<T> {
    /// Maps a ring of a socket: `page` says which, `size` is what was asked for when it was made.
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        offset: &XdpRingOffset,
        page: u64,
        size: u32,
    ) -> io::Result<Self> {
        let bytes = offset.desc as usize + size as usize * size_of::<T>();
        // SAFETY: validity and aliasing: a new mapping at an address of the kernel's choice touches no memory of ours.
        let map = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                socket.as_raw_fd(),
                page as libc::off_t,
            )
        };
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let map = NonNull::new(map.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self::over(
            map,
            bytes,
            [offset.producer, offset.consumer, offset.desc].map(|at| at as usize),
            size,
        ))
    }

    /// Over memory that begins at `map`, page aligned; `at` has the offsets of both numbers and of the places.
    fn over(map: NonNull<u8>, bytes: usize, at: [usize; 3], size: u32) -> Self {
        let [producer, consumer, places] = at;
        assert!(size.is_power_of_two());
        assert!(producer.is_multiple_of(align_of::<AtomicU32>()) && producer + 4 <= bytes);
        assert!(consumer.is_multiple_of(align_of::<AtomicU32>()) && consumer + 4 <= bytes);
        assert!(
            places.is_multiple_of(align_of::<T>()) && places + size as usize * size_of::<T>() <= bytes,
            "the places are within the mapping"
        );
        let at = |offset: usize| {
            NonNull::new(map.as_ptr().wrapping_add(offset)).expect("an address within a mapping is not null")
        };
        Self {
            map,
            bytes,
            producer: at(producer).cast(),
            consumer: at(consumer).cast(),
            places: at(places).cast(),
            size,
            ours: 0,
            theirs: 0,
        }
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: validity, bounds and alignment: asserted in `over`; the mapping lives as long as `self`. Aliasing: the kernel
        // writes atomically, and nothing else refers to the word.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn place(&self, number: u32) -> *mut T {
        self.places
            .as_ptr()
            .wrapping_add((number & (self.size - 1)) as usize)
    }

    /// As the producer: puts one in, of which the kernel is told with [`Self::publish`]. False when the ring is full.
    pub(super) fn push(&mut self, value: T) -> bool {
        if self.ours.wrapping_sub(self.theirs) >= self.size && self.waiting() >= self.size {
            return false;
        }
        // SAFETY: validity, bounds and alignment: asserted in `over`. Aliasing: the consumer has given the place back (acquired in
        // `waiting`), or never had it, and does not know of our number yet (invariant 6).
        unsafe { self.place(self.ours).write(value) };
        self.ours = self.ours.wrapping_add(1);
        true
    }

    /// As the producer: the kernel may take all that was put in.
    pub(super) fn publish(&self) {
        self.producer().store(self.ours, Ordering::Release);
    }

    /// As the producer: how many the kernel has yet to take.
    pub(super) fn waiting(&mut self) -> u32 {
        self.theirs = self.consumer().load(Ordering::Acquire);
        self.ours.wrapping_sub(self.theirs)
    }

    /// As the consumer: the next one, whose place the kernel gets back with [`Self::give_back`].
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.ours == self.theirs {
            self.theirs = self.producer().load(Ordering::Acquire);
            if self.ours == self.theirs {
                return None;
            }
        }
        // SAFETY: validity, bounds and alignment: asserted in `over`. Initialisation: the producer has written it before it stored
        // its number, which was acquired. Aliasing: it does not write again before it is given back (invariant 6).
        let value = unsafe { self.place(self.ours).read() };
        self.ours = self.ours.wrapping_add(1);
        Some(value)
    }

    /// As the consumer: the kernel may use the places of all that was taken.
    pub(super) fn give_back(&self) {
        self.consumer().store(self.ours, Ordering::Release);
    }
}

impl<T: Copy> Drop for Ring<T> {
    fn drop(&mut self) {
        // SAFETY: validity: mapped by `map`, with this length, and not unmapped since; no reference into it outlives `self`.
        unsafe { libc::munmap(self.map.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const SIZE: u32 = 8;

    /// Both ends of one ring, each with a mapping of the same file, that have counted to `start` already.
    fn ends(start: u32) -> [Ring<u64>; 2] {
        let file = tempfile();
        let map = || {
            // SAFETY: a new mapping.
            let map = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    4096,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED,
                    file.as_raw_fd(),
                    0,
                )
            };
            assert_ne!(map, libc::MAP_FAILED);
            let mut ring = Ring::over(NonNull::new(map.cast()).unwrap(), 4096, [0, 64, 128], SIZE);
            (ring.ours, ring.theirs) = (start, start);
            ring
        };
        let ends = [map(), map()];
        ends[0].producer().store(start, Ordering::Relaxed);
        ends[0].consumer().store(start, Ordering::Relaxed);
        ends
    }

    fn tempfile() -> std::os::fd::OwnedFd {
        let file = rustix::fs::memfd_create("ring", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, 4096).unwrap();
        file
    }

    proptest! {
        #[test]
        fn a_ring_is_a_bounded_queue_over_the_wrap_of_its_numbers(
            start in prop_oneof![Just(0), Just(u32::MAX - 3), any::<u32>()],
            steps in proptest::collection::vec(0..4u8, 0..200),
        ) {
            let [mut producer, mut consumer] = ends(start);
            // What was pushed, told of, and taken.
            let (mut pushed, mut told, mut held) = (VecDeque::new(), VecDeque::new(), 0);
            let mut next = 0u64;
            for step in steps {
                match step {
                    0 => {
                        let room = pushed.len() + told.len() + held < SIZE as usize;
                        prop_assert_eq!(producer.push(next), room);
                        if room {
                            pushed.push_back(next);
                        }
                        next += 1;
                    }
                    1 => {
                        producer.publish();
                        told.append(&mut pushed);
                    }
                    2 => {
                        let taken = consumer.pop();
                        prop_assert_eq!(taken, told.pop_front());
                        held += usize::from(taken.is_some());
                    }
                    _ => {
                        consumer.give_back();
                        held = 0;
                    }
                }
                prop_assert_eq!(producer.waiting() as usize, pushed.len() + told.len() + held);
            }
        }
    }
}
