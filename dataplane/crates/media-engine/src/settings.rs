use std::net::{IpAddr, SocketAddr};

use media_types::{Direction, DtlsSpec, IceSpec, Latching, LineSpec, MediaKind, Refusal};

use crate::Limits;
use crate::format::Format;
use crate::security::NewKeys;

/// A line's specification, checked and in the form that the engine keeps.
#[derive(Debug)]
pub(crate) struct LineSettings {
    pub(crate) kind: MediaKind,
    pub(crate) enabled: bool,
    pub(crate) direction: Direction,
    pub(crate) latching: Latching,
    pub(crate) relearn: bool,
    pub(crate) rtcp_mux: bool,
    pub(crate) remote: Remote,
    /// Explicit RTCP address (RFC 3605).
    pub(crate) remote_rtcp: Option<SocketAddr>,
    pub(crate) formats: Box<[Format]>,
    /// Those that were signalled; `None` for RTP in clear, and with a handshake.
    pub(crate) keys: Option<Box<NewKeys>>,
    pub(crate) dtls: Option<DtlsSpec>,
    pub(crate) ice: Option<IceSpec>,
}

/// Where a party wants RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    /// It has not said so.
    Unknown,
    /// Here.
    Address(SocketAddr),
    /// `0.0.0.0` or `::`: nothing shall be sent, neither RTP nor RTCP (RFC 3264 §8.4, the hold of RFC 2543). What was
    /// signalled and learned before stays, for the party may go on sending.
    Held,
}

impl LineSettings {
    /// Checks `spec` for a leg whose local address is `local`.
    pub(crate) fn new(spec: &LineSpec, local: IpAddr, limits: &Limits) -> Result<Self, Refusal> {
        if spec.codecs.len() > limits.codecs_max {
            return Err(Refusal::Invalid("a line has more codecs than the node's limit"));
        }
        let formats: Option<Box<[Format]>> = spec.codecs.iter().map(Format::new).collect();
        let Some(formats) = formats else {
            return Err(Refusal::Invalid(
                "a codec has a payload type above 127 or a clock rate of zero",
            ));
        };
        let (dtls, ice) = match spec.enabled {
            true => (spec.dtls.as_deref().cloned(), spec.ice.as_deref().cloned()),
            false => (None, None),
        };
        if dtls.is_some() && spec.srtp.is_some() {
            return Err(Refusal::Invalid("a line has SRTP keys and a handshake"));
        }
        if (dtls.is_some() || ice.is_some()) && !spec.rtcp_mux {
            return Err(Refusal::Invalid(
                "DTLS and ICE need RTP and RTCP on one port (rtcp_mux)",
            ));
        }
        // A disabled line keeps its place only; its addresses mean nothing (RFC 3264 §6).
        let (remote, remote_rtcp) = match spec.enabled {
            true => (remote(spec.remote, local)?, remote(spec.remote_rtcp, local)?),
            false => (Remote::Unknown, Remote::Unknown),
        };
        let remote_rtcp = match remote_rtcp {
            Remote::Address(address) => Some(address),
            Remote::Unknown | Remote::Held => None,
        };
        let keys = match &spec.srtp {
            Some(srtp) if spec.enabled => Some(NewKeys::new(srtp, limits.srtp_ssrcs_per_line_max)?),
            _ => None,
        };
        Ok(Self {
            kind: spec.kind,
            enabled: spec.enabled,
            direction: spec.direction,
            latching: spec.latching,
            relearn: spec.relearn,
            rtcp_mux: spec.rtcp_mux,
            remote,
            remote_rtcp,
            formats,
            keys,
            dtls,
            ice,
        })
    }
}

fn remote(address: Option<SocketAddr>, local: IpAddr) -> Result<Remote, Refusal> {
    let Some(address) = address else {
        return Ok(Remote::Unknown);
    };
    if address.is_ipv6() != local.is_ipv6() {
        return Err(Refusal::Invalid(
            "a remote address is of another family than the leg's local address",
        ));
    }
    if address.ip().is_unspecified() {
        return Ok(Remote::Held);
    }
    if address.port() == 0 {
        return Err(Refusal::Invalid("a remote address has port 0"));
    }
    let broadcast = matches!(address.ip(), IpAddr::V4(ip) if ip.is_broadcast());
    if address.ip().is_multicast() || broadcast {
        return Err(Refusal::Invalid("a remote address is multicast or broadcast"));
    }
    if matches!(address.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()) {
        return Err(Refusal::Invalid(
            "a remote address is an IPv4-mapped IPv6 address",
        ));
    }
    // A party must not have the node send to what listens on the node itself.
    if address.ip().is_loopback() && !local.is_loopback() {
        return Err(Refusal::Invalid("a remote address is loopback"));
    }
    Ok(Remote::Address(address))
}

