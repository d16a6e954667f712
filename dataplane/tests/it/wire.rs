//! A node with a real interface: in a network namespace of its own, on a veth pair, with the parties at the other end.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ebpf::{Attachment, Mode, Program};
use netns::Wire;
use proto::media_v1 as wire;

use crate::node::{Backend, Node, Settings, call, delete, line, query};
use crate::party::{Party, local_rtcp, local_rtp};
use crate::process::PATIENCE;

/// The node's addresses.
pub const RELAY_V4: &str = "192.0.2.1";
pub const RELAY_V6: &str = "2001:db8::1";

/// The wire, with the program at the parties' end that lets the relay send natively.
pub struct Bed {
    pub wire: Wire,
    _receiver: Option<Attachment>,
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

    /// Another wire between the two, `198.51.100.1` and `.2`; ready as long as the value lives.
    pub fn second_wire(&self) -> Attachment {
        let target = format!(
            "/proc/{}/task/{}/ns/net",
            std::process::id(),
            rustix::thread::gettid()
        );
        let make = format!(
            "ip link add p1 address 02:00:00:00:03:02 type veth peer name r1 address 02:00:00:00:03:01 netns {target}"
        );
        self.wire.parties.inside(|| {
            let words: Vec<&str> = make.split(' ').collect();
            let status = std::process::Command::new(words[0]).args(&words[1..]).status();
            assert!(status.expect("ip runs").success());
        });
        self.at_node(&["ip addr add 198.51.100.1/24 dev r1", "ip link set r1 up"]);
        self.at_parties(&[
            "ip addr add 198.51.100.2/24 dev p1",
            "ip link set p1 up",
            "ethtool -K p1 tx off",
        ]);
        let pass = Program::load_pass().expect("loaded before");
        self.wire
            .parties
            .inside(|| Attachment::new(&pass, "p1", &[Mode::Native]))
            .expect("a veth takes XDP programs")
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

/// A BPF file system of a test's own.
pub struct BpfFs(tempfile::TempDir);

impl BpfFs {
    /// `None`, and said so, when there cannot be any.
    pub fn mount(name: &str) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "bpf", "bpf"])
            .arg(directory.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => {
                // The kernel has files of its own in the top folder.
                std::fs::create_dir(directory.path().join("pins")).expect("made");
                Some(Self(directory))
            }
            failed => {
                netns::skip(name, &format!("a BPF file system: {failed:?}"));
                None
            }
        }
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("pins")
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg(self.0.path()).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()) || std::thread::panicking(),
            "{} is busy",
            self.0.path().display()
        );
    }
}

/// The section `[kernel]` of a node that pins what it has there.
pub fn pinned(pins: &BpfFs) -> String {
    format!(
        "mode = \"require\"\nunowned = \"drop\"\npin_directory = \"{}\"\n",
        pins.path().display()
    )
}

/// A node whose every flow may go into the kernel, natively.
pub async fn node(kernel: &str) -> Node {
    Node::with(Backend::Uring, settings(kernel)).await
}

/// Runs a test in the node's namespace: whatever it starts or opens is there. Left out, and said so, where there are no
/// namespaces or the relay cannot be loaded.
pub fn run<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Bed) -> F + Send) {
    run_on(name, true, test);
}

/// The same on a wire whose other end takes nothing that is sent natively.
pub fn run_unready<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Bed) -> F + Send) {
    run_on(name, false, test);
}

