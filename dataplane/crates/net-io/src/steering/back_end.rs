//! The back-end with steering beside io_uring: one `recvmmsg` and one `sendmmsg` for many packets, and less than that where AF_XDP
//! sockets take them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use media_engine::{OpenError, PortId, Ports};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::{Exits, SharedSockets, SteeredPorts, Steering};
use crate::config::IoConfig;
use crate::counters::{IoCounters, SendError};
use crate::frame::{Extent, Frame, FrameAccount};
use crate::frame_store::{Arrival, FrameStore};
use crate::gather::Gather;
use crate::packet_io::{PacketIo, Received};
use crate::socket::outbox::Outbox;
use crate::socket::receive_batch::ReceiveBatch;
use crate::waker::{Waker, timespec};
use crate::xsk::{XdpPlan, XdpSockets};

/// Full batches read from a shared socket in one turn: room for the rest of the loop.
const ROUNDS: usize = 8;

/// Descriptors that a wait looks at: the waker, a shared socket an IP version, and those of AF_XDP.
const POLLED_MAX: usize = 3 + XdpPlan::SOCKETS_MAX;

/// Steering with plain system calls. Built, used and dropped on its worker's thread.
///
/// Under traffic nothing waits on the sockets: a turn sleeps for the gathering wait (a wake-up ends it), reads what has come and sends
/// what goes. So a datagram's arrival wakes nobody, which is dearer in the kernel than the datagram itself.
///
/// With AF_XDP sockets the shared ones are read only when they have something.
pub struct Steered {
    /// Before the frames, which are its memory.
    xdp: Option<XdpSockets>,
    frames: FrameStore,
    receivers: Vec<Receiver>,
    exits: Exits,
    ports: SteeredPorts,
    waker: Waker,
    receive_batch: ReceiveBatch,
    /// Whether the last look found something in the shared sockets, or nothing can be said of them.
    sockets_busy: bool,
    /// A queue an exit.
    outbox: Outbox,
    gather: Gather,
    /// Nothing is received: see [`PacketIo::stop_receiving`].
    stopped: bool,
    counters: IoCounters,
}

#[derive(Debug)]
struct Receiver {
    socket: OwnedFd,
    /// Datagrams that the kernel has dropped at this socket, as far as they are counted.
    drops: u32,
}

impl Steered {
    /// A back-end with no port open.
    ///
    /// # Errors
    ///
    /// A setting out of its range, no file descriptor left for the waker, or what the kernel says to AF_XDP sockets that were asked for.
    pub fn new(config: &IoConfig, steering: Steering) -> io::Result<Self> {
        config.check()?;
        let mut frames = FrameStore::new(config.frames);
        let xdp = steering
            .xdp
            .map(|plan| XdpSockets::new(config, plan, &mut frames))
            .transpose()?;
        let SharedSockets { v4, v6, exits } = steering.sockets;
        let addresses: Vec<IpAddr> = exits.iter().map(|exit| exit.address).collect();
        let exits = Exits::new(exits, config.socket.dscp)?;
        let mut outbox = Outbox::new(config.frames, config.batch);
        (0..exits.len()).for_each(|exit| outbox.add(PortId(exit as u32)));
        let gather_packets = match xdp {
            Some(_) => config.gather_packets.saturating_mul(2) / 3,
            None => config.gather_packets,
        };
        Ok(Self {
            xdp,
            frames,
            sockets_busy: true,
            receivers: [v4, v6]
                .into_iter()
                .flatten()
                .map(|socket| Receiver { socket, drops: 0 })
                .collect(),
            ports: SteeredPorts::new(steering.steer, &exits, &addresses, config.ports_max),
            exits,
            waker: Waker::new()?,
            receive_batch: ReceiveBatch::new(config.batch as usize),
            outbox,
            gather: Gather::new(config.gather, gather_packets),
            stopped: false,
            counters: IoCounters {
                kernel_drops: Some(0),
                ..IoCounters::default()
            },
        })
    }

    /// Reads what the sockets have, in turn. True if they are empty now.
    fn receive_all(&mut self) -> bool {
        self.receive_xdp();
        let before = self.frames.received();
        let mut empty = true;
        for place in 0..self.receivers.len() {
            empty &= self.receive_from(place);
        }
        self.sockets_busy = self.xdp.is_none() || !empty || self.frames.received() > before;
        if empty {
            self.ports.forget_closed();
        }
        empty
    }

    /// Takes what AF_XDP sockets have.
    fn receive_xdp(&mut self) {
        let Some(xdp) = &mut self.xdp else { return };
        let ports = &self.ports;
        let take = |frames: &mut FrameStore,
                    counters: &mut IoCounters,
                    extent: Extent,
                    source: SocketAddr,
                    local: SocketAddr| {
            let port = ports.find(local);
            let Some((port, generation)) = port.and_then(|port| Some((port, ports.generation(port)?))) else {
                counters.port_closed += 1;
                return false;
            };
            let arrival = Arrival {
                port,
                generation,
                source,
                extent,
            };
            // SAFETY: the sockets have just given the frame up, and leave it to us for "true".
            unsafe { frames.keep(arrival) };
            true
        };
        xdp.receive(&mut self.frames, &mut self.counters, take);
    }

