use std::net::{IpAddr, SocketAddr};

use media_types::{Codec, Direction, Latching, LineSpec, MediaKind, Path};

use super::call::CODECS_PER_LINE_MAX;
use super::dtls::{dtls_from_wire, dtls_to_wire};
use super::field::{FieldError, Problem, counted, ranged, token};
use super::ice::{ice_from_wire, ice_to_wire};
use super::srtp::{srtp_from_wire, srtp_to_wire};
use crate::media_v1 as wire;

/// The longest encoding name, in bytes. Registered ones have at most about twenty.
const CODEC_NAME_MAX: usize = 32;
/// The highest RTP clock rate in Hz; registered ones end at 192,000.
const CLOCK_RATE_HZ_MAX: u64 = 1_000_000;
/// RTP payload types have 7 bits (RFC 3550 §5.1).
pub(super) const PAYLOAD_TYPE_MAX: u64 = 127;

pub(super) fn endpoint_to_wire(address: SocketAddr) -> wire::Endpoint {
    wire::Endpoint {
        ip: address.ip().to_canonical().to_string(),
        port: u32::from(address.port()),
    }
}

/// `port_min` is 1 where a packet shall go, 0 where the address may belong to a disabled line.
pub(super) fn endpoint_from_wire(
    name: &str,
    endpoint: wire::Endpoint,
    port_min: u64,
) -> Result<SocketAddr, FieldError> {
    let ip: IpAddr = endpoint
        .ip
        .parse()
        .map_err(|_| FieldError::new("ip", Problem::NotIp).within(name))?;
    let port = ranged("port", endpoint.port, port_min, u64::from(u16::MAX)).map_err(|e| e.within(name))?;
    Ok(SocketAddr::new(ip.to_canonical(), port))
}

pub(super) fn line_to_wire(line: &LineSpec) -> wire::MediaLine {
    wire::MediaLine {
        kind: kind_to_wire(line.kind).into(),
        disabled: !line.enabled,
        direction: direction_to_wire(line.direction).into(),
        remote: line.remote.map(endpoint_to_wire),
        remote_rtcp: line.remote_rtcp.map(endpoint_to_wire),
        rtcp_mux: line.rtcp_mux,
        latching: latching_to_wire(line.latching).into(),
        relearn: line.relearn,
        codecs: line.codecs.iter().map(codec_to_wire).collect(),
        srtp: line.srtp.as_ref().map(srtp_to_wire),
        dtls: line.dtls.as_deref().map(dtls_to_wire),
        ice: line.ice.as_deref().map(ice_to_wire),
    }
}

pub(super) fn line_from_wire(line: wire::MediaLine) -> Result<LineSpec, FieldError> {
    let port_min = u64::from(!line.disabled);
    counted("codecs", line.codecs.len(), 0, CODECS_PER_LINE_MAX)?;
    Ok(LineSpec {
        kind: kind_from_wire(line.kind)?,
        enabled: !line.disabled,
        direction: direction_from_wire(line.direction)?,
        remote: line
            .remote
            .map(|e| endpoint_from_wire("remote", e, port_min))
            .transpose()?,
        remote_rtcp: line
            .remote_rtcp
            .map(|e| endpoint_from_wire("remote_rtcp", e, port_min))
            .transpose()?,
        rtcp_mux: line.rtcp_mux,
        latching: latching_from_wire(line.latching)?,
        relearn: line.relearn,
        codecs: line
            .codecs
            .into_iter()
            .enumerate()
            .map(|(index, codec)| codec_from_wire(codec).map_err(|e| e.within_item("codecs", index)))
            .collect::<Result<_, _>>()?,
        srtp: line
            .srtp
            .map(|srtp| srtp_from_wire(srtp).map_err(|e| e.within("srtp")))
            .transpose()?,
        dtls: line
            .dtls
            .map(|dtls| dtls_from_wire(dtls).map(Box::new).map_err(|e| e.within("dtls")))
            .transpose()?,
        ice: line
            .ice
            .map(|ice| ice_from_wire(ice).map(Box::new).map_err(|e| e.within("ice")))
            .transpose()?,
    })
}

fn codec_to_wire(codec: &Codec) -> wire::Codec {
    wire::Codec {
        payload_type: u32::from(codec.payload_type),
        name: codec.name.clone(),
        clock_rate_hz: codec.clock_rate_hz,
        channels: u32::from(codec.channels),
        ptime_ms: u32::from(codec.ptime_ms),
    }
}

