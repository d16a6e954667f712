//! The back-end for every kernel: a UDP socket a port, epoll, `recvmmsg` and `sendmmsg`.
//!
//! A poll is one `epoll_wait`, then one `recvmmsg` for each port that has datagrams (more only when a whole batch came
//! back), and one `sendmmsg` for each port that packets were queued on. The batches are as large as the traffic of one
//! port: with a packet or two a port and turn, each packet costs a system call or nearly two. That is the price of
//! working everywhere.

pub(crate) mod egress;
pub(crate) mod receive_batch;
pub(crate) mod send_batch;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use media_engine::{OpenError, PortId, Ports};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::address::RawAddress;
use crate::config::{IoConfig, SocketOptions};
use crate::counters::{IoCounters, SendError};
use crate::frame::{Extent, Frame, FrameAccount, FramePool};
use crate::gather::Gather;
use crate::packet_io::{PacketIo, Received};
use crate::port_table::PortTable;
use crate::udp_socket;
use crate::waker::{Waker, timespec};

use egress::Egress;
use receive_batch::ReceiveBatch;
use send_batch::SendBatch;

/// The user data of the waker's eventfd in epoll; ports have their index, which is 32 bits.
const WAKER: u64 = u64::MAX;

/// Events of one `epoll_wait`. Level-triggered: what does not fit comes with the next.
const EVENTS: usize = 256;

/// Full batches read from one port before the others get their turn.
const ROUNDS: usize = 4;

/// The `socket` back-end. Built, used and dropped on its worker's thread.
pub struct Sockets {
    pool: FramePool,
    /// Frames that nobody has; the last one freed is used first, while it is in the cache.
    free: Vec<u32>,
    ports: PortTable<Port>,
    options: SocketOptions,
    epoll: OwnedFd,
    waker: Waker,
    events: Vec<Event>,
    receive_batch: ReceiveBatch,
    send_batch: SendBatch,
    received: VecDeque<Arrival>,
    egress: Egress,
    gather: Gather,
    /// Whether the last poll received something: only then is it worth gathering.
    busy: bool,
    /// Nothing is received: see [`PacketIo::stop_receiving`].
    stopped: bool,
    /// Sockets for the ports that are opened next.
    adopted: Vec<(SocketAddr, OwnedFd)>,
    counters: IoCounters,
}

#[derive(Debug)]
struct Port {
    socket: OwnedFd,
    local: SocketAddr,
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

impl Sockets {
    /// A back-end with no port open.
    ///
    /// # Errors
    ///
    /// A setting out of its range, or no file descriptor left for epoll and the waker.
    pub fn new(config: &IoConfig) -> io::Result<Self> {
        config.check()?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let waker = Waker::new()?;
        epoll::add(&epoll, &waker, EventData::new_u64(WAKER), EventFlags::IN)?;
        let frames = config.frames as usize;
        Ok(Self {
            pool: FramePool::new(config.frames),
            free: (0..config.frames).rev().collect(),
            ports: PortTable::new(config.ports_max),
            options: config.socket.clone(),
            epoll,
            waker,
            events: Vec::with_capacity(EVENTS),
            receive_batch: ReceiveBatch::new(config.batch as usize),
            send_batch: SendBatch::new(config.batch as usize),
            received: VecDeque::with_capacity(frames),
            egress: Egress::new(config.frames),
            gather: Gather::new(config.gather, config.gather_packets),
            busy: false,
            stopped: false,
            adopted: Vec::new(),
            counters: IoCounters {
                kernel_drops: Some(0),
                ..IoCounters::default()
            },
        })
    }

    /// Waits on epoll; the events are in `self.events` after. An interrupted wait is one without events.
    fn wait(&mut self, wait: Option<Duration>) -> io::Result<()> {
        self.events.clear();
        self.counters.system_calls += 1;
        let timeout = wait.map(timespec);
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut self.events),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes note of a wake-up among the events. True if there was one.
    fn take_wake_up(&mut self) -> bool {
        let woken = self.events.iter().any(|event| event.data.u64() == WAKER);
        if woken {
            self.waker.acknowledge();
            self.counters.wake_ups += 1;
        }
        woken
    }

    /// Reads what the ports in `self.events` have.
    fn receive_events(&mut self) {
        let events = std::mem::take(&mut self.events);
        for event in events.iter().filter(|event| event.data.u64() != WAKER) {
            self.receive_port(PortId(event.data.u64() as u32));
        }
        self.events = events;
    }

