//! The io_uring back-end: one ring a worker, and no system call per packet.
//!
//! * Each port's socket lives in the ring's *file table* under the port's own index. Its descriptor is closed once it
//!   is there, so a port costs no entry in the process's descriptor table.
//! * One *multishot receive* a port goes on until it is cancelled: each datagram is a completion, with the source
//!   address and the payload in a frame from the ring's *provided buffers*. It also ends by itself (no buffer, an
//!   empty datagram, a full completion queue, an error) and is then asked for again.
//! * A packet is sent straight from the frame it came in; the frame is free, and the first to be provided again, when
//!   the completion says that the kernel is done. (Requests can ask for no completion on success, but then nothing
//!   says when the frame is free.)
//! * One `io_uring_enter` a turn of the loop submits all sends and waits for the next datagrams.
//!
//! Needs Linux 6.1: multishot `recvmsg` came with 6.0, a destination on `send` and `DEFER_TASKRUN` with 6.1.
//!
//! # Invariants, beyond those of the crate
//!
//! 5. **A frame is provided or it is ours.** The kernel writes to the frames in the buffer ring and to no others; a
//!    completion with a buffer id ends that. *Checked by:* `FrameAccount`, whose parts add up only if every id comes
//!    back once, and by the ring's model test.
//! 6. **What a request points to does not move and outlives it**: frames and addresses are boxed for the life of the
//!    back-end, and dropping it cancels what is with the kernel and takes the last completion before it frees memory
//!    (or, if the kernel does not answer, never frees it). *Checked by:* the conformance suite, which drops the
//!    back-end in the midst of traffic.
//! 7. **One thread.** The ring was built by the thread that uses it. *Checked by:* the compiler: `Uring` is not
//!    `Send`.

mod buffer_ring;
mod handover;
mod message;
mod port_slots;
mod ports;
mod request;
mod ring;
mod setup;
mod shared;
mod token;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use media_engine::PortId;
use rustix::process::{Resource, getrlimit};

use crate::address::RawAddress;
use crate::config::{IoConfig, SocketOptions};
use crate::control::{OVERFLOW_SPACE, STEERED_SPACE};
use crate::counters::{IoCounters, SendError};
use crate::frame::{Extent, Frame, FrameAccount, HEADROOM, PAYLOAD_MAX};
use crate::frame_store::{Arrival, FrameStore};
use crate::gather::Gather;
use crate::packet_io::{PacketIo, Received};
use crate::steering::{SharedSockets, Steering};
use crate::waker::Waker;

use buffer_ring::BufferRing;
use message::Message;
use port_slots::PortSlots;
use request::Control;
use ring::{Completion, Ring, Waiting};
use shared::Shared;
use token::Token;

pub use setup::SetupError;

/// The one group of provided buffers.
const BUFFER_GROUP: u16 = 0;

/// Space for the source address in a received message: `sockaddr_in6`, rounded up so that what follows is aligned to
/// 8.
const NAME_SPACE: usize = 32;

/// What the kernel puts before the payload: `io_uring_recvmsg_out` (four 32-bit numbers), the source address, and control messages.
const fn message_head(control_space: usize) -> usize {
    16 + NAME_SPACE + control_space
}

// The largest fits the headroom.
const _: () = assert!(message_head(STEERED_SPACE) <= HEADROOM);

/// The shape of every received message, as a header without pointers.
const fn message_shape(control_space: usize) -> libc::msghdr {
    libc::msghdr {
        msg_name: std::ptr::null_mut(),
        msg_namelen: NAME_SPACE as libc::socklen_t,
        msg_iov: std::ptr::null_mut(),
        msg_iovlen: 0,
        msg_control: std::ptr::null_mut(),
        msg_controllen: control_space,
        msg_flags: 0,
    }
}

/// Longest wait when completions of sends are waited for too. They come within the call that submits them; should one
/// ever not, this is what it delays a wake-up by.
const SEND_GRACE: Duration = Duration::from_millis(5);

/// Completions that a gathering wait stops at.
const GATHER_COMPLETIONS: usize = 256;

