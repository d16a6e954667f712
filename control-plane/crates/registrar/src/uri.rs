use sip::message::{Scheme, Uri};

/// Parameters that two SIP URIs must both have, or both not have, to be the same (RFC 3261 §19.1.4): none of them is the
/// same as its default when it is left out.
const TELLING: [&str; 5] = ["transport", "user", "ttl", "method", "maddr"];

/// Whether two URIs are the same by RFC 3261 §19.1.4. Those of other schemes compare as text.
pub fn is_same_uri(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let (Ok(a), Ok(b)) = (Uri::parse(one), Uri::parse(other)) else {
        return false;
    };
    let is_sip = |uri: &Uri<'_>| matches!(uri.scheme(), Scheme::Sip | Scheme::Sips);
    if a.scheme() != b.scheme() || !is_sip(&a) {
        return false;
    }
    let hosts = a.host().zip(b.host());
    let is_same_place = hosts.is_some_and(|(a, b)| a.is_same(&b)) && a.port() == b.port();
    is_same_place
        && a.user_decoded() == b.user_decoded()
        && a.password() == b.password()
        && has_same_params(&a, &b)
        && has_same_headers(&a, &b)
}

fn has_same_params(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    let agrees = |one: &Uri<'_>, other: &Uri<'_>| {
        one.params()
            .iter()
            .all(|param| match other.params().find(param.name) {
                Some(same) => match (param.value, same.value) {
                    (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
                    (one, other) => one == other,
                },
                None => !TELLING.iter().any(|name| name.eq_ignore_ascii_case(param.name)),
            })
    };
    agrees(a, b) && agrees(b, a)
}

fn has_same_headers(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    let sorted = |uri: &Uri<'_>| {
        let mut headers: Vec<String> = uri
            .headers()
            .unwrap_or("")
            .split('&')
            .map(str::to_ascii_lowercase)
            .collect();
        headers.sort();
        headers
    };
    sorted(a) == sorted(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 3261 §19.1.4.
    #[test]
    fn the_examples_of_the_rfc_hold() {
        for (one, other) in [
            (
                "sip:%61lice@atlanta.com;transport=TCP",
                "sip:alice@AtLanTa.CoM;Transport=tcp",
            ),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            (
                "sip:carol@chicago.com;newparam=5",
                "sip:carol@chicago.com;security=on",
            ),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
        ] {
            assert!(
                is_same_uri(one, other) && is_same_uri(other, one),
                "{one} {other}"
            );
        }
        for (one, other) in [
            (
                "SIP:ALICE@AtLanTa.CoM;Transport=udp",
                "sip:alice@AtLanTa.CoM;Transport=UDP",
            ),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            (
                "sip:carol@chicago.com",
                "sip:carol@chicago.com?Subject=next%20meeting",
            ),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            (
                "sip:carol@chicago.com;security=on",
                "sip:carol@chicago.com;security=off",
            ),
            ("sip:a@h;user=phone", "sip:a@h"),
            ("sips:a@h", "sip:a@h"),
        ] {
            assert!(
                !is_same_uri(one, other) && !is_same_uri(other, one),
                "{one} {other}"
            );
        }
    }
}
