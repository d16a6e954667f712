use std::fmt;

use super::edit::param_text;
use super::{BuildError, Message, SyntaxError, Via};

/// What a server says in the `Via` of its responses about how much it wants to be sent (RFC 7339 §4), by the algorithm
/// `loss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overload {
    /// The share of requests that is to be kept back, 0 to 100 (`oc`).
    pub percent: u8,
    /// How long that holds (`oc-validity`); zero ends it at once.
    pub validity_ms: u32,
    /// The place of this word among the server's: of two, the one with the greater number counts (`oc-seq`). Units of
    /// 0.00001, so a time in 10 µs.
    pub sequence: u64,
}

/// How long a word holds that says nothing about it (RFC 7339 §4.3).
const VALIDITY_MS: u32 = 500;

/// The only algorithm that we speak, and the one that everybody must (RFC 7339 §4.2).
const LOSS: &str = "loss";

/// What a client that obeys puts behind the branch of its `Via` (RFC 7339 §5.1).
pub const OVERLOAD_OFFER: &str = ";oc;oc-algo=\"loss\"";

impl Overload {
    /// What a `Via` says; `None` where it says nothing: no `oc`, or one without a value, as it comes back from a server that
    /// does not know it.
    ///
    /// # Errors
    /// A value outside the grammar or its range, no `oc-seq`, or another algorithm than `loss`.
    pub fn of(via: &Via<'_>) -> Option<Result<Self, SyntaxError>> {
        let percent = via.param("oc")?;
        Some(Self::parse(via, percent).ok_or(SyntaxError::Parameter))
    }

    fn parse(via: &Via<'_>, percent: &str) -> Option<Self> {
        let percent = decimal(percent, 3).filter(|percent| *percent <= 100)?;
        if let Some(algorithm) = via.param("oc-algo")
            && !algorithm.trim_matches('"').trim().eq_ignore_ascii_case(LOSS)
        {
            return None;
        }
        let validity_ms = match via.param("oc-validity") {
            None => VALIDITY_MS,
            Some(text) => u32::try_from(decimal(text, 10)?).ok()?,
        };
        let (whole, part) = via.param("oc-seq")?.split_once('.')?;
        let scale = 10u64.pow(u32::try_from(5usize.checked_sub(part.len())?).ok()?);
        Some(Self {
            percent: u8::try_from(percent).ok()?,
            validity_ms,
            sequence: decimal(whole, 12)? * 100_000 + decimal(part, 5)? * scale,
        })
    }
}

/// Digits and nothing else, 1 to `most` of them.
fn decimal(text: &str, most: usize) -> Option<u64> {
    let is_number = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Whether a message may have an `oc` in a `Via`, by a look at its bytes: much cheaper than to read it.
pub fn mentions_overload(message: &[u8]) -> bool {
    memchr::memchr_iter(b';', message).any(|at| {
        let rest = message[at + 1..].trim_ascii_start();
        rest.first_chunk()
            .is_some_and(|name: &[u8; 2]| name.eq_ignore_ascii_case(b"oc"))
    })
}

impl fmt::Display for Overload {
    /// The parameters, each with its semicolon.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (
            self.sequence / 100_000 % 1_000_000_000_000,
            self.sequence % 100_000,
        );
        let (percent, validity_ms) = (self.percent, self.validity_ms);
        write!(
            f,
            ";oc={percent};oc-algo=\"{LOSS}\";oc-validity={validity_ms};oc-seq={whole}.{part:05}"
        )
    }
}

impl Via<'_> {
    /// Whether the client that made this `Via` wants to be told about overload, by an algorithm that we speak.
    pub fn offers_overload_control(&self) -> bool {
        let is_loss = |algorithm: &str| algorithm.trim().eq_ignore_ascii_case(LOSS);
        let algorithms = self.param("oc-algo").unwrap_or("\"loss\"");
        self.params.contains("oc") && algorithms.trim_matches('"').split(',').any(is_loss)
    }
}

