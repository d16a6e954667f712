//! Ways to other machines: routes, next hops and their link-layer addresses, and the kernel's word when one of them changes.

use std::io;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{RecvFlags, SocketFlags, recv};

use super::netlink::{BUFFER, Mac, Messages, Netlink, RTM_NEWLINK, find, half, ip_address, open, word};

const RTM_DELLINK: u16 = 17;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
const GROUPS: u32 = 1 | 4 | 0x40 | 0x400;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_VIA: u16 = 18;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const RTN_UNICAST: u8 = 1;
const NUD_STALE: u16 = 0x04;
/// Reachable, stale, delay, probe, noarp, permanent: the states in which the link-layer address counts.
const NUD_VALID: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80;
/// Changes that wait while the control thread is busy.
const CHANGES_BYTES: usize = 1 << 20;

/// The way to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub ifindex: NonZeroU32,
    /// The gateway, or the destination itself when it is on the link.
    pub next_hop: IpAddr,
}

/// What is known of the link-layer address of a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub ifindex: NonZeroU32,
    pub ip: IpAddr,
    /// `None` while it is asked for, and when nobody answered.
    pub mac: Option<Mac>,
    /// Whether nobody has confirmed the address for a while.
    pub is_stale: bool,
}

/// Something that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Neighbour(Neighbour),
    /// An interface or a route: every way may be another now.
    Ways,
    /// Word was lost: whatever may have changed has.
    Lost,
}

impl Netlink {
    /// The way from a local address to another machine's. `None` when there is none, or the destination is this machine.
    pub(super) fn route(&mut self, from: IpAddr, to: IpAddr) -> io::Result<Option<Route>> {
        let mut body = vec![family(to), prefix(to), prefix(from), 0, 0, 0, 0, 0, 0, 0, 0, 0];
        attribute(&mut body, RTA_DST, &octets(to));
        attribute(&mut body, RTA_SRC, &octets(from));
        let mut found = None;
        let result = self.ask(RTM_GETROUTE, 0, &body, |kind, body| {
            found = route(body, to).filter(|_| kind == RTM_NEWROUTE);
        });
        match result {
            Ok(()) => Ok(found),
            Err(error) if is_no_way(&error) => Ok(None),
            // Without an answer nothing is known: flows keep the way that they have.
            Err(error) => Err(error),
        }
    }

