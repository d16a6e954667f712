//! One AF_XDP socket on one queue.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

use super::Queue;
use super::ring::Ring;
use crate::frame::{Extent, FRAME_SIZE, FramePool};

/// `AF_XDP`, which rustix has no name for.
const FAMILY: AddressFamily = AddressFamily::from_raw(libc::AF_XDP as u16);

/// `struct xdp_desc`: a packet, by its offset in the memory of all frames.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Descriptor {
    offset: u64,
    length: u32,
    options: u32,
}

const _: () = assert!(size_of::<Descriptor>() == size_of::<libc::xdp_desc>());
const _: () = assert!(std::mem::offset_of!(libc::xdp_desc, len) == 8);

/// How large a socket's rings are: powers of two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Frames with the kernel to receive into, at most.
    pub(super) receiving: u32,
    /// Frames in all.
    pub(super) frames: u32,
}

/// What came of asking the kernel to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kicked {
    pub(super) system_calls: u64,
    /// Packets that the device's queue dropped.
    pub(super) dropped: u64,
}

/// A socket that is bound to its queue. Its rings are used by one thread.
#[derive(Debug)]
pub(super) struct XdpSocket {
    queue: Queue,
    fill: Ring<u64>,
    completion: Ring<u64>,
    receive: Ring<Descriptor>,
    transmit: Ring<Descriptor>,
    /// Frames in the fill ring, or in the receive ring and not taken yet.
    filling: u32,
    /// Frames in the transmit ring, on their way, or in the completion ring and not taken yet.
    sending: u32,
    sizes: Sizes,
    /// Frames that it may have to receive into.
    share: u32,
    /// Datagrams that the kernel has dropped at the socket, as far as they are counted.
    drops: u64,
    socket: OwnedFd,
}

/// Makes a socket without a queue. Needs CAP_NET_RAW.
pub(super) fn create() -> io::Result<OwnedFd> {
    Ok(socket_with(FAMILY, SocketType::RAW, SocketFlags::CLOEXEC, None)?)
}

impl XdpSocket {
    /// Binds a socket to a queue. `shared`: one that has the frames as its memory already; without it this one registers them.
    pub(super) fn bind(
        queue: Queue,
        pool: &FramePool,
        sizes: Sizes,
        shared: Option<&Self>,
    ) -> io::Result<Self> {
        let socket = create()?;
        if shared.is_none() {
            let memory = XdpUmemReg {
                addr: pool.address(0, 0) as u64,
                len: u64::from(pool.frames()) * FRAME_SIZE as u64,
                chunk_size: FRAME_SIZE as u32,
                headroom: 0,
                flags: XdpUmemRegFlags::empty(),
                tx_metadata_len: 0,
            };
            sockopt::set_xdp_umem_reg(&socket, memory)?;
        }
        // A ring that can take all that may be in it is never full.
        sockopt::set_xdp_umem_fill_ring_size(&socket, sizes.receiving)?;
        sockopt::set_xdp_umem_completion_ring_size(&socket, sizes.frames)?;
        sockopt::set_xdp_rx_ring_size(&socket, sizes.receiving)?;
        sockopt::set_xdp_tx_ring_size(&socket, sizes.frames)?;
        let offsets = sockopt::xdp_mmap_offsets(&socket)?;
        let fd = socket.as_fd();
        let fill = Ring::map(fd, &offsets.fr, libc::XDP_UMEM_PGOFF_FILL_RING, sizes.receiving)?;
        let completion = Ring::map(
            fd,
            &offsets.cr,
            libc::XDP_UMEM_PGOFF_COMPLETION_RING,
            sizes.frames,
        )?;
        let receive = Ring::map(fd, &offsets.rx, libc::XDP_PGOFF_RX_RING as u64, sizes.receiving)?;
        let transmit = Ring::map(fd, &offsets.tx, libc::XDP_PGOFF_TX_RING as u64, sizes.frames)?;
        let flags = match shared {
            None => SocketAddrXdpFlags::XDP_COPY | SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP,
            // It has those of the first.
            Some(_) => SocketAddrXdpFlags::XDP_SHARED_UMEM,
        };
        let address = SocketAddrXdp::new(flags, queue.ifindex, queue.number);
        match shared {
            None => bind(&socket, &address)?,
            Some(first) => bind(
                &socket,
                &SocketAddrXdpWithSharedUmem {
                    addr: address,
                    shared_umem_fd: first.socket.as_fd(),
                },
            )?,
        }
        Ok(Self {
            queue,
            fill,
            completion,
            receive,
            transmit,
            filling: 0,
            sending: 0,
            sizes,
            share: sizes.receiving,
            drops: 0,
            socket,
        })
    }