impl Message {
    /// A copy of a response whose topmost `Via` says `overload` in place of what it said of `oc` (RFC 7339 §5.3).
    ///
    /// # Errors
    /// As of [`Message::with_top_via_params`].
    pub fn with_overload(&self, overload: &Overload) -> Result<Self, BuildError> {
        self.with_top_via(|params| {
            let is_other = |name: &str| {
                let names = ["oc", "oc-algo", "oc-validity", "oc-seq"];
                !names.iter().any(|own| name.eq_ignore_ascii_case(own))
            };
            let others = params.iter().filter(|param| is_other(param.name));
            let mut text: String = others.flat_map(param_text).collect();
            text.push_str(&overload.to_string());
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn of(params: &str) -> Option<Result<Overload, SyntaxError>> {
        let text = format!("SIP/2.0/UDP h;branch=z9hG4bK1{params}");
        Overload::of(&Via::parse(&text).unwrap())
    }

    #[test]
    fn what_is_printed_is_read() {
        let overload = Overload {
            percent: 20,
            validity_ms: 1_000,
            sequence: 128_232_161_578_200,
        };
        let text = overload.to_string();
        assert_eq!(
            text,
            ";oc=20;oc-algo=\"loss\";oc-validity=1000;oc-seq=1282321615.78200"
        );
        assert_eq!(of(&text), Some(Ok(overload)));
    }

    /// White space may be on either side of the semicolon, a fold of the line too, and names are not case-sensitive (RFC 3261 §7.3.1).
    #[test]
    fn an_offer_is_found_however_it_is_written() {
        for params in [
            ";oc",
            " ; OC",
            "; Oc ;oc-algo=\"loss\"",
            " ;rport ;\toc",
            ";\r\n oc",
        ] {
            let text = format!("SIP/2.0/UDP h{params}");
            assert!(mentions_overload(text.as_bytes()), "{params:?}");
            if !params.contains('\n') {
                assert!(Via::parse(&text).unwrap().offers_overload_control(), "{params:?}");
            }
        }
        assert!(!mentions_overload(b"SIP/2.0/UDP h;o c;rport;xoc;o"));
    }

    /// RFC 7339 §4.3 and §4.4.
    #[test]
    fn validity_has_a_default_and_the_sequence_is_a_fraction() {
        let read = of(";oc=100;oc-algo=\"LOSS\";oc-seq=7.5").unwrap().unwrap();
        assert_eq!(
            (read.percent, read.validity_ms, read.sequence),
            (100, 500, 750_000)
        );
        assert!(read.sequence > of(";oc=1;oc-seq=7.49999").unwrap().unwrap().sequence);
    }

    #[test]
    fn what_says_nothing_is_nothing_and_what_is_bogus_is_an_error() {
        assert_eq!(of(""), None);
        assert_eq!(of(";oc;oc-algo=\"loss\""), None);
        for bogus in [
            ";oc=101;oc-seq=1.1",
            ";oc=-1;oc-seq=1.1",
            ";oc=;oc-seq=1.1",
            ";oc=20",
            ";oc=20;oc-seq=1",
            ";oc=20;oc-seq=.1",
            ";oc=20;oc-seq=1.",
            ";oc=20;oc-seq=1.123456",
            ";oc=20;oc-seq=1234567890123.1",
            ";oc=20;oc-validity=99999999999;oc-seq=1.1",
            ";oc=20;oc-validity=+1;oc-seq=1.1",
            ";oc=150;oc-algo=\"rate\";oc-seq=1.1",
            ";oc=50;oc-algo=\"rate\";oc-seq=1.1",
        ] {
            assert_eq!(of(bogus), Some(Err(SyntaxError::Parameter)), "{bogus}");
        }
    }

    #[test]
    fn a_response_says_it_in_its_top_via_alone() {
        let text = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;oc;branch=z9hG4bK1;oc-algo=\"rate,loss\", SIP/2.0/UDP b;oc\r\n\
            From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>;tag=2\r\nCall-ID: x\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n";
        let response = Message::parse_datagram(Bytes::from(text)).unwrap();
        assert!(response.via().unwrap().offers_overload_control());
        let overload = Overload {
            percent: 0,
            validity_ms: 500,
            sequence: 1,
        };
        let told = response.with_overload(&overload).unwrap();
        let values: Vec<_> = told.values(super::super::HeaderName::Via).collect();
        assert_eq!(
            values,
            [
                "SIP/2.0/UDP a;branch=z9hG4bK1;oc=0;oc-algo=\"loss\";oc-validity=500;oc-seq=0.00001",
                "SIP/2.0/UDP b;oc"
            ]
        );
        assert!(
            !Via::parse("SIP/2.0/UDP a;oc;oc-algo=\"rate\"")
                .unwrap()
                .offers_overload_control()
        );
    }
}
