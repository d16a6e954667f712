//! A reader of pcapng (draft-ietf-opsawg-pcapng) and of the IP packets in it, written from the documents and not from the writer.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

/// What is in a file of one section.
#[derive(Debug, Default)]
pub struct Capture {
    pub application: String,
    pub interfaces: Vec<Interface>,
}

#[derive(Debug, Default)]
pub struct Interface {
    pub name: String,
    pub description: String,
    pub packets: Vec<Packet>,
    /// Received, dropped, delivered, and the comment, of the statistics at the end.
    pub statistics: Option<(u64, u64, u64, String)>,
}

#[derive(Debug)]
pub struct Packet {
    pub at: SystemTime,
    pub inbound: bool,
    pub comment: String,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// UDP payload; maybe not all of it.
    pub payload: Vec<u8>,
    /// Bytes of all of it.
    pub length: usize,
}

type Options = HashMap<u16, Vec<u8>>;

impl Capture {
    /// Reads a whole file; panics at whatever is not as the document has it.
    pub fn read(bytes: &[u8]) -> Self {
        let mut capture = Self::default();
        let mut rest = bytes;
        let mut first = true;
        while !rest.is_empty() {
            let (kind, length) = (word(rest, 0), word(rest, 4) as usize);
            assert!(
                length >= 12 && length.is_multiple_of(4) && length <= rest.len(),
                "block of {length}"
            );
            assert_eq!(word(rest, length - 4) as usize, length, "the length at the end");
            let body = &rest[8..length - 4];
            assert_eq!(first, kind == 0x0a0d_0d0a, "one section, at the beginning");
            first = false;
            match kind {
                0x0a0d_0d0a => {
                    assert_eq!(word(body, 0), 0x1a2b_3c4d, "byte order");
                    assert_eq!((half(body, 4), half(body, 6)), (1, 0), "version");
                    capture.application = text(&options(&body[16..]), 4);
                }
                1 => capture.describe(body),
                6 => capture.packet(body),
                5 => capture.count(body),
                other => panic!("block of type {other}"),
            }
            rest = &rest[length..];
        }
        capture
    }

    pub fn interface(&self, name: &str) -> &Interface {
        let found = self.interfaces.iter().find(|interface| interface.name == name);
        found.unwrap_or_else(|| panic!("no {name} among {:?}", self.names()))
    }

    pub fn names(&self) -> Vec<&str> {
        self.interfaces.iter().map(|interface| &*interface.name).collect()
    }

    fn describe(&mut self, body: &[u8]) {
        assert_eq!(half(body, 0), 101, "LINKTYPE_RAW");
        let options = options(&body[8..]);
        assert_eq!(options[&9], [9], "nanoseconds");
        self.interfaces.push(Interface {
            name: text(&options, 2),
            description: text(&options, 3),
            ..Interface::default()
        });
    }

    fn packet(&mut self, body: &[u8]) {
        let interface = &mut self.interfaces[word(body, 0) as usize];
        assert!(
            interface.statistics.is_none(),
            "a packet behind its interface's statistics"
        );
        let nanoseconds = u64::from(word(body, 4)) << 32 | u64::from(word(body, 8));
        let (captured, original) = (word(body, 12) as usize, word(body, 16) as usize);
        assert!(captured <= original);
        let data = &body[20..20 + captured];
        let options = options(&body[20 + captured.next_multiple_of(4)..]);
        let flags = u32::from_le_bytes(options[&2][..].try_into().expect("four bytes"));
        let (source, destination, payload, length) = datagram(data, original);
        interface.packets.push(Packet {
            at: SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds),
            inbound: match flags & 3 {
                1 => true,
                2 => false,
                other => panic!("direction {other}"),
            },
            comment: text(&options, 1),
            source,
            destination,
            payload,
            length,
        });
    }

    fn count(&mut self, body: &[u8]) {
        let options = options(&body[12..]);
        let number = |code: u16| u64::from_le_bytes(options[&code][..].try_into().expect("eight bytes"));
        let interface = &mut self.interfaces[word(body, 0) as usize];
        interface.statistics = Some((number(4), number(5), number(8), text(&options, 1)));
    }
}

/// Addresses, payload and its length of a UDP datagram in an IP packet; checksums are verified when all of it is there.
fn datagram(packet: &[u8], original: usize) -> (SocketAddr, SocketAddr, Vec<u8>, usize) {
    let (source, destination, header) = match packet[0] >> 4 {
        4 => {
            assert_eq!(packet[0], 0x45, "no options");
            assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), original);
            assert_eq!(packet[9], 17, "UDP");
            assert_eq!(sum(&[&packet[..20]]), 0xffff, "the header's checksum");
            let ip = |at: usize| IpAddr::from([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
            (ip(12), ip(16), 20)
        }
        6 => {
            assert_eq!(
                usize::from(u16::from_be_bytes([packet[4], packet[5]])) + 40,
                original
            );
            assert_eq!(packet[6], 17, "UDP");
            let ip = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).expect("sixteen"));
            (ip(8), ip(24), 40)
        }
        other => panic!("IP version {other}"),
    };
    let udp = &packet[header..];
    let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
    assert_eq!(usize::from(port(4)), original - header, "the datagram's length");
    if packet.len() == original {
        let addresses = if header == 20 {
            &packet[12..20]
        } else {
            &packet[8..40]
        };
        let length = port(4).to_be_bytes();
        assert_eq!(sum(&[addresses, &[0, 17], &length, udp]), 0xffff, "the checksum");
    }
    (
        SocketAddr::new(source, port(0)),
        SocketAddr::new(destination, port(2)),
        udp[8..].to_vec(),
        usize::from(port(4)) - 8,
    )
}

/// The sum of RFC 1071 over parts of even length, the last one excepted.
fn sum(parts: &[&[u8]]) -> u32 {
    let mut sum = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    sum
}

fn options(mut bytes: &[u8]) -> Options {
    let mut options = Options::new();
    while let Some(head) = bytes.get(..4) {
        let (code, length) = (half(head, 0), usize::from(half(head, 2)));
        if code == 0 {
            assert_eq!((length, bytes.len()), (0, 4), "the end of options");
            return options;
        }
        options.insert(code, bytes[4..4 + length].to_vec());
        bytes = &bytes[4 + length.next_multiple_of(4)..];
    }
    panic!("options without an end");
}

fn text(options: &Options, code: u16) -> String {
    let bytes = options.get(&code).cloned().unwrap_or_default();
    String::from_utf8(bytes).expect("UTF-8")
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}