    /// What a turn receives.
    fn receive_turn(&mut self) {
        if self.sockets_busy {
            self.receive_all();
        } else {
            self.receive_xdp();
        }
    }

    /// Sleeps for the gathering wait that is due. A wake-up ends it, and so does a shared socket that is not expected to have
    /// something. What is left to wait then.
    fn sleep(&mut self, wait: Option<Duration>) -> io::Result<Option<Duration>> {
        if self.sockets_busy {
            return self.gather.sleep(wait, &self.waker, &mut self.counters);
        }
        let Some(due) = self.gather.due(wait) else {
            return Ok(wait);
        };
        if self.wait_for(Some(due), false)? {
            return Ok(Some(Duration::ZERO));
        }
        Ok(wait.map(|wait| wait.saturating_sub(due)))
    }

    fn receive_from(&mut self, place: usize) -> bool {
        let receiver = &mut self.receivers[place];
        for _ in 0..ROUNDS {
            if !self.receive_batch.fill(&mut self.frames.free) {
                self.counters.no_buffer += 1;
                return false;
            }
            self.counters.system_calls += 1;
            let count = match self
                .receive_batch
                .receive(receiver.socket.as_fd(), &self.frames.pool)
            {
                Ok(count) => count,
                Err(libc::EAGAIN) => return true,
                Err(libc::EINTR) => continue,
                Err(_) => {
                    self.counters.receive_errors += 1;
                    return false;
                }
            };
            let full = self.receive_batch.is_full(count);
            for datagram in self.receive_batch.drain(count) {
                if let Some(drops) = datagram.control.overflow {
                    self.counters.count_kernel_drops(&mut receiver.drops, drops);
                }
                let index = datagram.extent.index;
                let port = datagram.control.local.and_then(|local| self.ports.find(local));
                let Some((port, generation)) =
                    port.and_then(|port| Some((port, self.ports.generation(port)?)))
                else {
                    self.counters.port_closed += 1;
                    self.frames.free.push(index);
                    continue;
                };
                match datagram.source {
                    Some(source) if !datagram.truncated => {
                        let arrival = Arrival {
                            port,
                            generation,
                            source,
                            extent: datagram.extent,
                        };
                        // SAFETY: `recvmmsg` has returned, so the kernel is done with the frame, and `drain` has just given it up.
                        unsafe { self.frames.keep(arrival) };
                    }
                    Some(_) => {
                        self.counters.truncated += 1;
                        self.frames.free.push(index);
                    }
                    None => {
                        self.counters.receive_errors += 1;
                        self.frames.free.push(index);
                    }
                }
            }
            if !full {
                return true;
            }
        }
        false
    }

