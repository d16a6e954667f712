use std::fmt;

use crate::MediaLine;
use crate::line::direction_name;

/// What a description may cost us. Each limit is checked before the work that it bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the whole description, in bytes.
    pub bytes_max: usize,
    /// Media lines.
    pub lines_max: usize,
    /// Attributes of the session and of all media lines together.
    pub attributes_max: usize,
    /// Payload formats on one media line.
    pub formats_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 64 * 1024,
            lines_max: 32,
            attributes_max: 1_024,
            formats_max: 64,
        }
    }
}

/// Why a body is not a description that we work with. The sender is at fault; SIP answers 400 for a broken body and
/// 488 for one that asks too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ParseError {
    /// Longer than [`Limits::bytes_max`].
    #[error("the session description is too long")]
    TooLong,
    /// More media lines than [`Limits::lines_max`].
    #[error("the session description has too many media lines")]
    TooManyLines,
    /// More attributes than [`Limits::attributes_max`].
    #[error("the session description has too many attributes")]
    TooManyAttributes,
    /// A media line has more formats than [`Limits::formats_max`].
    #[error("a media line has too many formats")]
    TooManyFormats,
    /// Some field is not UTF-8. Other character sets (`a=charset`) are not supported.
    #[error("the session description is not UTF-8")]
    NotUtf8,
    /// It breaks the grammar of RFC 8866 §9.
    #[error("the session description breaks the grammar")]
    Syntax,
    /// There is no `o=` line, so the description has no identity.
    #[error("the session description has no origin line")]
    NoOrigin,
}

impl ParseError {
    /// The label of the error's counter.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TooLong => "sdp_too_long",
            Self::TooManyLines => "sdp_too_many_lines",
            Self::TooManyAttributes => "sdp_too_many_attributes",
            Self::TooManyFormats => "sdp_too_many_formats",
            Self::NotUtf8 => "sdp_not_utf8",
            Self::Syntax => "sdp_syntax",
            Self::NoOrigin => "sdp_no_origin",
        }
    }
}

/// A parsed session description (RFC 8866 §5).
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    pub(crate) inner: sdp_types::Session,
}

impl Session {
    /// Parses a body under the default [`Limits`].
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        Self::parse_with(body, &Limits::default())
    }

    /// Parses a body under `limits`.
    pub fn parse_with(body: &[u8], limits: &Limits) -> Result<Self, ParseError> {
        if body.len() > limits.bytes_max {
            return Err(ParseError::TooLong);
        }
        check_counts(body, limits)?;
        let inner = sdp_types::Session::parse(body).map_err(|error| match error {
            sdp_types::ParserError::InvalidFieldEncoding(..) => ParseError::NotUtf8,
            _ => ParseError::Syntax,
        })?;
        if inner
            .medias
            .iter()
            .any(|media| media.fmt.split_ascii_whitespace().count() > limits.formats_max)
        {
            return Err(ParseError::TooManyFormats);
        }
        Ok(Self { inner })
    }

    /// How many media lines there are, disabled ones included.
    pub fn line_count(&self) -> usize {
        self.inner.medias.len()
    }

    /// The media lines in their order.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = MediaLine<'_>> {
        self.inner
            .medias
            .iter()
            .map(|media| MediaLine::new(&self.inner, media))
    }

    /// Leaves out the RTP header extensions (`a=extmap`, RFC 8285 §5) but those with these URIs: nobody answers for the others, so nobody
    /// sends them.
    pub fn keep_header_extensions<U: AsRef<str>>(&mut self, uris: &[U]) {
        let is_kept = |attribute: &sdp_types::Attribute| {
            // `<id>["/"<direction>] <URI> <attributes>`; names of URNs are the same in any case.
            let uri = attribute
                .value
                .as_deref()
                .and_then(|it| it.split_ascii_whitespace().nth(1));
            !attribute.attribute.eq_ignore_ascii_case("extmap")
                || uri.is_some_and(|uri| uris.iter().any(|kept| kept.as_ref().eq_ignore_ascii_case(uri)))
        };
        self.inner.attributes.retain(is_kept);
        for media in &mut self.inner.medias {
            media.attributes.retain(is_kept);
        }
    }

    /// Refuses the line at `index`, from 0: it is read as one with port 0 from now on (RFC 3264 §6).
    pub fn refuse_line(&mut self, index: usize) {
        if let Some(media) = self.inner.medias.get_mut(index) {
            media.port = 0;
        }
    }

    /// Makes of an offer an answer to itself that holds all lines (`a=inactive`, RFC 3264 §6.1). What is left is said of its codecs:
    /// what a party says of itself, such as its sources, would be wrong of another.
    pub fn hold(&mut self) {
        const KEPT: [&str; 5] = ["rtpmap", "fmtp", "ptime", "maxptime", "mid"];
        self.inner.attributes.clear();
        for media in &mut self.inner.medias {
            let is_kept = |attribute: &sdp_types::Attribute| {
                KEPT.iter()
                    .any(|kept| kept.eq_ignore_ascii_case(&attribute.attribute))
            };
            media.attributes.retain(is_kept);
            let inactive = direction_name(media_types::Direction::Inactive);
            media.attributes.push(sdp_types::Attribute::new(inactive));
        }
    }

    /// Whether some line carries media that we can relay.
    pub fn has_usable_line(&self) -> bool {
        self.lines().any(|line| line.is_usable())
    }

    /// Whether the party asks for IPv6: the address of its first line that we can relay.
    pub fn is_ipv6(&self) -> bool {
        self.lines()
            .filter(MediaLine::is_usable)
            .find_map(|line| line.address())
            .is_some_and(|ip| ip.is_ipv6())
    }

    /// The `<sess-version>` of the party's `o=` line (RFC 3264 §8).
    pub fn version(&self) -> u64 {
        self.inner.origin.sess_version
    }

    /// The lines as the media plane wants them, as this party describes them.
    pub fn line_specs(&self) -> Vec<media_types::LineSpec> {
        self.lines().map(|line| line.spec()).collect()
    }
}