    /// What the kernel knows of a next hop; `None` when it has never asked.
    pub(super) fn neighbour(&mut self, ifindex: NonZeroU32, ip: IpAddr) -> io::Result<Option<Neighbour>> {
        let mut body = vec![family(ip), 0, 0, 0];
        body.extend(ifindex.get().to_ne_bytes());
        body.extend([0; 4]);
        attribute(&mut body, NDA_DST, &octets(ip));
        let mut found = None;
        let result = self.ask(RTM_GETNEIGH, 0, &body, |kind, body| {
            found = neighbour(body).filter(|_| kind == RTM_NEWNEIGH);
        });
        match result {
            Ok(()) => Ok(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The kernel's word of changes of neighbours, interfaces and routes.
#[derive(Debug)]
pub(super) struct Changes {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Changes {
    pub(super) fn open() -> io::Result<Self> {
        let socket = open(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, GROUPS)?;
        set_socket_recv_buffer_size(&socket, CHANGES_BYTES)?;
        Ok(Self {
            socket,
            buffer: vec![0; BUFFER],
        })
    }

    /// What has changed since the last time; empty when all is read. Does not wait.
    pub(super) fn read(&mut self) -> io::Result<Vec<Change>> {
        let length = match recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::TRUNC) {
            Ok((_, length)) => length,
            Err(rustix::io::Errno::AGAIN) => return Ok(Vec::new()),
            Err(rustix::io::Errno::NOBUFS) => return Ok(vec![Change::Lost]),
            Err(error) => return Err(error.into()),
        };
        let Some(received) = self.buffer.get(..length) else {
            return Ok(vec![Change::Lost]);
        };
        let changes = Messages(received).filter_map(|message| match message.kind {
            RTM_NEWNEIGH => neighbour(message.body).map(Change::Neighbour),
            RTM_DELNEIGH => {
                neighbour(message.body).map(|gone| Change::Neighbour(Neighbour { mac: None, ..gone }))
            }
            RTM_NEWLINK | RTM_DELLINK | RTM_NEWROUTE | RTM_DELROUTE => Some(Change::Ways),
            _ => None,
        });
        Ok(changes.collect())
    }
}

impl AsRawFd for Changes {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Whether the kernel has answered that there is no way (unreachable, prohibited, a black hole, a source that is not ours), and not
/// that it could not be asked or did not answer in time.
fn is_no_way(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let unasked = [Errno::AGAIN, Errno::INTR, Errno::NOBUFS, Errno::NOMEM];
    error
        .raw_os_error()
        .is_some_and(|code| unasked.iter().all(|errno| errno.raw_os_error() != code))
}

/// `struct rtmsg` and what follows.
fn route(body: &[u8], to: IpAddr) -> Option<Route> {
    if *body.get(7)? != RTN_UNICAST {
        return None;
    }
    let gateway = find(body, 12, RTA_GATEWAY).and_then(ip_address);
    // An IPv6 next hop of an IPv4 route (RFC 5549): family, then address.
    let via = find(body, 12, RTA_VIA).and_then(|via| ip_address(via.get(2..)?));
    Some(Route {
        ifindex: NonZeroU32::new(word(find(body, 12, RTA_OIF)?, 0)?)?,
        next_hop: gateway.or(via).unwrap_or(to),
    })
}

/// `struct ndmsg` and what follows.
fn neighbour(body: &[u8]) -> Option<Neighbour> {
    let state = half(body, 8)?;
    let mac = find(body, 12, NDA_LLADDR).and_then(|mac| Mac::try_from(mac).ok());
    Some(Neighbour {
        ifindex: NonZeroU32::new(word(body, 4)?)?,
        ip: ip_address(find(body, 12, NDA_DST)?)?,
        mac: mac.filter(|_| state & NUD_VALID != 0),
        is_stale: state & NUD_STALE != 0,
    })
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn prefix(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn this_machine_is_no_way_and_an_unknown_neighbour_is_none() {
        let mut netlink = Netlink::open().expect("needs no privilege");
        let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert_eq!(netlink.route(localhost, localhost).expect("answered"), None);
        let index = NonZeroU32::new(1).expect("not zero");
        let nobody = "192.0.2.77".parse().expect("an address");
        assert_eq!(netlink.neighbour(index, nobody).expect("answered"), None);
    }

    #[test]
    fn a_kernel_that_does_not_answer_says_nothing_of_a_way() {
        use rustix::io::Errno;
        for (error, is_answer) in [
            (Errno::NETUNREACH, true),
            (Errno::ACCESS, true),
            (Errno::INVAL, true),
            (Errno::AGAIN, false),
            (Errno::INTR, false),
            (Errno::NOBUFS, false),
            (Errno::NOMEM, false),
        ] {
            assert_eq!(is_no_way(&error.into()), is_answer, "{error}");
        }
        assert!(!is_no_way(&io::ErrorKind::InvalidData.into()));
    }

    #[test]
    fn a_neighbour_counts_only_in_a_valid_state() {
        let message = |state: u16| {
            let mut body = vec![AF_INET, 0, 0, 0];
            body.extend(3u32.to_ne_bytes());
            body.extend(state.to_ne_bytes());
            body.extend([0; 2]);
            attribute(&mut body, NDA_DST, &[192, 0, 2, 1]);
            attribute(&mut body, NDA_LLADDR, &[2, 0, 0, 0, 0, 1]);
            neighbour(&body).expect("whole")
        };
        assert_eq!(message(0x02).mac, Some([2, 0, 0, 0, 0, 1]));
        assert!(message(NUD_STALE).is_stale);
        assert_eq!(message(0x20).mac, None, "failed");
        assert_eq!(message(0x01).mac, None, "incomplete");
    }

    #[test]
    fn whatever_comes_is_read_without_a_panic() {
        let mut random = sans_io::Random::from_seed([9; 32]);
        for length in 0..200 {
            for _ in 0..20 {
                let mut bytes = vec![0; length];
                random.fill(&mut bytes);
                let _ = (neighbour(&bytes), route(&bytes, Ipv4Addr::LOCALHOST.into()));
            }
        }
    }
}
