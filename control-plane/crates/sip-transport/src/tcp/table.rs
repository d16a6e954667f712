use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use guard::Network;
use sip::{Destination, FlowId};
use tokio::sync::{Notify, mpsc};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

use crate::outgoing::Outgoing;
use crate::tls::proves;

/// The connections that exist or are being made.
#[derive(Debug, Default)]
pub(crate) struct Table {
    connections: HashMap<FlowId, Entry>,
    /// The latest connection of each group with each peer. A group is a listener, or at a listener the peers that have
    /// proven a name.
    by_remote: HashMap<(FlowId, SocketAddr), FlowId>,
    /// Connections that TLS clients have offered for requests to them, by listener and the address that they serve at
    /// (RFC 5923 §5).
    aliases: HashMap<(FlowId, SocketAddr), FlowId>,
    per_source: HashMap<Network, Of>,
}

/// How much of a source there is: of an IPv4 address, or the /64 of an IPv6 address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Of {
    pub(crate) connections: usize,
    /// Those among them whose TLS handshake is under way.
    pub(crate) handshakes: usize,
}

#[derive(Debug)]
struct Entry {
    handle: Handle,
    /// Its places in `by_remote`.
    groups: Vec<(FlowId, SocketAddr)>,
    /// Its place in `aliases`.
    alias: Option<(FlowId, SocketAddr)>,
    /// What a TLS client has shown. One that the CA signed, and with its private key, or there would be no connection.
    certificate: Option<Box<CertificateDer<'static>>>,
}

/// How others reach a connection's task.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) remote: SocketAddr,
    pub(crate) queue: mpsc::Sender<Box<Outgoing>>,
    pub(crate) close: Arc<Notify>,
}

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Connections with the network of `source`, made by either side.
    pub(crate) fn of_source(&self, source: IpAddr) -> Of {
        let network = Network::of_source(source);
        self.per_source.get(&network).copied().unwrap_or_default()
    }

    /// Counts a TLS handshake of a connection that is in the table.
    pub(crate) fn handshake_begins(&mut self, source: IpAddr) {
        self.per_source
            .entry(Network::of_source(source))
            .or_default()
            .handshakes += 1;
    }

    /// Takes that back, before the connection leaves the table.
    pub(crate) fn handshake_ends(&mut self, source: IpAddr) {
        if let Some(of) = self.per_source.get_mut(&Network::of_source(source)) {
            of.handshakes = of.handshakes.saturating_sub(1);
        }
    }

    pub(crate) fn insert(&mut self, flow: FlowId, group: FlowId, handle: Handle) {
        let network = Network::of_source(handle.remote.ip());
        self.per_source.entry(network).or_default().connections += 1;
        let place = (group, handle.remote);
        self.by_remote.insert(place, flow);
        let entry = Entry {
            handle,
            groups: vec![place],
            alias: None,
            certificate: None,
        };
        self.connections.insert(flow, entry);
    }

    pub(crate) fn remove(&mut self, flow: FlowId) -> Option<Handle> {
        let entry = self.connections.remove(&flow)?;
        for place in entry.groups {
            if self.by_remote.get(&place) == Some(&flow) {
                self.by_remote.remove(&place);
            }
        }
        if let Some(alias) = entry.alias.filter(|alias| self.aliases.get(alias) == Some(&flow)) {
            self.aliases.remove(&alias);
        }
        let source = Network::of_source(entry.handle.remote.ip());
        if let Some(of) = self.per_source.get_mut(&source) {
            of.connections -= 1;
            if of.connections == 0 {
                self.per_source.remove(&source);
            }
        }
        Some(entry.handle)
    }

    /// Notes what the client of a TLS connection has shown.
    pub(crate) fn prove(&mut self, flow: FlowId, certificate: CertificateDer<'static>) {
        if let Some(entry) = self.connections.get_mut(&flow) {
            entry.certificate = Some(Box::new(certificate));
        }
    }

    /// Notes that a client serves at `port` of its address, and offers this connection for requests to there. Counts only
    /// when it has shown who it is (RFC 5923 §8).
    pub(crate) fn offer(&mut self, flow: FlowId, port: u16) {
        let Some(entry) = self.connections.get_mut(&flow) else {
            return;
        };
        if entry.certificate.is_none() {
            return;
        }
        let mut serves_at = entry.handle.remote;
        serves_at.set_port(port);
        // A place is 16 bits of the flow that it comes from.
        let alias = (FlowId::of_listener(flow.listener() as u16), serves_at);
        // A new connection takes the place of an older one; one connection has one alias.
        if let Some(old) = entry.alias.replace(alias).filter(|old| *old != alias)
            && self.aliases.get(&old) == Some(&flow)
        {
            self.aliases.remove(&old);
        }
        self.aliases.insert(alias, flow);
    }

    /// The connection of a flow.
    pub(crate) fn find_flow(&self, flow: FlowId) -> Option<Handle> {
        Some(self.connections.get(&flow)?.handle.clone())
    }

    /// The connection for a message: that of its flow while it lives, else one of the group with its address
    /// (RFC 3261 §18.1.1, §18.2.2), else one that a client with that `name` has offered for it.
    pub(crate) fn find(
        &mut self,
        group: FlowId,
        destination: &Destination,
        name: Option<&ServerName<'_>>,
    ) -> Option<(FlowId, Handle)> {
        let by_flow = destination
            .flow
            .filter(|flow| self.connections.contains_key(flow));
        let place = (group, destination.remote);
        let flow = by_flow
            .or_else(|| self.by_remote.get(&place).copied())
            .or_else(|| self.offered(place, name?))?;
        Some((flow, self.find_flow(flow)?))
    }

    fn offered(&mut self, place: (FlowId, SocketAddr), name: &ServerName<'_>) -> Option<FlowId> {
        let listener = FlowId::of_listener(place.0.listener() as u16);
        let flow = *self.aliases.get(&(listener, place.1))?;
        let entry = self.connections.get_mut(&flow)?;
        let certificate = entry.certificate.as_deref()?;
        if !proves(certificate, name) {
            return None;
        }
        // So that the certificate is looked at once.
        entry.groups.push(place);
        self.by_remote.insert(place, flow);
        Some(flow)
    }
}