/// The `uring` back-end. Built, used and dropped on its worker's thread (invariant 7):
///
/// ```compile_fail
/// fn moves_to_another_thread<T: Send>() {}
/// moves_to_another_thread::<net_io::uring::Uring>();
/// ```
pub struct Uring {
    ring: Ring,
    buffers: BufferRing,
    frames: FrameStore,
    /// The sockets that receive: of each port, or those that all ports share.
    slots: PortSlots,
    /// The ports, when they are steered.
    shared: Option<Shared>,
    options: SocketOptions,
    waker: Waker,
    /// Whether a poll of the waker is with the kernel.
    waker_armed: bool,
    /// A wake-up was noted that has not ended a poll yet.
    woken: bool,
    /// The shape of every receive: how much room the source address has. The kernel reads it when a receive starts.
    message: Box<libc::msghdr>,
    /// Bytes before the payload of what the kernel writes; it ends at [`HEADROOM`].
    head: usize,
    /// By frame index: where it is being sent, and how many bytes.
    outgoing: Box<[Outgoing]>,
    /// Frames being sent.
    sending: u32,
    /// Sends submitted with the next turn, whose completions that turn waits for besides what it really waits for.
    unsubmitted: usize,
    /// Requests about ports that are to be queued with the next turn, in order.
    control: VecDeque<Control>,
    gather: Gather,
    /// Pauses made for gathering, each a system call.
    pauses: u64,
    /// The back-end is being dropped: nothing new is asked of the kernel.
    ending: bool,
    /// Nothing is received: see [`PacketIo::stop_receiving`].
    stopped: bool,
    /// Sockets for the ports that are opened next.
    adopted: Vec<(SocketAddr, OwnedFd)>,
    /// What became of the latest request for a descriptor.
    installed: Option<i32>,
    counters: IoCounters,
}

#[derive(Clone, Copy, Debug)]
struct Outgoing {
    to: RawAddress,
    length: u16,
}

impl Uring {
    /// A back-end with no port open, for this thread.
    ///
    /// # Errors
    ///
    /// The step of the set-up that the kernel refused.
    pub fn new(config: &IoConfig) -> Result<Self, SetupError> {
        Self::build(config, None)
    }

    /// A back-end with no port open, for this thread, whose ports will be steered to the sockets given.
    ///
    /// # Errors
    ///
    /// The step of the set-up that the kernel refused.
    pub fn steered(config: &IoConfig, steering: Steering) -> Result<Self, SetupError> {
        let shared = Shared::new(config, steering).map_err(SetupError::at("shared sockets"))?;
        Self::build(config, Some(shared))
    }

    fn build(config: &IoConfig, shared: Option<Shared>) -> Result<Self, SetupError> {
        config.check().map_err(SetupError::at("configuration"))?;
        let ring = Ring::new(config.submission_entries, config.completion_entries)?;

        // The kernel wants the table no larger than the limit of open files, though its entries don't count there.
        let files_max = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let files_max = u32::try_from(files_max).unwrap_or(u32::MAX);
        let files = shared
            .as_ref()
            .map_or(config.ports_max.min(files_max), Shared::files);
        ring.submitter()
            .register_files_sparse(files)
            .map_err(SetupError::at("io_uring_register of a file table"))?;

        let receiving = config.frames_receiving.min(config.frames);
        let buffers = BufferRing::new(u16::try_from(receiving).expect("checked: at most 32,768"));
        let submitter = ring.submitter();
        // SAFETY: validity and bounds: the address and size of a ring that `Uring` keeps until it has unregistered it
        // (invariant 6).
        unsafe { submitter.register_buf_ring_with_flags(buffers.address(), buffers.size(), BUFFER_GROUP, 0) }
            .map_err(SetupError::at("io_uring_register of a buffer ring"))?;

        let waker = Waker::new().map_err(SetupError::at("eventfd"))?;
        let mut slots = PortSlots::new(files);
        let mut control = VecDeque::new();
        if let Some(shared) = &shared {
            shared.register(&ring.submitter())?;
            for receiver in 0..shared.receivers.len() {
                let opened = shared.bound(receiver).and_then(|local| slots.open(local));
                let (slot, generation) =
                    opened.expect("a bound socket, and a table with room for all of them");
                control.push_back(Control::Receive(slot, generation));
            }
            control.reserve(3 * slots.len());
        }
        let control_space = if shared.is_some() {
            STEERED_SPACE
        } else {
            OVERFLOW_SPACE
        };
        Ok(Self {
            ring,
            buffers,
            frames: FrameStore::new(config.frames),
            slots,
            shared,
            options: config.socket.clone(),
            waker,
            waker_armed: false,
            woken: false,
            message: Box::new(message_shape(control_space)),
            head: message_head(control_space),
            outgoing: vec![
                Outgoing {
                    to: RawAddress::EMPTY,
                    length: 0
                };
                config.frames as usize
            ]
            .into(),
            sending: 0,
            unsubmitted: 0,
            control,
            gather: Gather::new(config.gather, config.gather_packets),
            pauses: 0,
            ending: false,
            stopped: false,
            adopted: Vec::new(),
            installed: None,
            counters: IoCounters {
                kernel_drops: Some(0),
                ..IoCounters::default()
            },
        })
    }

