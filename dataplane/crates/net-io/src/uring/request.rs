//! The requests that the back-end makes of the kernel, as entries of the submission queue.
//!
//! Each says what it points to; whoever queues one promises that this lives until the last completion
//! ([`super::ring::Ring::push`]).

use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::{Fd, Fixed};
use media_engine::PortId;

use super::BUFFER_GROUP;
use super::token::Token;
use crate::address::RawAddress;

/// What is to be asked about a port or the waker with the next turn.
#[derive(Clone, Copy, Debug)]
pub(super) enum Control {
    /// Start a port's receive, if it is still that port.
    Receive(PortId, u32),
    /// Cancel a port's receive.
    Cancel(PortId, u32),
    /// Take a port's socket out of the file table.
    CloseFile(PortId, u32),
    /// Cancel the poll of the waker.
    StopWaker,
}

/// Receive datagrams of a port until further notice, each into a provided buffer, laid out as `shape` says. Points to
/// `shape`, which is only read.
pub(super) fn receive(port: PortId, generation: u32, shape: &libc::msghdr) -> Entry {
    opcode::RecvMsgMulti::new(Fixed(port.0), shape, BUFFER_GROUP)
        .build()
        .user_data(Token::Receive { port, generation }.encode())
}

/// Send a frame's payload, headers included if there are any, from the socket at a place in the file table. Points to the payload and to the address, which are only read.
///
/// `MSG_DONTWAIT`: a full socket is an answer and not a request that stays with the kernel, so each send completes
/// within the call that submits it.
pub(super) fn send(frame: u32, file: u32, payload: *const u8, length: u16, to: &RawAddress) -> Entry {
    opcode::Send::new(Fixed(file), payload, length.into())
        .flags(libc::MSG_DONTWAIT)
        .dest_addr(to.bytes().as_ptr().cast())
        .dest_addr_len(to.length())
        .build()
        .user_data(Token::Send { frame }.encode())
}

/// Tell each time that the eventfd of the waker is written. Points to nothing.
pub(super) fn wake(eventfd: BorrowedFd<'_>) -> Entry {
    opcode::PollAdd::new(Fd(eventfd.as_raw_fd()), libc::POLLIN as u32)
        .multi(true)
        .build()
        .user_data(Token::Wake.encode())
}

/// End a port's receive, which the kernel finds by its token. Points to nothing.
pub(super) fn cancel(port: PortId, generation: u32) -> Entry {
    opcode::AsyncCancel::new(Token::Receive { port, generation }.encode())
        .build()
        .user_data(Token::Cancel { port, generation }.encode())
}

/// End the poll of the waker. Points to nothing.
pub(super) fn stop_waker() -> Entry {
    opcode::AsyncCancel::new(Token::Wake.encode())
        .build()
        .user_data(Token::StopWaker.encode())
}

/// Take a port's socket out of the file table, which closes it. Points to nothing.
pub(super) fn close_file(port: PortId, generation: u32) -> Entry {
    opcode::Close::new(Fixed(port.0))
        .build()
        .user_data(Token::CloseFile { port, generation }.encode())
}

/// Make a descriptor of a port's socket, which is closed on exec. Points to nothing.
pub(super) fn install(port: PortId) -> Entry {
    opcode::FixedFdInstall::new(Fixed(port.0), 0)
        .build()
        .user_data(Token::Install.encode())
}
