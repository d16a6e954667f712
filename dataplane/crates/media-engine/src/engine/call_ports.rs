use std::net::SocketAddr;

use media_types::{CallId, LegId};

use super::Engine;
use crate::PortId;

/// The open ports of a call, for whoever shows its packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallPorts {
    /// The legs' names, by the numbers that the ports have.
    pub legs: [LegId; 2],
    /// Every open port.
    pub ports: Vec<CallPort>,
}

/// An open port of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallPort {
    /// Its identity.
    pub port: PortId,
    /// What is bound; parties may have been told another address.
    pub local: SocketAddr,
    /// 0 or 1.
    pub leg: u8,
    /// The media line's place in the description.
    pub line: u16,
}

impl Engine {
    /// The ports of a call; `None` when there is no such call. They hold until the call's next update or its end.
    pub fn call_ports(&self, id: &CallId) -> Option<CallPorts> {
        let key = self.key(id)?;
        let call = self.call(key);
        let mut ports = Vec::new();
        for key in self.line_keys(key) {
            let line = self.line(key);
            let Some(open) = line.ports else { continue };
            let port = |port, offset| CallPort {
                port,
                local: self.pool.local(open.pair, offset),
                leg: line.leg,
                line: line.place,
            };
            ports.push(port(open.rtp, 0));
            ports.extend(open.rtcp.map(|rtcp| port(rtcp, 1)));
        }
        let [first, second] = &call.legs;
        Some(CallPorts {
            legs: [first.id.clone(), second.id.clone()],
            ports,
        })
    }
}