    /// Fills the buffer ring with free frames.
    fn provide(&mut self) {
        while self.buffers.provided() < self.buffers.size() {
            let Some(index) = self.frames.free.pop() else {
                break;
            };
            let address = self.frames.pool.address(index, HEADROOM - self.head) as u64;
            self.buffers
                .provide(index as u16, address, (self.head + PAYLOAD_MAX) as u32);
        }
    }

    /// Queues the requests about ports and the waker. What does not fit stays for the next turn.
    fn queue_control(&mut self) {
        if !self.waker_armed && !self.ending {
            let request = request::wake(self.waker.as_fd());
            // SAFETY: validity: the request points to nothing; the eventfd lives as long as `self`.
            self.waker_armed = unsafe { self.ring.push(&request) };
        }
        for _ in 0..self.control.len() {
            let Some(control) = self.control.pop_front() else {
                break;
            };
            let request = match control {
                Control::Receive(port, generation) => {
                    if self.stopped || self.slots.is_armed(port) || !self.slots.is_current(port, generation) {
                        continue;
                    }
                    if self.buffers.provided() == 0 {
                        // It would end at once. The port is asked again when there are buffers.
                        self.control.push_back(control);
                        continue;
                    }
                    request::receive(port, generation, &self.message)
                }
                Control::Cancel(port, _) if !self.slots.is_armed(port) => continue,
                Control::Cancel(port, generation) => request::cancel(port, generation),
                Control::CloseFile(port, generation) => request::close_file(port, generation),
                Control::StopWaker => request::stop_waker(),
            };
            // SAFETY: validity: a receive points to `self.message`, boxed for the life of the back-end and never
            // written; the buffers it selects are in the ring that is registered (invariants 5 and 6). The others
            // point to nothing.
            if !unsafe { self.ring.push(&request) } {
                self.control.push_front(control);
                break;
            }
            if let Control::Receive(port, _) = control {
                self.slots.receive_started(port);
            }
        }
    }

    /// Submits all that is queued and waits.
    fn turn(&mut self, waiting: Waiting) -> io::Result<()> {
        self.provide();
        self.queue_control();
        self.unsubmitted = 0;
        self.ring.enter(waiting)?;
        while let Some(completion) = self.ring.complete() {
            self.complete(completion);
        }
        let ring = self.ring.counters();
        self.counters.system_calls = ring.enters + self.pauses;
        self.counters.completion_overflows = ring.completion_overflows;
        self.counters.submissions_full = ring.submissions_full;
        Ok(())
    }

    fn complete(&mut self, completion: Completion) {
        match completion.token {
            Some(Token::Receive { port, generation }) => self.complete_receive(port, generation, completion),
            Some(Token::Send { frame }) => self.complete_send(frame, completion.result),
            Some(Token::Wake) => {
                self.waker_armed = completion.more;
                if completion.result >= 0 {
                    self.woken = true;
                    self.waker.acknowledge();
                    self.counters.wake_ups += 1;
                }
            }
            Some(Token::Install) => self.installed = Some(completion.result),
            Some(Token::CloseFile { port, .. }) => self.slots.file_removed(port),
            // The kernel did not find the receive, or found it at work, and it has not told its end before this: once more.
            Some(Token::Cancel { port, generation })
                if completion.result < 0 && self.slots.is_lingering(port, generation) =>
            {
                self.control.push_back(Control::Cancel(port, generation));
            }
            Some(Token::Cancel { .. } | Token::StopWaker) | None => {}
        }
    }

    fn complete_receive(&mut self, port: PortId, generation: u32, completion: Completion) {
        if let Some(id) = completion.buffer {
            self.buffers.consumed();
            let index = u32::from(id);
            if !self.slots.is_current(port, generation) {
                self.counters.port_closed += 1;
                self.frames.free.push(index);
            } else if let Some(arrival) = self.read_message(port, generation, index, completion.result) {
                // SAFETY: the completion has given the buffer back, so the back-end owns the frame (invariant 5).
                unsafe { self.frames.keep(arrival) };
            } else {
                self.frames.free.push(index);
            }
        } else {
            match -completion.result {
                // With frames free this was a burst larger than the buffer ring, which the next turn meets.
                libc::ENOBUFS => self.counters.no_buffer += u64::from(self.frames.free.is_empty()),
                libc::ECANCELED => {}
                errno if errno > 0 => self.counters.receive_errors += 1,
                _ => {}
            }
        }
        if !completion.more && self.slots.receive_ended(port) && !self.stopped {
            self.control.push_back(Control::Receive(port, generation));
            self.counters.receives_rearmed += 1;
        }
    }

