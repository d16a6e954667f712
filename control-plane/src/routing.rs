//! The routing table with its host names looked up, again and again.
//!
//! A name is looked up for addresses only; NAPTR and SRV (RFC 3263) are a later matter.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sip::{Destination, Transport};
use tokio::sync::watch;

use crate::config;

/// How long one look-up may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses of one name that are used.
const ADDRESSES_MAX: usize = 8;

/// The routes of the configuration and the addresses of their names.
#[derive(Debug)]
pub struct Table {
    routes: Vec<config::Route>,
    /// Our listeners: an address that none of them can send to is left out.
    listeners: Vec<(Transport, bool)>,
    known: HashMap<(String, u16), Vec<SocketAddr>>,
    unresolved: Arc<AtomicU64>,
}

impl Table {
    /// The table of `routes`, for a transport that is bound to these addresses.
    pub fn new(routes: &[config::Route], bound: &[sip_transport::Bound]) -> Self {
        Self {
            routes: routes.to_vec(),
            listeners: bound
                .iter()
                .map(|bound| (bound.transport, bound.local.is_ipv4()))
                .collect(),
            known: HashMap::new(),
            unresolved: Arc::default(),
        }
    }

    /// Routes whose next hop has no address that a listener can send to, as a level for metrics: their calls get 503.
    pub fn unresolved(&self) -> Arc<AtomicU64> {
        self.unresolved.clone()
    }

    /// Whether there is a name at all.
    pub fn has_names(&self) -> bool {
        self.routes.iter().any(|route| route.next_hop.address.is_none())
    }

    /// Looks every name up. One that fails keeps the addresses that it had.
    pub async fn look_up(&mut self) {
        let mut names: Vec<(String, u16)> = self
            .routes
            .iter()
            .filter(|route| route.next_hop.address.is_none())
            .map(|route| (route.next_hop.host.clone(), route.next_hop.port))
            .collect();
        names.sort_unstable();
        names.dedup();
        for (host, port) in names {
            let looking = async {
                let found = tokio::net::lookup_host((host.as_str(), port)).await?;
                Ok::<Vec<SocketAddr>, std::io::Error>(found.take(ADDRESSES_MAX).collect())
            };
            match tokio::time::timeout(LOOKUP_TIMEOUT, looking).await {
                Ok(Ok(addresses)) => {
                    self.known.insert((host, port), addresses);
                }
                Ok(Err(error)) => tracing::warn!(host, %error, "next hop not found"),
                Err(_) => tracing::warn!(host, "next hop not found in time"),
            }
        }
        let unresolved = self
            .routes
            .iter()
            .filter(|route| self.next_hops(&route.next_hop).is_empty())
            .count();
        self.unresolved.store(unresolved as u64, Relaxed);
    }

    /// The table as calls use it.
    pub fn routes(&self) -> Vec<call::Route> {
        self.routes
            .iter()
            .map(|route| call::Route {
                prefix: route.prefix.clone(),
                next_hops: self.next_hops(&route.next_hop),
            })
            .collect()
    }

    fn addresses(&self, hop: &config::NextHop) -> Vec<SocketAddr> {
        match hop.address {
            Some(address) => vec![SocketAddr::new(address, hop.port)],
            None => self
                .known
                .get(&(hop.host.clone(), hop.port))
                .cloned()
                .unwrap_or_default(),
        }
    }

    fn next_hops(&self, hop: &config::NextHop) -> Vec<call::NextHop> {
        self.addresses(hop)
            .into_iter()
            .filter(|address| self.listeners.contains(&(hop.transport, address.is_ipv4())))
            .map(|remote| call::NextHop {
                destination: Destination {
                    transport: hop.transport,
                    remote,
                    flow: None,
                },
                host: hop.uri_host.clone(),
            })
            .collect()
    }
}

/// Looks the names of `table` up every `interval` for ever, and tells when addresses changed.
pub async fn refresh(mut table: Table, interval: Duration, tell: watch::Sender<Vec<call::Route>>) {
    if !table.has_names() {
        return std::future::pending().await;
    }
    loop {
        table.look_up().await;
        let routes = table.routes();
        tell.send_if_modified(|told| {
            let changed = *told != routes;
            if changed {
                tracing::info!("addresses of next hops changed");
                *told = routes;
            }
            changed
        });
        tokio::time::sleep(interval).await;
    }
}

#[cfg(test)]
mod tests {
    use sip_transport::Bound;

    use super::*;

    fn table(next_hop: &str, listeners: &[&str]) -> Table {
        let next_hop = config::NextHop::try_from(next_hop.to_owned()).unwrap();
        let bound: Vec<Bound> = listeners
            .iter()
            .map(|local| Bound {
                transport: Transport::Udp,
                local: local.parse().unwrap(),
            })
            .collect();
        Table::new(
            &[config::Route {
                prefix: "1".into(),
                next_hop,
            }],
            &bound,
        )
    }

    fn hops(table: &Table) -> Vec<(String, String)> {
        let hop = |hop: &call::NextHop| (hop.destination.remote.to_string(), hop.host.clone());
        table.routes()[0].next_hops.iter().map(hop).collect()
    }

    #[tokio::test]
    async fn an_address_needs_no_look_up() {
        let table = table("sip:192.0.2.1:5070", &["127.0.0.1:5060"]);
        assert!(!table.has_names());
        assert_eq!(hops(&table), [("192.0.2.1:5070".into(), "192.0.2.1:5070".into())]);
    }

    #[tokio::test]
    async fn an_address_that_no_listener_can_send_to_is_left_out() {
        let mut table_of_ipv4 = table("sip:[2001:db8::1]", &["127.0.0.1:5060"]);
        assert!(hops(&table_of_ipv4).is_empty());
        table_of_ipv4.look_up().await;
        assert_eq!(table_of_ipv4.unresolved().load(Relaxed), 1);
        assert_eq!(
            hops(&table("sip:[2001:db8::1]", &["127.0.0.1:5060", "[::1]:5060"])).len(),
            1
        );
    }

    #[tokio::test]
    async fn a_name_keeps_its_addresses_when_it_is_not_found_any_more() {
        let mut table = table("sip:localhost:5070", &["127.0.0.1:5060"]);
        assert!(hops(&table).is_empty());
        table.look_up().await;
        let found = [("127.0.0.1:5070".to_owned(), "localhost:5070".to_owned())];
        assert_eq!(hops(&table), found);
        assert_eq!(table.unresolved().load(Relaxed), 0);
        // ".invalid" is never found (RFC 6761 §6.4).
        let known = table.known.remove(&("localhost".to_owned(), 5070)).unwrap();
        table.routes[0].next_hop.host = "gone.invalid".into();
        table.look_up().await;
        assert_eq!(table.unresolved().load(Relaxed), 1);
        table.known.insert(("gone.invalid".to_owned(), 5070), known);
        table.look_up().await;
        assert_eq!(hops(&table), found);
    }
}
