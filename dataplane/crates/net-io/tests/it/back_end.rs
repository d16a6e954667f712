//! The back-ends under test, and how a test drives one.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use net_io::socket::Sockets;
use net_io::uring::Uring;
use net_io::{Frame, IoConfig, PacketIo, PortId, Received};

/// Longest that a test waits for something that has to happen.
pub const PATIENCE: Duration = Duration::from_secs(5);

pub const LOOPBACK_V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub const LOOPBACK_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Loopback addresses of tests that need a port to stay free, or to be free again: the tests that run beside them
/// have their ports on the ones above.
pub fn quiet_address(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 99, number))
}

/// Makes a test for each back-end that talks to the kernel out of one function over `impl PacketIo`.
///
/// `conformance!(name, config, body)` expects `fn body(io: impl PacketIo)`.
macro_rules! conformance {
    ($($name:ident: $config:expr;)+) => {
        mod socket {
            use super::*;

            $(#[test]
            fn $name() {
                super::$name(crate::back_end::sockets(&$config));
            })+
        }

        mod uring {
            use super::*;

            $(#[test]
            fn $name() {
                let name = concat!(module_path!(), "::", stringify!($name));
                if let Some(io) = crate::back_end::uring(name, &$config) {
                    super::$name(io);
                }
            })+
        }
    };
}
pub(crate) use conformance;

pub fn sockets(config: &IoConfig) -> Sockets {
    Sockets::new(config).expect("the socket back-end works everywhere")
}

/// Passes over a check that this machine can't make; under `STRICT=1` that is a failure.
pub fn skip(name: &str, reason: &str) {
    println!("SKIP {name}: {reason}");
    assert!(
        std::env::var_os("STRICT").is_none_or(|strict| strict != "1"),
        "SKIP {name}: {reason}"
    );
}

/// The io_uring back-end, where there is one.
pub fn uring(name: &str, config: &IoConfig) -> Option<Uring> {
    Uring::new(config)
        .map_err(|error| skip(name, &error.to_string()))
        .ok()
}

/// A socket of the other side, which gives up after [`PATIENCE`].
pub fn peer(ip: IpAddr) -> UdpSocket {
    let peer = UdpSocket::bind((ip, 0)).expect("a free port on loopback");
    peer.set_read_timeout(Some(PATIENCE)).expect("a valid timeout");
    peer
}

/// Opens a port that the kernel chooses.
pub fn open(io: &mut impl PacketIo, ip: IpAddr) -> (PortId, SocketAddr) {
    let port = io.open(SocketAddr::new(ip, 0)).expect("a free port on loopback");
    (port, io.local_address(port).expect("the port is open"))
}

/// Polls until the condition gives something, for [`PATIENCE`] at most.
#[expect(
    clippy::disallowed_methods,
    reason = "a test over a real kernel has to end in real time"
)]
pub fn poll_until<T>(io: &mut impl PacketIo, mut done: impl FnMut(&mut dyn Dispatch) -> Option<T>) -> T {
    let start = std::time::Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(result) = done(io) {
            return result;
        }
        io.poll(Some(Duration::from_millis(100))).expect("polling works");
    }
    panic!(
        "nothing happened in {PATIENCE:?}; counters {:?}, frames {:?}",
        io.counters(),
        io.frames()
    );
}

/// What [`poll_until`] lends its condition: the back-end, as an object.
pub trait Dispatch: PacketIo {}
impl<Io: PacketIo> Dispatch for Io {}

/// Waits for one datagram.
pub fn receive_one(io: &mut impl PacketIo) -> Received {
    poll_until(io, |io| io.receive())
}

/// Waits for one datagram, checks where it came from and what is in it, and gives its frame.
pub fn expect(io: &mut impl PacketIo, port: PortId, source: SocketAddr, payload: &[u8]) -> Frame {
    let received = receive_one(io);
    assert_eq!((received.port, received.source), (port, source));
    assert_eq!(io.payload(&received.frame), payload);
    received.frame
}

/// Polls until nothing is on the way in any more: a few empty polls in a row.
pub fn settle(io: &mut impl PacketIo) -> Vec<Received> {
    let mut received = Vec::new();
    let mut quiet = 0;
    while quiet < 3 {
        io.poll(Some(Duration::from_millis(20))).expect("polling works");
        let before = received.len();
        received.extend(std::iter::from_fn(|| io.receive()));
        quiet = if received.len() == before { quiet + 1 } else { 0 };
    }
    received
}

/// Waits until every frame is back where it started; a frame that is not has leaked.
pub fn expect_all_frames_back(io: &mut impl PacketIo) {
    poll_until(io, |io| io.frames().is_full().then_some(()));
}

/// What the peer receives within [`PATIENCE`].
pub fn peer_receives(peer: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 4096];
    let (length, source) = peer.recv_from(&mut buffer).expect("a datagram in time");
    (buffer[..length].to_vec(), source)
}

/// Whether the peer's queue is empty now.
pub fn peer_is_quiet(peer: &UdpSocket) -> bool {
    peer.set_nonblocking(true).expect("a valid mode");
    let quiet = matches!(peer.recv_from(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    peer.set_nonblocking(false).expect("a valid mode");
    quiet
}
