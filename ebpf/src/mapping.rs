use std::ffi::c_void;
use std::mem::size_of;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use libbpf_rs::{MapCore, MapHandle};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::plain::from_bytes;
use crate::{Error, layout};

/// Times that a state is read again while programs write it.
const READS_MAX: usize = 64;

const WORDS: usize = size_of::<layout::State>() / size_of::<u64>();

/// The map of states in this process's memory, for reading: no system call, about the price of the cache lines.
///
/// The kernel maps every page at once, so that the process's resident memory shows the map's size; it is the kernel's
/// memory all the same, and not taken twice.
#[derive(Debug)]
pub(crate) struct States {
    start: NonNull<c_void>,
    bytes: NonZeroUsize,
    count: u32,
}

// SAFETY: the mapping belongs to this value, is read only through atomics, and no thread is special to it.
unsafe impl Send for States {}
// SAFETY: as above.
unsafe impl Sync for States {}

impl States {
    /// Maps the whole of `map`, an array of `layout::State` made with BPF_F_MMAPABLE.
    pub(crate) fn map(map: &MapHandle) -> Result<Self, Error> {
        let count = map.max_entries();
        let bytes = NonZeroUsize::new(count as usize * size_of::<layout::State>())
            .filter(|_| map.value_size() as usize == size_of::<layout::State>())
            .ok_or_else(|| Error::Layout {
                map: map.name().to_string_lossy().into_owned(),
                key_len: map.key_size(),
                value_len: map.value_size(),
            })?;
        // SAFETY: a new mapping at a place of the kernel's choice, which replaces none.
        let start = unsafe {
            mmap(
                None,
                bytes,
                ProtFlags::PROT_READ,
                MapFlags::MAP_SHARED,
                map.as_fd(),
                0,
            )
        }
        .map_err(|errno| Error::kernel("mapping the counters of flows", errno))?;
        Ok(Self { start, bytes, count })
    }

    /// The state at `slot`, and whether all of it is of one moment: its version was even and the same before and
    /// after (a sequence lock). `None` beyond the end.
    pub(crate) fn read(&self, slot: u32) -> Option<(layout::State, bool)> {
        let words = self.words(slot)?;
        // SAFETY: the version is the first member of the state; it lies within the mapping, which lives as long as `self` and is aligned to pages; an atomic word is valid for
        // every pattern of bits; the kernel writes it with atomic instructions.
        let version = unsafe { &*words.as_ptr().cast::<AtomicU32>() };
        let mut copy = [0u64; WORDS];
        let mut whole = false;
        for _ in 0..READS_MAX {
            let before = version.load(Ordering::Acquire);
            for (copy, word) in copy.iter_mut().zip(words) {
                *copy = word.load(Ordering::Relaxed);
            }
            fence(Ordering::Acquire);
            whole = before.is_multiple_of(2) && version.load(Ordering::Relaxed) == before;
            if whole {
                break;
            }
            std::hint::spin_loop();
        }
        let mut bytes = [0u8; size_of::<layout::State>()];
        for (bytes, word) in bytes.chunks_exact_mut(size_of::<u64>()).zip(copy) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        from_bytes(&bytes).map(|state| (state, whole))
    }

    fn words(&self, slot: u32) -> Option<&[AtomicU64]> {
        if slot >= self.count {
            return None;
        }
        // SAFETY: `slot` is below `count`, so that the whole state lies within the mapping of `bytes` bytes.
        let start = unsafe { self.start.cast::<AtomicU64>().add(slot as usize * WORDS) };
        // SAFETY: `WORDS` words within the mapping, which lives as long as `self`; pages and states of whole words make
        // them aligned; every pattern of bits is valid; they are read as atomics, whoever writes them meanwhile.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), WORDS) })
    }
}

impl Drop for States {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this start and length, and no borrow of it outlives `self`.
        let unmapped = unsafe { munmap(self.start, self.bytes.get()) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}