    /// Reads what the kernel wrote into a frame of an open slot; `None`, counted, if it is no whole datagram from an
    /// address to an open port.
    fn read_message(&mut self, slot: PortId, generation: u32, index: u32, result: i32) -> Option<Arrival> {
        let length = u16::try_from(result)
            .unwrap_or(0)
            .min((self.head + PAYLOAD_MAX) as u16);
        let extent = Extent {
            index,
            start: (HEADROOM - self.head) as u16,
            length,
        };
        // SAFETY: the kernel has just given this buffer back with a completion, so the back-end owns the frame
        // (invariant 5); the handle ends below. The extent ends at HEADROOM + PAYLOAD_MAX at most.
        let frame = unsafe { self.frames.pool.take(extent) };
        let message = Message::parse(self.frames.pool.payload(&frame), &self.message);
        self.frames.pool.put(frame);
        let Some(message) = message else {
            self.counters.receive_errors += 1;
            return None;
        };
        if let (Some(drops), Some(known)) = (message.control.overflow, self.slots.drops(slot)) {
            self.counters.count_kernel_drops(known, drops);
        }
        let port = match &self.shared {
            None => Some((slot, generation)),
            Some(shared) => shared.find(message.control.local),
        };
        let Some((port, generation)) = port else {
            self.counters.port_closed += 1;
            return None;
        };
        if message.truncated {
            self.counters.truncated += 1;
            return None;
        }
        Some(Arrival {
            port,
            generation,
            source: message.source,
            extent: Extent {
                index,
                start: HEADROOM as u16,
                length: message.length,
            },
        })
    }

    /// Readies a frame for leaving from a port. Returns the socket's place in the file table and where the socket is to send it.
    fn prepare(
        &mut self,
        frame: &mut Frame,
        port: PortId,
        to: SocketAddr,
    ) -> Result<(u32, RawAddress), SendError> {
        let Some(shared) = &self.shared else {
            self.slots.local(port).ok_or(SendError::NotOpen)?;
            return Ok((port.0, RawAddress::new(to)));
        };
        let port = shared.ports.at(port).ok_or(SendError::NotOpen)?;
        let to = shared
            .exits
            .prepend(port.exit, &mut self.frames.pool, frame, port.local, to)?;
        Ok((shared.file_of_exit(port.exit), to))
    }

    fn complete_send(&mut self, index: u32, result: i32) {
        let Some(outgoing) = self.outgoing.get(index as usize) else {
            return;
        };
        if result >= 0 {
            self.counters.sent += 1;
            self.counters.sent_bytes += u64::from(outgoing.length);
        } else {
            self.counters.count_send_error(SendError::from_errno(-result));
        }
        self.sending -= 1;
        self.frames.free.push(index);
    }

    /// How to wait in the next turn.
    fn waiting(&mut self, wait: Option<Duration>) -> io::Result<Waiting> {
        // A wake-up may have been noted while a port was opened: it ends this poll.
        if self.woken || self.frames.received() > 0 || wait == Some(Duration::ZERO) {
            return Ok(Waiting::NOT);
        }
        let gather = self.gather.due(wait);
        if let Some(pause) = gather.filter(|_| !self.ring.gathers()) {
            return self.pause(pause, wait);
        }
        let mut waiting = Waiting {
            completions: self.unsubmitted + 1,
            timeout: wait,
            gather: Duration::ZERO,
        };
        if self.unsubmitted > 0 {
            waiting.timeout = Some(wait.map_or(SEND_GRACE, |wait| wait.min(SEND_GRACE)));
        }
        if let Some(gather) = gather {
            waiting.completions += GATHER_COMPLETIONS;
            waiting.gather = gather;
        }
        Ok(waiting)
    }

    /// Gathers where the kernel can't (before 6.12): submits, sleeps, and says how to wait after that. Datagrams that come
    /// meanwhile don't end the sleep, since their completions are deferred until the next turn.
    fn pause(&mut self, pause: Duration, wait: Option<Duration>) -> io::Result<Waiting> {
        self.turn(Waiting::NOT)?;
        if self.woken {
            return Ok(Waiting::NOT);
        }
        self.pauses += 1;
        let woken = self.waker.watch(Some(pause))?;
        if woken || self.frames.received() > 0 {
            return Ok(Waiting::NOT);
        }
        let timeout = wait.map(|wait| wait.saturating_sub(pause));
        Ok(Waiting {
            completions: 1,
            timeout,
            gather: Duration::ZERO,
        })
    }
}

