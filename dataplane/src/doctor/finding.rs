use std::fmt;

use serde::Serialize;

use super::setting::{Setting, Wanted};

/// How good what was found is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be, or it does not matter here.
    Ok,
    /// It could be better.
    Advice,
    /// Packets are lost, or a path does not work, because of it.
    Problem,
    /// It could not be read; `found` has the reason.
    Unknown,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Advice => "advice",
            Self::Problem => "problem",
            Self::Unknown => "unknown",
        })
    }
}

/// What one check says of one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name, as `--only` takes it.
    pub check: &'static str,
    /// What was looked at: an interface, a sysctl, a core, …
    pub subject: String,
    /// How good it is.
    pub status: Status,
    /// What is there, or why that could not be read.
    pub found: String,
    /// What should be there; empty when nothing is asked for.
    pub wanted: String,
    /// What it is good for.
    pub why: &'static str,
    /// The command, or the step, that changes it; empty when nothing has to be.
    pub change: String,
    /// What `--apply` does about it; empty for what people have to decide.
    #[serde(skip)]
    pub fixes: Vec<Wanted>,
}

impl Finding {
    /// Of `check` on `subject`: nothing found yet, nothing wrong.
    pub fn new(check: &'static str, subject: impl Into<String>, why: &'static str) -> Self {
        Self {
            check,
            subject: subject.into(),
            status: Status::Ok,
            found: String::new(),
            wanted: String::new(),
            why,
            change: String::new(),
            fixes: Vec::new(),
        }
    }

    /// As it should be.
    pub fn ok(self, found: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            ..self
        }
    }

    /// Not readable, and why.
    pub fn unknown(self, reason: impl fmt::Display) -> Self {
        Self {
            status: Status::Unknown,
            found: format!("unknown: {reason}"),
            ..self
        }
    }

    /// Not as it should be; `change` is what a person does about it.
    pub fn bad(
        self,
        status: Status,
        found: impl Into<String>,
        wanted: impl Into<String>,
        change: impl Into<String>,
    ) -> Self {
        Self {
            status,
            found: found.into(),
            wanted: wanted.into(),
            change: change.into(),
            ..self
        }
    }

    /// `--apply` may do it: the command is the settings'.
    pub fn fixed_by(mut self, fixes: impl IntoIterator<Item = (Setting, String)>) -> Self {
        self.fixes = fixes
            .into_iter()
            .map(|(setting, value)| Wanted { setting, value })
            .collect();
        self.change = self
            .fixes
            .iter()
            .map(Wanted::command)
            .collect::<Vec<_>>()
            .join("; ");
        self
    }
}

/// One line: status, check, subject, what is there; and when it should be otherwise, what, why and how.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<8} {:<14} {}: {}",
            self.status, self.check, self.subject, self.found
        )?;
        if self.status != Status::Ok {
            if !self.wanted.is_empty() {
                write!(f, "; wanted {}", self.wanted)?;
            }
            write!(f, "; {}", self.why)?;
            if !self.change.is_empty() {
                write!(f, "; change: {}", self.change)?;
            }
        }
        Ok(())
    }
}
