use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use media_types::{Codec, Direction, Latching, LineSpec, MediaKind};

use crate::payload::{parse_rtpmap, static_codec};
use crate::sdes::{Crypto, CryptoError, Profile};

/// One media description with what it inherits from the session level (RFC 8866 §5.14).
#[derive(Clone, Copy)]
pub struct MediaLine<'a> {
    session: &'a sdp_types::Session,
    media: &'a sdp_types::Media,
}

impl<'a> MediaLine<'a> {
    pub(crate) const fn new(session: &'a sdp_types::Session, media: &'a sdp_types::Media) -> Self {
        Self { session, media }
    }

    /// The `<media>` field as written.
    pub fn media(&self) -> &'a str {
        &self.media.media
    }

    /// The `<proto>` field as written.
    pub fn protocol(&self) -> &'a str {
        &self.media.proto
    }

    /// What the line carries.
    pub fn kind(&self) -> MediaKind {
        match self.media() {
            "audio" => MediaKind::Audio,
            "video" => MediaKind::Video,
            _ => MediaKind::Other,
        }
    }

    /// The port, 0 for a line that is rejected or disabled (RFC 3264 §6 and §8.2).
    pub fn port(&self) -> u16 {
        self.media.port
    }

    /// Whether we can relay the line: enabled, RTP over UDP in clear or with SRTP, and a unicast IP address of the family
    /// that the session's first such line has, since a leg has one family. All else is refused by port 0. What becomes of
    /// its security, [`sdes`](crate::sdes) tells.
    pub fn is_usable(&self) -> bool {
        let first = || {
            self.session
                .medias
                .iter()
                .map(|media| Self::new(self.session, media))
                .find(Self::is_relayable)
        };
        let is_ipv6 = |line: Self| line.address().is_some_and(|ip| ip.is_ipv6());
        self.is_relayable() && first().is_none_or(|first| is_ipv6(first) == is_ipv6(*self))
    }

    fn is_relayable(&self) -> bool {
        let is_rtp = Profile::named(self.protocol()).is_some();
        let one_port = self.media.num_ports.is_none_or(|ports| ports == 1);
        is_rtp && one_port && self.port() != 0 && self.address().is_some_and(|ip| !is_group(ip))
    }

    /// The connection address: the line's own, or else the session's (RFC 8866 §5.7). `None` when there is none, or
    /// when it is not a literal IP address: names are not looked up.
    pub fn address(&self) -> Option<IpAddr> {
        let connection = self
            .media
            .connections
            .first()
            .or(self.session.connection.as_ref())?;
        if connection.nettype != sdp_types::NetType::In {
            return None;
        }
        connection.connection_address.split('/').next()?.parse().ok()
    }

    /// Whether the party holds by an unspecified address, the way of RFC 2543 (RFC 3264 §8.4). It wants no RTP.
    pub fn is_held_by_address(&self) -> bool {
        let is_unspecified = self.address().is_some_and(|ip| ip.is_unspecified());
        // With ICE it is the address of a party that has not looked for one yet (RFC 8840 §4.1).
        let looks_for_one = self.has_handshake() && !self.inherited_values("ice-ufrag").is_empty();
        self.port() != 0 && is_unspecified && !looks_for_one
    }

    /// The direction as the party means it: `a=sendrecv` and its siblings on the line, else on the session, else
    /// send-and-receive (RFC 3264 §5.1); and an unspecified address takes away the receiving.
    pub fn direction(&self) -> Direction {
        let written = direction_of(&self.media.attributes)
            .or_else(|| direction_of(&self.session.attributes))
            .unwrap_or_default();
        if self.is_held_by_address() {
            without_receiving(written)
        } else {
            written
        }
    }

    /// Where the party wants RTP; `None` for a line that is disabled or held by its address.
    pub fn remote(&self) -> Option<SocketAddr> {
        let ip = self.address().filter(|ip| !ip.is_unspecified())?;
        (self.port() != 0).then_some(SocketAddr::new(ip, self.port()))
    }

    fn held_at(&self) -> Option<SocketAddr> {
        let ip = self.address().filter(|_| self.is_held_by_address())?;
        Some(SocketAddr::new(ip, self.port()))
    }

    /// Where the party wants RTCP by `a=rtcp` (RFC 3605), unless that is the default: the port after RTP's.
    pub fn remote_rtcp(&self) -> Option<SocketAddr> {
        let rtp = self.remote()?;
        let value = self.attribute("rtcp")?;
        let mut fields = value.split_ascii_whitespace();
        let port: u16 = fields.next()?.parse().ok().filter(|&port| port != 0)?;
        let ip = match (fields.next(), fields.next(), fields.next()) {
            (Some(net), Some(_family), Some(ip)) if net.eq_ignore_ascii_case("IN") => ip.parse().ok()?,
            (None, ..) => rtp.ip(),
            _ => return None,
        };
        let rtcp = SocketAddr::new(ip, port);
        let is_default = rtp.port().checked_add(1) == Some(port) && ip == rtp.ip();
        let usable = !is_default && !ip.is_unspecified() && !is_group(ip) && ip.is_ipv4() == rtp.is_ipv4();
        usable.then_some(rtcp)
    }

    /// Whether the party offers or accepts RTP and RTCP on one port (RFC 5761 §5.1.1).
    pub fn has_rtcp_mux(&self) -> bool {
        self.media
            .attributes
            .iter()
            .any(|a| a.attribute.eq_ignore_ascii_case("rtcp-mux"))
    }

    /// Media time in a packet by `a=ptime`, in milliseconds (RFC 8866 §6.4); 0 when not said.
    pub fn ptime_ms(&self) -> u16 {
        let whole = |value: &str| value.trim().split('.').next().and_then(|ms| ms.parse().ok());
        self.attribute("ptime").and_then(whole).unwrap_or(0)
    }

    /// The payload formats in the order of preference. A dynamic type without `a=rtpmap` is left out: nobody can
    /// tell its clock.
    pub fn codecs(&self) -> Vec<Codec> {
        let ptime_ms = self.ptime_ms();
        let mapped = |payload_type: u8| {
            let maps = self
                .media
                .attributes
                .iter()
                .filter(|a| a.attribute.eq_ignore_ascii_case("rtpmap"));
            maps.filter_map(|a| parse_rtpmap(a.value.as_deref()?))
                .find(|codec| codec.payload_type == payload_type)
        };
        let formats = self.media.fmt.split_ascii_whitespace();
        formats
            .filter_map(|format| format.parse().ok().filter(|&pt: &u8| pt < 128))
            .filter_map(|pt| mapped(pt).or_else(|| static_codec(pt)))
            .map(|codec| Codec { ptime_ms, ..codec })
            .collect()
    }

    /// The line as the media plane wants it, as far as this description alone can tell. One that is held by its address
    /// has that unspecified address for its remote: the party has said that it wants nothing, and may go on sending.
    pub fn spec(&self) -> LineSpec {
        let enabled = self.is_usable();
        LineSpec {
            kind: self.kind(),
            enabled,
            direction: self.direction(),
            remote: self.remote().or_else(|| self.held_at()).filter(|_| enabled),
            remote_rtcp: self.remote_rtcp().filter(|_| enabled && !self.has_rtcp_mux()),
            rtcp_mux: enabled && self.has_rtcp_mux(),
            latching: Latching::default(),
            relearn: false,
            srtp: None,
            dtls: None,
            ice: None,
            codecs: if enabled { self.codecs() } else { Vec::new() },
        }
    }

    /// The keys of the line in the order of preference (RFC 4568 §5.1.1), and why some are none. Keys on the session's
    /// level would be nobody's and are not read.
    pub fn crypto(&self) -> Vec<Result<Crypto, CryptoError>> {
        let attributes = self
            .media
            .attributes
            .iter()
            .filter(|a| a.attribute.eq_ignore_ascii_case("crypto"));
        let mut tags = BTreeSet::new();
        attributes
            .map(|a| Crypto::parse(a.value.as_deref().unwrap_or_default()))
            .map(|parsed| {
                parsed.and_then(|crypto| {
                    tags.insert(crypto.tag())
                        .then_some(crypto)
                        .ok_or(CryptoError::TagTaken)
                })
            })
            .collect()
    }

    /// The values of an attribute, in their order.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        values_of(&self.media.attributes, name)
    }

    /// The same, the session's where the line has none.
    pub(crate) fn inherited_values(&self, name: &str) -> Vec<&'a str> {
        let own: Vec<&str> = self.values(name).collect();
        match own.is_empty() {
            true => values_of(&self.session.attributes, name).collect(),
            false => own,
        }
    }

    /// Whether its session's agent answers checks alone (RFC 8839 §5.3).
    pub(crate) fn is_ice_lite(&self) -> bool {
        let attributes = &self.session.attributes;
        attributes
            .iter()
            .any(|a| a.attribute.eq_ignore_ascii_case("ice-lite"))
    }

    /// Whether a bundle of the session has it (RFC 9143 §7.1).
    pub(crate) fn is_bundled(&self) -> bool {
        let mid = self.values("mid").next();
        values_of(&self.session.attributes, "group").any(|group| {
            let mut words = group.split_ascii_whitespace();
            let is_bundle = words
                .next()
                .is_some_and(|word| word.eq_ignore_ascii_case("BUNDLE"));
            is_bundle && words.any(|word| Some(word) == mid)
        })
    }

    fn attribute(&self, name: &str) -> Option<&'a str> {
        self.media
            .attributes
            .iter()
            .find(|a| a.attribute.eq_ignore_ascii_case(name))?
            .value
            .as_deref()
    }
}

