//! Questions to the kernel about its network (rtnetlink(7)), and what it says of links and addresses.
//!
//! A few messages of a stable interface, made and read here as bytes; nothing of it needs a privilege.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
pub(super) const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

const HEADER: usize = 16;
/// The kernel's own bound of a message in a dump.
pub(super) const BUFFER: usize = 32 * 1024;
/// The kernel answers within the call that asks; this is for a kernel that does not.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// An Ethernet address.
pub(super) type Mac = [u8; 6];

/// A network interface of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub index: NonZeroU32,
    pub name: String,
    pub is_loopback: bool,
    pub is_up: bool,
    /// `None` for links that are not Ethernet.
    pub mac: Option<Mac>,
    /// `veth`, `vlan`, …; empty for a device of its own.
    pub kind: String,
}

/// Questions and answers.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let socket = open(SocketFlags::CLOEXEC, 0)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_WITHIN))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The interfaces of the thread's network namespace.
    pub(super) fn links(&mut self) -> io::Result<Vec<Link>> {
        let mut links = Vec::new();
        self.ask(RTM_GETLINK, NLM_F_DUMP, &[0; 16], |kind, body| {
            links.extend(link(body).filter(|_| kind == RTM_NEWLINK));
        })?;
        Ok(links)
    }

    /// Every address and the interface that has it.
    pub(super) fn addresses(&mut self) -> io::Result<Vec<(IpAddr, NonZeroU32)>> {
        let mut addresses = Vec::new();
        self.ask(RTM_GETADDR, NLM_F_DUMP, &[0; 8], |kind, body| {
            addresses.extend(address(body).filter(|_| kind == RTM_NEWADDR));
        })?;
        Ok(addresses)
    }

    /// Sends one request and hands over each message of the answer.
    pub(super) fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        mut take: impl FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = Vec::with_capacity(HEADER + body.len());
        request.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        request.extend(self.sequence.to_ne_bytes());
        request.extend([0; 4]);
        request.extend(body);
        send(&self.socket, &request, SendFlags::empty())?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let (_, length) = recv(&self.socket, buffer.as_mut_slice(), RecvFlags::TRUNC)?;
            let received = buffer.get(..length).ok_or(io::ErrorKind::InvalidData)?;
            for message in Messages(received) {
                // An answer to an earlier question that was given up.
                if message.sequence != self.sequence {
                    continue;
                }
                match message.kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        return match word(message.body, 0).map(|code| (code as i32).saturating_neg()) {
                            Some(0) => Ok(()),
                            Some(code) => Err(io::Error::from_raw_os_error(code)),
                            None => Err(io::ErrorKind::InvalidData.into()),
                        };
                    }
                    kind => take(kind, message.body),
                }
                if flags & NLM_F_DUMP == 0 {
                    return Ok(());
                }
            }
        }
    }
}

pub(super) fn open(flags: SocketFlags, groups: u32) -> io::Result<OwnedFd> {
    // NETLINK_ROUTE is protocol 0.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

pub(super) struct Message<'a> {
    pub kind: u16,
    sequence: u32,
    pub body: &'a [u8],
}

/// The messages of a datagram; what is cut short ends them.
pub(super) struct Messages<'a>(pub &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = word(self.0, 0)? as usize;
        let message = Message {
            kind: half(self.0, 4)?,
            sequence: word(self.0, 8)?,
            body: self.0.get(HEADER..length)?,
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// The attributes behind a message's fixed part.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(half(self.0, 0)?);
        // The upper bits say whether it is nested and in network order.
        let kind = half(self.0, 2)? & 0x3fff;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

pub(super) fn find(body: &[u8], fixed: usize, kind: u16) -> Option<&[u8]> {
    Attributes(body.get(fixed..)?)
        .find(|(other, _)| *other == kind)
        .map(|(_, value)| value)
}

/// `struct ifinfomsg` and what follows.
fn link(body: &[u8]) -> Option<Link> {
    let flags = word(body, 8)?;
    let name = find(body, 16, IFLA_IFNAME)?;
    let kind = find(body, 16, IFLA_LINKINFO).and_then(|info| find(info, 0, IFLA_INFO_KIND));
    Some(Link {
        index: NonZeroU32::new(word(body, 4)?)?,
        name: text(name),
        is_loopback: flags & IFF_LOOPBACK != 0,
        is_up: flags & IFF_UP != 0,
        mac: find(body, 16, IFLA_ADDRESS).and_then(|mac| mac.try_into().ok()),
        kind: text(kind.unwrap_or_default()),
    })
}

/// `struct ifaddrmsg` and what follows.
fn address(body: &[u8]) -> Option<(IpAddr, NonZeroU32)> {
    // On a point-to-point link IFA_ADDRESS is the other end.
    let ip = find(body, 8, IFA_LOCAL).or_else(|| find(body, 8, IFA_ADDRESS))?;
    Some((ip_address(ip)?, NonZeroU32::new(word(body, 4)?)?))
}

pub(super) fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    let octets = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(octets).into())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

pub(super) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_found_with_its_address() {
        let mut netlink = Netlink::open().expect("needs no privilege");
        let links = netlink.links().expect("answered");
        let loopback = links
            .iter()
            .find(|link| link.is_loopback)
            .expect("every machine has it");
        assert_eq!(loopback.name, "lo");
        let addresses = netlink.addresses().expect("answered");
        assert!(
            addresses.contains(&(Ipv4Addr::LOCALHOST.into(), loopback.index)),
            "{addresses:?}"
        );
    }

    #[test]
    fn whatever_comes_is_read_without_a_panic() {
        let mut random = sans_io::Random::from_seed([7; 32]);
        for length in 0..200 {
            for _ in 0..20 {
                let mut bytes: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
                if let Some(first) = bytes.first_mut() {
                    *first %= 64;
                }
                let bodies: Vec<&[u8]> = Messages(&bytes).map(|message| message.body).collect();
                for body in bodies.into_iter().chain([&bytes[..]]) {
                    let _ = (link(body), address(body));
                }
            }
        }
    }
}
