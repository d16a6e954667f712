//! The connection between two processes of a node: whole messages, with descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use prost::Message;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::config::TAKEOVER_MS_MAX;

/// The largest message: a call of two legs with eight lines of four streams takes a tenth of it.
pub const MESSAGE_MAX: usize = 256 * 1024;
/// Descriptors of one message at most (`SCM_MAX_FD` of the kernel).
pub const DESCRIPTORS_MAX: usize = 253;
/// How long either side waits for the other: as long as any takeover may take.
const PATIENCE: Duration = Duration::from_millis(TAKEOVER_MS_MAX);

/// One end: a Unix socket that keeps messages apart (SOCK_SEQPACKET), which Tokio need not know.
#[derive(Debug)]
pub struct Channel {
    socket: UnixStream,
    buffer: Vec<u8>,
}

impl Channel {
    /// The end that this socket is.
    pub fn new(socket: UnixStream) -> Self {
        // Best effort: with less, a large call is an error of its own.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&socket, 2 * MESSAGE_MAX);
        Self {
            socket,
            buffer: vec![0; MESSAGE_MAX],
        }
    }

    /// Sends one message with these descriptors.
    ///
    /// # Errors
    /// When the other end is gone or does not read in time, or the message is too large.
    pub async fn send(&self, message: &impl Message, descriptors: &[OwnedFd]) -> io::Result<()> {
        let bytes = message.encode_to_vec();
        if bytes.len() > MESSAGE_MAX || descriptors.len() > DESCRIPTORS_MAX {
            return Err(io::Error::other("too much for one message"));
        }
        let borrowed: Vec<_> = descriptors.iter().map(|it| it.as_fd()).collect();
        let send = self.socket.async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !borrowed.is_empty() {
                ancillary.push(SendAncillaryMessage::ScmRights(&borrowed));
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            Ok(sendmsg(
                &self.socket,
                &[IoSlice::new(&bytes)],
                &mut ancillary,
                flags,
            )?)
        });
        in_time(send).await.map(drop)
    }

    /// The next message and its descriptors.
    ///
    /// # Errors
    /// When the other end is gone or says nothing in time, or says what this build does not understand.
    pub async fn receive<M: Message + Default>(&mut self) -> io::Result<(M, Vec<OwnedFd>)> {
        let Self { socket, buffer } = self;
        let mut descriptors = Vec::new();
        let receive = socket.async_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            let received = recvmsg(&*socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, flags)?;
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    descriptors.extend(rights);
                }
            }
            let cut = ReturnFlags::TRUNC | ReturnFlags::CTRUNC;
            match received.flags.intersects(cut) {
                true => Err(io::Error::other(
                    "a message was cut off: no room for more open files?",
                )),
                false => Ok(received.bytes),
            }
        });
        let length = in_time(receive).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let message = M::decode(&self.buffer[..length]).map_err(io::Error::other)?;
        Ok((message, descriptors))
    }
}

async fn in_time<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, what)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