/// Without attributes: there may be keys among them.
impl fmt::Debug for MediaLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MediaLine")
            .field("media", &self.media())
            .field("port", &self.port())
            .field("protocol", &self.protocol())
            .finish_non_exhaustive()
    }
}

fn values_of<'a>(attributes: &'a [sdp_types::Attribute], name: &str) -> impl Iterator<Item = &'a str> {
    attributes
        .iter()
        .filter(move |a| a.attribute.eq_ignore_ascii_case(name))
        .filter_map(|a| a.value.as_deref())
}

/// The address stands for more than one host: media sent there would be amplified.
fn is_group(ip: IpAddr) -> bool {
    ip.is_multicast() || matches!(ip, IpAddr::V4(v4) if v4.is_broadcast())
}

/// The last direction attribute in `attributes`, as most implementations read a description that has several. One with a
/// value is no property attribute (RFC 8866 §6.7), and would be lost on the way if its value named an address.
fn direction_of(attributes: &[sdp_types::Attribute]) -> Option<Direction> {
    attributes
        .iter()
        .rev()
        .filter(|a| a.value.is_none())
        .find_map(|a| direction_named(&a.attribute))
}

/// The direction that an attribute's name stands for.
pub(crate) fn direction_named(name: &str) -> Option<Direction> {
    [
        Direction::SendRecv,
        Direction::SendOnly,
        Direction::RecvOnly,
        Direction::Inactive,
    ]
    .into_iter()
    .find(|&direction| direction_name(direction).eq_ignore_ascii_case(name))
}

