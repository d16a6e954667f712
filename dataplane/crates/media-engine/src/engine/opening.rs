use std::net::SocketAddr;

use media_types::Refusal;
use sans_io::Timestamp;

use super::{Component, Engine, Slot};
use crate::line::LinePorts;
use crate::port_pool::{AddressKey, Pair};
use crate::{OpenError, PortId, Ports, Shell};

/// How many calls a remote address may lead through on this node before it is taken for a loop.
const HAIRPINS_MAX: usize = 16;

/// A port that a command has opened and not yet committed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Opened {
    /// Both ports of a pair, or its first alone.
    Pair(LinePorts),
    /// The second port of a pair that its line has already.
    Rtcp(PortId),
}

impl Engine {
    /// Reserves a pair and opens it, with another one when something else holds it.
    pub(super) fn open_pair(
        &mut self,
        now: Timestamp,
        ports: &mut impl Ports,
        address: AddressKey,
        with_rtcp: bool,
    ) -> Result<LinePorts, Refusal> {
        for _ in 0..self.config.limits.open_tries_max {
            let Some(pair) = self.pool.take(address, &mut self.random) else {
                return Err(Refusal::NoPorts);
            };
            match self.open_both(ports, pair, with_rtcp) {
                Ok(opened) => return Ok(opened),
                Err(OpenError::InUse) => {
                    self.counters.count_unopened(OpenError::InUse);
                    self.pool.put_aside(pair, now);
                }
                Err(error) => {
                    self.counters.count_unopened(error);
                    self.pool.give_back(pair);
                    return Err(refusal(error));
                }
            }
        }
        Err(Refusal::NoPorts)
    }

    fn open_both(&self, ports: &mut impl Ports, pair: Pair, with_rtcp: bool) -> Result<LinePorts, OpenError> {
        let rtp = ports.open(self.pool.local(pair, 0))?;
        if !with_rtcp {
            return Ok(LinePorts {
                pair,
                rtp,
                rtcp: None,
            });
        }
        match ports.open(self.pool.local(pair, 1)) {
            Ok(rtcp) => Ok(LinePorts {
                pair,
                rtp,
                rtcp: Some(rtcp),
            }),
            Err(error) => {
                ports.close(rtp);
                Err(error)
            }
        }
    }

    /// Opens a pair that is reserved already.
    pub(super) fn open_taken(
        &mut self,
        ports: &mut impl Ports,
        pair: Pair,
        with_rtcp: bool,
    ) -> Result<LinePorts, Refusal> {
        self.open_both(ports, pair, with_rtcp).map_err(|error| {
            self.counters.count_unopened(error);
            refusal(error)
        })
    }

    /// Opens the RTCP port of a pair whose line has multiplexed until now.
    pub(super) fn open_rtcp(&mut self, ports: &mut impl Ports, pair: Pair) -> Result<PortId, Refusal> {
        ports.open(self.pool.local(pair, 1)).map_err(|error| {
            self.counters.count_unopened(error);
            refusal(error)
        })
    }

    /// Takes back what a command opened before it failed. No packet was handed to anyone, so nothing rests.
    pub(super) fn take_back(&mut self, ports: &mut impl Ports, opened: impl IntoIterator<Item = Opened>) {
        for opened in opened {
            match opened {
                Opened::Pair(LinePorts { pair, rtp, rtcp }) => {
                    ports.close(rtp);
                    if let Some(rtcp) = rtcp {
                        ports.close(rtcp);
                    }
                    self.pool.give_back(pair);
                }
                Opened::Rtcp(rtcp) => ports.close(rtcp),
            }
        }
    }

    /// Gives opened ports to a line.
    pub(super) fn attach(&mut self, line: u32, opened: Opened) {
        match opened {
            Opened::Pair(opened) => {
                self.pool.lease(opened.pair, line);
                self.set_slot(opened.rtp, line, Component::Rtp);
                if let Some(rtcp) = opened.rtcp {
                    self.set_slot(rtcp, line, Component::Rtcp);
                }
                self.line_mut(line).ports = Some(opened);
            }
            Opened::Rtcp(rtcp) => {
                self.set_slot(rtcp, line, Component::Rtcp);
                if let Some(ports) = &mut self.line_mut(line).ports {
                    ports.rtcp = Some(rtcp);
                }
            }
        }
    }

    /// Closes the ports of a line; the pair rests.
    pub(super) fn detach(&mut self, now: Timestamp, shell: &mut impl Shell, line: u32) {
        self.detach_rtcp(shell, line);
        self.take_out(shell, line, Component::Rtp);
        if let Some(LinePorts { pair, rtp, .. }) = self.line_mut(line).ports.take() {
            self.free_slot(shell, rtp);
            self.pool.release(pair, now);
        }
    }

    /// Closes the RTCP port of a line; it stays reserved.
    pub(super) fn detach_rtcp(&mut self, shell: &mut impl Shell, line: u32) {
        self.take_out(shell, line, Component::Rtcp);
        let rtcp = self
            .line_mut(line)
            .ports
            .as_mut()
            .and_then(|ports| ports.rtcp.take());
        if let Some(rtcp) = rtcp {
            self.free_slot(shell, rtcp);
        }
    }

    fn set_slot(&mut self, port: PortId, line: u32, component: Component) {
        let at = port.0 as usize;
        if self.slots.len() <= at {
            self.slots.resize(
                at + 1,
                Slot {
                    line: Slot::FREE,
                    component: Component::Rtp,
                },
            );
        }
        debug_assert_eq!(
            self.slots[at].line,
            Slot::FREE,
            "the back-end gave {port:?} twice"
        );
        self.slots[at] = Slot { line, component };
    }

    fn free_slot(&mut self, ports: &mut impl Ports, port: PortId) {
        if let Some(slot) = self.slots.get_mut(port.0 as usize) {
            slot.line = Slot::FREE;
        }
        ports.close(port);
    }

    /// Whether packets sent to `remote` would come back to one of the pairs in `ours`, at once or through other calls
    /// of this engine. RTP has no hop count: such a loop would carry a packet round for ever.
    pub(super) fn leads_back(&self, remote: SocketAddr, ours: &[Pair]) -> bool {
        let mut at = remote;
        for _ in 0..HAIRPINS_MAX {
            if ours.iter().any(|pair| self.pool.is_at(*pair, at)) {
                return true;
            }
            let Some((_, line)) = self.pool.line_at(at) else {
                return false;
            };
            let peer = self.line(self.line(line).peer);
            match peer.latch.destination() {
                Some(next) => at = next,
                None => return false,
            }
        }
        true
    }
}

/// What the control plane is told when a port does not open.
const fn refusal(error: OpenError) -> Refusal {
    match error {
        OpenError::InUse | OpenError::Refused => Refusal::NoPorts,
        OpenError::Exhausted => Refusal::NoCapacity,
    }
}
