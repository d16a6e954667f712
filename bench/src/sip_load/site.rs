//! Where the measurements are made: an address of our own, a core for the server and one for the load.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::host::Host;
use crate::relay::privilege::allowed_cores;
use crate::sip_load::contender::{Contender, Place, Role, System};
use crate::sip_load::loader::Loader;

/// See the module.
#[derive(Debug)]
pub struct Site {
    host: Host,
    server_core: usize,
    /// The load's core.
    pub load_core: usize,
    /// Caller's and callee's addresses.
    pub parties: [SocketAddr; 2],
    /// The same of the probe.
    pub probe: [SocketAddr; 2],
    /// How long servers keep finished transactions.
    pub linger: Duration,
    logs: PathBuf,
    users: PathBuf,
}

/// A server that runs there.
#[derive(Debug)]
pub struct Server {
    /// What it is.
    pub system: System,
    /// Its processes.
    pub contender: Contender,
    /// Where it takes SIP.
    pub sip: SocketAddr,
    /// Where it has metrics; the control plane only.
    pub ops: SocketAddr,
}

impl Site {
    /// Takes an address. Logs go to `logs`; there are `users` users.
    pub fn new(logs: &Path, linger: Duration, users: u32) -> anyhow::Result<Self> {
        let cores = allowed_cores()?;
        ensure!(
            cores.len() > 1,
            "two cores are needed: one for the server, one for the load"
        );
        fs::create_dir_all(logs)?;
        let logs = fs::canonicalize(logs)?;
        let mut host = Host::reserve()?;
        let site = Self {
            server_core: cores[cores.len() - 1],
            load_core: cores[0],
            parties: [host.address()?, host.address()?],
            probe: [host.address()?, host.address()?],
            host,
            linger,
            users: logs.join("users.csv"),
            logs,
        };
        let mut text = String::new();
        for user in 0..users {
            writeln!(text, "u{user:06};p{user:06}")?;
        }
        fs::write(&site.users, text)?;
        Ok(site)
    }

    /// An address that nobody has.
    pub fn address(&mut self) -> anyhow::Result<SocketAddr> {
        self.host.address()
    }

    /// SIPp on the load's core.
    pub fn loader(&self) -> Loader<'_> {
        Loader {
            core: self.load_core,
            folder: &self.logs,
        }
    }

    /// The users from `first` on, as SIPp reads them.
    pub fn fields(&self, name: &str, first: u32, count: u32) -> anyhow::Result<PathBuf> {
        let path = self.logs.join(name);
        let mut text = "SEQUENTIAL\n".to_owned();
        for user in first..first + count {
            writeln!(
                text,
                "u{user:06};[authentication username=u{user:06} password=p{user:06}]"
            )?;
        }
        fs::write(&path, text)?;
        Ok(path)
    }

    /// How long after the last message transactions are gone.
    pub fn settling(&self) -> Duration {
        self.linger.mul_f64(1.2) + Duration::from_millis(500)
    }

    /// Starts a server.
    pub fn start(&mut self, system: System, role: Role) -> anyhow::Result<Server> {
        let name = format!("{}-{}", system.name(), role.name());
        let folder = self.logs.join(&name);
        fs::create_dir_all(&folder)?;
        let place = Place {
            core: self.server_core,
            sip: self.host.address()?,
            callee: self.parties[1],
            probe: self.probe[1],
            linger: self.linger,
            spare: [self.host.address()?, self.host.address()?, self.host.address()?],
            users: &self.users,
            folder: &folder,
        };
        let contender = Contender::start(system, role, &place).with_context(|| format!("starting {name}"))?;
        Ok(Server {
            system,
            contender,
            sip: place.sip,
            ops: place.spare[0],
        })
    }
}
