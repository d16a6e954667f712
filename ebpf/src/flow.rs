use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU32, NonZeroU64};
use std::ops::RangeInclusive;

use crate::{ReasonSet, checksum, layout};

/// The largest payload of a datagram that the relay looks into.
pub const PAYLOAD_MAX: u16 = 9_000;

const KIND_RTP: u8 = 1;
const KIND_RTCP: u8 = 2;
const KIND_MUX: u8 = 3;
const INGRESS_V6: u32 = 1;
const EGRESS_V6: u32 = 2;
const FIB: u32 = 4;
const NEIGHBOUR: u32 = 8;
const TAGS_AS_RECEIVED: u32 = 16;
const COPY_RTCP: u32 = 32;
const LIMITS: u32 = 64;
pub(crate) const TAP: u32 = 128;
const MORE_TYPES: u32 = 256;
const TYPE_NONE: u8 = 0xff;
const DSCP_KEEP: u8 = 0xff;
const DSCP_MAX: u8 = 63;

/// Where packets come to: a local address and port. IPv4 and its form mapped into IPv6 are the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey(SocketAddr);

impl FlowKey {
    /// The key of `local`.
    pub fn new(local: SocketAddr) -> Self {
        Self(SocketAddr::new(local.ip().to_canonical(), local.port()))
    }

    /// The address, IPv4 as such.
    pub const fn local(self) -> SocketAddr {
        self.0
    }

    pub(crate) fn decode(key: &layout::FlowKey) -> Self {
        Self(address(key.address, key.port))
    }
}

/// What a port carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// RTP of these payload types, each with its clock rate in Hz; 0 leaves a type out of the jitter, for formats that
    /// repeat a timestamp on purpose (RFC 4733).
    Rtp(Vec<(u8, u32)>),
    /// RTCP.
    Rtcp,
    /// Both (RFC 5761).
    Mux(Vec<(u8, u32)>),
}

/// The hop limit (TTL) that packets leave with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopLimit {
    /// This one.
    Set(NonZeroU8),
    /// One less than they came with; at 1 they are refused.
    Decrement,
}

/// A next hop that user space has found and keeps fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The interface that packets leave by.
    pub ifindex: NonZeroU32,
    /// Its link-layer address.
    pub own: [u8; 6],
    /// The next hop's.
    pub address: [u8; 6],
}

/// How the next hop is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// By the kernel's tables, whose answer is good for 200 ms. They answer only while forwarding is on at the ingress
    /// interface.
    Routing,
    /// By the kernel's tables, and by this when they have no answer.
    RoutingOr(Neighbour),
    /// Always this.
    Neighbour(Neighbour),
}

/// A VLAN tag (IEEE 802.1Q).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// 0x8100 or 0x88a8.
    pub protocol: u16,
    /// Priority, drop eligibility, VLAN id.
    pub control: u16,
}

/// The VLAN tags that packets leave with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// Those that they came with, none to two.
    AsReceived,
    /// These, none to two, outermost first.
    Set(Vec<Tag>),
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Tokens a second, at most 1,000,000,000.
    pub per_second: NonZeroU64,
    /// Tokens that it holds when full.
    pub burst: NonZeroU64,
}

/// What becomes of the packets that come to one local address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowSpec {
    /// Where they come to.
    pub local: SocketAddr,
    /// Where they must come from.
    pub source: SocketAddr,
    /// Where they leave from: the local address and port of the other leg.
    pub egress_local: SocketAddr,
    /// Where they go.
    pub destination: SocketAddr,
    /// What they are.
    pub media: Media,
    /// Bytes of RTP or RTCP that a datagram may have, within 0 to [`PAYLOAD_MAX`].
    pub size: RangeInclusive<u16>,
    /// Differentiated services code point, 0 to 63; `None` keeps what they came with. ECN is always kept.
    pub dscp: Option<u8>,
    /// Hop limit.
    pub hop_limit: HopLimit,
    /// Next hop.
    pub next_hop: NextHop,
    /// VLAN tags.
    pub tags: Tags,
    /// Packets a second.
    pub packets: Option<Bucket>,
    /// Bytes of RTP and RTCP a second.
    pub bytes: Option<Bucket>,
    /// The reasons whose packets go up; all others are dropped.
    pub pass_up: ReasonSet,
    /// Whether user space gets a copy of the RTCP that is forwarded.
    pub copy_rtcp: bool,
}

