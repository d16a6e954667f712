//! The back-end for every kernel: a UDP socket a port, epoll, `recvmmsg` and `sendmmsg`.
//!
//! A poll is one `epoll_wait`, then one `recvmmsg` for each port that has datagrams (more only when a whole batch came
//! back), and one `sendmmsg` for each port that packets were queued on. The batches are as large as the traffic of one
//! port: with a packet or two a port and turn, each packet costs a system call or nearly two. That is the price of
//! working everywhere.

mod egress;
pub(crate) mod outbox;
pub(crate) mod receive_batch;
mod send_batch;

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
use crate::frame::{Frame, FrameAccount};
use crate::frame_store::{Arrival, FrameStore};
use crate::gather::Gather;
use crate::packet_io::{PacketIo, Received};
use crate::port_table::PortTable;
use crate::udp_socket;
use crate::waker::{Waker, timespec};

use outbox::Outbox;
use receive_batch::ReceiveBatch;

/// The user data of the waker's eventfd in epoll; ports have their index, which is 32 bits.
const WAKER: u64 = u64::MAX;

/// Events of one `epoll_wait`. Level-triggered: what does not fit comes with the next.
const EVENTS: usize = 256;

/// Full batches read from one port before the others get their turn.
const ROUNDS: usize = 4;

/// The `socket` back-end. Built, used and dropped on its worker's thread.
pub struct Sockets {
    frames: FrameStore,
    ports: PortTable<Port>,
    options: SocketOptions,
    epoll: OwnedFd,
    waker: Waker,
    events: Vec<Event>,
    receive_batch: ReceiveBatch,
    outbox: Outbox,
    gather: Gather,
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
        Ok(Self {
            frames: FrameStore::new(config.frames),
            ports: PortTable::new(config.ports_max),
            options: config.socket.clone(),
            epoll,
            waker,
            events: Vec::with_capacity(EVENTS),
            receive_batch: ReceiveBatch::new(config.batch as usize),
            outbox: Outbox::new(config.frames, config.batch),
            gather: Gather::new(config.gather, config.gather_packets),
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
            if !self.receive_batch.fill(&mut self.frames.free) {
                self.counters.no_buffer += 1;
                return;
            }
            self.counters.system_calls += 1;
            let count = match self.receive_batch.receive(port.socket.as_fd(), &self.frames.pool) {
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
                        // SAFETY: `recvmmsg` has returned, so the kernel is done with the frame, and `drain` has just given it up.
                        unsafe { self.frames.keep(arrival) };
                    }
                    Some(_) => {
                        self.counters.truncated += 1;
                        self.frames.free.push(datagram.extent.index);
                    }
                    None => {
                        self.counters.receive_errors += 1;
                        self.frames.free.push(datagram.extent.index);
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
        !self.frames.free.is_empty() || self.receive_batch.frames() > 0
    }

    fn flush(&mut self) {
        while let Some(id) = self.outbox.next() {
            self.flush_port(id);
        }
    }

    /// Sends all that is queued on a port.
    fn flush_port(&mut self, id: PortId) {
        if let Some(port) = self.ports.at(id) {
            self.outbox
                .send(id, port.socket.as_fd(), 0, &mut self.frames, &mut self.counters);
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
        self.outbox.add(PortId(index));
        self.ports
            .insert(Port { socket, local, drops })
            .map_err(|_| OpenError::Exhausted)
    }

    fn close(&mut self, id: PortId) {
        self.outbox.forget(id);
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
        let left = self.gather.sleep(wait, &self.waker, &mut self.counters)?;
        self.wait(left)?;
        self.take_wake_up();
        self.receive_events();
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

    fn send(&mut self, frame: Frame, port: PortId, to: SocketAddr) {
        let extent = self.frames.pool.put(frame);
        if self.ports.at(port).is_some() {
            self.outbox.push(port, extent, RawAddress::new(to));
        } else {
            self.counters.count_send_error(SendError::NotOpen);
            self.frames.free.push(extent.index);
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
        self.frames
            .account(self.receive_batch.frames(), self.outbox.len())
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
