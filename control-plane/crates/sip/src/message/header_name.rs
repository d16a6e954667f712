use std::fmt;

macro_rules! header_names {
    ($($(#[$doc:meta])* $variant:ident $name:literal $compact:tt $rule:ident;)*) => {
        /// A header field name that this stack knows, or [`HeaderName::Other`]. Names compare without case, and
        /// compact forms are the same name (RFC 3261 §7.3.1, §7.3.3).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum HeaderName {
            $(#[doc = concat!("`", $name, "`.")] $(#[$doc])* $variant,)*
            /// Any name that is not in the list. It passes through byte for byte.
            Other,
        }

        impl HeaderName {
            /// All known names.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant),*];

            /// The long form as it is printed; empty for [`HeaderName::Other`].
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other => "",
                }
            }

            /// The compact form, if the IANA registry has one.
            pub const fn compact(self) -> Option<char> {
                match self {
                    $(Self::$variant => header_names!(@compact $compact),)*
                    Self::Other => None,
                }
            }

            /// Whether a second field of this name makes the message malformed. Those are the names whose value steers
            /// us and whose grammar is one value; a second `Server` or `Subject` harms nobody and passes.
            pub const fn is_singleton(self) -> bool {
                match self {
                    $(Self::$variant => header_names!(@rule $rule),)*
                    Self::Other => false,
                }
            }
        }
    };
    (@compact -) => { None };
    (@compact $compact:literal) => { Some($compact) };
    (@rule once) => { true };
    (@rule many) => { false };
}

header_names! {
    Accept "Accept" - many;
    AcceptContact "Accept-Contact" 'a' many;
    AcceptEncoding "Accept-Encoding" - many;
    AcceptLanguage "Accept-Language" - many;
    AlertInfo "Alert-Info" - many;
    Allow "Allow" - many;
    AllowEvents "Allow-Events" 'u' many;
    AuthenticationInfo "Authentication-Info" - many;
    Authorization "Authorization" - many;
    CallId "Call-ID" 'i' once;
    CallInfo "Call-Info" - many;
    Contact "Contact" 'm' many;
    ContentDisposition "Content-Disposition" - once;
    ContentEncoding "Content-Encoding" 'e' many;
    ContentLanguage "Content-Language" - many;
    /// Two fields of the same number are let pass, two that differ are refused.
    ContentLength "Content-Length" 'l' many;
    ContentType "Content-Type" 'c' once;
    CSeq "CSeq" - once;
    Date "Date" - many;
    Diversion "Diversion" - many;
    ErrorInfo "Error-Info" - many;
    Event "Event" 'o' once;
    Expires "Expires" - once;
    FlowTimer "Flow-Timer" - once;
    From "From" 'f' once;
    HistoryInfo "History-Info" - many;
    Identity "Identity" 'y' many;
    /// Replaced by RFC 8224, and still seen.
    IdentityInfo "Identity-Info" 'n' many;
    InReplyTo "In-Reply-To" - many;
    InfoPackage "Info-Package" - once;
    MaxBreadth "Max-Breadth" - once;
    MaxForwards "Max-Forwards" - once;
    MimeVersion "MIME-Version" - many;
    MinExpires "Min-Expires" - once;
    MinSe "Min-SE" - once;
    Organization "Organization" - many;
    PAssertedIdentity "P-Asserted-Identity" - many;
    PPreferredIdentity "P-Preferred-Identity" - many;
    Path "Path" - many;
    Priority "Priority" - many;
    Privacy "Privacy" - many;
    ProxyAuthenticate "Proxy-Authenticate" - many;
    ProxyAuthorization "Proxy-Authorization" - many;
    ProxyRequire "Proxy-Require" - many;
    RAck "RAck" - once;
    Reason "Reason" - many;
    RecordRoute "Record-Route" - many;
    RecvInfo "Recv-Info" - many;
    ReferSub "Refer-Sub" - once;
    ReferTo "Refer-To" 'r' once;
    ReferredBy "Referred-By" 'b' once;
    RejectContact "Reject-Contact" 'j' many;
    Replaces "Replaces" - once;
    ReplyTo "Reply-To" - many;
    RequestDisposition "Request-Disposition" 'd' many;
    Require "Require" - many;
    RetryAfter "Retry-After" - many;
    Route "Route" - many;
    RSeq "RSeq" - once;
    Server "Server" - many;
    ServiceRoute "Service-Route" - many;
    SessionExpires "Session-Expires" 'x' once;
    SipEtag "SIP-ETag" - once;
    SipIfMatch "SIP-If-Match" - once;
    Subject "Subject" 's' many;
    SubscriptionState "Subscription-State" - once;
    Supported "Supported" 'k' many;
    Timestamp "Timestamp" - many;
    To "To" 't' once;
    Unsupported "Unsupported" - many;
    UserAgent "User-Agent" - many;
    Via "Via" 'v' many;
    Warning "Warning" - many;
    WwwAuthenticate "WWW-Authenticate" - many;
}

