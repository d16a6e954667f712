//! The sockets of a worker whose ports are steered.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::Exits;
use crate::config::SocketOptions;
use crate::udp_socket;

/// The sockets of one worker: up to two that receive, one for each IP version, and a raw one for each local address that packets
/// leave from. Made with privilege; used without.
///
/// The fields are public so that a process can hand them to its successor: they are all that steering needs of a worker beside the
/// BPF program and its maps.
#[derive(Debug)]
pub struct SharedSockets {
    /// Receives what comes to IPv4 ports.
    pub v4: Option<OwnedFd>,
    /// Receives what comes to IPv6 ports.
    pub v6: Option<OwnedFd>,
    /// Where packets leave.
    pub exits: Vec<Exit>,
}

/// What sends the packets of one local address.
#[derive(Debug)]
pub struct Exit {
    /// The address, which routing by source sees too.
    pub address: IpAddr,
    /// A raw socket that is bound to it.
    pub socket: OwnedFd,
}

impl SharedSockets {
    /// The receive buffer that is asked for when the configuration names none: 80 ms of 100,000 packets a second where a driver gives
    /// each packet a page, which is charged whole. It takes memory only while packets wait.
    pub const RECEIVE_BUFFER: u32 = 32 << 20;
    /// The send buffer of an exit, likewise. Packets on their way through a network card's queue are charged to it.
    pub const SEND_BUFFER: u32 = 4 << 20;

    /// Makes the sockets for these local addresses. Needs CAP_NET_RAW; with CAP_NET_ADMIN the buffers may be larger than
    /// `net.core.rmem_max` and `wmem_max` allow.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn open(addresses: &[IpAddr], options: &SocketOptions) -> io::Result<Self> {
        let mut exits = Vec::with_capacity(addresses.len());
        for &address in addresses {
            exits.push(Exit {
                address,
                socket: exit(address, options)?,
            });
        }
        let receiver = |ip: IpAddr| -> io::Result<Option<OwnedFd>> {
            let wanted = addresses.iter().any(|address| address.is_ipv4() == ip.is_ipv4());
            wanted.then(|| receiver(ip, options)).transpose()
        };
        Ok(Self {
            v4: receiver(Ipv4Addr::LOCALHOST.into())?,
            v6: receiver(Ipv6Addr::LOCALHOST.into())?,
            exits,
        })
    }

    /// Other descriptors of the same sockets.
    ///
    /// # Errors
    /// There can be no more descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        let clone = |socket: &Option<OwnedFd>| socket.as_ref().map(OwnedFd::try_clone).transpose();
        let exits = self.exits.iter().map(|exit| {
            Ok(Exit {
                address: exit.address,
                socket: exit.socket.try_clone()?,
            })
        });
        Ok(Self {
            v4: clone(&self.v4)?,
            v6: clone(&self.v6)?,
            exits: exits.collect::<io::Result<_>>()?,
        })
    }

    /// Other descriptors of sockets that a back-end has.
    pub(crate) fn share<'a>(
        receivers: impl Iterator<Item = BorrowedFd<'a>>,
        exits: &Exits,
    ) -> io::Result<Self> {
        let mut shared = Self {
            v4: None,
            v6: None,
            exits: Vec::with_capacity(exits.len()),
        };
        for receiver in receivers {
            let bound: SocketAddr = rustix::net::getsockname(receiver)?.try_into()?;
            let place = if bound.is_ipv4() {
                &mut shared.v4
            } else {
                &mut shared.v6
            };
            *place = Some(receiver.try_clone_to_owned()?);
        }
        for exit in 0..exits.len() as u16 {
            shared.exits.push(Exit {
                address: exits.address(exit),
                socket: exits.socket(exit).try_clone_to_owned()?,
            });
        }
        Ok(shared)
    }

    /// The socket that receives for an IP version.
    pub fn receiver(&self, ipv6: bool) -> Option<BorrowedFd<'_>> {
        let socket = if ipv6 { &self.v6 } else { &self.v4 };
        socket.as_ref().map(AsFd::as_fd)
    }

    /// Bytes of the smallest receive buffer: what the kernel granted, which may be less than was asked for.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn receive_buffer(&self) -> io::Result<usize> {
        let mut least = usize::MAX;
        for socket in [&self.v4, &self.v6].into_iter().flatten() {
            // The kernel doubles what it is asked for, to cover its own overhead, and tells the double.
            least = least.min(sockopt::socket_recv_buffer_size(socket)? / 2);
        }
        Ok(least)
    }
}

/// A socket that is bound to a port of its own on loopback, where nothing is meant to come: only steering makes it receive.
/// It does not matter whether loopback is up.
fn receiver(ip: IpAddr, options: &SocketOptions) -> io::Result<OwnedFd> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let local = SocketAddr::new(ip, 0);
    let socket = Socket::new(Domain::for_address(local), kind, Some(Protocol::UDP))?;
    if ip.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
        set_flag(socket.as_fd(), libc::SOL_IPV6, libc::IPV6_RECVORIGDSTADDR)?;
    } else {
        socket.set_freebind_v4(true)?;
        set_flag(socket.as_fd(), libc::SOL_IP, libc::IP_RECVORIGDSTADDR)?;
    }
    let bytes = options.receive_buffer.unwrap_or(SharedSockets::RECEIVE_BUFFER);
    // Without CAP_NET_ADMIN the kernel cuts it to net.core.rmem_max.
    if sockopt::set_socket_recv_buffer_size_force(&socket, bytes as usize).is_err() {
        socket.set_recv_buffer_size(bytes as usize)?;
    }
    udp_socket::report_overflow(socket.as_fd())?;
    socket.bind(&SockAddr::from(local))?;
    Ok(socket.into())
}

/// A raw socket for packets with their IP header (IPPROTO_RAW), which receives nothing. Bound, so that routing takes the address for
/// the packets' source.
fn exit(address: IpAddr, options: &SocketOptions) -> io::Result<OwnedFd> {
    let kind = Type::RAW.nonblocking().cloexec();
    let local = SocketAddr::new(address, 0);
    let socket = Socket::new(
        Domain::for_address(local),
        kind,
        Some(Protocol::from(libc::IPPROTO_RAW)),
    )?;
    if address.is_ipv4() {
        // Without it a packet that the device's queue drops counts as sent. Nothing else comes of it: ICMP errors are for sockets of
        // the protocol that they quote, which is UDP.
        set_flag(socket.as_fd(), libc::SOL_IP, libc::IP_RECVERR)?;
    } else {
        set_flag(socket.as_fd(), libc::SOL_IPV6, libc::IPV6_RECVERR)?;
    }
    socket.set_recv_buffer_size(1)?;
    let bytes = options.send_buffer.unwrap_or(SharedSockets::SEND_BUFFER);
    if set_number(
        socket.as_fd(),
        libc::SOL_SOCKET,
        libc::SO_SNDBUFFORCE,
        bytes as libc::c_int,
    )
    .is_err()
    {
        socket.set_send_buffer_size(bytes as usize)?;
    }
    socket.bind(&SockAddr::from(local))?;
    Ok(socket.into())
}

fn set_flag(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    set_number(socket, level, option, 1)
}

fn set_number(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: validity and bounds: the kernel reads the four bytes of `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
