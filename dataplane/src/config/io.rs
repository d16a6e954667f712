use std::time::Duration;

use net_io::{IoConfig, SocketOptions};
use ops::config::{Problems, Validate};
use serde::Deserialize;

/// Whether all media ports of a worker share one socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SteeringMode {
    /// Where the kernel and the privileges allow it, else a socket a port.
    #[default]
    Auto,
    /// A socket a port.
    Off,
    /// One socket, or no start.
    Require,
}

/// Whether steered ports use AF_XDP sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpSocketsMode {
    /// Where the driver and the privileges allow it.
    Auto,
    /// The kernel receives and sends.
    #[default]
    Off,
    /// AF_XDP, or no start.
    Require,
}

/// How each worker receives and sends.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Io {
    /// Packet buffers of a worker, 2 KiB each; a power of two. When none is free, packets wait in the kernel.
    pub frames: u32,
    /// Buffers that the kernel has to receive into at once; a power of two (`uring` back-end).
    pub frames_receiving: u32,
    /// The same for AF_XDP, all queues of a worker together, which have half of the buffers at most.
    pub xdp_frames_receiving: u32,
    /// Datagrams of one system call at most (`socket` back-end).
    pub batch: u32,
    /// How long a worker that has received something waits for more at most, to handle it together. Added to the delay of packets.
    pub gather_us: u64,
    /// Packets that are enough: when they come faster, the wait is shorter. Two thirds of it with AF_XDP, where a turn costs less.
    pub gather_packets: u32,
    /// Whether all media ports of a worker share one socket, so that a call costs no open file and packets of all calls are received
    /// together. Needs CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_NET_RAW at the start.
    pub steering: SteeringMode,
    /// Whether what comes to steered ports, and what leaves from them, passes the kernel by AF_XDP sockets. Needs steering and a
    /// driver with XDP. Firewalls of the machine do not see these packets.
    pub xdp_sockets: XdpSocketsMode,
    /// Differentiated services code point of media, 0 to 63. 46 is expedited forwarding, the class of voice (RFC 4594 §4.1).
    pub dscp: u8,
    /// Receive buffer of a media port in bytes; 0 leaves the system's default. With steering that of all ports of a worker, and 0 is 32 MiB.
    pub receive_buffer_bytes: u32,
    /// Send buffer of a media port in bytes; 0 leaves the system's default. With steering that of all ports of an address, and 0 is 4 MiB.
    pub send_buffer_bytes: u32,
}

impl Default for Io {
    fn default() -> Self {
        let io = IoConfig::default();
        Self {
            frames: io.frames,
            frames_receiving: io.frames_receiving,
            xdp_frames_receiving: io.xdp_frames_receiving,
            batch: io.batch,
            gather_us: io.gather.as_micros() as u64,
            gather_packets: io.gather_packets,
            steering: SteeringMode::default(),
            xdp_sockets: XdpSocketsMode::default(),
            dscp: io.socket.dscp,
            receive_buffer_bytes: io.socket.receive_buffer.unwrap_or(0),
            send_buffer_bytes: io.socket.send_buffer.unwrap_or(0),
        }
    }
}

impl Io {
    /// For a worker that opens at most so many ports.
    pub fn config(&self, ports_max: u32) -> IoConfig {
        let buffer = |bytes: u32| (bytes != 0).then_some(bytes);
        IoConfig {
            frames: self.frames,
            frames_receiving: self.frames_receiving,
            xdp_frames_receiving: self.xdp_frames_receiving,
            ports_max,
            batch: self.batch,
            gather: Duration::from_micros(self.gather_us),
            gather_packets: self.gather_packets,
            socket: SocketOptions {
                receive_buffer: buffer(self.receive_buffer_bytes),
                send_buffer: buffer(self.send_buffer_bytes),
                dscp: self.dscp,
                steered_elsewhere: false,
            },
            ..IoConfig::default()
        }
    }
}

impl Validate for Io {
    fn validate(&self, problems: &mut Problems) {
        let (min, max) = (IoConfig::FRAMES_MIN, IoConfig::FRAMES_MAX);
        if !(min..=max).contains(&self.frames) || !self.frames.is_power_of_two() {
            problems.push(
                "frames",
                format!("must be a power of two from {min} to {max}, not {}", self.frames),
            );
        }
        for (key, receiving) in [
            ("frames_receiving", self.frames_receiving),
            ("xdp_frames_receiving", self.xdp_frames_receiving),
        ] {
            if !(8..=self.frames.max(8)).contains(&receiving) || !receiving.is_power_of_two() {
                problems.push(key, "must be a power of two from 8 to io.frames");
            }
        }
        problems.range("batch", self.batch, 1..=1_024);
        problems.range("gather_us", self.gather_us, 0..=20_000);
        problems.range("gather_packets", self.gather_packets, 1..=1_024);
        problems.range("dscp", self.dscp, 0..=63);
        for (key, bytes) in [
            ("receive_buffer_bytes", self.receive_buffer_bytes),
            ("send_buffer_bytes", self.send_buffer_bytes),
        ] {
            if bytes != 0 {
                problems.range(key, bytes, 4_096..=1 << 30);
            }
        }
    }
}
