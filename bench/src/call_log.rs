//! What SIPp's `<log>` actions say of calls, read while SIPp runs.

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The INVITE of a call is about to be sent, at microseconds since the Unix epoch.
    Invited {
        /// The call's name in the CSV file.
        call: String,
        /// When.
        at_us: u64,
    },
    /// Its 200 was received.
    Answered {
        /// The call.
        call: String,
        /// When.
        at_us: u64,
    },
    /// The session is agreed: media goes here.
    Talk {
        /// The call.
        call: String,
        /// Connection and port of the description that SIPp received.
        to: SocketAddr,
    },
}

impl Entry {
    fn parse(line: &str) -> anyhow::Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["invited", call, .., at] => Ok(Self::Invited {
                call: call.to_owned(),
                at_us: microseconds(at)?,
            }),
            ["answered", call, .., at] => Ok(Self::Answered {
                call: call.to_owned(),
                at_us: microseconds(at)?,
            }),
            ["talk", call, address, port] => Ok(Self::Talk {
                call: call.to_owned(),
                to: SocketAddr::new(address.parse::<IpAddr>()?, port.parse()?),
            }),
            _ => bail!("not a line of our scenarios"),
        }
    }
}

/// `1795366560.843934`, as SIPp's `[timestamp]` ends, in microseconds.
fn microseconds(text: &str) -> anyhow::Result<u64> {
    let (seconds, fraction) = text.split_once('.').context("a timestamp has a fraction")?;
    if fraction.len() != 6 {
        bail!("a timestamp has microseconds");
    }
    Ok(seconds.parse::<u64>()? * 1_000_000 + fraction.parse::<u64>()?)
}

/// A log that is being written.
#[derive(Debug)]
pub struct CallLog {
    path: PathBuf,
    file: Option<File>,
    unfinished: Vec<u8>,
}

impl CallLog {
    /// The log at `path`, which need not exist yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            unfinished: Vec::new(),
        }
    }

    /// The lines that have been written since the last time.
    pub fn read(&mut self) -> anyhow::Result<Vec<Entry>> {
        if self.file.is_none() && !self.path.exists() {
            return Ok(Vec::new());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(&self.path)?),
        };
        file.read_to_end(&mut self.unfinished)?;
        let Some(end) = self.unfinished.iter().rposition(|&byte| byte == b'\n') else {
            return Ok(Vec::new());
        };
        let lines: Vec<u8> = self.unfinished.drain(..=end).collect();
        String::from_utf8(lines)?
            .lines()
            .map(|line| Entry::parse(line).with_context(|| format!("{}: {line:?}", self.path.display())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_are_taken_once_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = CallLog::new(&path);
        assert_eq!(log.read().unwrap(), []);
        let mut file = File::create(&path).unwrap();
        write!(
            file,
            "invited c0 2026-11-22\t16:56:00.843934\t1795366560.843934\ntalk c0 127.0"
        )
        .unwrap();
        let invited = Entry::Invited {
            call: "c0".to_owned(),
            at_us: 1_795_366_560_843_934,
        };
        assert_eq!(log.read().unwrap(), [invited]);
        writeln!(file, ".0.1 4000").unwrap();
        let talk = Entry::Talk {
            call: "c0".to_owned(),
            to: "127.0.0.1:4000".parse().unwrap(),
        };
        assert_eq!(log.read().unwrap(), [talk]);
        assert_eq!(log.read().unwrap(), []);
    }

    #[test]
    fn a_line_that_is_none_of_ours_is_an_error() {
        for line in [
            "",
            "talk c0 127.0.0.1",
            "talk c0 nowhere 1",
            "answered c0 12",
            "answered c0 12.5",
        ] {
            assert!(Entry::parse(line).is_err(), "{line}");
        }
    }
}
