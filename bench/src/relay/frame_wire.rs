//! Frames through an AF_XDP socket on the load's interface: what the media node's own back-end is made of, so that one core makes
//! and counts more packets than sockets carry, and may do with each what it likes, such as SRTP.
//!
//! The time of arrival is when the generator took the packet, at its next tick: up to 100 µs later than it came.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ebpf::{Attachment, Link, Mode, Steering, XskQueue, Xsks};
use net_io::steering::{SharedSockets, Steer, Steered};
use net_io::xsk::{NextHop, NextHops, Queue, Tie, XdpPlan};
use net_io::{IoConfig, PacketIo as _, PortId, Ports as _};

use crate::endpoint::Faults;
use crate::relay::bed::{Bed, LOAD};
use crate::relay::wire::{Arrival, CALLEES, CALLERS, Wire};
use crate::schedule::wall_ns;

/// Where all callers, and all callees, receive.
const PARTIES: [u16; 2] = [4_000, 4_002];
/// At 200,000 packets a second what comes in 40 ms fits, should the generator stand still.
const FRAMES: u32 = 16_384;
/// Packets that leave with one turn.
const SEND_BATCH: usize = 64;
/// The only worker.
const WORKER: u32 = 0;

/// The sockets, and what hands packets to them.
pub struct FrameWire {
    /// Before the programs that hand packets to it.
    io: Steered,
    _programs: Arc<Programs>,
    ports: [PortId; 2],
    queued: usize,
    /// Of the back-end, as far as they are counted here.
    seen: Seen,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    sent: u64,
    refused: u64,
    malformed: u64,
}

impl FrameWire {
    /// Takes the interface of the load's end of `bed`, where the calling thread is.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn attach(bed: &Bed) -> anyhow::Result<Self> {
        // Frames are taken before the kernel's stack, and have to be whole by then.
        bed.finish_checksums()?;
        let interface = bed.load_interface();
        let ifindex = nix::net::if_::if_nametoindex(interface)?;
        let ip = IpAddr::from(LOAD);
        let config = IoConfig {
            frames: FRAMES,
            frames_receiving: FRAMES / 2,
            gather: Duration::ZERO,
            ..IoConfig::default()
        };
        let steering = Steering::load(&[ip])?;
        let xsks = steering.load_xsks()?;
        let sockets = SharedSockets::open(&[ip], &config.socket)?;
        let receiver = sockets.receiver(false).context("a socket of IPv4")?;
        steering.set_socket(WORKER, false, receiver)?;
        let link = steering.attach(File::open("/proc/thread-self/ns/net")?.as_fd())?;
        let attachment = Attachment::new(xsks.program(), interface, &[Mode::Native])?;
        let programs = Arc::new(Programs {
            steering,
            xsks,
            _link: link,
            _attachment: attachment,
        });
        let hop = NextHop {
            ifindex,
            own: bed.load_mac(),
            address: bed.relay_mac(),
        };
        let mut io = Steered::new(
            &config,
            net_io::steering::Steering {
                sockets,
                steer: Box::new(Shared(programs.clone())),
                xdp: Some(XdpPlan {
                    interfaces: vec![ifindex],
                    first: WORKER,
                    step: 1,
                    tie: Box::new(Shared(programs.clone())),
                    hops: Box::new(OnlyHop(hop)),
                }),
            },
        )?;
        let mut open = |port: u16| {
            let opened = io.open(SocketAddr::new(ip, port));
            opened.map_err(|error| anyhow::anyhow!("port {port}: {error:?}"))
        };
        let ports = [open(PARTIES[CALLERS])?, open(PARTIES[CALLEES])?];
        Ok(Self {
            io,
            _programs: programs,
            ports,
            queued: 0,
            seen: Seen::default(),
        })
    }

    fn look(&self) -> Seen {
        let counters = self.io.counters();
        Seen {
            sent: counters.sent,
            refused: counters.send_errors.iter().sum(),
            malformed: counters.malformed + counters.truncated,
        }
    }
}

impl Wire for FrameWire {
    fn parties(&self) -> [SocketAddrV4; 2] {
        PARTIES.map(|port| SocketAddrV4::new(LOAD, port))
    }

    fn queue(&mut self, side: usize, packet: &[u8], to: SocketAddrV4, faults: &mut Faults) {
        match self.io.fresh(packet) {
            Some(frame) => {
                self.io.send(frame, self.ports[side], to.into());
                self.queued += 1;
            }
            None => faults.send_errors += 1,
        }
    }

    fn is_full(&self) -> bool {
        self.queued >= SEND_BATCH
    }

    fn flush(&mut self, faults: &mut Faults) -> anyhow::Result<u64> {
        self.io.poll(Some(Duration::ZERO))?;
        self.queued = 0;
        let (before, now) = (self.seen, self.look());
        self.seen = now;
        faults.send_errors += now.refused - before.refused;
        faults.corrupt += now.malformed - before.malformed;
        // What the device dropped is taken back from what was sent, and is among what was refused.
        Ok(now.sent.saturating_sub(before.sent))
    }

    fn receive(&mut self, take: &mut dyn FnMut(Arrival<'_>)) -> anyhow::Result<()> {
        let at_ns = wall_ns();
        while let Some(mut received) = self.io.receive() {
            if let SocketAddr::V4(source) = received.source {
                take(Arrival {
                    side: usize::from(received.port == self.ports[CALLEES]),
                    packet: self.io.payload_mut(&mut received.frame),
                    source,
                    at_ns,
                });
            }
            self.io.release(received.frame);
        }
        Ok(())
    }

    fn no_room(&self) -> u64 {
        self.io.counters().kernel_drops.unwrap_or(0)
    }
}

impl fmt::Debug for FrameWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameWire")
            .field("ports", &self.ports)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Programs {
    steering: Steering,
    xsks: Xsks,
    _link: Link,
    _attachment: Attachment,
}

#[derive(Debug)]
struct Shared(Arc<Programs>);

impl Steer for Shared {
    fn begin(&mut self, local: SocketAddr) -> io::Result<()> {
        let steering = &self.0.steering;
        steering.set_owner(local, Some(WORKER)).map_err(io::Error::other)
    }

    fn end(&mut self, local: SocketAddr) {
        // Fails when the map is gone, and steering with it.
        let _ = self.0.steering.set_owner(local, None);
    }
}

impl Tie for Shared {
    fn tie(&mut self, to: Queue, socket: BorrowedFd<'_>) -> io::Result<()> {
        let xsks = &self.0.xsks;
        xsks.set(queue(to)?, to.number, WORKER, socket)
            .map_err(io::Error::other)
    }

    fn untie(&mut self, from: Queue) -> io::Result<()> {
        self.0.xsks.clear(queue(from)?).map_err(io::Error::other)
    }
}

fn queue(queue: Queue) -> io::Result<XskQueue> {
    Ok(XskQueue {
        ifindex: NonZeroU32::new(queue.ifindex).ok_or(io::ErrorKind::InvalidInput)?,
        number: queue.number,
    })
}

/// The relay, at the other end of the veth.
#[derive(Debug)]
struct OnlyHop(NextHop);

impl NextHops for OnlyHop {
    fn version(&self) -> u64 {
        0
    }

    fn find(&mut self, _from: IpAddr, _to: IpAddr) -> Option<NextHop> {
        Some(self.0)
    }
}