/// The attribute's name for a direction (RFC 8866 §6.7).
pub(crate) const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::SendRecv => "sendrecv",
        Direction::SendOnly => "sendonly",
        Direction::RecvOnly => "recvonly",
        Direction::Inactive => "inactive",
    }
}

const fn without_receiving(direction: Direction) -> Direction {
    match direction {
        Direction::SendRecv | Direction::SendOnly => Direction::SendOnly,
        Direction::RecvOnly | Direction::Inactive => Direction::Inactive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Session;

    fn parse(tail: &str) -> Session {
        let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
        Session::parse(format!("{head}{tail}").as_bytes()).unwrap()
    }

    fn first(tail: &str) -> LineSpec {
        parse(tail).line_specs().remove(0)
    }

    #[test]
    fn a_line_inherits_what_it_does_not_say() {
        let spec =
            first("a=recvonly\r\nm=audio 4000 RTP/AVP 8 96 97\r\na=rtpmap:96 opus/48000/2\r\na=ptime:20\r\n");
        assert_eq!(spec.remote, Some("192.0.2.1:4000".parse().unwrap()));
        assert_eq!(spec.direction, Direction::RecvOnly);
        let names: Vec<_> = spec
            .codecs
            .iter()
            .map(|c| (c.payload_type, c.name.as_str(), c.ptime_ms))
            .collect();
        assert_eq!(names, [(8, "PCMA", 20), (96, "opus", 20)]);
        let own = first("m=audio 4000 RTP/AVP 0\r\nc=IN IP6 2001:db8::1\r\na=sendonly\r\n");
        assert_eq!(
            (own.remote, own.direction),
            (Some("[2001:db8::1]:4000".parse().unwrap()), Direction::SendOnly)
        );
    }

    #[test]
    fn rfc_3264_8_4_an_unspecified_address_is_a_hold() {
        for (attribute, expected) in [
            ("", Direction::SendOnly),
            ("a=sendonly\r\n", Direction::SendOnly),
            ("a=recvonly\r\n", Direction::Inactive),
            ("a=inactive\r\n", Direction::Inactive),
        ] {
            let spec = first(&format!(
                "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n{attribute}"
            ));
            assert_eq!(
                (spec.enabled, spec.remote, spec.direction),
                (true, Some("0.0.0.0:4000".parse().unwrap()), expected),
                "{attribute}"
            );
        }
    }

    #[test]
    fn rfc_3605_rtcp_elsewhere() {
        let rtcp = |value: &str| first(&format!("m=audio 4000 RTP/AVP 0\r\na=rtcp:{value}\r\n")).remote_rtcp;
        assert_eq!(rtcp("5001"), Some("192.0.2.1:5001".parse().unwrap()));
        assert_eq!(
            rtcp("5001 IN IP4 192.0.2.9"),
            Some("192.0.2.9:5001".parse().unwrap())
        );
        assert_eq!(rtcp("4001"), None, "the default needs no saying");
        for broken in [
            "",
            "x",
            "0",
            "5001 IN IP4",
            "5001 IN IP4 host.example",
            "5001 IN IP4 224.0.0.1",
            "5001 IN IP6 ::1",
        ] {
            assert_eq!(rtcp(broken), None, "{broken:?}");
        }
        let mux = first("m=audio 4000 RTP/AVP 0\r\na=rtcp:5001\r\na=rtcp-mux\r\n");
        assert_eq!((mux.rtcp_mux, mux.remote_rtcp), (true, None));
    }

    #[test]
    fn what_cannot_be_relayed_is_disabled_in_its_place() {
        for tail in [
            "m=image 4000 udptl t38\r\n",
            "m=application 4000 UDP/BFCP *\r\n",
            "m=audio 9 TCP/TLS/RTP/SAVPF 111\r\n",
            "m=audio 4000/2 RTP/AVP 0\r\n",
            "m=audio 0 RTP/AVP 0\r\n",
            "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 224.2.1.1/127\r\n",
            "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 255.255.255.255\r\n",
            "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 host.example.com\r\n",
            "m=audio 4000 RTP/AVP 0\r\nc=TN RFC2543 +1-201-406-4090\r\n",
        ] {
            let session = parse(tail);
            assert!(!session.has_usable_line(), "{tail}");
            let spec = session.line_specs().remove(0);
            assert_eq!(
                (spec.enabled, spec.remote, spec.codecs.len()),
                (false, None, 0),
                "{tail}"
            );
        }
    }
}
