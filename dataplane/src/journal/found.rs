use std::path::Path;

use anyhow::Context as _;

use super::open::{DAMAGED, LeftOut, SET_ASIDE};
use super::{Journal, Opened, Record, StateDirectory, open};
use crate::config::{Config, STATE_DIRECTORY};

/// What a process that starts has and finds.
#[derive(Debug)]
pub struct Found {
    /// Its own directory, locked; `None` when it keeps nothing.
    pub directory: Option<StateDirectory>,
    /// The journal to go on with.
    pub journal: Journal,
    /// The calls that an earlier process left.
    pub records: Vec<Record>,
    /// What to tell whoever starts the node; `None` when nothing is kept on purpose.
    pub line: Option<String>,
}

impl Found {
    /// Opens what the configuration names.
    ///
    /// # Errors
    /// When the directory is named and cannot be used, or another process has it.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let off = |line| Self {
            directory: None,
            journal: Journal::off(),
            records: Vec::new(),
            line,
        };
        match &config.state_directory {
            Some(root) if root.as_os_str().is_empty() => Ok(off(None)),
            Some(root) => Self::at(config, root).context("state_directory"),
            None => Ok(
                Self::at(config, Path::new(STATE_DIRECTORY)).unwrap_or_else(|error| {
                    tracing::warn!("no state is kept, and calls end with the process: {error:#}");
                    off(Some(format!("state off: {error:#}")))
                }),
            ),
        }
    }

    /// What a process has that takes over: the journal begins when the calls are here.
    pub fn inherited(directory: StateDirectory) -> Self {
        Self {
            directory: Some(directory),
            journal: Journal::off(),
            records: Vec::new(),
            line: None,
        }
    }

    /// Where nodes keep their state; `None` when this one keeps nothing on purpose.
    pub fn root(config: &Config) -> Option<&Path> {
        match &config.state_directory {
            Some(root) if root.as_os_str().is_empty() => None,
            Some(root) => Some(root),
            None => Some(Path::new(STATE_DIRECTORY)),
        }
    }

    fn at(config: &Config, root: &Path) -> anyhow::Result<Self> {
        let directory = StateDirectory::lock(root, &config.node_id)?;
        let path = directory.path().display().to_string();
        let opened = open(&directory, &config.node_id, config.limits.journal_bytes_max)
            .with_context(|| format!("the journal in {path}"))?;
        let Opened {
            journal,
            records,
            set_aside,
            left_out,
            not_kept,
        } = opened;
        if let Some(error) = &not_kept {
            tracing::warn!(path, error, "a damaged journal cannot be kept as {DAMAGED}");
        }
        let kept = match not_kept {
            None => format!("; the whole is kept as {DAMAGED}"),
            Some(_) => String::new(),
        };
        let calls = records.len();
        let line = match (set_aside, left_out) {
            (None, None) => format!("state {path}: {calls} calls left there"),
            (None, Some(LeftOut { bytes, reason })) => {
                tracing::warn!(
                    path,
                    bytes,
                    reason,
                    "the end of the journal is left out: calls may be missing, or be as they were"
                );
                format!(
                    "state {path}: {calls} calls left there, before {bytes} bytes that are left out: {reason}{kept}"
                )
            }
            (Some(reason), _) => {
                tracing::warn!(path, reason, "the journal is not used and begun anew");
                format!("state {path}: begun anew, the journal there is set aside as {SET_ASIDE}: {reason}")
            }
        };
        Ok(Self {
            directory: Some(directory),
            journal,
            records,
            line: Some(line),
        })
    }
}
