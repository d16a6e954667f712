//! Frames: fixed-size buffers that packets live in, and the pool that owns their memory.

use std::alloc::{self, Layout};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of a frame: headroom, payload and tailroom.
pub const FRAME_SIZE: usize = 2048;

/// Bytes before the payload of a received frame: room for link-layer, IP and UDP headers built in place, and where the
/// io_uring back-end has the kernel put the source address.
pub const HEADROOM: usize = 128;

/// Bytes after the largest payload: room for what encryption appends.
pub const TAILROOM: usize = 128;

/// Largest payload that is received; longer datagrams are counted as truncated and dropped. Above what an Ethernet
/// MTU of 1,500 bytes lets through.
pub const PAYLOAD_MAX: usize = FRAME_SIZE - HEADROOM - TAILROOM;

/// A packet in a frame of the pool: the right to read and write it, which can be moved and not copied.
///
/// Ends in [`PacketIo::send`](crate::PacketIo::send) or [`PacketIo::release`](crate::PacketIo::release) of the
/// back-end that it came from. Dropping it instead loses the frame for good, which debug builds answer with a panic.
#[derive(Debug)]
#[must_use = "a frame that is neither sent, kept nor released is lost to its pool"]
pub struct Frame {
    pool: u32,
    extent: Extent,
}

/// Which bytes of which frame: what is left of a [`Frame`] while the back-end holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) index: u32,
    pub(crate) start: u16,
    pub(crate) length: u16,
}

impl Frame {
    /// Bytes of the payload.
    #[expect(
        clippy::len_without_is_empty,
        reason = "an empty datagram is a datagram; nobody asks"
    )]
    pub fn len(&self) -> usize {
        usize::from(self.extent.length)
    }

    /// Bytes free before the payload.
    pub fn headroom(&self) -> usize {
        usize::from(self.extent.start)
    }

    /// Bytes free after the payload.
    pub fn tailroom(&self) -> usize {
        FRAME_SIZE - self.headroom() - self.len()
    }

    /// Takes `bytes` of the headroom into the payload; their content is whatever was there. False, and nothing
    /// changes, if there is too little.
    #[must_use = "false means that nothing changed"]
    pub fn grow_front(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.headroom();
        if fits {
            self.extent.start -= bytes as u16;
            self.extent.length += bytes as u16;
        }
        fits
    }

    /// Takes `bytes` of the tailroom into the payload; their content is whatever was there. False, and nothing
    /// changes, if there is too little.
    #[must_use = "false means that nothing changed"]
    pub fn grow_back(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.tailroom();
        if fits {
            self.extent.length += bytes as u16;
        }
        fits
    }

    /// Gives the first `bytes` of the payload to the headroom. False, and nothing changes, if it is shorter.
    #[must_use = "false means that nothing changed"]
    pub fn shrink_front(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.len();
        if fits {
            self.extent.start += bytes as u16;
            self.extent.length -= bytes as u16;
        }
        fits
    }

    /// Cuts the payload to `bytes`; a shorter one stays as it is.
    pub fn truncate(&mut self, bytes: usize) {
        self.extent.length = self.extent.length.min(bytes.try_into().unwrap_or(u16::MAX));
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        debug_assert!(
            std::thread::panicking(),
            "frame {} of pool {} was dropped instead of sent or released",
            self.extent.index,
            self.pool
        );
    }
}

/// Where the frames of a pool are. The sum of the parts is `total`; `held` is what the caller has to give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameAccount {
    /// Frames in the pool.
    pub total: u32,
    /// Free, or with the kernel to receive into.
    pub idle: u32,
    /// Received and not yet handed over.
    pub received: u32,
    /// In a [`Frame`] of the caller.
    pub held: u32,
    /// Queued for sending, or with the kernel for that.
    pub sending: u32,
}

impl FrameAccount {
    /// Whether every frame is back where it started.
    pub fn is_full(&self) -> bool {
        self.idle == self.total
    }
}

/// The memory of all frames of one back-end, and the count of handles out.
///
/// Which frames are free is the back-end's business; the pool only turns an index that the back-end owns into a
/// [`Frame`] and back, and gives access to the bytes.
#[derive(Debug)]
pub(crate) struct FramePool {
    base: NonNull<u8>,
    frames: u32,
    /// Number of this pool in the process, so that a frame is not used with another one (invariant 2).
    id: u32,
    held: u32,
}

impl FramePool {
    /// Page alignment, which provided buffers don't need and UMEM does.
    const ALIGNMENT: usize = 4096;

