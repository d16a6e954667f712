use std::collections::BTreeMap;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

/// linux/sockios.h
const SIOCETHTOOL: libc::Ioctl = 0x8946;

// Commands of linux/ethtool.h.
const GDRVINFO: u32 = 0x03;
const GSTRINGS: u32 = 0x1b;
const GRXFH: u32 = 0x29;
const SRXFH: u32 = 0x2a;
const GFEATURES: u32 = 0x3a;
const SFEATURES: u32 = 0x3b;
const GCHANNELS: u32 = 0x3c;
const SCHANNELS: u32 = 0x3d;

/// `ETH_SS_FEATURES`: the names of offloads.
const FEATURE_NAMES: u32 = 4;
/// Bytes of a name: `ETH_GSTRING_LEN`.
const NAME_BYTES: usize = 32;
/// Kernels have fewer than 64 features today. The buffers have room for this many.
const FEATURES_MAX: usize = 1_024;

/// Which fields of a packet choose its receive queue: bits of linux/ethtool.h.
pub mod hash {
    /// The source address.
    pub const IP_SOURCE: u64 = 1 << 4;
    /// The destination address.
    pub const IP_DESTINATION: u64 = 1 << 5;
    /// The source port.
    pub const PORT_SOURCE: u64 = 1 << 6;
    /// The destination port.
    pub const PORT_DESTINATION: u64 = 1 << 7;
    /// All four: what ethtool writes `sdfn`.
    pub const FOUR_TUPLE: u64 = IP_SOURCE | IP_DESTINATION | PORT_SOURCE | PORT_DESTINATION;
}

/// The UDP of one IP version, as hash fields are set for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpFlow {
    /// UDP over IPv4.
    V4,
    /// UDP over IPv6.
    V6,
}

impl UdpFlow {
    /// As ethtool names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "udp4",
            Self::V6 => "udp6",
        }
    }

    const fn number(self) -> u32 {
        match self {
            Self::V4 => 0x02,
            Self::V6 => 0x06,
        }
    }
}

/// Queues of an interface. Those that serve both directions are `combined`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// Receive queues of their own, and the most.
    pub receive: u32,
    /// The most of them.
    pub receive_max: u32,
    /// Transmit queues of their own.
    pub transmit: u32,
    /// The most of them.
    pub transmit_max: u32,
    /// Others, for link state and the like. The driver's own business; kept as they are.
    pub other: u32,
    /// Queues for both directions.
    pub combined: u32,
    /// The most of them.
    pub combined_max: u32,
}

impl Channels {
    /// Queues that packets come in by.
    pub const fn receiving(self) -> u32 {
        self.receive + self.combined
    }
}

/// An offload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// It is at work.
    pub active: bool,
    /// It can be turned on and off.
    pub changeable: bool,
}

/// The ioctl. Reading needs no privilege, setting CAP_NET_ADMIN in the interface's network namespace.
#[derive(Debug)]
pub struct Ethtool {
    socket: UdpSocket,
}

#[repr(C)]
struct Request {
    name: [u8; 16],
    data: *mut u32,
    /// The union in `ifreq` has 24 bytes.
    rest: [u64; 2],
}

