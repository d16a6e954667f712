//! SIPp as caller or callee.

use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::process::Process;
use crate::{binary, wait};

/// Which script of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `uac.xml`
    Caller,
    /// `uas.xml`
    Callee,
}

impl Side {
    const fn file(self) -> &'static str {
        match self {
            Self::Caller => "uac",
            Self::Callee => "uas",
        }
    }
}

/// What carries SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One socket.
    Udp,
    /// One connection for all calls.
    Tcp,
    /// A connection for each call of a caller.
    TcpEach,
}

/// How to run a scenario of `sipp-scenarios`.
#[derive(Clone, Debug)]
pub struct Script<'a> {
    /// Area and behaviour, such as `hold/resume`.
    pub scenario: &'a str,
    /// Which script.
    pub side: Side,
    /// Its own SIP address.
    pub local: SocketAddr,
    /// The address in its session descriptions.
    pub media: Ipv4Addr,
    /// Where a caller sends to.
    pub remote: Option<SocketAddr>,
    /// What carries SIP.
    pub transport: Transport,
    /// Ends after so many calls.
    pub calls: u32,
    /// Calls that a caller starts a second.
    pub rate: u32,
    /// The pause of the scenario that has no time of its own.
    pub talk: Duration,
    /// The number that a caller dials, where the scenario takes none from the CSV file.
    pub number: &'a str,
    /// A CSV file in the run's folder, for the scenario's fields.
    pub fields: Option<&'a str>,
}

/// SIPp while it runs, with the files that it writes.
#[derive(Debug)]
pub struct Sipp {
    process: Process,
    call_log: PathBuf,
    statistics: PathBuf,
    errors: PathBuf,
}

impl Script<'_> {
    /// Starts it in `folder`; a callee is waited for until it listens. `name` is unique in the folder.
    pub fn start(&self, name: &str, folder: &Path) -> anyhow::Result<Sipp> {
        let file = |kind: &str| folder.join(format!("{name}.{kind}"));
        let (call_log, statistics, errors) = (file("calls"), file("csv"), file("errors"));
        let scenario = binary::scenarios()
            .join(self.scenario)
            .join(format!("{}.xml", self.side.file()));
        let mut arguments: Vec<OsString> = vec!["-sf".into(), scenario.into()];
        let mut add =
            |words: &[&dyn ToString]| arguments.extend(words.iter().map(|word| word.to_string().into()));
        add(&[
            &"-i",
            &self.local.ip(),
            &"-p",
            &self.local.port(),
            &"-mi",
            &self.media,
        ]);
        add(&[
            &"-t",
            match self.transport {
                Transport::Udp => &"u1",
                Transport::Tcp => &"t1",
                Transport::TcpEach => &"tn",
            },
        ]);
        if self.transport == Transport::TcpEach {
            // Its default is more than a process may open.
            add(&[&"-max_socket", &(self.calls + 10)]);
        }
        add(&[
            &"-m",
            &self.calls,
            &"-d",
            &self.talk.as_millis(),
            &"-s",
            &self.number,
        ]);
        // The default limit of calls at once is three times the rate.
        add(&[&"-l", &self.calls.max(1), &"-nostdin"]);
        if self.side == Side::Caller {
            add(&[&"-r", &self.rate]);
        }
        if let Some(fields) = self.fields {
            add(&[&"-inf", &fields, &"-infindex", &fields, &0]);
        }
        add(&[&"-trace_logs", &"-log_file", &call_log.display()]);
        add(&[&"-trace_err", &"-error_file", &errors.display()]);
        add(&[&"-trace_stat", &"-stf", &statistics.display(), &"-fd", &1]);
        if let Some(remote) = self.remote {
            add(&[&remote]);
        }
        let process = Process::start(name, "sipp", arguments, &[], folder)?;
        let mut sipp = Sipp {
            process,
            call_log,
            statistics,
            errors,
        };
        if self.side == Side::Callee {
            sipp.wait_until_it_listens(self.local, self.transport)?;
        }
        Ok(sipp)
    }
}

