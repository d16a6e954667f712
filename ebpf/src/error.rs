use std::io;

/// What libbpf writes before a verifier's log.
#[cfg(bpf_built)]
const VERIFIER_LOG: &str = "BEGIN PROG LOAD LOG";

/// What the verifier says of packet pointers to whoever has CAP_BPF and not CAP_PERFMON.
#[cfg(bpf_built)]
const UNTRUSTED_LOG: &str = "prohibited for !root";

/// Why the kernel fast path is not there, or an operation on it failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The programs are not in this binary. Not the operator's fault at run time: the build had no clang.
    #[error("the kernel fast path is {0}")]
    Unavailable(&'static str),
    /// The process lacks a capability, or the kernel forbids BPF to it.
    #[error("{what} needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: {source}")]
    NotPermitted {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel or its verifier refused the programs.
    #[error("{what} failed: {source}{}", .log.as_ref().map(|log| format!("\n{log}")).unwrap_or_default())]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
        /// What libbpf said, the end of the verifier's log included.
        log: Option<String>,
    },
    /// A map is not as this version has it.
    #[error(
        "the map {map} has keys of {key_len} and values of {value_len} bytes, which is another version's"
    )]
    Layout {
        /// Its name.
        map: String,
        /// Bytes of a key.
        key_len: u32,
        /// Bytes of a value.
        value_len: u32,
    },
}

impl Error {
    /// From a system call or libbpf.
    pub(crate) fn kernel(what: &'static str, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted { what, source },
            _ => Self::Kernel {
                what,
                source,
                log: None,
            },
        }
    }

    /// From libbpf-rs, whose errors know only a kind and a text.
    pub(crate) fn libbpf(what: &'static str, error: &libbpf_rs::Error) -> Self {
        let kind = match error.kind() {
            libbpf_rs::ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
            libbpf_rs::ErrorKind::NotFound => io::ErrorKind::NotFound,
            libbpf_rs::ErrorKind::AlreadyExists => io::ErrorKind::AlreadyExists,
            _ => io::ErrorKind::Other,
        };
        Self::kernel(what, io::Error::new(kind, format!("{error:#}")))
    }

    /// Adds what libbpf said meanwhile. The verifier's own refusal is EACCES too; only its log tells the two apart.
    #[cfg(bpf_built)]
    pub(crate) fn with_log(self, said: String) -> Self {
        match self {
            Self::NotPermitted { what, source }
                if said.contains(UNTRUSTED_LOG) || !said.contains(VERIFIER_LOG) =>
            {
                Self::NotPermitted { what, source }
            }
            Self::NotPermitted { what, source } | Self::Kernel { what, source, .. } => Self::Kernel {
                what,
                source,
                log: Some(said).filter(|said| !said.is_empty()),
            },
            other => other,
        }
    }

    /// Whether this machine or build can't, rather than something having gone wrong.
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::NotPermitted { .. })
    }
}
