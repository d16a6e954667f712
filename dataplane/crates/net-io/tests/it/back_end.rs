//! The back-ends under test, and how a test drives one.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use ebpf::{Link, Steering};
use net_io::sim::{Simulated, Wire};
use net_io::socket::Sockets;
use net_io::steering::{SharedSockets, Steer};
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

/// Makes a test for each back-end out of one function, `fn body(io: impl PacketIo, world: &World)`; what only a kernel
/// does is not asked of the simulated one.
macro_rules! conformance {
    (everywhere { $($name:ident: $config:expr;)* } kernel { $($kernel:ident: $kernel_config:expr;)* }) => {
        mod socket {
            use super::*;

            $crate::back_end::conformance! { @socket $($name: $config;)* $($kernel: $kernel_config;)* }
        }

        mod uring {
            use super::*;

            $crate::back_end::conformance! { @uring $($name: $config;)* $($kernel: $kernel_config;)* }
        }

        mod steered {
            use super::*;

            $crate::back_end::conformance! { @steered $($name: $config;)* $($kernel: $kernel_config;)* }
        }

        mod uring_steered {
            use super::*;

            $crate::back_end::conformance! { @uring_steered $($name: $config;)* $($kernel: $kernel_config;)* }
        }

        mod simulated {
            #[allow(unused_imports, reason = "some groups have no behaviour that needs no kernel")]
            use super::*;

            $(#[test]
            fn $name() {
                let (io, world) = $crate::back_end::simulated(&$config);
                super::$name(io, &world);
            })*
        }
    };
    (@socket $($name:ident: $config:expr;)*) => {
        $(#[test]
        fn $name() {
            super::$name($crate::back_end::sockets(&$config), &$crate::back_end::World::Loopback);
        })*
    };
    (@steered $($name:ident: $config:expr;)*) => {
        $(#[test]
        fn $name() {
            let name = concat!(module_path!(), "::", stringify!($name));
            $crate::back_end::in_a_namespace(name, || {
                if let Some(steering) = $crate::back_end::steering(name, &$config) {
                    let io = net_io::steering::Steered::new(&$config, steering).expect("a valid configuration");
                    super::$name(io, &$crate::back_end::World::Steered);
                }
            });
        })*
    };
    (@uring_steered $($name:ident: $config:expr;)*) => {
        $(#[test]
        fn $name() {
            let name = concat!(module_path!(), "::", stringify!($name));
            $crate::back_end::in_a_namespace(name, || {
                if let Some(io) = $crate::back_end::uring_steered(name, &$config) {
                    super::$name(io, &$crate::back_end::World::Steered);
                }
            });
        })*
    };
    (@uring $($name:ident: $config:expr;)*) => {
        $(#[test]
        fn $name() {
            let name = concat!(module_path!(), "::", stringify!($name));
            if let Some(io) = $crate::back_end::uring(name, &$config) {
                super::$name(io, &$crate::back_end::World::Loopback);
            }
        })*
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

/// The io_uring back-end with steering, where there are both.
pub fn uring_steered(name: &str, config: &IoConfig) -> Option<Uring> {
    Uring::steered(config, steering(name, config)?)
        .map_err(|error| skip(name, &error.to_string()))
        .ok()
}

/// Runs a test on a thread of its own in a network namespace of its own, with nothing in it but loopback.
pub fn in_a_namespace(name: &str, body: impl FnOnce() + Send) {
    let inside = || {
        if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            return skip(name, &format!("no network namespace: {error}"));
        }
        let up = std::process::Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        if !up.as_ref().is_ok_and(|status| status.success()) {
            return skip(name, &format!("ip link set lo up: {up:?}"));
        }
        body();
    };
    std::thread::scope(|scope| {
        if let Err(panic) = scope.spawn(inside).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Steering of worker 0, by the real program.
#[derive(Debug)]
struct Steerer {
    steering: Steering,
    _link: Link,
}

impl Steer for Steerer {
    fn begin(&mut self, local: SocketAddr) -> io::Result<()> {
        self.steering.set_owner(local, Some(0)).map_err(io::Error::other)
    }

    fn end(&mut self, local: SocketAddr) {
        self.steering.set_owner(local, None).expect("the map takes it");
    }
}

/// Steering in the network namespace of this thread, for the addresses that tests use.
pub fn steering(name: &str, config: &IoConfig) -> Option<net_io::steering::Steering> {
    let addresses = steered_addresses();
    if let Err(error) = Steering::load(&addresses) {
        skip(name, &error.to_string());
        return None;
    }
    let sockets = SharedSockets::open(&addresses, &config.socket).expect("raw sockets, where BPF is allowed");
    steering_to(name, sockets)
}

fn steered_addresses() -> Vec<IpAddr> {
    let mut addresses = vec![LOOPBACK_V4, LOOPBACK_V6];
    addresses.extend((1..10).map(quiet_address));
    addresses
}

/// Steering to sockets that are there, by a program of its own.
pub fn steering_to(name: &str, sockets: SharedSockets) -> Option<net_io::steering::Steering> {
    let addresses = steered_addresses();
    let steering = match Steering::load(&addresses) {
        Ok(steering) => steering,
        Err(error) => {
            skip(name, &error.to_string());
            return None;
        }
    };
    for ipv6 in [false, true] {
        let socket = sockets.receiver(ipv6).expect("both versions are asked for");
        steering.set_socket(0, ipv6, socket).expect("a bound socket");
    }
    let namespace = std::fs::File::open("/proc/thread-self/ns/net").expect("procfs");
    let link = steering
        .attach(namespace.as_fd())
        .expect("attaches where it loads");
    Some(net_io::steering::Steering {
        sockets,
        steer: Box::new(Steerer {
            steering,
            _link: link,
        }),
        xdp: None,
    })
}

/// The simulated back-end, and the outside of it.
pub fn simulated(config: &IoConfig) -> (Simulated, World) {
    let wire = Wire::new().expect("an eventfd");
    (
        Simulated::new(config, wire.clone()).expect("a valid configuration"),
        World::Wire(wire),
    )
}

/// What a back-end is connected to.
#[derive(Clone)]
pub enum World {
    /// The kernel's loopback device.
    Loopback,
    /// That of a namespace in which all ports are steered; there is no port of the unspecified address then.
    Steered,
    /// The wire of a simulated back-end.
    Wire(Wire),
}

impl World {
    /// Somebody of the other side, who gives up waiting after [`PATIENCE`].
    pub fn peer(&self, ip: IpAddr) -> Peer {
        match self {
            Self::Loopback | Self::Steered => Peer::Socket(peer(ip)),
            Self::Wire(wire) => {
                static NUMBERS: AtomicU16 = AtomicU16::new(1);
                let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
                Peer::Wire(wire.clone(), SocketAddr::new(ip, number))
            }
        }
    }
}

/// A socket of the other side, or an address on the wire.
pub enum Peer {
    Socket(UdpSocket),
    Wire(Wire, SocketAddr),
}

impl Peer {
    pub fn local_addr(&self) -> SocketAddr {
        match self {
            Self::Socket(socket) => socket.local_addr().expect("a bound socket"),
            Self::Wire(_, address) => *address,
        }
    }

    pub fn send_to(&self, payload: &[u8], to: SocketAddr) {
        match self {
            Self::Socket(socket) => {
                assert_eq!(
                    socket.send_to(payload, to).expect("loopback takes it"),
                    payload.len()
                );
            }
            Self::Wire(wire, address) => wire.inject(to, *address, payload),
        }
    }

    /// The next datagram and who sent it, which has to be there within [`PATIENCE`].
    pub fn receives(&self) -> (Vec<u8>, SocketAddr) {
        match self {
            Self::Socket(socket) => {
                let mut buffer = [0; 4096];
                let (length, source) = socket.recv_from(&mut buffer).expect("a datagram in time");
                (buffer[..length].to_vec(), source)
            }
            Self::Wire(wire, address) => {
                let packet = wire.transmitted_to(*address).expect("a datagram on the wire");
                (packet.payload, packet.from)
            }
        }
    }

    /// The next datagram and who sent it, if there is one now.
    pub fn receives_now(&self) -> Option<(Vec<u8>, SocketAddr)> {
        match self {
            Self::Socket(socket) => {
                socket.set_nonblocking(true).expect("a valid mode");
                let mut buffer = [0; 4096];
                let received = socket.recv_from(&mut buffer);
                socket.set_nonblocking(false).expect("a valid mode");
                match received {
                    Ok((length, source)) => Some((buffer[..length].to_vec(), source)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                    Err(error) => panic!("receiving: {error}"),
                }
            }
            Self::Wire(wire, address) => wire
                .transmitted_to(*address)
                .map(|packet| (packet.payload, packet.from)),
        }
    }
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
