//! The B2BUA's view of a call, for operators: monotonic times become wall-clock times, and types those of the contract.

use std::collections::{HashMap, HashSet};
use std::time::UNIX_EPOCH;

use call::{Cause, Changes, Overview, Progress, Released, TrunkId};
use guard::{Network, Offence};
use ops::clock::MonotonicClock;
use proto::admin_v1 as wire;
use registrar::{Binding, Registrar};
use sans_io::Timestamp;

use crate::plan::{Plan, TrunkPlan};
use crate::trunks::TrunkStanding;

/// Converts many calls with one look at the clocks.
#[derive(Clone, Copy, Debug)]
pub struct Converter {
    /// Milliseconds since 1970 when the monotonic clock read zero.
    boot_unix_ms: u64,
}

impl Converter {
    /// By the clocks as they are now.
    pub fn new(clock: &MonotonicClock) -> Self {
        let boot = clock.wall_time(Timestamp::ZERO).duration_since(UNIX_EPOCH);
        let boot_unix_ms = u64::try_from(boot.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        Self { boot_unix_ms }
    }

    /// What has changed.
    pub fn changes(&self, changes: Changes) -> api::Changes {
        let calls = |calls: Vec<Overview>| calls.into_iter().map(|call| self.call(call)).collect();
        api::Changes {
            restart: changes.restart,
            changed: calls(changes.changed),
            gone: calls(changes.gone),
            complete: changes.complete,
        }
    }

    /// A ban.
    pub fn ban(&self, network: Network, until: Timestamp, offence: Option<Offence>) -> wire::Ban {
        wire::Ban {
            network: network.to_string(),
            until_unix_ms: self.unix_ms(until),
            reason: offence.map_or("operator", Offence::as_str).to_owned(),
        }
    }

    /// One call.
    pub fn call(&self, overview: Overview) -> wire::Call {
        let Overview { progress, record } = overview;
        let unix_ms = |at: Option<Timestamp>| at.map_or(0, |at| self.unix_ms(at));
        wire::Call {
            call_id: record.call.to_string(),
            state: state(progress).into(),
            started_unix_ms: self.unix_ms(record.times.setup),
            ringing_unix_ms: unix_ms(record.times.ringing),
            answered_unix_ms: unix_ms(record.times.answered),
            ended_unix_ms: unix_ms(record.times.ended),
            caller: Some(wire::Party {
                user: record.caller,
                sip_call_id: record.caller_call_id,
                address: record.source.to_string(),
            }),
            callee: Some(wire::Party {
                user: record.callee,
                sip_call_id: record.callee_call_id.unwrap_or_default(),
                address: record
                    .next_hop
                    .map(|next_hop| next_hop.to_string())
                    .unwrap_or_default(),
            }),
            request_uri: record.request_uri,
            codec: record.codec.map(String::from).unwrap_or_default(),
            media_node: record.node.map(|node| node.to_string()).unwrap_or_default(),
            end: record.cause.map(end),
            transferred: record.transferred.map(|it| wire::Transferred {
                leaves: match it.by {
                    Released::Caller => wire::CallParty::Caller,
                    Released::Callee => wire::CallParty::Callee,
                    Released::Us => wire::CallParty::Unspecified,
                }
                .into(),
                to: it.to,
            }),
        }
    }

    /// A page of contacts; `None` if the page that is asked for is none of ours.
    pub fn registrations(
        &self,
        registrar: &Registrar,
        now: Timestamp,
        wanted: &wire::GetRegistrationsRequest,
    ) -> Option<wire::GetRegistrationsResponse> {
        let total = registrar.binding_count() as u64;
        if !wanted.user.is_empty() {
            let bindings = registrar.bindings_of(now, &wanted.user);
            return Some(wire::GetRegistrationsResponse {
                bindings: bindings.map(|it| self.binding(&wanted.user, it)).collect(),
                next_page: String::new(),
                total,
            });
        }
        let after = match wanted.page.as_str() {
            "" => None,
            page => {
                let (at, id) = page.split_once('-')?;
                Some((Timestamp::from_nanos(at.parse().ok()?), id.parse().ok()?))
            }
        };
        let max = wanted.page_size as usize;
        let mut bindings = Vec::with_capacity(max);
        let mut last = None;
        for (user, binding) in registrar.bindings(after, max) {
            bindings.push(self.binding(user, binding));
            last = Some((binding.expires.as_nanos(), binding.id));
        }
        let is_full = bindings.len() == max;
        let next_page = last.filter(|_| is_full).map(|(at, id)| format!("{at}-{id}"));
        Some(wire::GetRegistrationsResponse {
            bindings,
            next_page: next_page.unwrap_or_default(),
            total,
        })
    }

    fn binding(&self, user: &str, binding: &Binding) -> wire::Binding {
        wire::Binding {
            user: user.to_owned(),
            contact: binding.contact.to_string(),
            transport: binding.received.transport.via_name().to_ascii_lowercase(),
            address: binding.received.remote.to_string(),
            expires_unix_ms: self.unix_ms(binding.expires),
            q_permille: binding.q_permille.into(),
            instance: binding.instance.to_string(),
            reg_id: binding.reg_id,
        }
    }

    fn unix_ms(&self, at: Timestamp) -> u64 {
        let since = at.saturating_since(Timestamp::ZERO).as_millis();
        self.boot_unix_ms
            .saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

const fn state(progress: Progress) -> wire::CallState {
    match progress {
        Progress::Reserving => wire::CallState::Reserving,
        Progress::Calling => wire::CallState::Calling,
        Progress::Ringing => wire::CallState::Ringing,
        Progress::Answering => wire::CallState::Answering,
        Progress::Answered => wire::CallState::Answered,
        Progress::Ended => wire::CallState::Ending,
    }
}

fn end(cause: Cause) -> wire::End {
    let released_by = match cause.released {
        Released::Caller => wire::ReleasedBy::Caller,
        Released::Callee => wire::ReleasedBy::Callee,
        Released::Us => wire::ReleasedBy::System,
    };
    wire::End {
        released_by: released_by.into(),
        sip_status: cause.sip_status.into(),
        q850: cause.q850.into(),
        text: cause.text.into_owned(),
    }
}

impl Converter {
    /// The routing table and the trunks, at most `max` lines.
    pub fn trunks(&self, plan: &Plan, standing: &[TrunkStanding], max: usize) -> wire::GetTrunksResponse {
        let mut routes: Vec<&call::Route> = plan.routes.iter().collect();
        // A stable sort: of two routes with the same prefix the earlier one is tried first.
        routes.sort_by(|one, other| one.prefix.cmp(&other.prefix));
        let by_number: HashMap<u32, &TrunkStanding> = standing
            .iter()
            .map(|stands| (stands.status.number, stands))
            .collect();
        let known: HashMap<TrunkId, (&TrunkPlan, Option<&TrunkStanding>)> = plan
            .trunks
            .iter()
            .map(|trunk| (trunk.id, (trunk, by_number.get(&trunk.id.0).copied())))
            .collect();
        let of_hop = |prefix: &str, hop: &call::NextHop| {
            let line = wire::Trunk {
                prefix: prefix.to_owned(),
                host: hop.host.clone(),
                transport: hop.destination.transport.via_name().to_ascii_lowercase(),
                address: hop.destination.remote.to_string(),
                ..wire::Trunk::default()
            };
            match hop.trunk.and_then(|trunk| known.get(&trunk)) {
                Some((trunk, stands)) => self.of_trunk(line, trunk, *stands, Some(hop)),
                None => line,
            }
        };
        let routed = routes
            .iter()
            .flat_map(|route| route.next_hops.iter().map(|hop| of_hop(&route.prefix, hop)));
        let hops = routes.iter().flat_map(|route| &route.next_hops);
        let with_route: HashSet<TrunkId> = hops.filter_map(|hop| hop.trunk).collect();
        let unrouted: Vec<wire::Trunk> = plan
            .trunks
            .iter()
            .filter(|trunk| !with_route.contains(&trunk.id))
            .flat_map(|trunk| {
                let mut lines: Vec<_> = trunk.next_hops.iter().map(|hop| of_hop("", hop)).collect();
                if lines.is_empty() {
                    let line = wire::Trunk {
                        host: trunk.config.next_hop.uri_host.clone(),
                        ..wire::Trunk::default()
                    };
                    lines.push(self.of_trunk(line, trunk, known[&trunk.id].1, None));
                }
                lines.iter_mut().for_each(|line| line.unrouted = true);
                lines
            })
            .collect();
        let of_routes: u64 = routes.iter().map(|route| route.next_hops.len() as u64).sum();
        let total = of_routes + unrouted.len() as u64;
        wire::GetTrunksResponse {
            trunks: routed.chain(unrouted).take(max).collect(),
            total,
        }
    }

    /// Adds what is known of a trunk, and of its server at `hop`.
    fn of_trunk(
        &self,
        line: wire::Trunk,
        trunk: &TrunkPlan,
        stands: Option<&TrunkStanding>,
        hop: Option<&call::NextHop>,
    ) -> wire::Trunk {
        let server = stands.zip(hop).and_then(|(stands, hop)| {
            let mut servers = stands.status.servers.iter();
            servers.find(|server| server.destination == hop.destination)
        });
        let state = match server {
            Some(server) if trunk.config.options.is_some() => match server.up {
                true => wire::ServerState::Up,
                false => wire::ServerState::Down,
            },
            _ => wire::ServerState::Unspecified,
        };
        let registration = stands.and_then(|stands| stands.status.registration.as_ref());
        wire::Trunk {
            trunk: trunk.config.name.clone(),
            state: state.into(),
            registration: registration.map(|registration| wire::Registration {
                until_unix_ms: registration.until.map_or(0, |until| self.unix_ms(until)),
                failure: registration.failure.clone().unwrap_or_default(),
            }),
            calls: stands.map_or(0, |stands| stands.used.calls),
            calls_max: trunk.config.calls_max.unwrap_or(0),
            ..line
        }
    }
}
