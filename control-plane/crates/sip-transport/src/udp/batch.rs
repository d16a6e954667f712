use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};

/// Datagrams that one system call takes at most.
pub(super) const BATCH: usize = 32;

/// The largest payload that UDP has.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Room for the datagrams of one system call. Of its 2 MiB only those pages cost memory that datagrams have filled.
#[derive(Debug)]
pub(super) struct Batch {
    buffer: Vec<u8>,
    taken: Vec<(usize, SocketAddr)>,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; BATCH * DATAGRAM_BYTES_MAX],
            taken: Vec::with_capacity(BATCH),
        }
    }

    /// Room for one datagram, for when there are few: what a single one costs is less without the arrays of a batch.
    pub(super) fn single(&mut self) -> &mut [u8] {
        &mut self.buffer[..DATAGRAM_BYTES_MAX]
    }

    /// Takes what waits at `socket`, up to [`BATCH`] datagrams, by one system call (recvmmsg(2)). Gives their number.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing waits, and what the system says.
    pub(super) fn take(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.taken.clear();
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = self
            .buffer
            .chunks_exact_mut(DATAGRAM_BYTES_MAX)
            .map(|place| [IoSliceMut::new(place)])
            .collect();
        // Made anew for each call: it holds pointers, and so cannot stay with a task that moves between threads.
        let mut headers: MultiHeaders<SockaddrStorage> = MultiHeaders::preallocate(BATCH, None);
        let received = recvmmsg(
            socket.as_raw_fd(),
            &mut headers,
            slices.iter_mut(),
            MsgFlags::MSG_DONTWAIT,
            None,
        )?;
        for message in received {
            // A socket of one of both families has no other source; the length keeps the place all the same.
            let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
            let source = message.address.as_ref().and_then(address).unwrap_or(unknown);
            self.taken.push((message.bytes, source));
        }
        Ok(self.taken.len())
    }

    /// The datagrams of the last [`take`](Self::take) with their senders.
    pub(super) fn taken(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        let places = self.buffer.chunks_exact(DATAGRAM_BYTES_MAX);
        let datagrams = places.zip(&self.taken);
        datagrams.map(|(place, &(length, source))| (&place[..length], source))
    }
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_batch_has_every_datagram_with_its_length_and_sender() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let receiver = UdpSocket::bind(local).unwrap();
            let senders = [UdpSocket::bind(local).unwrap(), UdpSocket::bind(local).unwrap()];
            // More than one call takes, of different sizes, one empty and one of the largest.
            let sizes: Vec<usize> = (0..BATCH + 8).map(|n| n * 37).chain([60_000]).collect();
            for (n, &size) in sizes.iter().enumerate() {
                let datagram = vec![n as u8; size];
                senders[n % 2]
                    .send_to(&datagram, receiver.local_addr().unwrap())
                    .unwrap();
            }
            let mut batch = Batch::new();
            let mut found = Vec::new();
            for expected in [BATCH, 9] {
                assert_eq!(batch.take(receiver.as_fd()).unwrap(), expected);
                found.extend(
                    batch
                        .taken()
                        .map(|(datagram, source)| (datagram.to_vec(), source)),
                );
            }
            for (n, (datagram, source)) in found.iter().enumerate() {
                assert_eq!(*datagram, vec![n as u8; sizes[n]], "{n}");
                assert_eq!(*source, senders[n % 2].local_addr().unwrap(), "{n}");
            }
            let nothing = batch.take(receiver.as_fd()).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
            assert_eq!(batch.taken().count(), 0);
        }
    }
}