impl Ethtool {
    /// Asks about interfaces of the caller's network namespace.
    ///
    /// # Errors
    /// When there is no socket to ask through.
    pub fn open() -> io::Result<Self> {
        // Any socket does; nothing is sent.
        let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("[::1]:0"));
        Ok(Self { socket: socket? })
    }

    /// The driver's name, such as `veth`.
    ///
    /// # Errors
    /// When there is no such interface, or its driver does not say.
    pub fn driver(&self, interface: &str) -> io::Result<String> {
        let mut info = [0; 49];
        info[0] = GDRVINFO;
        self.call(interface, &mut info)?;
        Ok(text(&bytes(&info[1..9])))
    }

    /// The queues.
    ///
    /// # Errors
    /// As for [`Self::driver`]; many virtual interfaces have none to tell of.
    pub fn channels(&self, interface: &str) -> io::Result<Channels> {
        let mut words = [0; 9];
        words[0] = GCHANNELS;
        self.call(interface, &mut words)?;
        Ok(Channels {
            receive_max: words[1],
            transmit_max: words[2],
            combined_max: words[4],
            receive: words[5],
            transmit: words[6],
            other: words[7],
            combined: words[8],
        })
    }

    /// Sets the numbers of queues, which interrupts the interface's traffic for a moment.
    ///
    /// # Errors
    /// When the driver does not take them, or without the privilege.
    pub fn set_channels(&self, interface: &str, channels: Channels) -> io::Result<()> {
        let mut words = [
            SCHANNELS,
            0,
            0,
            0,
            0,
            channels.receive,
            channels.transmit,
            channels.other,
            channels.combined,
        ];
        self.call(interface, &mut words).map(drop)
    }

    /// The fields by which packets of UDP get their receive queue: bits of [`hash`].
    ///
    /// # Errors
    /// As for [`Self::driver`].
    pub fn udp_hash(&self, interface: &str, flow: UdpFlow) -> io::Result<u64> {
        let mut words = rx_flow_hash(GRXFH, flow, 0);
        self.call(interface, &mut words)?;
        Ok(u64::from_ne_bytes(pair(&words)))
    }

    /// Sets them.
    ///
    /// # Errors
    /// When the driver does not take them, or without the privilege.
    pub fn set_udp_hash(&self, interface: &str, flow: UdpFlow, fields: u64) -> io::Result<()> {
        let mut words = rx_flow_hash(SRXFH, flow, fields);
        self.call(interface, &mut words).map(drop)
    }

    /// Every offload by the kernel's name for it: `rx-lro`, `rx-gro-hw`, …
    ///
    /// # Errors
    /// As for [`Self::driver`].
    pub fn features(&self, interface: &str) -> io::Result<BTreeMap<String, Feature>> {
        let names = self.feature_names(interface)?;
        let blocks = FEATURES_MAX / 32;
        let mut words = vec![0; 2 + 4 * blocks];
        words[0] = GFEATURES;
        words[1] = blocks as u32;
        self.call(interface, &mut words)?;
        let feature = |index: usize| {
            // available, requested, active, never_changed
            let block = &words[2 + index / 32 * 4..][..4];
            let is_set = |word: u32| word >> (index % 32) & 1 == 1;
            Feature {
                active: is_set(block[2]),
                changeable: is_set(block[0]) && !is_set(block[3]),
            }
        };
        Ok(names
            .into_iter()
            .enumerate()
            .filter(|(_, name)| !name.is_empty())
            .map(|(index, name)| (name, feature(index)))
            .collect())
    }

    /// Turns an offload on or off. The driver may have its own mind: read it back.
    ///
    /// # Errors
    /// When the kernel does not know it, or without the privilege.
    pub fn set_feature(&self, interface: &str, name: &str, on: bool) -> io::Result<()> {
        let names = self.feature_names(interface)?;
        let index = names.iter().position(|candidate| candidate == name);
        let index =
            index.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no offload {name}")))?;
        let blocks = names.len().div_ceil(32);
        let mut words = vec![0; 2 + 2 * blocks];
        words[0] = SFEATURES;
        words[1] = blocks as u32;
        let bit = 1 << (index % 32);
        // valid, requested
        words[2 + index / 32 * 2] = bit;
        words[3 + index / 32 * 2] = if on { bit } else { 0 };
        self.call(interface, &mut words).map(drop)
    }

    fn feature_names(&self, interface: &str) -> io::Result<Vec<String>> {
        let mut words = vec![0; 3 + FEATURES_MAX * NAME_BYTES / 4];
        words[0] = GSTRINGS;
        words[1] = FEATURE_NAMES;
        self.call(interface, &mut words)?;
        let count = (words[2] as usize).min(FEATURES_MAX);
        let names = bytes(&words[3..][..count * NAME_BYTES / 4]);
        Ok(names.chunks_exact(NAME_BYTES).map(text).collect())
    }

    /// `words` begins with the command, and has room for the most that the kernel writes for it.
    fn call(&self, interface: &str, words: &mut [u32]) -> io::Result<i32> {
        let mut name = [0; 16];
        // The last byte stays zero.
        if interface.is_empty() || interface.len() >= name.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        name[..interface.len()].copy_from_slice(interface.as_bytes());
        let mut request = Request {
            name,
            data: words.as_mut_ptr(),
            rest: [0; 2],
        };
        // SAFETY: the request has ifreq's size and layout and lives through the call, as does what its data points to, which
        // nobody else uses meanwhile. The functions above give each command the room it needs (invariant 1).
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(result)
    }
}

/// A `struct ethtool_rxnfc`: command, flow type, data, and 176 bytes that these commands do not use.
fn rx_flow_hash(command: u32, flow: UdpFlow, fields: u64) -> [u32; 48] {
    let mut words = [0; 48];
    words[0] = command;
    words[1] = flow.number();
    let fields = fields.to_ne_bytes();
    words[2] = u32::from_ne_bytes([fields[0], fields[1], fields[2], fields[3]]);
    words[3] = u32::from_ne_bytes([fields[4], fields[5], fields[6], fields[7]]);
    words
}

fn pair(words: &[u32; 48]) -> [u8; 8] {
    let (low, high) = (words[2].to_ne_bytes(), words[3].to_ne_bytes());
    [low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]]
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// A C string in a field of fixed size.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_answers_what_every_interface_does() {
        assert_eq!(size_of::<Request>(), 40, "struct ifreq");
        let ethtool = Ethtool::open().expect("a socket");
        let features = ethtool.features("lo").expect("every interface has offloads");
        assert!(features["loopback"].active, "{features:?}");
        assert!(!features["loopback"].changeable);
        assert!(features.contains_key("rx-lro") && features.contains_key("rx-gro-hw"));
        // The driver of loopback tells neither: an error, not a guess.
        assert!(ethtool.channels("lo").is_err());
        assert!(ethtool.udp_hash("lo", UdpFlow::V4).is_err());
        assert!(ethtool.set_feature("lo", "no-such-offload", true).is_err());
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        let ethtool = Ethtool::open().expect("a socket");
        for name in ["ringpath-none", "", "a-name-that-is-far-too-long"] {
            assert!(ethtool.driver(name).is_err(), "{name:?}");
            assert!(ethtool.features(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn hash_fields_lie_where_the_kernel_has_them() {
        let words = rx_flow_hash(SRXFH, UdpFlow::V6, hash::FOUR_TUPLE | 1 << 40);
        assert_eq!(words[..2], [0x2a, 6]);
        assert_eq!(u64::from_ne_bytes(pair(&words)), 0xf0 | 1 << 40);
    }
}
