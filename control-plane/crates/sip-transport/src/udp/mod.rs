mod batch;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use sip::{FlowId, Source, Transmit, Transport};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use batch::Batch;

use crate::counters::Drop;
use crate::transport::Shared;

/// How long to leave a socket alone that cannot be read.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Datagrams of a turn that are taken each by its own system call, before batches begin.
const ONE_BY_ONE: usize = 4;

/// A bound UDP socket.
#[derive(Debug)]
pub(crate) struct Udp {
    pub(crate) flow: FlowId,
    pub(crate) local: SocketAddr,
    pub(crate) socket: UdpSocket,
}

impl Udp {
    /// Binds `address` with a receive buffer of `buffer_bytes`, or as much of it as the system gives.
    pub(crate) fn bind(flow: FlowId, address: SocketAddr, buffer_bytes: usize) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            // So that an IPv4 listener at the same port can stand beside it, and addresses are never mapped ones.
            socket.set_only_v6(true)?;
        }
        socket.set_recv_buffer_size(buffer_bytes)?;
        socket.set_send_buffer_size(buffer_bytes)?;
        let got = socket.recv_buffer_size()?;
        if got < buffer_bytes {
            tracing::info!(
                asked = buffer_bytes,
                got,
                "UDP receive buffer; net.core.rmem_max sets the limit"
            );
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self {
            flow,
            local: socket.local_addr()?,
            socket,
        })
    }

    /// Where a datagram from `remote` came from.
    const fn source(&self, remote: SocketAddr) -> Source {
        Source {
            transport: Transport::Udp,
            flow: self.flow,
            remote,
            local: self.local,
        }
    }
}

/// Takes datagrams for ever: as many as there are, up to the configured number a turn. One by one while few wait, and by
/// batches as soon as that many were there.
pub(crate) async fn receive(shared: Arc<Shared>, index: usize) {
    let udp = &shared.udp[index];
    let mut batch = Batch::new();
    loop {
        if let Err(error) = udp.socket.readable().await {
            failed(&shared, &error).await;
        }
        let mut count = 0;
        while count < shared.config.datagrams_per_turn {
            let taken = match count < ONE_BY_ONE {
                true => take_one(&shared, udp, &mut batch),
                false => take_batch(&shared, udp, &mut batch),
            };
            match taken {
                Ok(number) => count += number,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    failed(&shared, &error).await;
                    break;
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

fn take_one(shared: &Shared, udp: &Udp, batch: &mut Batch) -> io::Result<usize> {
    let buffer = batch.single();
    let (length, remote) = udp.socket.try_recv_from(buffer)?;
    shared.datagram(udp.source(remote), &buffer[..length]);
    Ok(1)
}

fn take_batch(shared: &Shared, udp: &Udp, batch: &mut Batch) -> io::Result<usize> {
    let number = udp
        .socket
        .try_io(Interest::READABLE, || batch.take(udp.socket.as_fd()))?;
    for (datagram, remote) in batch.taken() {
        shared.datagram(udp.source(remote), datagram);
    }
    Ok(number)
}

async fn failed(shared: &Shared, error: &io::Error) {
    shared.counters.drop(Drop::ReceiveError);
    tracing::warn!(%error, "UDP receive");
    tokio::time::sleep(ERROR_PAUSE).await;
}

impl Shared {
    /// Sends something that is no SIP back to where it was asked for; lost when there is no room.
    pub(crate) fn send_raw(&self, source: &Source, bytes: &[u8]) {
        let udp = self.udp.iter().find(|udp| udp.flow == source.flow);
        if udp.is_some_and(|udp| udp.socket.try_send_to(bytes, source.remote).is_err()) {
            self.counters.drop(Drop::SendError);
        }
    }

    /// Sends a datagram through the socket that it leaves by.
    pub(crate) fn send_udp(&self, transmit: &Transmit) {
        let destination = transmit.destination;
        let flow = self.place(&destination).map(FlowId::of_listener);
        let Some(udp) = self.udp.iter().find(|udp| Some(udp.flow) == flow) else {
            self.counters.drop(Drop::NoListener);
            return self.failed(destination);
        };
        match udp.socket.try_send_to(&transmit.bytes, destination.remote) {
            Ok(_) => self.counters.sent(&transmit.bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.counters.drop(Drop::SendBufferFull)
            }
            Err(error) => {
                self.counters.drop(Drop::SendError);
                tracing::debug!(remote = %destination.remote, %error, "UDP send");
                self.failed(destination);
            }
        }
    }
}
