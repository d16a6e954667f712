//! The simulated back-end: queues in memory instead of a kernel, driven from a test by a [`Wire`].
//!
//! The frames, the account of them and every rule of [`PacketIo`] are the real ones, so a worker loop or a packet
//! stage that leaks a frame or misuses a port fails here as it would on a kernel.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use media_engine::{OpenError, PortId, Ports};

use crate::config::IoConfig;
use crate::counters::{IoCounters, SendError};
use crate::frame::{Extent, Frame, FrameAccount, PAYLOAD_MAX};
use crate::frame_store::{Arrival, FrameStore};
use crate::packet_io::{PacketIo, Received};
use crate::port_table::PortTable;
use crate::waker::Waker;

/// A packet that left the back-end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmitted {
    /// The local address that it left from.
    pub from: SocketAddr,
    /// Where it was sent.
    pub to: SocketAddr,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// The test's end of a simulated back-end: everything outside of the machine. Clones share the same wire.
#[derive(Clone, Debug)]
pub struct Wire {
    state: Arc<Mutex<WireState>>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct WireState {
    /// On the way in: local address, source, payload.
    arriving: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
    transmitted: VecDeque<Transmitted>,
    /// Local addresses that don't open, and why.
    refusals: HashMap<SocketAddr, OpenError>,
    /// Destinations that can't be sent to, and why.
    unreachable: HashMap<SocketAddr, SendError>,
    /// The sockets are not let go of: a stop of receiving fails, and may have stopped some.
    refuses_stop: bool,
    /// The last port number given for port 0.
    ephemeral: u16,
}

impl Wire {
    /// A wire with nothing on it.
    ///
    /// # Errors
    ///
    /// No eventfd left in the process.
    pub fn new() -> io::Result<Self> {
        let state = WireState {
            ephemeral: 49_151,
            ..WireState::default()
        };
        Ok(Self {
            state: Arc::new(Mutex::new(state)),
            waker: Waker::new()?,
        })
    }

    fn state(&self) -> MutexGuard<'_, WireState> {
        // A panicking test has the lock poisoned; its message is the one to see, not a second panic here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a datagram to the back-end. It is lost when no port is open at `local` at the next poll.
    pub fn inject(&self, local: SocketAddr, source: SocketAddr, payload: &[u8]) {
        self.state().arriving.push_back((local, source, payload.to_vec()));
        self.waker.wake();
    }

    /// The next packet that left the back-end.
    pub fn transmitted(&self) -> Option<Transmitted> {
        self.state().transmitted.pop_front()
    }

    /// The next packet that left the back-end for this destination; those for others stay.
    pub fn transmitted_to(&self, to: SocketAddr) -> Option<Transmitted> {
        let mut state = self.state();
        let place = state.transmitted.iter().position(|packet| packet.to == to)?;
        state.transmitted.remove(place)
    }

    /// From now on `local` does not open, or with `None` opens again.
    pub fn refuse_open(&self, local: SocketAddr, error: Option<OpenError>) {
        match error {
            Some(error) => self.state().refusals.insert(local, error),
            None => self.state().refusals.remove(&local),
        };
    }

    /// From now on [`PacketIo::stop_receiving`] fails after it has stopped, or with `false` works again.
    pub fn refuse_stop(&self, refuses: bool) {
        self.state().refuses_stop = refuses;
    }

    /// From now on nothing can be sent to `to`, or with `None` it can again.
    pub fn refuse_send(&self, to: SocketAddr, error: Option<SendError>) {
        match error {
            Some(error) => self.state().unreachable.insert(to, error),
            None => self.state().unreachable.remove(&to),
        };
    }
}

/// The simulated back-end. Built on its worker's thread; the [`Wire`] can go anywhere.
#[derive(Debug)]
pub struct Simulated {
    wire: Wire,
    frames: FrameStore,
    ports: PortTable<SocketAddr>,
    by_local: HashMap<SocketAddr, PortId>,
    sending: VecDeque<(PortId, u32, SocketAddr, Extent)>,
    counters: IoCounters,
    /// Nothing is received: see [`PacketIo::stop_receiving`].
    stopped: bool,
}

impl Simulated {
    /// A back-end at the inner end of `wire`.
    ///
    /// # Errors
    ///
    /// A setting out of its range.
    pub fn new(config: &IoConfig, wire: Wire) -> io::Result<Self> {
        config.check()?;
        Ok(Self {
            wire,
            frames: FrameStore::new(config.frames),
            ports: PortTable::new(config.ports_max),
            by_local: HashMap::new(),
            sending: VecDeque::with_capacity(config.frames as usize),
            counters: IoCounters::default(),
            stopped: false,
        })
    }