#[cfg(test)]
mod tests {
    use sip::Transport;

    use super::*;

    const US: FlowId = FlowId::of_listener(0);

    fn handle(port: u16) -> Handle {
        let (queue, _) = mpsc::channel(1);
        Handle {
            remote: ([192, 0, 2, 1], port).into(),
            queue,
            close: Arc::default(),
        }
    }

    fn found(table: &mut Table, flow: Option<u64>, port: u16) -> Option<u64> {
        let remote = ([192, 0, 2, 1], port).into();
        let destination = Destination {
            transport: Transport::Tcp,
            remote,
            flow: flow.map(FlowId),
        };
        table.find(US, &destination, None).map(|(flow, _)| flow.0)
    }

    #[test]
    fn a_flow_is_preferred_and_its_address_is_the_way_back_when_it_is_gone() {
        let mut table = Table::default();
        table.insert(FlowId(1), US, handle(1_000));
        table.insert(FlowId(2), US, handle(2_000));
        assert_eq!(found(&mut table, Some(1), 2_000), Some(1));
        assert_eq!(found(&mut table, None, 2_000), Some(2));
        assert_eq!(found(&mut table, Some(9), 2_000), Some(2));
        assert_eq!(found(&mut table, Some(9), 3_000), None);
        table.remove(FlowId(1));
        assert_eq!(found(&mut table, Some(1), 2_000), Some(2));
    }

    #[test]
    fn nothing_is_left_of_connections_that_are_gone() {
        let mut table = Table::default();
        table.insert(FlowId(1), US, handle(1_000));
        table.insert(FlowId(2), US, handle(1_000));
        let of_source = |table: &Table| table.of_source([192, 0, 2, 1].into()).connections;
        assert_eq!((table.len(), of_source(&table)), (2, 2));
        table.remove(FlowId(1));
        assert_eq!(
            found(&mut table, None, 1_000),
            Some(2),
            "the later one with the same peer stays"
        );
        table.remove(FlowId(2));
        assert!(table.remove(FlowId(2)).is_none());
        assert_eq!((table.len(), of_source(&table)), (0, 0));
        assert!(table.by_remote.is_empty() && table.per_source.is_empty());
    }

    /// Whoever has one address of a /64 has them all.
    #[test]
    fn an_ipv6_source_is_its_64() {
        let mut table = Table::default();
        for (flow, host) in (1..=3).zip(["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]) {
            let (queue, _) = mpsc::channel(1);
            let handle = Handle {
                remote: (host.parse::<IpAddr>().unwrap(), 5_060).into(),
                queue,
                close: Arc::default(),
            };
            table.insert(FlowId(flow), US, handle);
        }
        assert_eq!(table.of_source("2001:db8::99".parse().unwrap()).connections, 2);
    }

    /// RFC 5923 §5, §8.
    #[test]
    fn an_offer_is_for_who_proves_the_name_and_goes_with_its_connection() {
        let certificate = rcgen::generate_simple_self_signed(["b.example".to_owned()]).unwrap();
        let name = |name: &'static str| ServerName::try_from(name).unwrap();
        let (b, c) = (FlowId::of_peer(0, 1), FlowId::of_peer(0, 2));
        let found = |table: &mut Table, group, port, name: &ServerName<'_>| {
            let remote = ([192, 0, 2, 1], port).into();
            let destination = Destination {
                transport: Transport::Tls,
                remote,
                flow: Some(group),
            };
            table
                .find(group, &destination, Some(name))
                .map(|(flow, _)| flow.0)
        };
        let mut table = Table::default();
        table.insert(FlowId(7), US, handle(40_000));
        table.offer(FlowId(7), 5061);
        assert_eq!(
            found(&mut table, b, 5061, &name("b.example")),
            None,
            "nothing shown"
        );
        table.prove(FlowId(7), certificate.cert.der().clone());
        table.offer(FlowId(7), 5061);
        assert_eq!(found(&mut table, c, 5061, &name("c.example")), None);
        assert_eq!(found(&mut table, b, 5062, &name("b.example")), None);
        for _ in 0..2 {
            assert_eq!(found(&mut table, b, 5061, &name("b.example")), Some(7));
        }
        assert_eq!(found(&mut table, c, 5061, &name("c.example")), None);
        table.offer(FlowId(7), 5063);
        assert_eq!(table.aliases.len(), 1);
        table.remove(FlowId(7));
        assert_eq!(found(&mut table, b, 5061, &name("b.example")), None);
        assert!(table.by_remote.is_empty() && table.aliases.is_empty());
    }
}