    fn receive_port(&mut self, id: PortId) {
        let Some(generation) = self.ports.generation(id) else {
            return;
        };
        let Some(port) = self.ports.at_mut(id) else { return };
        for _ in 0..ROUNDS {
            if !self.receive_batch.fill(&mut self.free) {
                self.counters.no_buffer += 1;
                return;
            }
            self.counters.system_calls += 1;
            let count = match self.receive_batch.receive(port.socket.as_fd(), &self.pool) {
                Ok(count) => count,
                Err(libc::EAGAIN | libc::EINTR) => return,
                Err(_) => {
                    // An error pending on the socket, which is now cleared: it belongs to a packet sent earlier, and
                    // the datagrams behind it are read with the next turn.
                    self.counters.receive_errors += 1;
                    return;
                }
            };
            let full = self.receive_batch.is_full(count);
            for datagram in self.receive_batch.drain(count) {
                if let Some(drops) = datagram.control.overflow {
                    self.counters.count_kernel_drops(&mut port.drops, drops);
                }
                match datagram.source {
                    Some(source) if !datagram.truncated => {
                        let arrival = Arrival {
                            port: id,
                            generation,
                            source,
                            extent: datagram.extent,
                        };
                        self.received.push_back(arrival);
                    }
                    Some(_) => {
                        self.counters.truncated += 1;
                        self.free.push(datagram.extent.index);
                    }
                    None => {
                        self.counters.receive_errors += 1;
                        self.free.push(datagram.extent.index);
                    }
                }
            }
            if !full {
                return;
            }
        }
    }

    /// All frames are with the caller: notes which ports have to wait, then waits for a wake-up, since only the caller
    /// can end this.
    fn starve(&mut self, wait: Option<Duration>) -> io::Result<()> {
        self.wait(Some(Duration::ZERO))?;
        if self.take_wake_up() {
            return Ok(());
        }
        self.counters.no_buffer += self.events.len() as u64;
        self.counters.system_calls += 1;
        self.counters.wake_ups += u64::from(self.waker.wait(wait)?);
        Ok(())
    }

    fn has_buffers(&self) -> bool {
        !self.free.is_empty() || self.receive_batch.frames() > 0
    }

    fn flush(&mut self) {
        while let Some(id) = self.egress.next_port() {
            self.flush_port(id);
        }
    }

    /// Sends all that is queued on a port.
    fn flush_port(&mut self, id: PortId) {
        let Some(port) = self.ports.at(id) else { return };
        let socket = port.socket.as_fd();
        loop {
            self.send_batch.clear();
            while !self.send_batch.is_full() {
                let Some((extent, to)) = self.egress.pop(id) else {
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
                    self.counters.sent_bytes += u64::from(bytes);
                }
                Err(kind) => self.counters.count_send_error(kind),
            });
            self.counters.system_calls += outcome.system_calls;
            self.free.extend(self.send_batch.frames());
            if outcome.blocked {
                // The rest would only be refused one by one.
                while let Some((extent, _)) = self.egress.pop(id) {
                    self.counters.count_send_error(SendError::WouldBlock);
                    self.free.push(extent.index);
                }
                return;
            }
        }
    }
}

impl Ports for Sockets {
    fn open(&mut self, local: SocketAddr) -> Result<PortId, OpenError> {
        let (index, _) = self.ports.next().ok_or(OpenError::Exhausted)?;
        let adopted = udp_socket::take(&mut self.adopted, local);
        let (socket, local) = match adopted {
            Some(socket) => (socket, local),
            None => udp_socket::bind(local, &self.options)?,
        };
        // Those that an adopted socket had dropped before are not this back-end's.
        let drops = udp_socket::dropped(socket.as_fd()).unwrap_or(0);
        epoll::add(
            &self.epoll,
            &socket,
            EventData::new_u64(index.into()),
            EventFlags::IN,
        )
        .map_err(|error| udp_socket::open_error(&error.into()))?;
        self.egress.add_port(PortId(index));
        self.ports
            .insert(Port { socket, local, drops })
            .map_err(|_| OpenError::Exhausted)
    }

    fn close(&mut self, id: PortId) {
        self.egress.forget_order(id);
        self.flush_port(id);
        let Some(mut port) = self.ports.remove(id) else {
            return;
        };
        if let Ok(drops) = udp_socket::dropped(port.socket.as_fd()) {
            self.counters.count_kernel_drops(&mut port.drops, drops);
        }
        // Closing the only descriptor of the socket takes it out of epoll too.
        drop(port);
    }
}

impl PacketIo for Sockets {
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
        self.wait(wait)?;
        self.take_wake_up();
        self.receive_events();
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

    fn send(&mut self, frame: Frame, port: PortId, to: SocketAddr) {
        let extent = self.pool.put(frame);
        if self.ports.at(port).is_some() {
            self.egress.push(port, extent, RawAddress::new(to));
        } else {
            self.counters.count_send_error(SendError::NotOpen);
            self.free.push(extent.index);
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

    fn socket_ports(&self) -> Vec<(SocketAddr, PortId)> {
        let local = |port: PortId| self.ports.at(port).map(|it| (it.local, port));
        self.ports.open().into_iter().filter_map(local).collect()
    }

    fn share_socket(&mut self, port: PortId) -> io::Result<OwnedFd> {
        let port = self.ports.at(port).ok_or(io::ErrorKind::NotFound)?;
        port.socket.try_clone()
    }

    fn adopt_sockets(&mut self, sockets: Vec<(SocketAddr, OwnedFd)>) {
        self.adopted = sockets;
    }
}