    /// Waits until a shared socket has something (or, with `all`, one of AF_XDP), a wake-up comes, or the time is over. True if there was
    /// a wake-up, which is noted.
    fn wait_for(&mut self, wait: Option<Duration>, all: bool) -> io::Result<bool> {
        self.counters.system_calls += 1;
        let timeout = wait.map(timespec);
        let none = PollFd::new(&self.waker, PollFlags::empty());
        let mut ready: [PollFd<'_>; POLLED_MAX] = std::array::from_fn(|_| none.clone());
        ready[0] = PollFd::new(&self.waker, PollFlags::IN);
        let shared = 1 + self.receivers.len();
        for (place, receiver) in self.receivers.iter().enumerate() {
            ready[1 + place] = PollFd::new(&receiver.socket, PollFlags::IN);
        }
        let mut used = shared;
        if let Some(xdp) = self.xdp.as_ref().filter(|_| all) {
            for descriptor in xdp.descriptors() {
                ready[used] = PollFd::from_borrowed_fd(descriptor, PollFlags::IN);
                used += 1;
            }
        }
        match poll(&mut ready[..used], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.sockets_busy |= ready[1..shared].iter().any(|socket| !socket.revents().is_empty());
        let woken = !ready[0].revents().is_empty();
        if woken {
            self.waker.acknowledge();
            self.counters.wake_ups += 1;
        }
        Ok(woken)
    }

    /// All frames are with the caller: waits for a wake-up, since only the caller can end this.
    fn starve(&mut self, wait: Option<Duration>) -> io::Result<()> {
        for receiver in &self.receivers {
            self.counters.system_calls += 1;
            let mut ready = [PollFd::new(&receiver.socket, PollFlags::IN)];
            if poll(&mut ready, Some(&timespec(Duration::ZERO))).is_ok_and(|count| count > 0) {
                self.counters.no_buffer += 1;
            }
        }
        self.counters.system_calls += 1;
        self.counters.wake_ups += u64::from(self.waker.wait(wait)?);
        Ok(())
    }

    fn has_buffers(&self) -> bool {
        let with_xdp = || self.xdp.as_ref().is_some_and(|xdp| xdp.filling() > 0);
        !self.frames.free.is_empty() || self.receive_batch.frames() > 0 || with_xdp()
    }

    fn flush(&mut self) {
        if let Some(xdp) = &mut self.xdp {
            xdp.turn(&mut self.frames, &mut self.counters);
        }
        while let Some(queue) = self.outbox.next() {
            let exit = queue.0 as u16;
            let (socket, header) = (self.exits.socket(exit), self.exits.header_size(exit));
            self.outbox
                .send(queue, socket, header, &mut self.frames, &mut self.counters);
        }
    }
}

impl Ports for Steered {
    fn open(&mut self, local: SocketAddr) -> Result<PortId, OpenError> {
        if self.ports.has_closed() && !self.stopped {
            // What came for a port that has closed must not be taken for the next one's of the same number.
            self.receive_all();
        }
        self.ports.open(local)
    }

    fn close(&mut self, id: PortId) {
        // What is queued is with the exit, and leaves with the next poll.
        self.ports.close(id);
    }
}

impl PacketIo for Steered {
    fn poll(&mut self, wait: Option<Duration>) -> io::Result<()> {
        self.flush();
        if self.frames.received() > 0 {
            return Ok(());
        }
        if self.stopped {
            self.counters.wake_ups += u64::from(self.waker.wait(wait)?);
            return Ok(());
        }
        if !self.has_buffers() {
            return self.starve(wait);
        }
        let left = self.sleep(wait)?;
        self.receive_turn();
        if self.frames.received() == 0 && left != Some(Duration::ZERO) {
            self.wait_for(left, true)?;
            self.receive_turn();
        } else {
            self.counters.wake_ups += u64::from(self.waker.take());
        }
        self.gather.found(self.frames.received(), wait);
        Ok(())
    }

    fn receive(&mut self) -> Option<Received> {
        self.frames.hand_over(&mut self.counters, |port, generation| {
            self.ports.is_current(port, generation)
        })
    }

    fn payload(&self, frame: &Frame) -> &[u8] {
        self.frames.pool.payload(frame)
    }

    fn payload_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        self.frames.pool.payload_mut(frame)
    }

    fn send(&mut self, mut frame: Frame, port: PortId, to: SocketAddr) {
        let bytes = frame.len() as u64;
        let prepared = match self.ports.at(port) {
            None => Err(SendError::NotOpen),
            Some(&port) => self
                .exits
                .prepend(port.exit, &mut self.frames.pool, &mut frame, port.local, to)
                .map(|to| (port, to)),
        };
        if let (Some(xdp), Ok((port, _))) = (&mut self.xdp, &prepared) {
            frame = match xdp.send(&mut self.frames.pool, frame, port.local.ip(), to.ip()) {
                Ok(()) => {
                    self.counters.sent += 1;
                    self.counters.sent_bytes += bytes;
                    self.counters.xdp_sent += 1;
                    return;
                }
                Err(frame) => frame,
            };
        }
        let extent = self.frames.pool.put(frame);
        match prepared {
            Ok((port, to)) => self.outbox.push(PortId(port.exit.into()), extent, to),
            Err(kind) => {
                self.counters.count_send_error(kind);
                self.frames.free.push(extent.index);
            }
        }
    }

    fn fresh(&mut self, payload: &[u8]) -> Option<Frame> {
        self.frames.fresh(payload)
    }

    fn release(&mut self, frame: Frame) {
        self.frames.release(frame);
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn counters(&self) -> &IoCounters {
        &self.counters
    }

    fn frames(&self) -> FrameAccount {
        let (filling, sending) = self
            .xdp
            .as_ref()
            .map_or((0, 0), |xdp| (xdp.filling(), xdp.sending()));
        self.frames
            .account(self.receive_batch.frames() + filling, self.outbox.len() + sending)
    }

    fn local_address(&self, port: PortId) -> Option<SocketAddr> {
        self.ports.at(port).map(|port| port.local)
    }

    fn stop_receiving(&mut self) -> io::Result<()> {
        self.stopped = true;
        if let Some(xdp) = &mut self.xdp {
            // What comes waits in the shared sockets from here on; what has come is taken.
            xdp.end();
        }
        self.receive_xdp();
        if let Some(xdp) = &mut self.xdp {
            xdp.count_drops(&mut self.counters);
        }
        Ok(())
    }

    fn start_receiving(&mut self) {
        self.stopped = false;
        self.sockets_busy = true;
        if let Some(xdp) = &mut self.xdp {
            // Without ties all goes on by the shared sockets.
            let _ = xdp.begin();
        }
    }

    fn share_sockets(&self) -> io::Result<Option<SharedSockets>> {
        let receivers = self.receivers.iter().map(|receiver| receiver.socket.as_fd());
        SharedSockets::share(receivers, &self.exits).map(Some)
    }
}
