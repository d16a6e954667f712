//! From a record to what an engine takes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use media_engine::{CallState, LineState, Restored};
use media_types::{LegSpec, Refusal};

use super::Record;
use crate::config::{Interface, Limits};

impl Record {
    /// The call as an engine makes it again, on ports of these interfaces, with a whole lease and statistics from zero. `now_ms`:
    /// milliseconds since 1970.
    ///
    /// # Errors
    /// When the interfaces are not those that the call was made on.
    pub fn restored(
        &self,
        interfaces: &[Interface],
        limits: &Limits,
        now_ms: u64,
    ) -> Result<Restored, Refusal> {
        let legs: [LegSpec; 2] = self
            .spec
            .legs
            .clone()
            .try_into()
            .map_err(|_| Refusal::Invalid("a call has exactly two legs"))?;
        let lines = [
            self.lines_of(0, &legs[0], interfaces)?,
            self.lines_of(1, &legs[1], interfaces)?,
        ];
        let or = |wanted: Duration, default_ms| match wanted.is_zero() {
            true => Duration::from_millis(default_ms),
            false => wanted,
        };
        let lease = or(self.spec.lease, limits.lease_default_ms);
        Ok(Restored {
            id: self.spec.id.clone(),
            legs,
            state: CallState {
                created_with: self.key.clone(),
                updated_with: self.updated_with.clone(),
                age: Duration::from_millis(now_ms.saturating_sub(self.created_ms)),
                lease,
                lease_left: lease,
                media_timeout: or(self.spec.media_timeout, limits.media_timeout_ms),
                lines,
            },
        })
    }

    fn lines_of(
        &self,
        at: usize,
        leg: &LegSpec,
        interfaces: &[Interface],
    ) -> Result<Vec<LineState>, Refusal> {
        let ip = local(leg, interfaces).ok_or(Refusal::UnknownInterface)?;
        let mut states = vec![LineState::default(); leg.lines.len()];
        for (place, (state, spec)) in states.iter_mut().zip(&leg.lines).enumerate() {
            let found = self
                .lines
                .iter()
                .find(|line| (line.leg, line.place) == (at, place));
            let Some(line) = found else { continue };
            state.local = Some(SocketAddr::new(ip, line.port));
            let signalled = spec.remote.filter(|address| !address.ip().is_unspecified());
            state.signalled = line.signalled.or(signalled);
            state.source = line.learned;
            state.has_received = line.learned.is_some();
        }
        Ok(states)
    }
}

/// The address that a leg is on: the first of its family, on its interface if it names one.
fn local(leg: &LegSpec, interfaces: &[Interface]) -> Option<IpAddr> {
    interfaces
        .iter()
        .filter(|interface| {
            leg.interface
                .as_ref()
                .is_none_or(|name| name.as_str() == interface.name)
        })
        .flat_map(|interface| &interface.addresses)
        .map(|address| address.local)
        .find(|ip| ip.is_ipv6() == leg.ipv6)
}
