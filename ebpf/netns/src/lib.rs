//! Network namespaces that live as long as the test, and the veth pair between them. For tests: what cannot be made is a panic,
//! or a test that is left out.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};

/// Says that a test is left out, and why; under `STRICT=1` that fails it.
pub fn skip(name: &str, reason: &dyn std::fmt::Display) {
    println!("SKIP {name}: {reason}");
    assert!(
        std::env::var_os("STRICT").is_none_or(|strict| strict != "1"),
        "SKIP {name}: {reason}"
    );
}

/// A network namespace without a name: gone when the last descriptor and interface tie is.
pub struct Namespace {
    file: File,
}

impl Namespace {
    fn new() -> io::Result<Self> {
        std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let file = File::open("/proc/thread-self/ns/net")?;
            Ok(Self { file })
        })
        .join()
        .expect("the thread does not panic")
    }

    /// Runs `work` in a thread inside.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&self.file);
                work()
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// For whoever enters it otherwise.
    pub fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Runs commands inside; a failing one is an error with what it said.
    pub fn run(&self, commands: &[&str]) -> Result<(), String> {
        self.inside(|| {
            for line in commands {
                let mut words = line.split_whitespace();
                let output = Command::new(words.next().expect("a command"))
                    .args(words)
                    .output()
                    .map_err(|error| format!("{line}: {error}"))?;
                if !output.status.success() {
                    return Err(format!(
                        "{line}: {}",
                        String::from_utf8_lossy(&output.stderr).trim()
                    ));
                }
            }
            Ok(())
        })
    }

    /// The number of an interface inside.
    pub fn ifindex(&self, interface: &str) -> NonZeroU32 {
        let index = self.inside(|| nix::net::if_::if_nametoindex(interface).expect("it is there"));
        NonZeroU32::new(index).expect("numbers begin at one")
    }

    /// A bound socket inside that waits for two seconds at most.
    pub fn socket(&self, address: &str) -> UdpSocket {
        self.inside(|| {
            let socket = UdpSocket::bind(address).expect("the address is of the namespace");
            socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            socket
        })
    }
}

/// Moves the calling thread into a namespace, and whatever it starts and opens from now on.
pub fn enter(namespace: &impl AsFd) {
    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).expect("the namespace is there");
}

/// The next datagram and its source. Waits as long as the socket does; a wait with a time-out ends early on a signal.
pub fn receive(socket: &UdpSocket) -> io::Result<(Vec<u8>, SocketAddr)> {
    let mut bytes = [0; 2_000];
    loop {
        match socket.recv_from(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok((length, source)) => return Ok((bytes[..length].to_vec(), source)),
        }
    }
}

/// The Ethernet address of the relay's end.
pub const RELAY_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// The Ethernet address of the parties' end.
pub const PARTY_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];

/// The relay's namespace with `r0`, the parties' with `p0`, and a veth pair between them. `192.0.2.1` and
/// `2001:db8::1` are the relay's, `.2`, `.3` and `::2`, `::3` the parties'.
pub struct Wire {
    /// With `r0`.
    pub relay: Namespace,
    /// With `p0`.
    pub parties: Namespace,
}

impl Wire {
    /// `None`, and said so, when namespaces or veths can't be had.
    pub fn new(name: &str) -> Option<Self> {
        match Self::build() {
            Ok(wire) => Some(wire),
            Err(error) => {
                skip(name, &error);
                None
            }
        }
    }

    fn build() -> Result<Self, String> {
        let namespace = || Namespace::new().map_err(|error| format!("network namespace: {error}"));
        let (relay, parties) = (namespace()?, namespace()?);
        // The other end is made where it is to be: the thread that holds the namespace names it.
        let made = parties.inside(|| {
            let target = format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid());
            relay.run(&[&format!(
                "ip link add r0 address 02:00:00:00:01:01 type veth peer name p0 address 02:00:00:00:01:02 netns {target}"
            )])
        });
        made?;
        relay.run(&[
            "ip addr add 192.0.2.1/24 dev r0",
            "ip addr add 2001:db8::1/64 dev r0 nodad",
            "ip link set r0 up",
            "ip link set lo up",
        ])?;
        parties.run(&[
            "ip addr add 192.0.2.2/24 dev p0",
            "ip addr add 192.0.2.3/24 dev p0",
            "ip addr add 2001:db8::2/64 dev p0 nodad",
            "ip addr add 2001:db8::3/64 dev p0 nodad",
            "ip link set p0 up",
            // A checksum left to the device would never be made: XDP sends the packet on before one could.
            "ethtool -K p0 tx off",
            "ip neigh add 192.0.2.1 lladdr 02:00:00:00:01:01 dev p0",
            "ip neigh add 2001:db8::1 lladdr 02:00:00:00:01:01 dev p0",
        ])?;
        let wire = Self { relay, parties };
        for (relay, party) in [
            ("192.0.2.1:9", "192.0.2.2:9"),
            ("[2001:db8::1]:9", "[2001:db8::2]:9"),
        ] {
            wire.wait_until_open(relay, party)?;
        }
        Ok(wire)
    }

    /// The kernel opens the queues of a new link some time after it is up. Datagrams are sent and answered until one
    /// comes back.
    fn wait_until_open(&self, relay: &str, party: &str) -> Result<(), String> {
        let (there, here) = (self.relay.socket(relay), self.parties.socket(party));
        let patience = Some(Duration::from_millis(20));
        there
            .set_read_timeout(patience)
            .map_err(|error| error.to_string())?;
        here.set_read_timeout(patience)
            .map_err(|error| error.to_string())?;
        for _ in 0..250 {
            let sent = here.send_to(b"open?", relay);
            let arrived = sent.and_then(|_| receive(&there));
            let answered = arrived.and_then(|(_, from)| there.send_to(b"open", from));
            if answered.and_then(|_| receive(&here)).is_ok() {
                return Ok(());
            }
        }
        Err(format!(
            "no datagram came from {party} to {relay} and back in time"
        ))
    }
}
