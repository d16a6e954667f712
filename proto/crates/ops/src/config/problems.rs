use std::fmt;
use std::io;
use std::ops::Range;

/// A configuration, or a part of one, that can say what is wrong with its values.
pub trait Validate {
    /// Adds every problem found to `problems`.
    fn validate(&self, problems: &mut Problems);
}

/// The problems that validation found: a key's path and a reason that reads on from it (`must be 1 or more`).
#[derive(Debug, Default)]
pub struct Problems {
    prefix: String,
    found: Vec<(String, String)>,
}

impl Problems {
    /// Adds a problem with the value at `key`, a path such as `limits.calls_max` or `route.0.prefix`, relative to
    /// the part being validated.
    pub fn push(&mut self, key: &str, reason: impl Into<String>) {
        self.found.push((format!("{}{key}", self.prefix), reason.into()));
    }

    /// Adds a problem when `value` is outside `allowed`.
    pub fn range<N: PartialOrd + fmt::Display>(
        &mut self,
        key: &str,
        value: N,
        allowed: std::ops::RangeInclusive<N>,
    ) {
        if !allowed.contains(&value) {
            self.push(
                key,
                format!("must be {} to {}, not {value}", allowed.start(), allowed.end()),
            );
        }
    }

    /// Validates `part`, which stands at `key`.
    pub fn within(&mut self, key: &str, part: &impl Validate) {
        let outer = self.prefix.len();
        self.prefix.push_str(key);
        self.prefix.push('.');
        part.validate(self);
        self.prefix.truncate(outer);
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = (String, String)> {
        self.found.into_iter()
    }
}

/// Why a configuration cannot be used: one line a problem, each with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines.join("\n"))]
pub struct ConfigError {
    lines: Vec<String>,
}

impl ConfigError {
    pub(super) fn unreadable(name: &str, error: &io::Error) -> Self {
        Self {
            lines: vec![format!("{name}: cannot be read: {error}")],
        }
    }

    pub(super) fn one(place: String, reason: &str) -> Self {
        Self {
            lines: vec![format!("{place}: {}", reason.trim().replace('\n', "; "))],
        }
    }

    pub(super) fn all(lines: Vec<(String, String)>) -> Option<Self> {
        let lines: Vec<_> = lines
            .into_iter()
            .map(|(place, text)| format!("{place}: {text}"))
            .collect();
        (!lines.is_empty()).then_some(Self { lines })
    }
}

/// Turns a place in the text into words.
pub(super) struct Places<'a> {
    name: &'a str,
    text: &'a str,
    variables: Vec<String>,
}

impl<'a> Places<'a> {
    pub(super) fn new<'v>(name: &'a str, text: &'a str, variables: impl Iterator<Item = &'v str>) -> Self {
        Self {
            name,
            text,
            variables: variables.map(str::to_owned).collect(),
        }
    }

    /// `file:line` for a place within the text, the variable's name for one behind it, else the file's name.
    pub(super) fn at(&self, span: Option<Range<usize>>) -> String {
        let Some(Range { start, .. }) = span else {
            return self.name.to_owned();
        };
        if let Some(variable) = start
            .checked_sub(self.text.len())
            .and_then(|n| self.variables.get(n))
        {
            return Self::variable(variable);
        }
        let before = self.text.as_bytes().get(..start).unwrap_or(self.text.as_bytes());
        format!(
            "{}:{}",
            self.name,
            before.iter().filter(|&&byte| byte == b'\n').count() + 1
        )
    }

    pub(super) fn variable(name: &str) -> String {
        format!("variable {name}")
    }
}