/// Places of a hash table of the long names: an index into [`HeaderName::KNOWN`], or [`FREE`]. Three quarters are free,
/// and the factors of [`place`] were chosen so that no two names of the list want the same place; a name that is added
/// may share one, and then stands in the next.
static BY_NAME: [u8; PLACES] = by_name();
const PLACES: usize = 256;
const FREE: u8 = u8::MAX;

const fn place(name: &[u8]) -> usize {
    // Lower case, of letters; the same for both cases of any byte is all that counts.
    let first = (name[0] | 0x20) as usize;
    let middle = (name[name.len() / 2] | 0x20) as usize;
    let last = (name[name.len() - 1] | 0x20) as usize;
    (first * 3 + last * 21 + name.len() * 14 + middle * 19) % PLACES
}

const fn by_name() -> [u8; PLACES] {
    let mut table = [FREE; PLACES];
    let mut index = 0;
    while index < HeaderName::KNOWN.len() {
        let mut at = place(HeaderName::KNOWN[index].as_str().as_bytes());
        while table[at] != FREE {
            at = (at + 1) % PLACES;
        }
        table[at] = index as u8;
        index += 1;
    }
    table
}

/// The name of each compact letter, as an index into [`HeaderName::KNOWN`].
static BY_LETTER: [u8; 26] = by_letter();

const fn by_letter() -> [u8; 26] {
    let mut table = [FREE; 26];
    let mut index = 0;
    while index < HeaderName::KNOWN.len() {
        if let Some(letter) = HeaderName::KNOWN[index].compact() {
            table[letter as usize - 'a' as usize] = index as u8;
        }
        index += 1;
    }
    table
}

impl HeaderName {
    /// The name written in `text`, in long or compact form and any case.
    pub fn of(text: &[u8]) -> Self {
        let known = |index: u8| Self::KNOWN.get(usize::from(index)).copied();
        if let [letter] = text {
            let letter = letter.to_ascii_lowercase().wrapping_sub(b'a');
            return BY_LETTER
                .get(usize::from(letter))
                .and_then(|index| known(*index))
                .unwrap_or(Self::Other);
        }
        if text.is_empty() {
            return Self::Other;
        }
        let mut at = place(text);
        while let Some(name) = known(BY_NAME[at]) {
            let long = name.as_str().as_bytes();
            if long == text || long.eq_ignore_ascii_case(text) {
                return name;
            }
            at = (at + 1) % PLACES;
        }
        Self::Other
    }

    /// This name's bit in a set of names.
    pub(super) const fn bit(self) -> u128 {
        1 << self as u8
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Other => "(other)",
            known => known.as_str(),
        })
    }
}

/// How a caller names a header field: by a known name, or by text for any name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldName<'a> {
    /// A known name.
    Known(HeaderName),
    /// The text of a name that is not known.
    Named(&'a str),
}

impl<'a> FieldName<'a> {
    /// The name in long form.
    pub fn as_str(&self) -> &'a str {
        match *self {
            Self::Known(name) => name.as_str(),
            Self::Named(text) => text,
        }
    }

    /// The known name, or [`HeaderName::Other`].
    pub fn id(&self) -> HeaderName {
        match *self {
            Self::Known(name) => name,
            Self::Named(_) => HeaderName::Other,
        }
    }

    /// Whether a field of that id, written as `written`, has this name.
    pub(super) fn matches(&self, id: HeaderName, written: &str) -> bool {
        match *self {
            Self::Known(name) => name == id,
            Self::Named(text) => id == HeaderName::Other && text.eq_ignore_ascii_case(written),
        }
    }
}

impl From<HeaderName> for FieldName<'_> {
    fn from(name: HeaderName) -> Self {
        Self::Known(name)
    }
}

impl<'a> From<&'a str> for FieldName<'a> {
    fn from(text: &'a str) -> Self {
        match HeaderName::of(text.as_bytes()) {
            HeaderName::Other => Self::Named(text),
            known => Self::Known(known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_and_form() {
        for name in HeaderName::KNOWN {
            assert_eq!(HeaderName::of(name.as_str().as_bytes()), *name);
            assert_eq!(
                HeaderName::of(name.as_str().to_ascii_uppercase().as_bytes()),
                *name
            );
            if let Some(letter) = name.compact() {
                assert_eq!(HeaderName::of(&[letter as u8]), *name);
                assert_eq!(HeaderName::of(&[letter.to_ascii_uppercase() as u8]), *name);
            }
        }
    }

    #[test]
    fn other_text_is_other() {
        for text in [
            "",
            "z",
            "-",
            "X-Foo",
            "Content-Lengthy",
            "{",
            "A-name-that-is-longer-than-all-of-ours",
        ] {
            assert_eq!(HeaderName::of(text.as_bytes()), HeaderName::Other, "{text}");
        }
    }

    #[test]
    fn names_fit_the_bit_set() {
        const { assert!(HeaderName::KNOWN.len() < 127) };
    }
}
