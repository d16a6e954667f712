//! Two UDP sockets, one of all callers and one of all callees. Times of arrival are the kernel's.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;

use anyhow::Context as _;
use nix::sys::socket::{
    self, ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, sockopt,
};
use nix::sys::time::TimeSpec;

use crate::endpoint::Faults;
use crate::relay::load_stream::PACKET;
use crate::relay::secured_caller::TAG;
use crate::relay::wire::{Arrival, CALLEES, CALLERS, Wire};

/// Packets of one system call.
const SEND_BATCH: usize = 32;
const RECEIVE_BATCH: usize = 64;
const RECEIVE_BUFFER: usize = 32 << 20;
/// Larger than a packet of ours, so that a longer one is seen to be longer.
const RECEIVE_BYTES: usize = 256;

/// Both sockets.
#[derive(Debug)]
pub struct SocketWire([Side; 2]);

impl SocketWire {
    /// Sockets at `local`.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn bind(local: Ipv4Addr) -> anyhow::Result<Self> {
        Ok(Self([Side::bind(local)?, Side::bind(local)?]))
    }
}

impl Wire for SocketWire {
    fn parties(&self) -> [SocketAddrV4; 2] {
        [self.0[CALLERS].local, self.0[CALLEES].local]
    }

    fn queue(&mut self, side: usize, packet: &[u8], to: SocketAddrV4, faults: &mut Faults) {
        self.0[side].queue(packet, to, faults);
    }

    fn is_full(&self) -> bool {
        self.0.iter().any(|side| side.queued.len() >= SEND_BATCH)
    }

    fn flush(&mut self, faults: &mut Faults) -> anyhow::Result<u64> {
        Ok(self.0.iter_mut().map(|side| side.flush(faults)).sum())
    }

    fn receive(&mut self, take: &mut dyn FnMut(Arrival<'_>)) -> anyhow::Result<()> {
        for (place, side) in self.0.iter_mut().enumerate() {
            side.receive(place, take)?;
        }
        Ok(())
    }

    fn no_room(&self) -> u64 {
        0
    }
}

/// A packet with room for a tag, and its length.
type Queued = ([u8; PACKET + TAG], usize);

/// The socket of all callers, or of all callees.
#[derive(Debug)]
struct Side {
    socket: UdpSocket,
    local: SocketAddrV4,
    queued: Vec<Queued>,
    to: Vec<Option<SockaddrIn>>,
    send_headers: MultiHeaders<SockaddrIn>,
    receive_headers: MultiHeaders<SockaddrIn>,
    buffers: Vec<[u8; RECEIVE_BYTES]>,
}

impl Side {
    fn bind(local: Ipv4Addr) -> anyhow::Result<Self> {
        let socket = loop {
            let socket = UdpSocket::bind((local, 0))?;
            if socket.local_addr()?.port() % 2 == 0 {
                break socket;
            }
        };
        socket.set_nonblocking(true)?;
        socket::setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        // As much as is asked for needs CAP_NET_ADMIN; without it the kernel gives up to net.core.rmem_max.
        if socket::setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            socket::setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        let SocketAddr::V4(local) = socket.local_addr()? else {
            anyhow::bail!("the load is on IPv4");
        };
        Ok(Self {
            socket,
            local,
            queued: Vec::with_capacity(SEND_BATCH),
            to: Vec::with_capacity(SEND_BATCH),
            send_headers: MultiHeaders::preallocate(SEND_BATCH, None),
            receive_headers: MultiHeaders::preallocate(RECEIVE_BATCH, Some(nix::cmsg_space!(TimeSpec))),
            buffers: vec![[0; RECEIVE_BYTES]; RECEIVE_BATCH],
        })
    }

    fn queue(&mut self, packet: &[u8], to: SocketAddrV4, faults: &mut Faults) {
        let mut queued = [0; PACKET + TAG];
        let Some(room) = queued.get_mut(..packet.len()) else {
            faults.send_errors += 1;
            return;
        };
        room.copy_from_slice(packet);
        self.queued.push((queued, packet.len()));
        self.to.push(Some(to.into()));
    }

    fn flush(&mut self, faults: &mut Faults) -> u64 {
        let mut taken = 0;
        while taken < self.queued.len() {
            let slices: Vec<[IoSlice<'_>; 1]> = self.queued[taken..]
                .iter()
                .map(|(packet, len)| [IoSlice::new(&packet[..*len])])
                .collect();
            let none: [ControlMessage<'_>; 0] = [];
            let sent = socket::sendmmsg(
                self.socket.as_raw_fd(),
                &mut self.send_headers,
                &slices,
                &self.to[taken..],
                none,
                MsgFlags::empty(),
            );
            match sent {
                Ok(sent) => taken += sent.count(),
                Err(nix::Error::EINTR) => {}
                Err(_) => {
                    // These count as not sent, and the run is not lossless.
                    faults.send_errors += (self.queued.len() - taken) as u64;
                    break;
                }
            }
        }
        self.queued.clear();
        self.to.clear();
        taken as u64
    }

    /// Takes everything that has arrived.
    fn receive(&mut self, side: usize, take: &mut dyn FnMut(Arrival<'_>)) -> anyhow::Result<()> {
        loop {
            let mut slices: Vec<[IoSliceMut<'_>; 1]> = self
                .buffers
                .iter_mut()
                .map(|buffer| [IoSliceMut::new(buffer)])
                .collect();
            let messages = match socket::recvmmsg(
                self.socket.as_raw_fd(),
                &mut self.receive_headers,
                slices.iter_mut(),
                MsgFlags::MSG_DONTWAIT,
                None,
            ) {
                Ok(messages) => messages,
                Err(nix::Error::EAGAIN | nix::Error::ECONNREFUSED | nix::Error::EINTR) => return Ok(()),
                Err(error) => return Err(error).context("receiving the load"),
            };
            let mut received = 0;
            for message in messages {
                received += 1;
                let arrival = message
                    .cmsgs()?
                    .find_map(|control| match control {
                        ControlMessageOwned::ScmTimestampns(at) => Some(at),
                        _ => None,
                    })
                    .context("the kernel gave no time of arrival")?;
                let at_ns = arrival.tv_sec() as u64 * 1_000_000_000 + arrival.tv_nsec() as u64;
                let source = message.address.context("the kernel gave no source address")?;
                let source = SocketAddrV4::new(source.ip(), source.port());
                if let Some(packet) = message.iovs().next() {
                    let mut bytes = [0; RECEIVE_BYTES];
                    let packet = &packet[..packet.len().min(RECEIVE_BYTES)];
                    let bytes = &mut bytes[..packet.len()];
                    bytes.copy_from_slice(packet);
                    take(Arrival {
                        side,
                        packet: bytes,
                        source,
                        at_ns,
                    });
                }
            }
            if received < RECEIVE_BATCH {
                return Ok(());
            }
        }
    }
}