    /// Moves datagrams from the wire into frames until either runs out.
    fn take_arrivals(&mut self) {
        if self.stopped {
            return;
        }
        let mut state = self.wire.state();
        let mut starved = false;
        while let Some((local, source, payload)) = state.arriving.pop_front() {
            let Some(&port) = self.by_local.get(&local) else {
                continue;
            };
            if payload.len() > PAYLOAD_MAX {
                self.counters.truncated += 1;
                continue;
            }
            let Some(frame) = self.frames.fresh(&payload) else {
                state.arriving.push_front((local, source, payload));
                starved = true;
                break;
            };
            let extent = self.frames.pool.put(frame);
            let generation = self.ports.generation(port).unwrap_or_default();
            let arrival = Arrival {
                port,
                generation,
                source,
                extent,
            };
            // SAFETY: the handle has just ended, so the back-end owns the frame.
            unsafe { self.frames.keep(arrival) };
        }
        self.counters.no_buffer += u64::from(starved);
    }

    fn transmit(&mut self, port: PortId, to: SocketAddr, extent: Extent) {
        let error = match self.ports.at(port) {
            None => Some(SendError::NotOpen),
            Some(local) if local.is_ipv4() != to.is_ipv4() => Some(SendError::Unreachable),
            Some(&local) => {
                // SAFETY: the frame was queued for sending, so the back-end owns it, and the handle ends below.
                let frame = unsafe { self.frames.pool.take(extent) };
                let payload = self.frames.pool.payload(&frame).to_vec();
                self.frames.pool.put(frame);
                let mut state = self.wire.state();
                let error = state.unreachable.get(&to).copied();
                if error.is_none() {
                    state.transmitted.push_back(Transmitted {
                        from: local,
                        to,
                        payload,
                    });
                }
                error
            }
        };
        match error {
            Some(kind) => self.counters.count_send_error(kind),
            None => {
                self.counters.sent += 1;
                self.counters.sent_bytes += u64::from(extent.length);
            }
        }
        self.frames.free.push(extent.index);
    }

    fn flush(&mut self) {
        while let Some((port, generation, to, extent)) = self.sending.pop_front() {
            debug_assert!(
                self.ports.is_current(port, generation),
                "closing a port sends what it has queued"
            );
            self.transmit(port, to, extent);
        }
    }
}

impl Ports for Simulated {
    fn open(&mut self, local: SocketAddr) -> Result<PortId, OpenError> {
        let mut bound = local;
        {
            let mut state = self.wire.state();
            if let Some(&error) = state.refusals.get(&local) {
                return Err(error);
            }
            if local.port() == 0 {
                state.ephemeral = state.ephemeral.checked_add(1).ok_or(OpenError::Exhausted)?;
                bound.set_port(state.ephemeral);
            }
        }
        if self.by_local.contains_key(&bound) {
            return Err(OpenError::InUse);
        }
        let port = self.ports.insert(bound).map_err(|_| OpenError::Exhausted)?;
        self.by_local.insert(bound, port);
        Ok(port)
    }

    fn close(&mut self, port: PortId) {
        self.flush();
        if let Some(local) = self.ports.remove(port) {
            self.by_local.remove(&local);
        }
    }
}

impl PacketIo for Simulated {
    fn poll(&mut self, wait: Option<Duration>) -> io::Result<()> {
        self.flush();
        self.take_arrivals();
        if self.frames.received() > 0 {
            return Ok(());
        }
        if self.wire.waker.wait(wait)? {
            self.counters.wake_ups += 1;
            self.take_arrivals();
        }
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
        match self.ports.generation(port) {
            Some(generation) if self.ports.is_current(port, generation) => {
                self.sending.push_back((port, generation, to, extent));
            }
            _ => {
                self.counters.count_send_error(SendError::NotOpen);
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
        self.wire.waker.clone()
    }

    fn counters(&self) -> &IoCounters {
        &self.counters
    }

    fn frames(&self) -> FrameAccount {
        self.frames.account(0, self.sending.len() as u32)
    }

    fn local_address(&self, port: PortId) -> Option<SocketAddr> {
        self.ports.at(port).copied()
    }

    fn stop_receiving(&mut self) -> io::Result<()> {
        self.stopped = true;
        match self.wire.state().refuses_stop {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(()),
        }
    }

    fn start_receiving(&mut self) {
        self.stopped = false;
    }
}