/// A codec without `channels` has one, as in `a=rtpmap` (RFC 8866 §6.6).
fn codec_from_wire(codec: wire::Codec) -> Result<Codec, FieldError> {
    Ok(Codec {
        payload_type: ranged("payload_type", codec.payload_type, 0, PAYLOAD_TYPE_MAX)?,
        name: token("name", codec.name, CODEC_NAME_MAX)?,
        clock_rate_hz: ranged("clock_rate_hz", codec.clock_rate_hz, 1, CLOCK_RATE_HZ_MAX)?,
        channels: ranged("channels", codec.channels.max(1), 1, u64::from(u8::MAX))?,
        ptime_ms: ranged("ptime_ms", codec.ptime_ms, 0, u64::from(u16::MAX))?,
    })
}

fn kind_to_wire(kind: MediaKind) -> wire::MediaKind {
    match kind {
        MediaKind::Audio => wire::MediaKind::Audio,
        MediaKind::Video => wire::MediaKind::Video,
        MediaKind::Other => wire::MediaKind::Other,
    }
}

fn kind_from_wire(kind: i32) -> Result<MediaKind, FieldError> {
    match wire::MediaKind::try_from(kind) {
        Ok(wire::MediaKind::Audio) => Ok(MediaKind::Audio),
        Ok(wire::MediaKind::Video) => Ok(MediaKind::Video),
        Ok(wire::MediaKind::Other) => Ok(MediaKind::Other),
        Ok(wire::MediaKind::Unspecified) | Err(_) => Err(FieldError::new("kind", Problem::Enumeration(kind))),
    }
}

fn direction_to_wire(direction: Direction) -> wire::Direction {
    match direction {
        Direction::SendRecv => wire::Direction::Sendrecv,
        Direction::SendOnly => wire::Direction::Sendonly,
        Direction::RecvOnly => wire::Direction::Recvonly,
        Direction::Inactive => wire::Direction::Inactive,
    }
}

/// Unspecified is `sendrecv`, as in a session description (RFC 8866 §6.7).
fn direction_from_wire(direction: i32) -> Result<Direction, FieldError> {
    match wire::Direction::try_from(direction) {
        Ok(wire::Direction::Unspecified | wire::Direction::Sendrecv) => Ok(Direction::SendRecv),
        Ok(wire::Direction::Sendonly) => Ok(Direction::SendOnly),
        Ok(wire::Direction::Recvonly) => Ok(Direction::RecvOnly),
        Ok(wire::Direction::Inactive) => Ok(Direction::Inactive),
        Err(_) => Err(FieldError::new("direction", Problem::Enumeration(direction))),
    }
}

fn latching_to_wire(latching: Latching) -> wire::Latching {
    match latching {
        Latching::Off => wire::Latching::Off,
        Latching::SameAddress => wire::Latching::SameAddress,
        Latching::AnyAddress => wire::Latching::AnyAddress,
    }
}

fn latching_from_wire(latching: i32) -> Result<Latching, FieldError> {
    match wire::Latching::try_from(latching) {
        Ok(wire::Latching::Unspecified | wire::Latching::SameAddress) => Ok(Latching::SameAddress),
        Ok(wire::Latching::Off) => Ok(Latching::Off),
        Ok(wire::Latching::AnyAddress) => Ok(Latching::AnyAddress),
        Err(_) => Err(FieldError::new("latching", Problem::Enumeration(latching))),
    }
}

pub(super) fn path_to_wire(path: Path) -> wire::Path {
    match path {
        Path::Uring => wire::Path::Uring,
        Path::Socket => wire::Path::Socket,
        Path::Simulated => wire::Path::Simulated,
        Path::Kernel => wire::Path::Kernel,
        Path::Xsk => wire::Path::Xsk,
    }
}

pub(super) fn path_from_wire(path: i32) -> Result<Path, FieldError> {
    match wire::Path::try_from(path) {
        Ok(wire::Path::Uring) => Ok(Path::Uring),
        Ok(wire::Path::Socket) => Ok(Path::Socket),
        Ok(wire::Path::Simulated) => Ok(Path::Simulated),
        Ok(wire::Path::Kernel) => Ok(Path::Kernel),
        Ok(wire::Path::Xsk) => Ok(Path::Xsk),
        Ok(wire::Path::Unspecified) | Err(_) => Err(FieldError::new("path", Problem::Enumeration(path))),
    }
}