/// SIPp's own account of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls that went through the whole scenario.
    pub successful: u64,
    /// Calls that did not.
    pub failed: u64,
    /// Messages that were sent again.
    pub retransmissions: u64,
}

impl Sipp {
    /// The child process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Where its `<log>` actions go.
    pub fn call_log(&self) -> &Path {
        &self.call_log
    }

    /// Waits for its end. An error unless every call went as the scenario says.
    pub fn finish(&mut self, within: Duration) -> anyhow::Result<()> {
        let status = self.process.wait(within).with_context(|| self.complaint())?;
        if !status.success() {
            bail!("{}: {status}\n{}", self.process.name(), self.complaint());
        }
        Ok(())
    }

    /// Its account, when it has ended.
    pub fn tally(&self) -> anyhow::Result<Tally> {
        let table =
            fs::read_to_string(&self.statistics).with_context(|| format!("{}", self.statistics.display()))?;
        tally_of(&table).with_context(|| format!("{}", self.statistics.display()))
    }

    /// What it said of messages that it did not expect.
    pub fn complaint(&self) -> String {
        const LENGTH: usize = 3_000;
        let text = fs::read_to_string(&self.errors).unwrap_or_default();
        let said: String = text.chars().take(LENGTH).collect();
        format!("--- {}\n{said}\n{}", self.errors.display(), self.process.tail())
    }

    fn wait_until_it_listens(&mut self, local: SocketAddr, transport: Transport) -> anyhow::Result<()> {
        let result = wait::until_true("SIPp to listen", Duration::from_secs(10), || {
            if !self.process.is_running()? {
                bail!("SIPp ended at once");
            }
            is_bound(local, transport)
        });
        result.with_context(|| self.complaint())
    }
}

/// Whether some process of this network namespace has the address, as /proc/net says.
fn is_bound(local: SocketAddr, transport: Transport) -> anyhow::Result<bool> {
    let IpAddr::V4(ip) = local.ip() else {
        bail!("SIPp runs on IPv4 here");
    };
    // The kernel prints the address as a number in the machine's byte order.
    let wanted = format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), local.port());
    let table = fs::read_to_string(match transport {
        Transport::Udp => "/proc/net/udp",
        Transport::Tcp | Transport::TcpEach => "/proc/net/tcp",
    })?;
    Ok(table
        .lines()
        .any(|line| line.split_whitespace().nth(1) == Some(&wanted)))
}

/// The last line of SIPp's statistics.
pub(crate) fn tally_of(table: &str) -> anyhow::Result<Tally> {
    Ok(Tally {
        successful: value_of(table, "SuccessfulCall(C)")?,
        failed: value_of(table, "FailedCall(C)")?,
        retransmissions: value_of(table, "Retransmissions(C)")?,
    })
}

/// A column of the last line of SIPp's statistics.
pub(crate) fn value_of(table: &str, name: &str) -> anyhow::Result<u64> {
    let mut lines = table.lines();
    let mut names = lines.next().context("no statistics")?.split(';');
    let mut last = lines.last().context("no statistics")?.split(';');
    let place = names.position(|column| column == name);
    let text = place
        .and_then(|place| last.nth(place))
        .context(format!("no column {name}"))?;
    text.parse().with_context(|| format!("{name} is {text:?}"))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn the_last_line_of_the_statistics_counts() {
        let table = "StartTime;SuccessfulCall(P);SuccessfulCall(C);FailedCall(C);Retransmissions(C);\n\
                     a;1;1;0;0;\n\
                     b;2;3;1;4;\n";
        let tally = Tally {
            successful: 3,
            failed: 1,
            retransmissions: 4,
        };
        assert_eq!(tally_of(table).unwrap(), tally);
        assert!(tally_of("").is_err());
        assert!(tally_of("a;b\n1;2\n").is_err());
    }

    #[test]
    fn a_bound_address_is_seen() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let local = socket.local_addr().unwrap();
        assert!(is_bound(local, Transport::Udp).unwrap());
        assert!(!is_bound(local, Transport::Tcp).unwrap());
        drop(socket);
        assert!(!is_bound(local, Transport::Udp).unwrap());
    }
}