impl PacketIo for Uring {
    fn poll(&mut self, wait: Option<Duration>) -> io::Result<()> {
        let waiting = self.waiting(wait)?;
        self.turn(waiting)?;
        self.gather.found(self.frames.received(), wait);
        self.woken = false;
        Ok(())
    }

    fn receive(&mut self) -> Option<Received> {
        let (slots, shared) = (&self.slots, &self.shared);
        self.frames
            .hand_over(&mut self.counters, |port, generation| match shared {
                None => slots.is_current(port, generation),
                Some(shared) => shared.ports.is_current(port, generation),
            })
    }

    fn payload(&self, frame: &Frame) -> &[u8] {
        self.frames.pool.payload(frame)
    }

    fn payload_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        self.frames.pool.payload_mut(frame)
    }

    fn send(&mut self, mut frame: Frame, port: PortId, to: SocketAddr) {
        let length = frame.len() as u16;
        let prepared = self.prepare(&mut frame, port, to);
        let extent = self.frames.pool.put(frame);
        let index = extent.index;
        let (file, to) = match prepared {
            Ok(prepared) => prepared,
            Err(kind) => {
                self.counters.count_send_error(kind);
                self.frames.free.push(index);
                return;
            }
        };
        let outgoing = &mut self.outgoing[index as usize];
        *outgoing = Outgoing { to, length };
        let packet = self
            .frames
            .pool
            .address(index, 0)
            .wrapping_add(extent.start.into());
        let request = request::send(index, file, packet, extent.length, &outgoing.to);
        // SAFETY: validity and bounds: the packet is an extent of a frame of the pool and the address a place in a
        // boxed slice, both for the life of the back-end (invariant 6). Aliasing: the frame and its place in
        // `outgoing` are left alone until the send completes, since the frame is nowhere else (invariant 1).
        if unsafe { self.ring.push(&request) } {
            self.sending += 1;
            self.unsubmitted += 1;
        } else {
            self.counters.count_send_error(SendError::WouldBlock);
            self.frames.free.push(index);
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
        self.frames.account(self.buffers.provided().into(), self.sending)
    }

    fn local_address(&self, port: PortId) -> Option<SocketAddr> {
        match &self.shared {
            None => self.slots.local(port),
            Some(shared) => shared.ports.at(port).map(|port| port.local),
        }
    }

    fn stop_receiving(&mut self) -> io::Result<()> {
        self.end_receives()
    }

    fn start_receiving(&mut self) {
        self.begin_receives();
    }

    fn socket_ports(&self) -> Vec<(SocketAddr, PortId)> {
        if self.shared.is_some() {
            return Vec::new();
        }
        let local = |port: PortId| self.slots.local(port).map(|local| (local, port));
        self.slots.open_ports().into_iter().filter_map(local).collect()
    }

    fn share_socket(&mut self, port: PortId) -> io::Result<OwnedFd> {
        self.install(port)
    }

    fn share_sockets(&self) -> io::Result<Option<SharedSockets>> {
        self.shared.as_ref().map(Shared::share).transpose()
    }

    fn adopt_sockets(&mut self, sockets: Vec<(SocketAddr, OwnedFd)>) {
        self.adopted = sockets;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use media_engine::Ports;
    use std::net::UdpSocket;

    #[test]
    fn a_kernel_that_cannot_gather_is_helped_by_a_pause() {
        let mut io = match Uring::new(&IoConfig::default()) {
            Ok(io) => io,
            Err(error) => {
                println!("SKIP a_kernel_that_cannot_gather_is_helped_by_a_pause: {error}");
                assert!(
                    std::env::var_os("STRICT").is_none_or(|strict| strict != "1"),
                    "SKIP: {error}"
                );
                return;
            }
        };
        io.ring.forget_gathering();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let port = io.open("127.0.0.1:0".parse().unwrap()).unwrap();
        let local = io.local_address(port).unwrap();
        for number in 0..100u8 {
            peer.send_to(&[number], local).unwrap();
            let received = loop {
                io.poll(None).unwrap();
                if let Some(received) = io.receive() {
                    break received;
                }
            };
            assert_eq!(io.payload(&received.frame), [number]);
            io.send(received.frame, port, received.source);
            io.poll(Some(Duration::from_millis(1))).unwrap();
            assert_eq!(peer.recv(&mut [0; 4]).unwrap(), 1);
        }
        assert!(io.pauses > 0);
        let waker = io.waker();
        for woken in 1..=3 {
            waker.wake();
            while io.counters().wake_ups < woken {
                io.poll(None).unwrap();
            }
        }
        assert!(io.frames().is_full());
    }
}
