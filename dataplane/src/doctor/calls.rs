use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU32;

use host::{Channels, Ethtool, Feature, TimeSync, UdpFlow};
use net_io::probe::{self, Backend, Requested};

use super::setting::nft_ruleset;
use super::view::Calls;

/// This machine.
pub struct ThisMachine(Ethtool);

impl ThisMachine {
    /// Asks in the caller's network namespace.
    ///
    /// # Errors
    /// When there is no socket to ask through.
    pub fn open() -> io::Result<Self> {
        Ethtool::open().map(Self)
    }
}

impl Calls for ThisMachine {
    fn driver(&self, interface: &str) -> io::Result<String> {
        self.0.driver(interface)
    }

    fn channels(&self, interface: &str) -> io::Result<Channels> {
        self.0.channels(interface)
    }

    fn set_channels(&self, interface: &str, channels: Channels) -> io::Result<()> {
        self.0.set_channels(interface, channels)
    }

    fn udp_hash(&self, interface: &str, flow: UdpFlow) -> io::Result<u64> {
        self.0.udp_hash(interface, flow)
    }

    fn set_udp_hash(&self, interface: &str, flow: UdpFlow, fields: u64) -> io::Result<()> {
        self.0.set_udp_hash(interface, flow, fields)
    }

    fn features(&self, interface: &str) -> io::Result<BTreeMap<String, Feature>> {
        self.0.features(interface)
    }

    fn set_feature(&self, interface: &str, name: &str, on: bool) -> io::Result<()> {
        self.0.set_feature(interface, name, on)
    }

    fn time_sync(&self) -> io::Result<TimeSync> {
        host::time_sync()
    }

    fn uring(&self) -> Result<String, String> {
        match probe::choose(Requested::Auto) {
            Ok((Backend::Uring, found)) => Ok(found),
            Ok((Backend::Socket, reason)) => Err(reason),
            Err(error) => Err(error.to_string()),
        }
    }

    fn bpf(&self) -> Result<(), String> {
        // The smallest program of the build; the kernel forgets it when it is dropped.
        ebpf::Program::load_pass()
            .map(drop)
            .map_err(|error| in_a_line(&error))
    }

    fn steering(&self) -> Result<(), String> {
        ebpf::Steering::load(&[])
            .map(drop)
            .map_err(|error| in_a_line(&error))
    }

    fn xdp(&self, interface: &str) -> Result<(bool, bool), String> {
        let index = nix::net::if_::if_nametoindex(interface).map_err(|error| error.to_string())?;
        let index = NonZeroU32::new(index).ok_or("no number")?;
        let features = ebpf::Features::of(index).map_err(|error| in_a_line(&error))?;
        Ok((features.runs_programs(), features.transmits()))
    }

    fn ruleset(&self) -> Result<String, String> {
        nft_ruleset()
    }
}

/// The verifier's log would be many lines.
fn in_a_line(error: &ebpf::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}
