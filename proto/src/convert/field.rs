use std::fmt;

use media_types::{FingerprintError, IceCredentialsError, InvalidName};

/// What is wrong with a value that came over the wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A name that [`media_types`] does not take.
    #[error("{0}")]
    Name(#[from] InvalidName),
    /// A field that must be there is not.
    #[error("is missing")]
    Missing,
    /// An address is not in the text form of an IPv4 or IPv6 address.
    #[error("not an IP address")]
    NotIp,
    /// A number, or the count of a list, is out of its range.
    #[error("must be {min} to {max}, is {value}")]
    Range {
        /// The least that is taken.
        min: u64,
        /// The most that is taken.
        max: u64,
        /// What came.
        value: u64,
    },
    /// An enumeration has a value that this side does not know, or was left unspecified where there is no default.
    #[error("has no meaning: {0}")]
    Enumeration(i32),
    /// A text that must be printable ASCII without spaces, or is too long.
    #[error("must be 1 to {max} printable ASCII characters without spaces")]
    Text {
        /// The limit, in bytes.
        max: usize,
    },
    /// A text that must be printable ASCII, or is too long.
    #[error("must be 1 to {max} printable ASCII characters")]
    Line {
        /// The limit, in bytes.
        max: usize,
    },
    /// A fingerprint that [`media_types`] does not take.
    #[error("{0}")]
    Fingerprint(FingerprintError),
    /// Credentials that [`media_types`] does not take.
    #[error("{0}")]
    IceCredentials(IceCredentialsError),
    /// The same name twice in one list.
    #[error("is there twice")]
    Duplicate,
}

/// A value out of range, and the field that has it: `legs[1].lines[0].remote.ip: not an IP address`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    path: String,
    problem: Problem,
}

impl FieldError {
    /// An error of the field `name` of the message at hand.
    pub fn new(name: impl Into<String>, problem: impl Into<Problem>) -> Self {
        Self {
            path: name.into(),
            problem: problem.into(),
        }
    }

    /// The same error as seen from the message that has this one as its field `name`.
    #[must_use]
    pub fn within(self, name: &str) -> Self {
        Self {
            path: format!("{name}.{}", self.path),
            ..self
        }
    }

    /// The same error as seen from the message that has this one in place `index` of its list `name`.
    #[must_use]
    pub fn within_item(self, name: &str, index: usize) -> Self {
        Self {
            path: format!("{name}[{index}].{}", self.path),
            ..self
        }
    }

    /// The path of the field, dots between messages and places in brackets.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong with it.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}

impl std::error::Error for FieldError {}

impl From<FieldError> for tonic::Status {
    /// `INVALID_ARGUMENT` with the field in its text, and marked as the refusal `invalid`.
    fn from(error: FieldError) -> Self {
        super::refusal::status("invalid", tonic::Code::InvalidArgument, error.to_string())
    }
}

/// Checks that `value` lies in `min..=max` and fits `T`.
pub(super) fn ranged<T: TryFrom<u64>>(
    name: &str,
    value: impl Into<u64>,
    min: u64,
    max: u64,
) -> Result<T, FieldError> {
    let value = value.into();
    let error = || FieldError::new(name, Problem::Range { min, max, value });
    if !(min..=max).contains(&value) {
        return Err(error());
    }
    T::try_from(value).map_err(|_| error())
}

/// Checks that a list has `min..=max` members.
pub(super) fn counted(name: &str, count: usize, min: usize, max: usize) -> Result<(), FieldError> {
    ranged::<u64>(name, count as u64, min as u64, max as u64).map(|_| ())
}

/// Checks that `text` is 1 to `max` bytes of printable ASCII without spaces.
pub(super) fn token(name: &str, text: String, max: usize) -> Result<String, FieldError> {
    if text.is_empty() || text.len() > max || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(FieldError::new(name, Problem::Text { max }));
    }
    Ok(text)
}