#[cfg(test)]
mod tests {
    use media_types::Codec;

    use super::*;

    fn spec(remote: Option<&str>) -> LineSpec {
        LineSpec {
            kind: MediaKind::Audio,
            enabled: true,
            direction: Direction::SendRecv,
            remote: remote.map(|text| text.parse().unwrap()),
            remote_rtcp: None,
            rtcp_mux: false,
            latching: Latching::SameAddress,
            relearn: false,
            srtp: None,
            dtls: None,
            ice: None,
            codecs: Vec::new(),
        }
    }

    fn codec(payload_type: u8, clock_rate_hz: u32) -> Codec {
        Codec {
            payload_type,
            name: "x".into(),
            clock_rate_hz,
            channels: 1,
            ptime_ms: 20,
        }
    }

    #[test]
    fn remote_addresses_that_nobody_can_have_are_refused() {
        const V4: &str = "198.51.100.1";
        const V6: &str = "2001:db8::9";
        let limits = Limits::default();
        for (remote, local, ok) in [
            ("192.0.2.1:4000", V4, true),
            ("127.0.0.1:4000", V4, false),
            ("127.9.8.7:4000", V4, false),
            ("127.0.0.1:4000", "127.0.0.2", true),
            ("192.0.2.1:4000", "127.0.0.2", true),
            ("0.0.0.0:4000", V4, true),
            ("0.0.0.0:0", V4, true),
            ("192.0.2.1:0", V4, false),
            ("224.0.0.1:4000", V4, false),
            ("255.255.255.255:4000", V4, false),
            ("192.0.2.1:4000", V6, false),
            ("[2001:db8::1]:4000", V4, false),
            ("[2001:db8::1]:4000", V6, true),
            ("[::]:4000", V6, true),
            ("[::1]:4000", V6, false),
            ("[::1]:4000", "::1", true),
            ("[ff02::1]:4000", V6, false),
            ("[::ffff:192.0.2.1]:4000", V6, false),
            ("[::ffff:127.0.0.1]:4000", V6, false),
        ] {
            let local: IpAddr = local.parse().unwrap();
            let settings = LineSettings::new(&spec(Some(remote)), local, &limits);
            assert_eq!(settings.is_ok(), ok, "{remote} for {local}");
            let mut rtcp = spec(Some(if local.is_ipv6() {
                "[2001:db8::1]:1"
            } else {
                "192.0.2.1:1"
            }));
            rtcp.remote_rtcp = Some(remote.parse().unwrap());
            assert_eq!(
                LineSettings::new(&rtcp, local, &limits).is_ok(),
                ok,
                "RTCP {remote} for {local}"
            );
        }
        let held = LineSettings::new(&spec(Some("0.0.0.0:9")), V4.parse().unwrap(), &limits).unwrap();
        assert_eq!(held.remote, Remote::Held);
    }

    #[test]
    fn a_disabled_line_may_have_any_address() {
        let mut spec = spec(Some("192.0.2.1:0"));
        spec.enabled = false;
        assert_eq!(
            LineSettings::new(&spec, [127, 0, 0, 1].into(), &Limits::default())
                .unwrap()
                .remote,
            Remote::Unknown
        );
    }

    #[test]
    fn codecs_out_of_range_are_refused() {
        let limits = Limits {
            codecs_max: 2,
            ..Limits::default()
        };
        for (codecs, ok) in [
            (vec![codec(127, 8_000), codec(0, 1)], true),
            (vec![codec(128, 8_000)], false),
            (vec![codec(0, 0)], false),
            (vec![codec(0, 8_000); 3], false),
        ] {
            let spec = LineSpec { codecs, ..spec(None) };
            assert_eq!(
                LineSettings::new(&spec, [127, 0, 0, 1].into(), &limits).is_ok(),
                ok,
                "{:?}",
                spec.codecs
            );
        }
    }
}
