//! Which calls are emergency calls.

use crate::message::{Scheme, Uri, digits, is_telephone};

/// The service of RFC 5031 §4.2; its sub-services begin so, too.
const SERVICE: &str = "urn:service:sos";

/// The numbers of emergency calls, beside `urn:service:sos` (RFC 5031).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmergencyNumbers(Box<[String]>);

impl Default for EmergencyNumbers {
    /// 112 and 911.
    fn default() -> Self {
        Self::new(["112", "911"].map(String::from))
    }
}

impl EmergencyNumbers {
    /// Numbers as they are dialled: a call is one of emergency if the user of its Request-URI is one of them; telephone
    /// numbers by their digits, as they are routed.
    pub fn new(numbers: impl IntoIterator<Item = String>) -> Self {
        Self(numbers.into_iter().collect())
    }

    /// Who is called for `urn:service:sos` and its sub-services: the first of the numbers, if there is one. `None` for any
    /// other URI.
    pub fn number_for(&self, request_uri: &str) -> Option<&str> {
        let number = self.0.first().filter(|_| is_service(request_uri))?;
        Some(number)
    }

    /// Whether an INVITE with this Request-URI is an emergency call. What is no URI is none.
    pub fn includes(&self, request_uri: &str) -> bool {
        if is_service(request_uri) {
            return true;
        }
        let Ok(uri) = Uri::parse(request_uri) else {
            return false;
        };
        if !matches!(uri.scheme(), Scheme::Sip | Scheme::Sips | Scheme::Tel) {
            return false;
        }
        let user = uri.user_decoded().unwrap_or_default();
        // Parameters of a number are behind a semicolon.
        let number = user.split(';').next().unwrap_or_default();
        let number = match is_telephone(&uri) {
            true => digits(number.into()),
            false => number.into(),
        };
        self.0.iter().any(|emergency| *emergency == number)
    }
}

/// Whether this is `urn:service:sos` or one of its sub-services.
fn is_service(uri: &str) -> bool {
    let start = uri.get(..SERVICE.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(SERVICE))
        && matches!(uri.as_bytes().get(SERVICE.len()), None | Some(b'.'))
}

#[cfg(test)]
mod tests {
    use super::EmergencyNumbers;

    #[test]
    fn numbers_and_the_service_are_emergency_calls_and_what_begins_like_them_is_not() {
        let numbers = EmergencyNumbers::default();
        for uri in [
            "sip:112@example.org",
            "sips:911@example.org",
            "sip:112;phone-context=+49@example.org;user=phone",
            "tel:112;phone-context=+49",
            "tel:1-1-2",
            "sip:(9)11@example.org;user=phone",
            "urn:service:sos",
            "URN:service:SOS.fire",
        ] {
            assert!(numbers.includes(uri), "{uri}");
        }
        for uri in [
            "",
            "112",
            "sip:1120@example.org",
            "sip:1-1-2@example.org",
            "sip:example.org",
            "sip:alice@112",
            "urn:service:sosser",
            "mailto:112@example.org",
        ] {
            assert!(!numbers.includes(uri), "{uri}");
        }
    }

    #[test]
    fn the_first_number_is_called_for_the_service() {
        let numbers = EmergencyNumbers::default();
        assert_eq!(numbers.number_for("URN:service:sos.fire"), Some("112"));
        assert_eq!(numbers.number_for("sip:911@example.org"), None);
        assert_eq!(EmergencyNumbers::new([]).number_for("urn:service:sos"), None);
    }
}
