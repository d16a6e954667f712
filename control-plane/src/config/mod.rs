//! The configuration file of a control plane. Every number in it is a limit with an answer; `control.example.toml` has
//! the meaning of each key.

mod guard;
mod limits;
mod listen;
mod media;
mod registrar;
mod route;
mod sip;
mod srtp;
mod store;
mod tls;
mod transfer;
mod trunk;
mod ws;

use std::collections::HashSet;
use std::net::SocketAddr;

use ops::config::{Problems, Validate};
use ops::logging::LogConfig;
use serde::Deserialize;

pub use guard::Guard;
pub use limits::{Limits, Shutdown};
pub use listen::Listen;
pub use media::{Media, MediaNode, TimeoutAction};
pub use registrar::Registrar;
pub use route::{Dns, NextHop, Route};
pub use sip::Sip;
pub use srtp::Srtp;
use srtp::{Dtls, Policy as SrtpPolicy, Signalling};
pub use store::Store;
pub use tls::Tls;
pub use transfer::Transfer;
pub use trunk::{Account, Trunk};
pub use ws::WebSocket;

/// The prefix of environment variables that override the file.
pub const ENVIRONMENT_PREFIX: &str = "RINGPATH_CONTROL";

/// The most media nodes, routes and trunks that a file may have.
const NODES_MAX: usize = 1_000;
const ROUTES_MAX: usize = 100_000;
const TRUNKS_MAX: usize = 1_000;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where SIP is spoken.
    pub sip: Sip,
    /// How operators reach the control plane.
    pub ops: Ops,
    /// How operators reach the control plane over gRPC; absent: not at all.
    #[serde(default)]
    pub admin: Option<api::Config>,
    /// Logs.
    #[serde(default)]
    pub log: LogConfig,
    /// Call records.
    pub store: Store,
    /// Users that register, if there are any.
    #[serde(default)]
    pub registrar: Option<Registrar>,
    /// How media nodes are used.
    #[serde(default)]
    pub media: Media,
    /// The media nodes.
    #[serde(rename = "media_node", default)]
    pub media_nodes: Vec<MediaNode>,
    /// Where routes may lead.
    #[serde(rename = "trunk", default)]
    pub trunks: Vec<Trunk>,
    /// The routing table.
    #[serde(rename = "route", default)]
    pub routes: Vec<Route>,
    /// Host names of next hops.
    #[serde(default)]
    pub dns: Dns,
    /// Limits.
    #[serde(default)]
    pub limits: Limits,
    /// Who is listened to.
    #[serde(default)]
    pub guard: Guard,
    /// What happens at SIGTERM.
    #[serde(default)]
    pub shutdown: Shutdown,
}

/// The operators' HTTP endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ops {
    /// Address of `/metrics`, `/healthz` and `/readyz`; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Connections at once; more are closed at once and counted.
    #[serde(default = "Ops::connections_max")]
    pub connections_max: usize,
}

impl Ops {
    const fn connections_max() -> usize {
        64
    }
}

impl Validate for Ops {
    fn validate(&self, problems: &mut Problems) {
        problems.range("connections_max", self.connections_max, 1..=65_536);
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        problems.within("sip", &self.sip);
        if let Some(admin) = &self.admin {
            problems.within("admin", admin);
        }
        problems.within("ops", &self.ops);
        problems.within("log", &self.log);
        problems.within("store", &self.store);
        if let Some(registrar) = &self.registrar {
            problems.within("registrar", registrar);
        }
        problems.within("media", &self.media);
        problems.within("dns", &self.dns);
        problems.within("limits", &self.limits);
        problems.within("guard", &self.guard);
        problems.within("shutdown", &self.shutdown);
        match (self.media.anchored, self.media_nodes.is_empty()) {
            (true, true) => problems.push("media_node", "is missing: at least one is needed"),
            (false, false) => problems.push("media_node", "is of no use with media.anchored = false"),
            _ => {}
        }
        if self.media_nodes.len() > NODES_MAX {
            problems.push("media_node", format!("has more than {NODES_MAX} entries"));
        }
        if self.routes.len() > ROUTES_MAX {
            problems.push("route", format!("has more than {ROUTES_MAX} entries"));
        }
        for (n, node) in self.media_nodes.iter().enumerate().take(NODES_MAX) {
            problems.within(&format!("media_node.{n}"), node);
            if let Some(m) = self.media_nodes[..n]
                .iter()
                .position(|earlier| earlier.name == node.name)
            {
                problems.push(
                    &format!("media_node.{n}.name"),
                    format!("is the name of media_node {m}, too"),
                );
            }
        }
        if self.trunks.len() > TRUNKS_MAX {
            problems.push("trunk", format!("has more than {TRUNKS_MAX} entries"));
        }
        Trunk::check_names(&self.trunks, problems);
        for (n, trunk) in self.trunks.iter().enumerate().take(TRUNKS_MAX) {
            let place = format!("trunk.{n}");
            problems.within(&place, trunk);
            self.check_next_hop(&place, &trunk.next_hop, trunk.listener.as_deref(), problems);
        }
        self.check_srtp(problems);
        let names: HashSet<&str> = self.trunks.iter().map(|trunk| &*trunk.name).collect();
        for (n, route) in self.routes.iter().enumerate().take(ROUTES_MAX) {
            let place = format!("route.{n}");
            problems.within(&place, route);
            if let Some(next_hop) = &route.next_hop {
                self.check_next_hop(&place, next_hop, route.listener.as_deref(), problems);
            }
            if route.trunk.as_deref().is_some_and(|name| !names.contains(name)) {
                problems.push(&format!("{place}.trunk"), "is no trunk's name");
            }
        }
    }
}

