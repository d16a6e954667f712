use std::io;

use tonic::{Code, Status};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was given cannot be used.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers there.
    #[error("no control plane answers at {address}: {reason}")]
    NotReached {
        /// Where it was looked for.
        address: String,
        /// The innermost cause.
        reason: String,
    },
    /// It answered with an error.
    #[error("{}", told(.0))]
    Refused(Box<Status>),
    /// Terminal or file.
    #[error("{0}")]
    Io(#[from] io::Error),
}

fn told(status: &Status) -> String {
    match status.code() {
        Code::NotFound => format!("not found: {}", status.message()),
        Code::Unauthenticated => format!("not let in: {}", status.message()),
        code => format!("the control plane refused ({code:?}): {}", status.message()),
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

impl Error {
    /// 1 refused or broken off, 2 wrong usage, 3 nobody there, 4 not found, 5 not let in.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::NotReached { .. } => 3,
            Self::Refused(status) => match status.code() {
                Code::NotFound => 4,
                Code::Unauthenticated | Code::PermissionDenied => 5,
                _ => 1,
            },
            Self::Io(_) => 1,
        }
    }

    /// Whether the reader of our output has gone, which is its right.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_failure_has_its_exit_code() {
        let refused = |code| Error::from(Status::new(code, "x")).exit_code();
        assert_eq!(refused(Code::NotFound), 4);
        assert_eq!(refused(Code::Unauthenticated), 5);
        assert_eq!(refused(Code::ResourceExhausted), 1);
        assert_eq!(Error::Usage("x".into()).exit_code(), 2);
        let nobody = Error::NotReached {
            address: "http://127.0.0.1:7290".into(),
            reason: "connection refused".into(),
        };
        assert_eq!(nobody.exit_code(), 3);
        assert_eq!(
            nobody.to_string(),
            "no control plane answers at http://127.0.0.1:7290: connection refused"
        );
    }
}
