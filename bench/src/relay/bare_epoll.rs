//! The yardstick: the least that a relay on sockets does. One socket a leg, level-triggered epoll, one `recvfrom` and one
//! `sendto` a packet, no statistics, no check of anything.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use rustix::event::epoll;

use crate::binary;
use crate::process::Process;

const FIRST_PORT: u16 = 20_000;
const EVENTS: usize = 512;
const BUFFER: usize = 2_048;
const READY_WITHIN: Duration = Duration::from_secs(10);

/// The ports that the parties of a call send to, caller's first.
pub fn faces(local: Ipv4Addr, call: u32) -> anyhow::Result<[SocketAddr; 2]> {
    let first = u32::from(FIRST_PORT) + call * 2;
    let port = |port: u32| u16::try_from(port).context("no port left for so many calls");
    Ok([(local, port(first)?).into(), (local, port(first + 1)?).into()])
}

/// Starts the relay as a process of its own, by way of `before`, with its sockets open.
pub fn start(
    before: &[OsString],
    local: Ipv4Addr,
    calls: u32,
    parties: [SocketAddr; 2],
    folder: &Path,
) -> anyhow::Result<Process> {
    let mut words = before.to_vec();
    words.push(binary::find("ringpath-kit")?.into());
    words.push("bare-epoll".into());
    words.push(format!("--local={local}").into());
    words.push(format!("--calls={calls}").into());
    words.push(format!("--caller={}", parties[0]).into());
    words.push(format!("--callee={}", parties[1]).into());
    let mut process = Process::start("bare-epoll", &words[0], &words[1..], &[], folder)?;
    process.wait_for_line(READY_WITHIN, |line| (line == "ready").then_some(()))?;
    Ok(process)
}

/// Relays between two parties that every call has in common, for ever. Calls `ready` when all sockets are open.
pub fn run(
    local: Ipv4Addr,
    calls: u32,
    parties: [SocketAddr; 2],
    ready: impl FnOnce(),
) -> anyhow::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut sockets = Vec::new();
    for call in 0..calls {
        for face in faces(local, call)? {
            let socket = UdpSocket::bind(face).with_context(|| format!("{face}"))?;
            socket.set_nonblocking(true)?;
            let place = epoll::EventData::new_u64(sockets.len() as u64);
            epoll::add(&epoll, &socket, place, epoll::EventFlags::IN)?;
            sockets.push(socket);
        }
    }
    ready();
    let mut events = [epoll::Event {
        flags: epoll::EventFlags::empty(),
        data: epoll::EventData::new_u64(0),
    }; EVENTS];
    let mut buffer = [0u8; BUFFER];
    loop {
        let ready = match epoll::wait(&epoll, &mut events[..], None) {
            Ok(ready) => ready,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..ready] {
            let place = event.data.u64() as usize;
            let received = sockets[place].recv_from(&mut buffer);
            let Some((length, _)) = unless_busy(received)? else {
                continue;
            };
            // What came to a caller's face leaves from the callee's, to the callee.
            let other = place ^ 1;
            unless_busy(sockets[other].send_to(&buffer[..length], parties[other % 2]))?;
        }
    }
}

/// `None` for what a relay shrugs off: nothing there, no room, or a port unreachable of an earlier packet.
fn unless_busy<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::ConnectionRefused | ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
