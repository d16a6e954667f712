//! The back-end with steering for kernels without io_uring: one `recvmmsg` and one `sendmmsg` for many packets.

use std::collections::VecDeque;
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
use crate::frame::{Extent, Frame, FrameAccount, FramePool};
use crate::gather::Gather;
use crate::packet_io::{PacketIo, Received};
use crate::socket::egress::Egress;
use crate::socket::receive_batch::ReceiveBatch;
use crate::socket::send_batch::SendBatch;
use crate::waker::{Waker, timespec};

/// Full batches read from a shared socket in one turn: room for the rest of the loop.
const ROUNDS: usize = 8;

/// Steering with plain system calls. Built, used and dropped on its worker's thread.
///
/// Under traffic nothing waits on the sockets: a turn sleeps for the gathering wait (a wake-up ends it), reads what has come and sends
/// what goes. So a datagram's arrival wakes nobody, which is dearer in the kernel than the datagram itself.
pub struct Steered {
    pool: FramePool,
    /// Frames that nobody has; the last one freed is used first, while it is in the cache.
    free: Vec<u32>,
    receivers: Vec<Receiver>,
    exits: Exits,
    ports: SteeredPorts,
    waker: Waker,
    receive_batch: ReceiveBatch,
    send_batch: SendBatch,
    received: VecDeque<Arrival>,
    /// A queue an exit.
    egress: Egress,
    gather: Gather,
    /// Whether the last poll received something: only then is it worth gathering.
    busy: bool,
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

/// A datagram received and not yet handed over.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    port: PortId,
    generation: u32,
    source: SocketAddr,
    extent: Extent,
}

impl Steered {
    /// A back-end with no port open.
    ///
    /// # Errors
    ///
    /// A setting out of its range, or no file descriptor left for the waker.
    pub fn new(config: &IoConfig, steering: Steering) -> io::Result<Self> {
        config.check()?;
        let SharedSockets { v4, v6, exits } = steering.sockets;
        let addresses: Vec<IpAddr> = exits.iter().map(|exit| exit.address).collect();
        let exits = Exits::new(exits, config.socket.dscp)?;
        let mut egress = Egress::new(config.frames);
        (0..exits.len()).for_each(|exit| egress.add_port(PortId(exit as u32)));
        Ok(Self {
            pool: FramePool::new(config.frames),
            free: (0..config.frames).rev().collect(),
            receivers: [v4, v6]
                .into_iter()
                .flatten()
                .map(|socket| Receiver { socket, drops: 0 })
                .collect(),
            ports: SteeredPorts::new(steering.steer, &exits, &addresses, config.ports_max),
            exits,
            waker: Waker::new()?,
            receive_batch: ReceiveBatch::new(config.batch as usize),
            send_batch: SendBatch::new(config.batch as usize),
            received: VecDeque::with_capacity(config.frames as usize),
            egress,
            gather: Gather::new(config.gather, config.gather_packets),
            busy: false,
            stopped: false,
            counters: IoCounters {
                kernel_drops: Some(0),
                ..IoCounters::default()
            },
        })
    }

    /// Reads what the sockets have, in turn. True if they are empty now.
    fn receive_all(&mut self) -> bool {
        let mut empty = true;
        for place in 0..self.receivers.len() {
            empty &= self.receive_from(place);
        }
        if empty {
            self.ports.forget_closed();
        }
        empty
    }