fn run_on<F: Future<Output = ()>>(name: &str, is_ready: bool, test: impl FnOnce(Bed) -> F + Send) {
    let pass = match Program::load_pass() {
        Ok(pass) => pass,
        Err(error) => return netns::skip(name, &error),
    };
    let Some(wire) = Wire::new(name) else { return };
    let attach = || Attachment::new(&pass, "p0", &[Mode::Native]).expect("a veth takes XDP programs");
    let bed = Bed {
        _receiver: is_ready.then(|| wire.parties.inside(attach)),
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

/// Time between packets: shorter than a real party's, with a pause between them all the same.
pub const PTIME: Duration = Duration::from_millis(5);

/// A call of two parties at the far end of the wire.
pub struct Call {
    pub id: &'static str,
    pub a: Party,
    pub b: Party,
    /// Where `a` sends RTP.
    pub for_a: SocketAddr,
    pub for_b: SocketAddr,
    pub rtcp_for_a: SocketAddr,
}

impl Call {
    pub async fn new(bed: &Bed, node: &mut Node, id: &'static str) -> Self {
        Self::between(node, id, bed.party("192.0.2.2"), bed.party("192.0.2.3")).await
    }

    pub async fn between(node: &mut Node, id: &'static str, a: Party, b: Party) -> Self {
        let request = call(id, line(Some(a.address())), line(Some(b.address())));
        Self::of(node, id, request, a, b).await
    }

    /// The same of parties that face the node's interface of this name.
    pub async fn in_kernel_of(bed: &Bed, node: &mut Node, id: &'static str, interface: &str) -> Self {
        let (a, b) = (bed.party("192.0.2.2"), bed.party("192.0.2.3"));
        let mut request = call(id, line(Some(a.address())), line(Some(b.address())));
        for leg in &mut request.legs {
            leg.interface = interface.into();
        }
        let mut call = Self::of(node, id, request, a, b).await;
        call.becomes(node, wire::Path::Kernel).await;
        call
    }

    /// The call of this request.
    pub async fn of(
        node: &mut Node,
        id: &'static str,
        request: wire::CreateCallRequest,
        a: Party,
        b: Party,
    ) -> Self {
        let made = node.client.create_call(request).await.expect("created");
        let made = made.into_inner().call.expect("a call");
        Self {
            id,
            for_a: local_rtp(&made, 0),
            for_b: local_rtp(&made, 1),
            rtcp_for_a: local_rtcp(&made, 0),
            a,
            b,
        }
    }

    /// A new call, and both its parties speaking until both lines are in the kernel.
    pub async fn in_kernel(bed: &Bed, node: &mut Node, id: &'static str) -> Self {
        let mut call = Self::new(bed, node, id).await;
        call.becomes(node, wire::Path::Kernel).await;
        call
    }

    pub async fn report(&self, node: &mut Node) -> wire::Call {
        let answer = node.client.query_call(query(self.id)).await.expect("there");
        answer.into_inner().call.expect("a call")
    }

    pub async fn line(&self, node: &mut Node, leg: usize) -> wire::LineStatus {
        self.report(node).await.legs[leg].lines[0].clone()
    }

    /// Packets of a leg's party that were forwarded.
    pub async fn packets(&self, node: &mut Node, leg: usize) -> u64 {
        let line = self.line(node, leg).await;
        line.streams.iter().map(|stream| stream.packets).sum()
    }

    /// Both parties speak until both lines are on this path. What they send arrives, in order.
    pub async fn becomes(&mut self, node: &mut Node, path: wire::Path) {
        let mut last = None;
        let reached = async {
            loop {
                self.exchange(5).await;
                let call = self.report(node).await;
                let is_there = call.legs.iter().all(|leg| leg.lines[0].path() == path);
                last = Some(call);
                if is_there {
                    return;
                }
            }
        };
        let result = tokio::time::timeout(PATIENCE, reached).await;
        assert!(result.is_ok(), "not on {path:?}: {last:#?}");
    }

    /// Both parties send so many packets, and hear all of the other's in order.
    pub async fn exchange(&mut self, packets: usize) {
        let mut ticks = tokio::time::interval(PTIME);
        let (mut from_a, mut from_b) = (None, None);
        for _ in 0..packets {
            ticks.tick().await;
            self.a.send(self.for_a, 1).await;
            self.b.send(self.for_b, 1).await;
            // Heard at once, so that no socket's buffer overflows.
            let (heard_a, heard_b) = tokio::join!(self.b.sequence_in(), self.a.sequence_in());
            in_order(&mut from_a, heard_a.expect("a's packet arrives"));
            in_order(&mut from_b, heard_b.expect("b's packet arrives"));
        }
    }

    pub async fn end(self, node: &mut Node) {
        node.client.delete_call(delete(self.id)).await.expect("deleted");
    }
}

fn in_order(latest: &mut Option<u16>, sequence: u16) {
    if let Some(latest) = *latest {
        assert_eq!(sequence, latest.wrapping_add(1), "lost or out of order");
    }
    *latest = Some(sequence);
}
