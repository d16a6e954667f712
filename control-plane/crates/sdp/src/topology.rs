use std::net::{IpAddr, Ipv4Addr};

/// Attributes of features that end at us: ICE (RFC 8839), SDES and DTLS keys (RFC 4568, RFC 8842), bundling
/// (RFC 9143), source filters (RFC 4570), and RTCP's address, which is printed anew.
const REMOVED: &[&str] = &[
    "candidate",
    "remote-candidates",
    "end-of-candidates",
    "ice-ufrag",
    "ice-pwd",
    "ice-options",
    "ice-lite",
    "ice-mismatch",
    "ice-pacing",
    "crypto",
    "key-mgmt",
    "zrtp-hash",
    "fingerprint",
    "setup",
    "connection",
    "tls-id",
    "dtls-id",
    "identity",
    "bundle-only",
    "source-filter",
    "rtcp",
    "rtcp-mux",
    "rtcp-mux-only",
];

/// Whether an attribute may go to the other side.
pub(crate) fn may_pass(attribute: &sdp_types::Attribute, names: &[&str]) -> bool {
    let value = attribute.value.as_deref().unwrap_or("");
    let name = attribute.attribute.as_str();
    let is_bundle = name.eq_ignore_ascii_case("group")
        && value.get(..6).is_some_and(|v| v.eq_ignore_ascii_case("BUNDLE"));
    let is_removed = REMOVED.iter().any(|removed| removed.eq_ignore_ascii_case(name));
    !is_bundle && !is_removed && text_may_pass(name, names) && text_may_pass(value, names)
}

/// Whether free text names no IP address and none of the host names in `names`.
pub(crate) fn text_may_pass(text: &str, names: &[&str]) -> bool {
    !names_address(text) && !names.iter().any(|name| contains_ignoring_case(text, name))
}

/// The host names with which a party speaks of itself in `o=` and `c=`. IP addresses need no list:
/// [`text_may_pass`] knows them by their form.
pub(crate) fn host_names(session: &sdp_types::Session) -> Vec<&str> {
    let connections = session
        .connection
        .iter()
        .chain(session.medias.iter().flat_map(|media| &media.connections));
    let addresses = connections.map(|c| c.connection_address.split('/').next().unwrap_or_default());
    // Shorter words would be found in every text; they are no host names that resolve anywhere.
    let is_name = |host: &&str| host.len() >= 4 && host.parse::<IpAddr>().is_err();
    addresses
        .chain([session.origin.unicast_address.as_str()])
        .filter(is_name)
        .collect()
}

/// Whether `text` has something in it that reads as an IPv4 or IPv6 address, so that it must not pass from one party to
/// the other.
pub fn names_address(text: &str) -> bool {
    let words = text.split(|c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':'));
    let mut runs = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    runs.any(has_dotted_quad)
        || words
            .map(|word| word.trim_matches('.'))
            .filter(|word| word.len() >= 3)
            .any(|word| {
                let parses = |candidate: &str| candidate.parse::<IpAddr>().is_ok();
                // `192.0.2.1:5060`, and a word that a colon only ends or begins.
                parses(word)
                    || parses(word.trim_matches(':'))
                    || word.split(':').any(|part| part.len() >= 7 && parses(part))
            })
}

/// Whether four neighbours among the numbers in `run`, which has digits and dots alone, are an IPv4 address:
/// `1700000.10.0.0.5`, a time and an address.
fn has_dotted_quad(run: &str) -> bool {
    let mut starts = std::iter::once(0).chain(run.match_indices('.').map(|(dot, _)| dot + 1));
    starts.any(|start| {
        let rest = &run[start..];
        let end = rest.match_indices('.').nth(3).map_or(rest.len(), |(dot, _)| dot);
        rest[..end].parse::<Ipv4Addr>().is_ok()
    })
}

fn contains_ignoring_case(text: &str, name: &str) -> bool {
    text.as_bytes()
        .windows(name.len())
        .any(|window| window.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_any_dress() {
        for text in [
            "192.0.2.1",
            "cname:alice@192.0.2.1",
            "incl IN IP4 * 192.0.2.1",
            "http://192.0.2.1:8080/x",
            "see 192.0.2.1.",
            "2001:db8::1",
            "[2001:db8::1]:5060",
            "x=::1",
            "at fe80::1:",
            "1700000.10.0.0.5",
            "10.0.0.5.1700000",
            "cafe192.0.2.1",
            "192.0.2.1cafe",
            "a.192.0.2.1.b",
        ] {
            assert!(names_address(text), "{text}");
        }
        for text in [
            "",
            "0-15",
            "111 opus/48000/2",
            "111 minptime=10;useinbandfec=1",
            "profile-level-id=42e01f;packetization-mode=1",
            "version 1.2.3",
            "2026.11.22",
            "1700000.10.0",
            "1700000.1700001.300.2.3",
            "....",
            "AB:CD:EF:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11",
            "12:34:56",
        ] {
            assert!(!names_address(text), "{text}");
        }
    }

    #[test]
    fn features_that_end_at_us_do_not_pass() {
        let passes = |name: &str, value: &str| {
            may_pass(
                &sdp_types::Attribute::with_value(name, value),
                &["pbx.example.com"],
            )
        };
        assert!(passes("fmtp", "101 0-15"));
        assert!(passes("group", "LS a b"));
        assert!(passes("x-vendor", " odd  spacing\tkept "));
        assert!(!passes("group", "BUNDLE a b"));
        assert!(!passes("Candidate", "1 1 UDP 1 10.0.0.1 5000 typ host"));
        assert!(!passes("x-host", "sip:alice@PBX.example.com"));
        assert!(!passes("ssrc", "1 cname:a@10.0.0.1"));
    }
}
