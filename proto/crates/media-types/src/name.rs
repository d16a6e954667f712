use std::fmt;
use std::sync::Arc;

/// Why a string cannot be a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The string is empty.
    #[error("is empty")]
    Empty,
    /// The string is longer than its kind of name may be.
    #[error("is longer than {max} bytes")]
    TooLong {
        /// The limit, in bytes.
        max: usize,
    },
    /// The string has a byte outside printable ASCII, or a space.
    #[error("has a character that is not printable ASCII")]
    NotPrintable,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest name, in bytes.
            pub const MAX_LEN: usize = $max;

            /// Checks `name`: 1 to [`Self::MAX_LEN`] bytes of printable ASCII without spaces.
            pub fn new(name: &str) -> Result<Self, InvalidName> {
                if name.is_empty() {
                    Err(InvalidName::Empty)
                } else if name.len() > Self::MAX_LEN {
                    Err(InvalidName::TooLong { max: Self::MAX_LEN })
                } else if !name.bytes().all(|b| b.is_ascii_graphic()) {
                    Err(InvalidName::NotPrintable)
                } else {
                    Ok(Self(name.into()))
                }
            }

            /// The name as it goes over the wire and into logs.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// Names a call on both planes. The control plane chooses it and it is the correlation id of every log line
    /// about the call.
    CallId, 64
);
name!(
    /// Names a leg within its call.
    LegId, 32
);
name!(
    /// Names an interface of a media node, as its configuration does.
    InterfaceName, 32
);
name!(
    /// Names a media node, as the control plane's configuration does.
    NodeName, 64
);
name!(
    /// The caller's name for one request: a repetition with the same key gets the same answer and has no effect.
    IdempotencyKey, 64
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_printable_and_bounded() {
        assert_eq!(LegId::new("a").unwrap().as_str(), "a");
        assert_eq!(LegId::new(""), Err(InvalidName::Empty));
        assert_eq!(LegId::new(&"x".repeat(33)), Err(InvalidName::TooLong { max: 32 }));
        assert_eq!(LegId::new("a b"), Err(InvalidName::NotPrintable));
        assert_eq!(LegId::new("a\r\n"), Err(InvalidName::NotPrintable));
        assert_eq!(LegId::new("ä"), Err(InvalidName::NotPrintable));
    }
}