    fn receive_from(&mut self, place: usize) -> bool {
        let receiver = &mut self.receivers[place];
        for _ in 0..ROUNDS {
            if !self.receive_batch.fill(&mut self.free) {
                self.counters.no_buffer += 1;
                return false;
            }
            self.counters.system_calls += 1;
            let count = match self.receive_batch.receive(receiver.socket.as_fd(), &self.pool) {
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
                    self.free.push(index);
                    continue;
                };
                match datagram.source {
                    Some(source) if !datagram.truncated => self.received.push_back(Arrival {
                        port,
                        generation,
                        source,
                        extent: datagram.extent,
                    }),
                    Some(_) => {
                        self.counters.truncated += 1;
                        self.free.push(index);
                    }
                    None => {
                        self.counters.receive_errors += 1;
                        self.free.push(index);
                    }
                }
            }
            if !full {
                return true;
            }
        }
        false
    }

    /// Waits until a socket has something, a wake-up comes, or the time is over.
    fn wait(&mut self, wait: Option<Duration>) -> io::Result<()> {
        self.counters.system_calls += 1;
        let timeout = wait.map(timespec);
        let none = PollFlags::empty();
        let mut ready = [
            PollFd::new(&self.waker, PollFlags::IN),
            PollFd::new(&self.waker, none),
            PollFd::new(&self.waker, none),
        ];
        let mut used = 1;
        for receiver in &self.receivers {
            ready[used] = PollFd::new(&receiver.socket, PollFlags::IN);
            used += 1;
        }
        match poll(&mut ready[..used], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !ready[0].revents().is_empty() {
            self.waker.acknowledge();
            self.counters.wake_ups += 1;
        }
        Ok(())
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
        !self.free.is_empty() || self.receive_batch.frames() > 0
    }

    fn flush(&mut self) {
        while let Some(exit) = self.egress.next_port() {
            self.flush_exit(exit);
        }
    }

    fn flush_exit(&mut self, exit: PortId) {
        let socket = self.exits.socket(exit.0 as u16);
        let header = self.exits.header_size(exit.0 as u16);
        loop {
            self.send_batch.clear();
            while !self.send_batch.is_full() {
                let Some((extent, to)) = self.egress.pop(exit) else {
                    break;
                };
                self.send_batch.push(extent, to);
            }
            if self.send_batch.is_empty() {
                return;
            }
            let outcome = self.send_batch.send(socket, &self.pool, |outcome| match outcome {
                Ok(bytes) => {
                    self.counters.sent += 1;
                    self.counters.sent_bytes += u64::from(bytes) - header as u64;
                }
                Err(kind) => self.counters.count_send_error(kind),
            });
            self.counters.system_calls += outcome.system_calls;
            self.free.extend(self.send_batch.frames());
            if outcome.blocked {
                // The rest would only be refused one by one.
                while let Some((extent, _)) = self.egress.pop(exit) {
                    self.counters.count_send_error(SendError::WouldBlock);
                    self.free.push(extent.index);
                }
                return;
            }
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
        // What a shorter wait finds says little about the rate.
        let cut = self.gather.is_cut_by(wait);
        self.flush();
        if !self.received.is_empty() {
            return Ok(());
        }
        if self.stopped {
            self.counters.wake_ups += u64::from(self.waker.wait(wait)?);
            return Ok(());
        }
        if !self.has_buffers() {
            return self.starve(wait);
        }
        let mut wait = wait;
        if self.busy && !self.gather.is_off() && wait != Some(Duration::ZERO) {
            let gather = self.gather.wait(wait);
            wait = wait.map(|wait| wait.saturating_sub(gather));
            self.counters.system_calls += 1;
            if self.waker.wait(Some(gather))? {
                self.counters.wake_ups += 1;
                wait = Some(Duration::ZERO);
            }
        }
        self.receive_all();
        if self.received.is_empty() && wait != Some(Duration::ZERO) {
            self.wait(wait)?;
            self.receive_all();
        } else {
            self.counters.wake_ups += u64::from(self.waker.take());
        }
        if self.busy && !cut {
            self.gather.found(self.received.len());
        }
        self.busy = !self.received.is_empty();
        Ok(())
    }

    fn receive(&mut self) -> Option<Received> {
        while let Some(arrival) = self.received.pop_front() {
            if self.ports.is_current(arrival.port, arrival.generation) {
                self.counters.received += 1;
                self.counters.received_bytes += u64::from(arrival.extent.length);
                // SAFETY: the frame was in the queue of received ones, so the back-end owns it, and recvmmsg has
                // returned, so the kernel is done with it.
                let frame = unsafe { self.pool.take(arrival.extent) };
                return Some(Received {
                    port: arrival.port,
                    source: arrival.source,
                    frame,
                });
            }
            self.counters.port_closed += 1;
            self.free.push(arrival.extent.index);
        }
        None
    }

    fn payload(&self, frame: &Frame) -> &[u8] {
        self.pool.payload(frame)
    }

    fn payload_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        self.pool.payload_mut(frame)
    }

    fn send(&mut self, mut frame: Frame, port: PortId, to: SocketAddr) {
        let prepared = match self.ports.at(port) {
            None => Err(SendError::NotOpen),
            Some(&port) => self
                .exits
                .prepend(port.exit, &mut self.pool, &mut frame, port.local, to)
                .map(|to| (port.exit, to)),
        };
        let extent = self.pool.put(frame);
        match prepared {
            Ok((exit, to)) => self.egress.push(PortId(exit.into()), extent, to),
            Err(kind) => {
                self.counters.count_send_error(kind);
                self.free.push(extent.index);
            }
        }
    }

    fn release(&mut self, frame: Frame) {
        let extent = self.pool.put(frame);
        self.free.push(extent.index);
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn counters(&self) -> &IoCounters {
        &self.counters
    }

    fn frames(&self) -> FrameAccount {
        FrameAccount {
            total: self.pool.frames(),
            idle: self.free.len() as u32 + self.receive_batch.frames(),
            received: self.received.len() as u32,
            held: self.pool.held(),
            sending: self.egress.len(),
        }
    }

    fn local_address(&self, port: PortId) -> Option<SocketAddr> {
        self.ports.at(port).map(|port| port.local)
    }

    fn stop_receiving(&mut self) -> io::Result<()> {
        self.stopped = true;
        Ok(())
    }

    fn start_receiving(&mut self) {
        self.stopped = false;
    }

    fn share_sockets(&self) -> io::Result<Option<SharedSockets>> {
        let receivers = self.receivers.iter().map(|receiver| receiver.socket.as_fd());
        SharedSockets::share(receivers, &self.exits).map(Some)
    }
}
