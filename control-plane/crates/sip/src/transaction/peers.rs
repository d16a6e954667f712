use std::collections::HashMap;
use std::net::SocketAddr;

use super::fingerprint::Secret;
use crate::{Destination, FlowId, Transport};

/// Which transactions send to whom, for the day the transport says that it cannot.
///
/// A list a peer is threaded through the transaction slots by index, so that keeping it costs constant time a
/// transaction, and a failing peer costs as much as it has transactions and no more.
#[derive(Debug)]
pub(super) struct Peers {
    first: HashMap<Peer, u32, Secret>,
    links: Vec<Link>,
}

/// On a connection, the connection; else the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Peer {
    Flow(FlowId),
    Address(Transport, SocketAddr),
}

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

const NIL: u32 = u32::MAX;

impl Peers {
    pub(super) fn new(secret: Secret) -> Self {
        Self {
            first: HashMap::with_hasher(secret),
            links: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, slot: u32, destination: &Destination) {
        if self.links.len() <= slot as usize {
            self.links.resize(
                slot as usize + 1,
                Link {
                    previous: NIL,
                    next: NIL,
                },
            );
        }
        let next = self.first.insert(peer(destination), slot).unwrap_or(NIL);
        if next != NIL {
            self.links[next as usize].previous = slot;
        }
        self.links[slot as usize] = Link { previous: NIL, next };
    }

    /// `destination` is what `slot` was added with.
    pub(super) fn remove(&mut self, slot: u32, destination: &Destination) {
        let Link { previous, next } = self.links[slot as usize];
        if next != NIL {
            self.links[next as usize].previous = previous;
        }
        if previous != NIL {
            self.links[previous as usize].next = next;
        } else if next != NIL {
            self.first.insert(peer(destination), next);
        } else {
            self.first.remove(&peer(destination));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// The transactions that send to `destination`, those whose connection it is and those who only know its address.
    pub(super) fn slots(&self, destination: &Destination) -> Vec<u32> {
        let address = Peer::Address(destination.transport, destination.remote);
        let by_flow = Some(peer(destination)).filter(|&peer| peer != address);
        let mut slots = Vec::new();
        for peer in by_flow.into_iter().chain([address]) {
            let mut slot = self.first.get(&peer).copied().unwrap_or(NIL);
            while slot != NIL {
                slots.push(slot);
                slot = self.links[slot as usize].next;
            }
        }
        slots.sort_unstable();
        slots
    }
}

/// All UDP peers share a socket, and a listener has many peers, so there the flow tells nothing.
fn peer(destination: &Destination) -> Peer {
    match destination.flow {
        Some(flow) if destination.transport.is_reliable() && flow.is_connection() => Peer::Flow(flow),
        _ => Peer::Address(destination.transport, destination.remote),
    }
}

#[cfg(test)]
mod tests {
    use sans_io::Random;

    use super::*;

    fn to(transport: Transport, port: u16, flow: Option<u64>) -> Destination {
        Destination {
            transport,
            remote: SocketAddr::from(([127, 0, 0, 1], port)),
            flow: flow.map(FlowId),
        }
    }

    #[test]
    fn a_connection_is_told_from_its_address_and_udp_peers_from_each_other() {
        let mut peers = Peers::new(Secret::new(&mut Random::from_number(1)));
        let destinations = [
            to(Transport::Tcp, 1, Some(7)),
            to(Transport::Tcp, 1, None),
            to(Transport::Udp, 1, Some(3)),
            to(Transport::Udp, 2, Some(3)),
            to(Transport::Tcp, 1, Some(7)),
        ];
        for (slot, destination) in destinations.iter().enumerate() {
            peers.add(slot as u32, destination);
        }
        assert_eq!(peers.slots(&to(Transport::Tcp, 1, Some(7))), [0, 1, 4]);
        assert_eq!(peers.slots(&to(Transport::Tcp, 1, None)), [1]);
        assert_eq!(peers.slots(&to(Transport::Udp, 1, None)), [2]);
        assert_eq!(peers.slots(&to(Transport::Udp, 9, Some(3))), []);
        for slot in [4, 0, 2, 1, 3] {
            peers.remove(slot, &destinations[slot as usize]);
        }
        assert!(peers.is_empty());
    }

    #[test]
    fn removal_from_any_place_keeps_the_others() {
        let here = to(Transport::Udp, 1, None);
        for gone in 0..4 {
            let mut peers = Peers::new(Secret::new(&mut Random::from_number(1)));
            (0..4).for_each(|slot| peers.add(slot, &here));
            peers.remove(gone, &here);
            let kept: Vec<u32> = (0..4).filter(|&slot| slot != gone).collect();
            assert_eq!(peers.slots(&here), kept);
        }
    }
}
