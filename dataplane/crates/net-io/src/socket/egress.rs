//! Packets queued for sending, by the port that they leave from.

use media_engine::PortId;

use crate::address::RawAddress;
use crate::frame::Extent;

/// No frame.
const NONE: u32 = u32::MAX;

/// A queue a port, threaded through one array with a place for every frame: as many queues as there are ports, and no
/// allocation when one grows.
#[derive(Debug)]
pub(crate) struct Egress {
    /// By frame index: what to send where, and the frame after it in its port's queue.
    packets: Box<[Packet]>,
    /// By port index: first and last frame of its queue.
    queues: Vec<Queue>,
    /// Ports with something queued, each once.
    order: Vec<PortId>,
    queued: u32,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    extent: Extent,
    to: RawAddress,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Queue {
    first: u32,
    last: u32,
}

impl Egress {
    pub(crate) fn new(frames: u32) -> Self {
        let packet = Packet {
            extent: Extent {
                index: 0,
                start: 0,
                length: 0,
            },
            to: RawAddress::EMPTY,
            next: NONE,
        };
        Self {
            packets: vec![packet; frames as usize].into(),
            queues: Vec::new(),
            order: Vec::new(),
            queued: 0,
        }
    }

    /// Makes room for a port, so that queueing on it does not allocate.
    pub(crate) fn add_port(&mut self, port: PortId) {
        let ports = self.queues.len().max(port.0 as usize + 1);
        self.queues.resize(
            ports,
            Queue {
                first: NONE,
                last: NONE,
            },
        );
        self.order.reserve(ports - self.order.len());
    }

    /// Puts a packet at the end of its port's queue. The port was added.
    pub(crate) fn push(&mut self, port: PortId, extent: Extent, to: RawAddress) {
        self.packets[extent.index as usize] = Packet {
            extent,
            to,
            next: NONE,
        };
        let queue = &mut self.queues[port.0 as usize];
        if queue.first == NONE {
            queue.first = extent.index;
            self.order.push(port);
        } else {
            self.packets[queue.last as usize].next = extent.index;
        }
        queue.last = extent.index;
        self.queued += 1;
    }

    /// The oldest packet of a port.
    pub(crate) fn pop(&mut self, port: PortId) -> Option<(Extent, RawAddress)> {
        let queue = self.queues.get_mut(port.0 as usize)?;
        let packet = *self.packets.get(queue.first as usize)?;
        queue.first = packet.next;
        self.queued -= 1;
        Some((packet.extent, packet.to))
    }

    /// Takes a port that has something queued out of the order; its queue has to be emptied next.
    pub(crate) fn next_port(&mut self) -> Option<PortId> {
        self.order.pop()
    }

    /// Takes this port out of the order, wherever it is.
    pub(crate) fn forget_order(&mut self, port: PortId) {
        self.order.retain(|&other| other != port);
    }

    /// Packets queued on all ports.
    pub(crate) fn len(&self) -> u32 {
        self.queued
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, VecDeque};

    proptest! {
        #[test]
        fn each_port_has_a_queue_of_its_own(steps in proptest::collection::vec((0u32..4, any::<bool>()), 0..200)) {
            let to = RawAddress::EMPTY;
            let mut egress = Egress::new(64);
            (0..4).for_each(|port| egress.add_port(PortId(port)));
            let mut model: HashMap<u32, VecDeque<u32>> = HashMap::new();
            let mut free: Vec<u32> = (0..64).collect();
            for (port, push) in steps {
                if push {
                    let Some(index) = free.pop() else { continue };
                    egress.push(PortId(port), Extent { index, start: 0, length: 0 }, to);
                    model.entry(port).or_default().push_back(index);
                } else {
                    egress.forget_order(PortId(port));
                    while let Some((extent, _)) = egress.pop(PortId(port)) {
                        prop_assert_eq!(model.get_mut(&port).unwrap().pop_front(), Some(extent.index));
                        free.push(extent.index);
                    }
                    prop_assert!(model.get(&port).is_none_or(VecDeque::is_empty));
                }
                prop_assert_eq!(egress.len() as usize, model.values().map(VecDeque::len).sum::<usize>());
            }
            let mut ports = Vec::new();
            while let Some(port) = egress.next_port() {
                ports.push(port.0);
            }
            ports.sort_unstable();
            let mut expected: Vec<u32> =
                model.iter().filter(|(_, queue)| !queue.is_empty()).map(|(&port, _)| port).collect();
            expected.sort_unstable();
            prop_assert_eq!(ports, expected);
        }
    }
}