/// The media lines without their attributes: there may be keys among them.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("version", &self.version())
            .field("lines", &self.lines().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Counts lines by their first bytes, so that a description with a hundred thousand attributes is refused before
/// anything is allocated for it.
fn check_counts(body: &[u8], limits: &Limits) -> Result<(), ParseError> {
    let (mut lines, mut attributes, mut has_origin) = (0, 0, false);
    for line in body.split(|&byte| byte == b'\n') {
        match line.first_chunk::<2>() {
            Some(b"m=") => lines += 1,
            Some(b"a=") => attributes += 1,
            Some(b"o=") => has_origin = true,
            _ => {}
        }
    }
    if lines > limits.lines_max {
        Err(ParseError::TooManyLines)
    } else if attributes > limits.attributes_max {
        Err(ParseError::TooManyAttributes)
    } else if !has_origin {
        Err(ParseError::NoOrigin)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";

    fn body(tail: &str) -> Vec<u8> {
        format!("{HEAD}{tail}").into_bytes()
    }

    #[test]
    fn each_limit_has_its_own_refusal() {
        let line = "m=audio 4000 RTP/AVP 0\r\n";
        assert!(Session::parse(&body(&line.repeat(32))).is_ok());
        assert_eq!(
            Session::parse(&body(&line.repeat(33))),
            Err(ParseError::TooManyLines)
        );
        assert!(Session::parse(&body(&"a=x\r\n".repeat(1_024))).is_ok());
        assert_eq!(
            Session::parse(&body(&"a=x\r\n".repeat(1_025))),
            Err(ParseError::TooManyAttributes)
        );
        let formats = |n| body(&format!("m=audio 4000 RTP/AVP{}\r\n", " 96".repeat(n)));
        assert!(Session::parse(&formats(64)).is_ok());
        assert_eq!(Session::parse(&formats(65)), Err(ParseError::TooManyFormats));
        let long = body(&format!("a=x:{}\r\n", "y".repeat(64 * 1024)));
        assert_eq!(Session::parse(&long), Err(ParseError::TooLong));
    }

    #[test]
    fn what_is_no_description_is_refused() {
        assert_eq!(Session::parse(b""), Err(ParseError::NoOrigin));
        assert_eq!(Session::parse(b"hello"), Err(ParseError::NoOrigin));
        assert_eq!(
            Session::parse(b"v=1\r\no=- 1 1 IN IP4 1.2.3.4\r\n"),
            Err(ParseError::Syntax)
        );
        assert_eq!(
            Session::parse(&body("m=audio 70000 RTP/AVP 0\r\n")),
            Err(ParseError::Syntax)
        );
        assert_eq!(Session::parse(&body("m=audio\r\n")), Err(ParseError::Syntax));
        assert_eq!(Session::parse(&body("a=x\0y\r\n")), Err(ParseError::Syntax));
        let mut latin = body("a=x:");
        latin.extend_from_slice(b"\xe9\r\n");
        assert_eq!(Session::parse(&latin), Err(ParseError::NotUtf8));
    }

    #[test]
    fn bare_line_feeds_and_blank_ends_are_taken() {
        let text =
            "v=0\no=- 1 2 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/AVP 0\n\n";
        let session = Session::parse(text.as_bytes()).unwrap();
        assert_eq!((session.line_count(), session.version()), (1, 2));
    }
}
