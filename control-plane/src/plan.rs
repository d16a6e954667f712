use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use call::TrunkId;
use sip::Transport;

use crate::config;

/// Where calls go, with the addresses that names have now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The routing table.
    pub routes: Vec<call::Route>,
    /// The trunks in the order of the configuration.
    pub trunks: Vec<TrunkPlan>,
}

/// A trunk and its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrunkPlan {
    /// Its number, the same for as long as there is a trunk of that name.
    pub id: TrunkId,
    /// What the configuration says.
    pub config: Arc<config::Trunk>,
    /// Its servers; none while its name is not found.
    pub next_hops: Vec<call::NextHop>,
}

impl Plan {
    /// The addresses of all next hops.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        let routes = self.routes.iter().flat_map(|route| &route.next_hops);
        let trunks = self.trunks.iter().flat_map(|trunk| &trunk.next_hops);
        routes
            .chain(trunks)
            .map(|hop| hop.destination.remote.ip())
            .collect()
    }

    /// The servers that are obeyed when they want to be sent less.
    pub fn obeyed(&self) -> Vec<(Transport, SocketAddr)> {
        let trunks = self.trunks.iter().filter(|trunk| trunk.config.overload_control);
        let hops = trunks.flat_map(|trunk| &trunk.next_hops);
        hops.map(|hop| (hop.destination.transport, hop.destination.remote))
            .collect()
    }

    /// How much the trunks take.
    pub fn limits(&self) -> Vec<(TrunkId, call::TrunkLimits)> {
        let trunks = self.trunks.iter();
        trunks.map(|trunk| (trunk.id, trunk.config.limits())).collect()
    }
}