    /// Allocates the frames, zeroed, so that every byte is initialised from the start.
    pub(crate) fn new(frames: u32) -> Self {
        static POOLS: AtomicU32 = AtomicU32::new(0);
        assert!(frames > 0);
        let layout = Self::layout(frames);
        // SAFETY: validity: the layout is not of size zero, since `frames` is above zero.
        let base = unsafe { alloc::alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else {
            alloc::handle_alloc_error(layout)
        };
        Self {
            base,
            frames,
            id: POOLS.fetch_add(1, Ordering::Relaxed),
            held: 0,
        }
    }

    fn layout(frames: u32) -> Layout {
        Layout::from_size_align(frames as usize * FRAME_SIZE, Self::ALIGNMENT)
            .expect("32,768 frames of 2,048 bytes fit the address space")
    }

    pub(crate) fn frames(&self) -> u32 {
        self.frames
    }

    /// Handles out.
    pub(crate) fn held(&self) -> u32 {
        self.held
    }

    /// Address of a byte of a frame, for the kernel.
    pub(crate) fn address(&self, index: u32, offset: usize) -> *mut u8 {
        assert!(index < self.frames && offset < FRAME_SIZE);
        self.base
            .as_ptr()
            .wrapping_add(index as usize * FRAME_SIZE + offset)
    }

    /// Makes the handle of a frame.
    ///
    /// # Safety
    ///
    /// The back-end owns the frame `extent.index`: it is in no other handle, and the kernel neither reads nor writes
    /// it until the handle has come back through [`Self::put`]. The extent lies within a frame.
    pub(crate) unsafe fn take(&mut self, extent: Extent) -> Frame {
        debug_assert!(extent.index < self.frames);
        debug_assert!(usize::from(extent.start) + usize::from(extent.length) <= FRAME_SIZE);
        self.held += 1;
        Frame {
            pool: self.id,
            extent,
        }
    }

    /// Ends a handle: the back-end owns the frame again.
    ///
    /// Panics when the frame belongs to another pool: a bug in the caller that must not become two owners of one
    /// frame.
    pub(crate) fn put(&mut self, frame: Frame) -> Extent {
        assert_eq!(
            frame.pool, self.id,
            "a frame was given to another back-end than it came from"
        );
        let extent = frame.extent;
        std::mem::forget(frame);
        self.held -= 1;
        extent
    }

    /// The payload. Panics when the frame belongs to another pool.
    pub(crate) fn payload(&self, frame: &Frame) -> &[u8] {
        assert_eq!(
            frame.pool, self.id,
            "a frame was used with another back-end than it came from"
        );
        let start = self.address(frame.extent.index, 0).wrapping_add(frame.headroom());
        // SAFETY: validity and bounds: `take` had an index below `frames` and an extent within the frame, the methods
        // of `Frame` keep the extent within it, and the pool is the right one (asserted), so all bytes lie in the one
        // allocation. Alignment: of u8. Initialisation: allocated zeroed, later written by us or the kernel.
        // Aliasing: `frame` exists, so by the contract of `take` neither the kernel nor another handle writes; ending
        // it or writing through it needs `&mut self`, which the result's borrow of `self` excludes. Thread: the pool
        // is neither Send nor Sync.
        unsafe { slice::from_raw_parts(start, frame.len()) }
    }

    /// The payload, for writing. Panics when the frame belongs to another pool.
    pub(crate) fn payload_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        assert_eq!(
            frame.pool, self.id,
            "a frame was used with another back-end than it came from"
        );
        let start = self.address(frame.extent.index, 0).wrapping_add(frame.headroom());
        // SAFETY: as in `payload`; aliasing: this borrow of `self` is exclusive, so no slice of any frame is alive.
        unsafe { slice::from_raw_parts_mut(start, frame.len()) }
    }
}

impl Drop for FramePool {
    fn drop(&mut self) {
        // SAFETY: validity: allocated in `new` with this layout and not freed since. Aliasing: slices borrow the pool,
        // so none is alive; the back-end has taken the frames back from the kernel before it drops the pool
        // (invariant 3). Frames of the caller that outlive this are of no use to any other pool (invariant 2).
        unsafe { alloc::dealloc(self.base.as_ptr(), Self::layout(self.frames)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(pool: &mut FramePool, index: u32, length: u16) -> Frame {
        // SAFETY: these tests take each index once at a time, and no kernel is involved.
        unsafe {
            pool.take(Extent {
                index,
                start: HEADROOM as u16,
                length,
            })
        }
    }

    #[test]
    fn a_payload_grows_into_its_rooms_and_no_further() {
        let mut pool = FramePool::new(4);
        let mut packet = frame(&mut pool, 3, 172);
        assert_eq!(
            (packet.headroom(), packet.len(), packet.tailroom()),
            (128, 172, 1748)
        );

        pool.payload_mut(&mut packet).fill(7);
        assert!(packet.grow_front(2));
        pool.payload_mut(&mut packet)[..2].copy_from_slice(&[1, 2]);
        assert!(packet.grow_back(10));
        assert_eq!(pool.payload(&packet)[..4], [1, 2, 7, 7]);
        assert_eq!(packet.len(), 184);

        assert!(!packet.grow_front(127));
        assert!(!packet.grow_back(1739));
        assert_eq!(packet.len(), 184);
        assert!(packet.grow_front(126) && packet.grow_back(1738));
        assert_eq!(
            (packet.headroom(), packet.len(), packet.tailroom()),
            (0, FRAME_SIZE, 0)
        );
        assert_eq!(pool.payload(&packet).len(), FRAME_SIZE);

        assert!(packet.shrink_front(2000));
        assert!(!packet.shrink_front(49));
        packet.truncate(8);
        packet.truncate(9);
        assert_eq!(packet.len(), 8);
        pool.put(packet);
        assert_eq!(pool.held(), 0);
    }

    #[test]
    fn frames_do_not_overlap() {
        let mut pool = FramePool::new(8);
        let mut frames: Vec<Frame> = (0..8)
            .map(|index| frame(&mut pool, index, (FRAME_SIZE - HEADROOM) as u16))
            .collect();
        for (mark, packet) in frames.iter_mut().enumerate() {
            assert!(packet.grow_front(HEADROOM));
            pool.payload_mut(packet).fill(mark as u8);
        }
        for (mark, packet) in frames.into_iter().enumerate() {
            assert!(pool.payload(&packet).iter().all(|&byte| byte == mark as u8));
            pool.put(packet);
        }
    }

    #[test]
    #[should_panic(expected = "another back-end")]
    fn a_frame_of_another_pool_is_refused() {
        let mut one = FramePool::new(1);
        let two = FramePool::new(1);
        let packet = frame(&mut one, 0, 1);
        two.payload(&packet);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "dropped instead of sent or released")]
    fn a_lost_frame_is_noticed() {
        let mut pool = FramePool::new(1);
        drop(frame(&mut pool, 0, 1));
    }
}
