use media_types::Codec;

/// Payload types that need no `a=rtpmap` (RFC 3551 §6, tables 4 and 5): type, name, clock rate in Hz, channels.
const STATIC: &[(u8, &str, u32, u8)] = &[
    (0, "PCMU", 8_000, 1),
    (3, "GSM", 8_000, 1),
    (4, "G723", 8_000, 1),
    (5, "DVI4", 8_000, 1),
    (6, "DVI4", 16_000, 1),
    (7, "LPC", 8_000, 1),
    (8, "PCMA", 8_000, 1),
    // The clock of G722 is 8 kHz by an old mistake that the RFC keeps (§4.5.2).
    (9, "G722", 8_000, 1),
    (10, "L16", 44_100, 2),
    (11, "L16", 44_100, 1),
    (12, "QCELP", 8_000, 1),
    (13, "CN", 8_000, 1),
    (14, "MPA", 90_000, 1),
    (15, "G728", 8_000, 1),
    (16, "DVI4", 11_025, 1),
    (17, "DVI4", 22_050, 1),
    (18, "G729", 8_000, 1),
    (25, "CelB", 90_000, 1),
    (26, "JPEG", 90_000, 1),
    (28, "nv", 90_000, 1),
    (31, "H261", 90_000, 1),
    (32, "MPV", 90_000, 1),
    (33, "MP2T", 90_000, 1),
    (34, "H263", 90_000, 1),
];

/// The codec that a static payload type stands for; `None` for dynamic and unassigned ones.
pub(crate) fn static_codec(payload_type: u8) -> Option<Codec> {
    let &(_, name, clock_rate_hz, channels) = STATIC.iter().find(|entry| entry.0 == payload_type)?;
    Some(Codec {
        payload_type,
        name: name.to_owned(),
        clock_rate_hz,
        channels,
        ptime_ms: 0,
    })
}

/// The value of an `a=rtpmap` (RFC 8866 §6.6): `<payload type> <encoding name>/<clock rate>[/<channels>]`.
pub(crate) fn parse_rtpmap(value: &str) -> Option<Codec> {
    let (payload_type, encoding) = value.trim().split_once([' ', '\t'])?;
    let mut fields = encoding.trim().split('/');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let clock_rate_hz = fields.next()?.trim().parse().ok().filter(|&hz: &u32| hz > 0)?;
    let channels = match fields.next() {
        None => 1,
        Some(text) => text.trim().parse().ok().filter(|&n: &u8| n > 0)?,
    };
    let payload_type = payload_type.parse().ok().filter(|&pt: &u8| pt < 128)?;
    Some(Codec {
        payload_type,
        name: name.to_owned(),
        clock_rate_hz,
        channels,
        ptime_ms: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtpmaps_are_read_leniently_and_bounded() {
        let opus = parse_rtpmap("111 opus/48000/2").unwrap();
        assert_eq!((opus.payload_type, opus.name.as_str()), (111, "opus"));
        assert_eq!((opus.clock_rate_hz, opus.channels), (48_000, 2));
        assert_eq!(parse_rtpmap("101  telephone-event/8000").unwrap().channels, 1);
        for broken in [
            "",
            "0",
            "0 ",
            "0 PCMU",
            "0 /8000",
            "0 PCMU/0",
            "0 PCMU/8000/0",
            "128 X/8000",
            "-1 X/8000",
            "0 X/99999999999",
        ] {
            assert_eq!(parse_rtpmap(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn static_types_are_those_of_rfc_3551() {
        assert_eq!(static_codec(8).unwrap().name, "PCMA");
        assert_eq!(static_codec(9).unwrap().clock_rate_hz, 8_000);
        assert_eq!(static_codec(10).unwrap().channels, 2);
        assert!(
            [1, 2, 19, 24, 35, 72, 96, 127]
                .iter()
                .all(|&pt| static_codec(pt).is_none())
        );
    }
}
