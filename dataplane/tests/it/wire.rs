//! A node with a real interface: in a network namespace of its own, on a veth pair, with the parties at the other end.

use std::net::{IpAddr, SocketAddr};

use ebpf::{Attachment, Mode, Program};
use netns::Wire;

use crate::node::{Backend, Node, Settings};
use crate::party::Party;

/// The node's addresses.
pub const RELAY_V4: &str = "192.0.2.1";
pub const RELAY_V6: &str = "2001:db8::1";

/// The wire, with the program at the parties' end that lets the relay send natively.
pub struct Bed {
    pub wire: Wire,
    _receiver: Attachment,
}

impl Bed {
    /// A party at this address of the parties' end.
    pub fn party(&self, ip: &str) -> Party {
        let ip: IpAddr = ip.parse().expect("an address");
        let bind = |port: u16| self.wire.parties.inside(|| std::net::UdpSocket::bind((ip, port)));
        for _ in 0..64 {
            let rtp = bind(0).expect("binds");
            let port = rtp.local_addr().expect("bound").port();
            let Some(next) = port.checked_add(1).filter(|next| next % 2 == 1) else {
                continue;
            };
            if let Ok(rtcp) = bind(next) {
                return Party::of(rtp, rtcp);
            }
        }
        panic!("no two neighbouring ports at {ip}");
    }

    /// A socket at the parties' end.
    pub fn socket(&self, address: SocketAddr) -> tokio::net::UdpSocket {
        let socket = self.wire.parties.inside(|| std::net::UdpSocket::bind(address));
        crate::party::tokio_socket(socket.expect("binds"))
    }

    /// Runs commands at the parties' end.
    pub fn at_parties(&self, commands: &[&str]) {
        self.wire.parties.run(commands).expect("done");
    }

    /// Runs commands at the node's end.
    pub fn at_node(&self, commands: &[&str]) {
        self.wire.relay.run(commands).expect("done");
    }
}

/// What a node on the wire is told; `kernel` is the section of that name.
pub fn settings(kernel: &str) -> Settings {
    Settings {
        address: RELAY_V4.parse().expect("an address"),
        more: format!(
            "[kernel]\n{kernel}\n[[interface]]\nname = \"six\"\nports = \"20000-20999\"\naddresses = [{{ local = \"{RELAY_V6}\" }}]\n"
        ),
        ..Settings::default()
    }
}

/// The section `[kernel]` of a node that pins nothing.
pub const UNPINNED: &str = "mode = \"require\"\npin_directory = \"\"\n";

/// A node whose every flow may go into the kernel, natively.
pub async fn node(kernel: &str) -> Node {
    Node::with(Backend::Uring, settings(kernel)).await
}

/// Runs a test in the node's namespace: whatever it starts or opens is there. Left out, and said so, where there are no
/// namespaces or the relay cannot be loaded.
pub fn run<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Bed) -> F + Send) {
    let pass = match Program::load_pass() {
        Ok(pass) => pass,
        Err(error) => return netns::skip(name, &error),
    };
    let Some(wire) = Wire::new(name) else { return };
    let attached = wire
        .parties
        .inside(|| Attachment::new(&pass, "p0", &[Mode::Native]));
    let bed = Bed {
        _receiver: attached.expect("a veth takes XDP programs"),
        wire,
    };
    // The bed goes into the test, which runs in one of its namespaces.
    let relay = bed
        .wire
        .relay
        .descriptor()
        .try_clone_to_owned()
        .expect("a descriptor");
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            netns::enter(&relay);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(test(bed));
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}