/// Why a flow can't be as it was described. The caller's mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Source and local address, or destination and egress address, are of different IP versions.
    #[error("{0} are of different IP versions")]
    Family(&'static str),
    /// A port or address is zero.
    #[error("{0} has no address or port")]
    Unspecified(&'static str),
    /// Above 127.
    #[error("payload type {0} is above 127")]
    PayloadType(u8),
    /// RTP without payload types would be refused whole.
    #[error("no payload types")]
    NoPayloadTypes,
    /// More than seven.
    #[error("more than {} clock rates", layout::CLOCKS)]
    Clocks,
    /// Above 63.
    #[error("DSCP {0} is above 63")]
    Dscp(u8),
    /// Empty, or beyond [`PAYLOAD_MAX`].
    #[error("sizes {min} to {max} are not within 0 to {PAYLOAD_MAX}")]
    Size {
        /// Smallest.
        min: u16,
        /// Largest.
        max: u16,
    },
    /// More than two.
    #[error("{0} VLAN tags; at most two")]
    Tags(usize),
    /// More tokens a second than 1,000,000,000, or a burst of more than an hour.
    #[error("the {0} bucket is out of range")]
    Bucket(&'static str),
}

impl FlowSpec {
    /// A flow with the widest limits, a hop limit of 64, the next hop from the kernel's tables, tags as received, DSCP
    /// kept, [`ReasonSet::USER_SPACE_CAN`] passed up and RTCP copied.
    pub fn new(
        local: SocketAddr,
        source: SocketAddr,
        egress_local: SocketAddr,
        destination: SocketAddr,
        media: Media,
    ) -> Self {
        Self {
            local,
            source,
            egress_local,
            destination,
            media,
            size: 0..=PAYLOAD_MAX,
            dscp: None,
            hop_limit: HopLimit::Set(const { NonZeroU8::new(64).unwrap() }),
            next_hop: NextHop::Routing,
            tags: Tags::AsReceived,
            packets: None,
            bytes: None,
            pass_up: ReasonSet::USER_SPACE_CAN,
            copy_rtcp: true,
        }
    }

    /// Its key.
    pub fn key(&self) -> FlowKey {
        FlowKey::new(self.local)
    }

    /// The value for the map `flows`, counted at `state`.
    pub(crate) fn encode(&self, state: u32) -> Result<layout::Flow, SpecError> {
        let [local, source, from, to] =
            [self.local, self.source, self.egress_local, self.destination].map(canonical);
        for (name, address) in [
            ("local", local),
            ("source", source),
            ("egress_local", from),
            ("destination", to),
        ] {
            if address.port() == 0 || address.ip().is_unspecified() {
                return Err(SpecError::Unspecified(name));
            }
        }
        if local.is_ipv6() != source.is_ipv6() {
            return Err(SpecError::Family("local and source"));
        }
        if from.is_ipv6() != to.is_ipv6() {
            return Err(SpecError::Family("egress_local and destination"));
        }
        let (min, max) = (*self.size.start(), *self.size.end());
        if min > max || max > PAYLOAD_MAX {
            return Err(SpecError::Size { min, max });
        }
        let dscp = match self.dscp {
            None => DSCP_KEEP,
            Some(dscp) if dscp <= DSCP_MAX => dscp,
            Some(dscp) => return Err(SpecError::Dscp(dscp)),
        };
        let mut flow = layout::Flow {
            source: mapped(source.ip()),
            to: mapped(to.ip()),
            from: mapped(from.ip()),
            source_port: source.port().to_be(),
            to_port: to.port().to_be(),
            from_port: from.port().to_be(),
            checksum_delta: checksum::delta([source, local], [from, to]),
            state,
            pass_up: self.pass_up.bits(),
            size_min: min,
            size_max: max,
            dscp,
            hop_limit: match self.hop_limit {
                HopLimit::Set(limit) => limit.get(),
                HopLimit::Decrement => 0,
            },
            ..crate::plain::zeroed()
        };
        flow.flags |= if local.is_ipv6() { INGRESS_V6 } else { 0 };
        flow.flags |= if to.is_ipv6() { EGRESS_V6 } else { 0 };
        flow.flags |= if self.copy_rtcp { COPY_RTCP } else { 0 };
        let limited = self.packets.is_some() || self.bytes.is_some();
        flow.flags |= if limited { LIMITS } else { 0 };
        self.encode_media(&mut flow)?;
        self.encode_next_hop(&mut flow)?;
        if let Some(bucket) = self.packets {
            let name = "packet";
            flow.packet_cost_ns = cost(bucket, 1, name)?;
            flow.packet_burst_ns = burst_ns(bucket, name)?;
        }
        if let Some(bucket) = self.bytes {
            let name = "byte";
            flow.byte_cost_x256 = cost(bucket, 256, name)?;
            flow.byte_burst_ns = burst_ns(bucket, name)?;
        }
        Ok(flow)
    }

    fn encode_media(&self, flow: &mut layout::Flow) -> Result<(), SpecError> {
        let (kind, types) = match &self.media {
            Media::Rtp(types) => (KIND_RTP, types),
            Media::Mux(types) => (KIND_MUX, types),
            Media::Rtcp => {
                flow.kind = KIND_RTCP;
                return Ok(());
            }
        };
        flow.kind = kind;
        flow.types = [TYPE_NONE; layout::TYPES];
        if types.is_empty() {
            return Err(SpecError::NoPayloadTypes);
        }
        let mut clocks: Vec<u32> = Vec::new();
        for &(payload_type, clock_hz) in types {
            let place = match clocks.iter().position(|&clock| clock == clock_hz) {
                Some(place) => place,
                None if clocks.len() == layout::CLOCKS => return Err(SpecError::Clocks),
                None => {
                    clocks.push(clock_hz);
                    clocks.len() - 1
                }
            };
            let clock = place as u8 + 1;
            let wrong = SpecError::PayloadType(payload_type);
            let pair = flow
                .clock_of
                .get_mut(usize::from(payload_type) / 2)
                .ok_or(wrong)?;
            let shift = payload_type % 2 * 4;
            *pair = *pair & !(15 << shift) | clock << shift;
            // The later of two entries for one type holds, here as there.
            let known = flow.types.iter().position(|&known| known == payload_type);
            match known.or_else(|| flow.types.iter().position(|&known| known == TYPE_NONE)) {
                Some(place) => {
                    flow.types[place] = payload_type;
                    let shift = 4 * place;
                    flow.clock_of_types = flow.clock_of_types & !(15 << shift) | u32::from(clock) << shift;
                }
                None => flow.flags |= MORE_TYPES,
            }
        }
        flow.clocks_hz[..clocks.len()].copy_from_slice(&clocks);
        Ok(())
    }

    fn encode_next_hop(&self, flow: &mut layout::Flow) -> Result<(), SpecError> {
        let neighbour = match self.next_hop {
            NextHop::Routing => {
                flow.flags |= FIB;
                None
            }
            NextHop::RoutingOr(neighbour) => {
                flow.flags |= FIB;
                Some(neighbour)
            }
            NextHop::Neighbour(neighbour) => Some(neighbour),
        };
        if let Some(neighbour) = neighbour {
            flow.flags |= NEIGHBOUR;
            flow.ifindex = neighbour.ifindex.get();
            flow.link[..6].copy_from_slice(&neighbour.address);
            flow.link[6..].copy_from_slice(&neighbour.own);
        }
        match &self.tags {
            Tags::AsReceived => flow.flags |= TAGS_AS_RECEIVED,
            Tags::Set(tags) if tags.len() > flow.tags.len() => return Err(SpecError::Tags(tags.len())),
            Tags::Set(tags) => {
                for (place, tag) in flow.tags.iter_mut().zip(tags) {
                    *place = layout::Tag {
                        protocol: tag.protocol.to_be(),
                        control: tag.control.to_be(),
                    };
                }
                flow.tag_count = tags.len() as u8;
            }
        }
        Ok(())
    }
}

impl layout::Flow {
    /// Source, egress address and destination.
    pub(crate) fn addresses(&self) -> (SocketAddr, SocketAddr, SocketAddr) {
        (
            address(self.source, self.source_port),
            address(self.from, self.from_port),
            address(self.to, self.to_port),
        )
    }

    /// What the port carries; payload types in rising order.
    pub(crate) fn media(&self) -> Media {
        let types = (0..128u8).filter_map(|payload_type| {
            let pair = self.clock_of[usize::from(payload_type / 2)];
            let place = usize::from(pair >> (payload_type % 2 * 4) & 15);
            let clock = self.clocks_hz.get(place.checked_sub(1)?)?;
            Some((payload_type, *clock))
        });
        let types = types.collect();
        match self.kind {
            KIND_RTP => Media::Rtp(types),
            KIND_MUX => Media::Mux(types),
            _ => Media::Rtcp,
        }
    }
}

/// Time that a token costs, in 1/`scale` ns, rounded up so that no more than the rate passes.
fn cost(bucket: Bucket, scale: u64, name: &'static str) -> Result<u64, SpecError> {
    if bucket.per_second.get() > 1_000_000_000 {
        return Err(SpecError::Bucket(name));
    }
    Ok((1_000_000_000 * scale).div_ceil(bucket.per_second.get()))
}

/// Time in which a full bucket's tokens come, at most an hour.
fn burst_ns(bucket: Bucket, name: &'static str) -> Result<u64, SpecError> {
    let ns = (u128::from(bucket.burst.get()) * 1_000_000_000).div_ceil(u128::from(bucket.per_second.get()));
    u64::try_from(ns)
        .ok()
        .filter(|ns| *ns <= 3_600_000_000_000)
        .ok_or(SpecError::Bucket(name))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The 16 bytes of an address, IPv4 mapped.
pub(crate) fn mapped(ip: IpAddr) -> [u8; 16] {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The address whose 16 bytes and port in network order these are.
pub(crate) fn address(octets: [u8; 16], port: u16) -> SocketAddr {
    SocketAddr::new(
        IpAddr::V6(Ipv6Addr::from(octets)).to_canonical(),
        u16::from_be(port),
    )
}