    pub(super) fn queue(&self) -> Queue {
        self.queue
    }

    pub(super) fn filling(&self) -> u32 {
        self.filling
    }

    pub(super) fn sending(&self) -> u32 {
        self.sending
    }

    /// From now on it has at most so many frames to receive into.
    pub(super) fn limit(&mut self, share: u32) {
        self.share = self.share.min(share.max(1));
    }

    /// Gives the kernel free frames to receive into.
    pub(super) fn fill(&mut self, free: &mut Vec<u32>) {
        let before = self.filling;
        while self.filling < self.share {
            let Some(index) = free.pop() else { break };
            if !self.fill.push(u64::from(index) * FRAME_SIZE as u64) {
                free.push(index);
                break;
            }
            self.filling += 1;
        }
        if self.filling != before {
            self.fill.publish();
        }
    }

    /// The next frame that came, with its packet. The back-end owns it.
    pub(super) fn receive(&mut self) -> Option<Extent> {
        let descriptor = self.receive.pop()?;
        self.filling -= 1;
        Some(extent(descriptor.offset, descriptor.length))
    }

    /// What [`Self::receive`] has taken may be used again by the kernel.
    pub(super) fn received(&self) {
        self.receive.give_back();
    }

    /// Queues a packet for [`Self::kick`]; false when too many are on their way already.
    pub(super) fn send(&mut self, extent: Extent) -> bool {
        // Half of the frames: the rest is left to receive into, should the device not send.
        let sent = self.sending < self.sizes.frames / 2
            && self.transmit.push(Descriptor {
                offset: u64::from(extent.index) * FRAME_SIZE as u64 + u64::from(extent.start),
                length: extent.length.into(),
                options: 0,
            });
        self.sending += u32::from(sent);
        sent
    }

    /// Has the kernel send what is queued, as far as the device takes it; the rest is tried with the next call.
    pub(super) fn kick(&mut self) -> Kicked {
        let mut kicked = Kicked::default();
        if self.sending == 0 {
            return kicked;
        }
        self.transmit.publish();
        let mut waiting = self.transmit.waiting();
        while waiting > 0 {
            kicked.system_calls += 1;
            // SAFETY: validity: no bytes and no address are passed.
            let result = unsafe {
                libc::sendto(
                    self.socket.as_raw_fd(),
                    std::ptr::null(),
                    0,
                    libc::MSG_DONTWAIT,
                    std::ptr::null(),
                    0,
                )
            };
            if result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EBUSY) {
                kicked.dropped += 1;
            }
            let left = self.transmit.waiting();
            if left == waiting {
                break;
            }
            waiting = left;
        }
        kicked
    }

    /// Takes back the frames that were sent.
    pub(super) fn reap(&mut self, free: &mut Vec<u32>) {
        if self.sending == 0 {
            return;
        }
        while let Some(offset) = self.completion.pop() {
            self.sending -= 1;
            free.push(extent(offset, 0).index);
        }
        self.completion.give_back();
    }

    /// Datagrams dropped since the last call because the ring was full or no frame was free.
    pub(super) fn dropped(&mut self) -> u64 {
        let Ok(statistics) = sockopt::xdp_statistics(&self.socket) else {
            return 0;
        };
        let drops = statistics.rx_dropped + statistics.rx_ring_full.unwrap_or(0);
        let more = drops.saturating_sub(self.drops);
        self.drops = drops;
        more
    }
}

/// A packet at an offset in the memory of all frames, which is what the kernel was given.
fn extent(offset: u64, length: u32) -> Extent {
    let start = offset % FRAME_SIZE as u64;
    assert!(
        start + u64::from(length) <= FRAME_SIZE as u64,
        "the kernel keeps to frames"
    );
    Extent {
        index: (offset / FRAME_SIZE as u64) as u32,
        start: start as u16,
        length: length as u16,
    }
}

impl AsFd for XdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
