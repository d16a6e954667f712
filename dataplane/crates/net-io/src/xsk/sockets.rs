//! All AF_XDP sockets of a worker.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::thread::{MembarrierCommand, membarrier};

use super::link_layer::{self, Datagram, ETHERNET_SIZE};
use super::socket::{Sizes, XdpSocket};
use super::{NextHops, Queue, Tie, XdpPlan};
use crate::config::IoConfig;
use crate::counters::{IoCounters, SendError};
use crate::frame::{Extent, FRAME_SIZE, Frame, FramePool, TAILROOM};
use crate::frame_store::FrameStore;

/// Destinations whose next hops are remembered; beyond it all are asked for again.
const DESTINATIONS_MAX: usize = 4_096;

/// Longest IP packet that leaves this way: what every IPv6 link carries (RFC 8200 §5). Longer ones are the kernel's business,
/// which knows the MTU of their path.
const PACKET_MAX: usize = 1_280;

/// Turns with packets between two looks at what the kernel dropped.
const LOOK_TURNS: u32 = 1_024;

/// Where a packet leaves: which socket, and both link-layer addresses.
#[derive(Clone, Copy, Debug)]
struct Way {
    socket: usize,
    own: [u8; 6],
    next_hop: [u8; 6],
}

/// The sockets, and the way to each destination.
#[derive(Debug)]
pub(crate) struct XdpSockets {
    sockets: Vec<XdpSocket>,
    tie: Box<dyn Tie>,
    hops: Box<dyn NextHops>,
    /// By local and remote address; `None`: not through here.
    ways: HashMap<(IpAddr, IpAddr), Option<Way>>,
    version: u64,
    turns: u32,
}