impl Config {
    /// Whether SRTP that is to be offered can be.
    fn check_srtp(&self, problems: &mut Problems) {
        let trunks = self.trunks.iter().take(TRUNKS_MAX).enumerate();
        let trunks = trunks.map(|(n, trunk)| (format!("trunk.{n}.srtp"), trunk.srtp, Some(&trunk.next_hop)));
        let routes = self.routes.iter().take(ROUTES_MAX).enumerate();
        let routes =
            routes.map(|(n, route)| (format!("route.{n}.srtp"), route.srtp, route.next_hop.as_ref()));
        let users = self
            .registrar
            .iter()
            .map(|it| ("registrar.srtp".into(), it.srtp, None));
        let callers = [("sip.caller_srtp".into(), self.sip.caller_srtp, None)];
        let can_secure = !self.media.suites().is_empty();
        for (place, srtp, next_hop) in callers.into_iter().chain(users).chain(trunks).chain(routes) {
            let is_readable = |hop: &NextHop| hop.transport != ::sip::Transport::Tls && !hop.is_open();
            if srtp.dtls == Dtls::Offer {
                if srtp.policy == SrtpPolicy::Forbid {
                    problems.push(&place, "offers DTLS, and forbids SRTP");
                } else if !self.media.anchored {
                    problems.push(&place, "offers DTLS, which needs media.anchored = true");
                }
            } else if matches!(srtp.policy, SrtpPolicy::Prefer | SrtpPolicy::Require) && !can_secure {
                problems.push(&place, "needs media.srtp_suites and media.anchored = true");
            } else if srtp.policy == SrtpPolicy::Require
                && srtp.keys_over == Signalling::Tls
                && next_hop.is_some_and(is_readable)
            {
                problems.push(
                    &place,
                    "requires keys, which may not go over the transport of next_hop",
                );
            }
        }
    }

    /// Whether a listener of ours reaches a next hop.
    fn check_next_hop(&self, place: &str, hop: &NextHop, listener: Option<&str>, problems: &mut Problems) {
        let next_hop = format!("{place}.next_hop");
        if hop.transport == ::sip::Transport::Tls && self.sip.tls.as_ref().is_some_and(|tls| tls.ca.is_none())
        {
            problems.push(&next_hop, "goes over tls, and sip.tls has no ca to verify it by");
        } else if let Some(name) = listener
            && !self
                .sip
                .place_of(name)
                .is_some_and(|place| self.sip.can_send(place, hop))
        {
            problems.push(
                &format!("{place}.listener"),
                "is no listener's name, or that of one with another protocol or address family",
            );
        } else if !hop.is_open() && !self.sip.listens(hop.transport) {
            let name = hop.transport.via_name().to_ascii_lowercase();
            let text = format!("goes over {name}, and sip.listen has no address of {name}");
            problems.push(&next_hop, text);
        } else if let Some(address) = hop.address
            && !self.sip.reaches(hop.transport, address)
        {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            let text = format!("is an {family} address, and sip.listen has none of its protocol");
            problems.push(&next_hop, text);
        }
    }
}

#[cfg(test)]
mod tests;
