use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use libbpf_rs::{MapHandle, RingBuffer, RingBufferBuilder};

use crate::Error;

/// The reader of a ring map. One a ring.
pub(crate) struct Ring<T> {
    ring: RingBuffer<'static>,
    read: Arc<Mutex<VecDeque<T>>>,
    map: MapHandle,
}

impl<T: Send + 'static> Ring<T> {
    /// Reads `map`. Records that `decode` makes nothing of are left out.
    pub(crate) fn new(map: MapHandle, decode: fn(&[u8]) -> Option<T>) -> Result<Self, Error> {
        let failed = |error: libbpf_rs::Error| Error::libbpf("mapping a ring", &error);
        let read = Arc::new(Mutex::new(VecDeque::new()));
        let queue = Arc::clone(&read);
        let mut builder = RingBufferBuilder::new();
        builder
            .add(&map, move |record| {
                let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                queue.extend(decode(record));
                0
            })
            .map_err(failed)?;
        let ring = builder.build().map_err(failed)?;
        Ok(Self { ring, read, map })
    }

    /// The next record, oldest first; `None` when all are read. Does not wait.
    pub(crate) fn next(&mut self) -> Result<Option<T>, Error> {
        if let Some(record) = self.pop() {
            return Ok(Some(record));
        }
        self.ring
            .consume()
            .map_err(|error| Error::libbpf("reading a ring", &error))?;
        Ok(self.pop())
    }

    fn pop(&self) -> Option<T> {
        self.read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }
}

/// Readable when there are records.
impl<T> AsFd for Ring<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

impl<T> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").finish_non_exhaustive()
    }
}