impl XdpSockets {
    /// Binds a socket to each queue of the plan that there is, and fills them with free frames.
    ///
    /// # Errors
    /// What the kernel refuses; `NotFound` when no queue is this worker's.
    pub(crate) fn new(config: &IoConfig, plan: XdpPlan, frames: &mut FrameStore) -> io::Result<Self> {
        let mut sockets: Vec<XdpSocket> = Vec::new();
        let sizes = Sizes {
            receiving: config.xdp_frames_receiving,
            frames: config.frames,
        };
        for ifindex in plan.interfaces {
            let mut number = plan.first;
            while sockets.len() < XdpPlan::SOCKETS_MAX {
                let queue = Queue { ifindex, number };
                match XdpSocket::bind(queue, &frames.pool, sizes, sockets.first()) {
                    Ok(socket) => sockets.push(socket),
                    // Beyond the last queue.
                    Err(error) if number > 0 && error.raw_os_error() == Some(libc::EINVAL) => break,
                    Err(error) => return Err(error),
                }
                number += plan.step.max(1);
            }
        }
        if sockets.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "there are fewer queues than workers",
            ));
        }
        let share = config.frames / 2 / sockets.len() as u32;
        sockets.iter_mut().for_each(|socket| socket.limit(share));
        let mut new = Self {
            sockets,
            tie: plan.tie,
            version: plan.hops.version(),
            hops: plan.hops,
            ways: HashMap::with_capacity(DESTINATIONS_MAX),
            turns: 0,
        };
        new.fill(frames);
        new.begin()?;
        Ok(new)
    }

    /// Ties every socket to its queue.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        for socket in &self.sockets {
            self.tie.tie(socket.queue(), socket.as_fd())?;
        }
        Ok(())
    }

    /// Unties every socket. When this returns, what comes goes to the shared sockets, and nothing more to these.
    pub(crate) fn end(&mut self) {
        for socket in &self.sockets {
            // Fails when the map is gone, and the program with it.
            let _ = self.tie.untie(socket.queue());
        }
        // Waits for what other CPUs are at: they hand packets over within one section of RCU. Where the kernel refuses it (cores
        // without a tick), a packet on its way at this very moment waits in a ring until receiving begins again, or is lost.
        let _ = membarrier(MembarrierCommand::Global);
    }

    /// Frames that the kernel has to receive into.
    pub(crate) fn filling(&self) -> u32 {
        self.sockets.iter().map(XdpSocket::filling).sum()
    }

    /// Frames that are being sent.
    pub(crate) fn sending(&self) -> u32 {
        self.sockets.iter().map(XdpSocket::sending).sum()
    }

    /// The sockets, to be waited for.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(AsFd::as_fd)
    }

    /// Gives the kernel frames to receive into, each socket its share of half of them.
    fn fill(&mut self, frames: &mut FrameStore) {
        for socket in &mut self.sockets {
            socket.fill(&mut frames.free);
        }
    }

    /// Hands each datagram that came to `take`, whose frame is the back-end's then, and fills up what was taken. False from `take`
    /// gives the frame back.
    pub(crate) fn receive(
        &mut self,
        frames: &mut FrameStore,
        counters: &mut IoCounters,
        mut take: impl FnMut(&mut FrameStore, &mut IoCounters, Extent, SocketAddr, SocketAddr) -> bool,
    ) {
        let mut taken = false;
        for socket in &mut self.sockets {
            let ifindex = socket.queue().ifindex;
            let mut some = false;
            while let Some(extent) = socket.receive() {
                some = true;
                // SAFETY: the receive ring has given the frame back (invariant 5); the extent lies within a frame, which the socket has
                // checked.
                let frame = unsafe { frames.pool.take(extent) };
                let read = link_layer::read(frames.pool.payload(&frame), ifindex);
                let extent = frames.pool.put(frame);
                let kept = match read {
                    Ok(datagram) => match payload(extent, &datagram) {
                        Some(payload) => {
                            counters.xdp_received += 1;
                            take(frames, counters, payload, datagram.source, datagram.local)
                        }
                        None => {
                            counters.truncated += 1;
                            false
                        }
                    },
                    Err(_) => {
                        counters.malformed += 1;
                        false
                    }
                };
                if !kept {
                    frames.free.push(extent.index);
                }
            }
            if some {
                socket.received();
            }
            taken |= some;
        }
        if taken {
            self.fill(frames);
            self.turns += 1;
            if self.turns.is_multiple_of(LOOK_TURNS) {
                self.count_drops(counters);
            }
        }
    }

    /// Adds what the kernel has dropped at the sockets.
    pub(crate) fn count_drops(&mut self, counters: &mut IoCounters) {
        let drops: u64 = self.sockets.iter_mut().map(XdpSocket::dropped).sum();
        counters.kernel_drops = Some(counters.kernel_drops.unwrap_or(0) + drops);
    }

    /// Queues a packet with its IP and UDP headers, if it can leave this way; else gives it back as it was. Does not allocate for a
    /// destination that is known.
    pub(crate) fn send(
        &mut self,
        pool: &mut FramePool,
        mut frame: Frame,
        local: IpAddr,
        to: IpAddr,
    ) -> Result<(), Frame> {
        if frame.len() > PACKET_MAX {
            return Err(frame);
        }
        let Some(way) = self.way(local, to) else {
            return Err(frame);
        };
        if !frame.grow_front(ETHERNET_SIZE) {
            return Err(frame);
        }
        link_layer::finish(pool.payload_mut(&mut frame), local, way.own, way.next_hop);
        let extent = pool.put(frame);
        if self.sockets[way.socket].send(extent) {
            return Ok(());
        }
        // SAFETY: `put` has just ended the only handle of this frame, and the socket has not taken it.
        let mut frame = unsafe { pool.take(extent) };
        let is_as_before = frame.shrink_front(ETHERNET_SIZE);
        debug_assert!(is_as_before);
        Err(frame)
    }

    fn way(&mut self, local: IpAddr, to: IpAddr) -> Option<Way> {
        if let Some(&way) = self.ways.get(&(local, to)) {
            return way;
        }
        let hop = self.hops.find(local, to);
        let way = hop.and_then(|hop| {
            let socket = self
                .sockets
                .iter()
                .position(|socket| socket.queue().ifindex == hop.ifindex)?;
            Some(Way {
                socket,
                own: hop.own,
                next_hop: hop.address,
            })
        });
        if self.ways.len() >= DESTINATIONS_MAX {
            self.ways.clear();
        }
        self.ways.insert((local, to), way);
        way
    }

    /// Sends what is queued, takes back what was sent, and gives the kernel frames to receive into.
    pub(crate) fn turn(&mut self, frames: &mut FrameStore, counters: &mut IoCounters) {
        let version = self.hops.version();
        if version != self.version {
            self.version = version;
            self.ways.clear();
        }
        for socket in &mut self.sockets {
            let kicked = socket.kick();
            counters.system_calls += kicked.system_calls;
            for _ in 0..kicked.dropped {
                counters.sent = counters.sent.saturating_sub(1);
                counters.xdp_sent = counters.xdp_sent.saturating_sub(1);
                counters.count_send_error(SendError::WouldBlock);
            }
            socket.reap(&mut frames.free);
        }
        self.fill(frames);
    }
}

/// Where the payload of a datagram lies; `None` when it leaves less room behind it than what is done to payloads may need.
fn payload(frame: Extent, datagram: &Datagram) -> Option<Extent> {
    let start = usize::from(frame.start) + datagram.headers;
    (start + datagram.payload + TAILROOM <= FRAME_SIZE).then_some(Extent {
        index: frame.index,
        start: start as u16,
        length: datagram.payload as u16,
    })
}
