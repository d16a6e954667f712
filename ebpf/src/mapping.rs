use std::ffi::c_void;
use std::marker::PhantomData;
use std::mem::size_of;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use libbpf_rs::{MapCore, MapHandle};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::Error;
use crate::plain::{Plain, bytes_of, bytes_of_mut, zeroed};

/// An array map in this process's memory: entries are read and written without a system call.
///
/// The kernel maps every page at once, so that the process's resident memory shows the map's size; it is the kernel's
/// memory all the same, and not taken twice.
#[derive(Debug)]
pub(crate) struct Mapped<T> {
    start: NonNull<c_void>,
    bytes: NonZeroUsize,
    count: u32,
    entry: PhantomData<T>,
}

// SAFETY: the mapping belongs to this value and is touched through atomics only; no thread is special to it.
unsafe impl<T> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Mapped<T> {}

impl<T> Mapped<T> {
    const WORDS: usize = {
        assert!(size_of::<T>().is_multiple_of(size_of::<u64>()));
        size_of::<T>() / size_of::<u64>()
    };

    /// Maps the whole of `map`, an array made with BPF_F_MMAPABLE.
    pub(crate) fn map(map: &MapHandle) -> Result<Self, Error> {
        let count = map.max_entries();
        let bytes = NonZeroUsize::new(count as usize * size_of::<T>())
            .filter(|_| map.value_size() as usize == size_of::<T>())
            .ok_or_else(|| Error::Layout {
                map: map.name().to_string_lossy().into_owned(),
                key_len: map.key_size(),
                value_len: map.value_size(),
            })?;
        let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice, which replaces none.
        let start = unsafe { mmap(None, bytes, both, MapFlags::MAP_SHARED, map.as_fd(), 0) }
            .map_err(|errno| Error::kernel("mapping a map", errno))?;
        Ok(Self {
            start,
            bytes,
            count,
            entry: PhantomData,
        })
    }

    /// Entries that there are.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// The words of an entry; `None` beyond the end.
    pub(crate) fn words(&self, place: u32) -> Option<&[AtomicU64]> {
        if place >= self.count {
            return None;
        }
        // SAFETY: `place` is below `count`, so that the whole entry lies within the mapping of `bytes` bytes.
        let start = unsafe { self.start.cast::<AtomicU64>().add(place as usize * Self::WORDS) };
        // SAFETY: `WORDS` words within the mapping, which lives as long as `self`; pages and entries of whole words make
        // them aligned; every pattern of bits is valid; they are atomics, whoever writes them meanwhile.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), Self::WORDS) })
    }
}

impl<T: Plain> Mapped<T> {
    /// The entry; `None` beyond the end.
    pub(crate) fn read(&self, place: u32) -> Option<T> {
        let mut value = zeroed();
        (place < self.count).then(|| self.read_into(place, &mut value))?;
        Some(value)
    }

    /// Reads the entry as [`read_words`] does. Does nothing beyond the end.
    pub(crate) fn read_into(&self, place: u32, value: &mut T) {
        read_words(self.words(place).unwrap_or_default(), value);
    }

    /// Writes the entry, word by word: nothing may point to it yet. Does nothing beyond the end.
    pub(crate) fn write(&self, place: u32, value: &T) {
        let words = self.words(place).unwrap_or_default();
        for (word, bytes) in words.iter().zip(bytes_of(value).chunks_exact(size_of::<u64>())) {
            let mut value = [0; size_of::<u64>()];
            value.copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
        }
    }
}

/// Reads word by word: what a program writes meanwhile may be of another moment.
pub(crate) fn read_words<T: Plain>(words: &[AtomicU64], value: &mut T) {
    for (word, bytes) in words
        .iter()
        .zip(bytes_of_mut(value).chunks_exact_mut(size_of::<u64>()))
    {
        bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this start and length, and no borrow of it outlives `self`.
        let unmapped = unsafe { munmap(self.start, self.bytes.get()) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}
