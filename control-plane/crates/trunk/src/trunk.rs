use std::sync::Arc;

use sans_io::{Random, Timestamp};
use sip::Message;

use crate::probe::Probe;
use crate::registration::{Place, Registration};
use crate::trunks::Output;
use crate::{Counters, NoAnswer, ServerStatus, Status, TrunkTerms};

/// One trunk: its registration, and its servers.
#[derive(Debug)]
pub(crate) struct Trunk {
    pub(crate) terms: TrunkTerms,
    registration: Option<Registration>,
    /// In the order of the servers; none without terms for it.
    probes: Vec<Probe>,
    counters: Counters,
    service_route: Arc<[String]>,
    is_leaving: bool,
}

/// What a trunk may use of its owner.
pub(crate) struct Tools<'a> {
    pub(crate) random: &'a mut Random,
    /// The number of the latest request.
    pub(crate) requests: &'a mut u64,
    /// Numbers of those that were sent now.
    pub(crate) sent: &'a mut Vec<u64>,
    pub(crate) outputs: &'a mut Vec<Output>,
}

impl Trunk {
    pub(crate) fn new(now: Timestamp, terms: TrunkTerms, random: &mut Random) -> Self {
        let mut trunk = Self {
            registration: None,
            probes: Vec::new(),
            counters: Counters::default(),
            service_route: Arc::default(),
            is_leaving: false,
            terms,
        };
        let registration = trunk.terms.registration.as_ref();
        trunk.registration = registration.map(|terms| Registration::new(now, terms, random));
        let probes = trunk.terms.servers.iter().filter(|_| trunk.terms.probe.is_some());
        trunk.probes = probes.map(|_| Probe::new(now, random)).collect();
        trunk
    }

    /// Takes other terms; what they leave as it is goes on. Gives a trunk that only has its old registration to take back, if
    /// that is none of ours any more.
    pub(crate) fn change(
        &mut self,
        now: Timestamp,
        terms: TrunkTerms,
        tools: &mut Tools<'_>,
    ) -> Option<Self> {
        let identity = |terms: &TrunkTerms| {
            let registration = terms.registration.as_ref()?;
            Some((
                registration.user.clone(),
                registration.domain.clone(),
                registration.contact_user.clone(),
                terms.logins.clone(),
            ))
        };
        let mut old = None;
        if identity(&self.terms) != identity(&terms) {
            let registration = terms.registration.as_ref();
            let registration = registration.map(|terms| Registration::new(now, terms, tools.random));
            let mut before = std::mem::replace(&mut self.registration, registration);
            if let Some(before) = &mut before {
                before.leave(now);
            }
            old = before.map(|registration| Self {
                terms: self.terms.clone(),
                registration: Some(registration),
                probes: Vec::new(),
                counters: Counters::default(),
                service_route: Arc::default(),
                is_leaving: true,
            });
        } else if let Some(registration) = &mut self.registration {
            if self.terms.servers != terms.servers {
                registration.servers_changed(now, &self.terms.servers, &terms.servers);
            }
            let expires_s = |terms: &TrunkTerms| terms.registration.as_ref().map(|it| it.expires_s);
            if let Some(wanted) = expires_s(&terms).filter(|_| expires_s(&self.terms) != expires_s(&terms)) {
                registration.expires_changed(now, wanted);
            }
        }
        if self.terms.probe != terms.probe || self.terms.servers != terms.servers {
            self.exchange_probes(now, &terms, tools);
        }
        self.terms = terms;
        self.tell_route(tools);
        old
    }

    /// Servers that stay keep how they stand.
    fn exchange_probes(&mut self, now: Timestamp, terms: &TrunkTerms, tools: &mut Tools<'_>) {
        let before = std::mem::take(&mut self.probes);
        let mut known: Vec<_> = self.terms.servers.iter().cloned().zip(before).collect();
        for (server, probe) in &known {
            let stays = terms.probe.is_some() && terms.servers.contains(server);
            if !stays && !probe.is_up {
                tools.outputs.push(Output::Server {
                    trunk: terms.number,
                    destination: server.destination,
                    up: true,
                });
            }
        }
        if terms.probe.is_none() {
            return;
        }
        for server in &terms.servers {
            let place = known.iter().position(|(known, _)| known == server);
            let probe = match place {
                Some(place) => known.swap_remove(place).1,
                None => Probe::new(now, tools.random),
            };
            self.probes.push(probe);
        }
    }

    /// Takes the registration back and asks nobody any more.
    pub(crate) fn leave(&mut self, now: Timestamp) {
        self.is_leaving = true;
        self.probes.clear();
        if let Some(registration) = &mut self.registration {
            registration.leave(now);
        }
    }

    /// Whether it is none of ours any more.
    pub(crate) const fn is_left(&self) -> bool {
        self.is_leaving
    }

    /// Whether it was left and nothing is left to be done.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_leaving && self.registration.as_ref().is_none_or(Registration::is_gone)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        let registration = self.registration.as_ref().and_then(Registration::poll_timeout);
        let probes = self.probes.iter().map(Probe::poll_timeout);
        probes.chain(registration).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Timestamp, tools: &mut Tools<'_>) {
        if let (Some(registration), Some(terms)) = (&mut self.registration, &self.terms.registration) {
            let request = *tools.requests + 1;
            let sent = registration.handle_timeout(now, request, terms, &self.terms.servers);
            self.send(sent, tools);
            self.tell_route(tools);
        }
        for place in 0..self.probes.len() {
            let probe = &mut self.probes[place];
            let was_up = probe.is_up;
            let request = *tools.requests + 1;
            let counters = &mut self.counters;
            let sent = probe.handle_timeout(now, request, &self.terms, place, counters, tools.random);
            self.tell_server(place, was_up, tools);
            self.send(sent.map(|message| (message, place)), tools);
        }
    }

    /// Takes what became of a request.
    pub(crate) fn handle_answer(
        &mut self,
        now: Timestamp,
        request: u64,
        answer: Result<&Message, NoAnswer>,
        tools: &mut Tools<'_>,
    ) {
        if let (Some(registration), Some(terms)) = (&mut self.registration, &self.terms.registration)
            && registration.is_waiting_for(request)
        {
            let place = Place {
                name: &self.terms.name,
                terms,
                servers: &self.terms.servers,
                logins: &self.terms.logins,
            };
            let next = *tools.requests + 1;
            let counters = &mut self.counters;
            let sent = registration.handle_answer(now, answer, next, &place, counters, tools.random);
            self.send(sent, tools);
            self.tell_route(tools);
            return;
        }
        let place = self.probes.iter().position(|probe| probe.is_waiting_for(request));
        if let (Some(place), Some(terms)) = (place, &self.terms.probe) {
            let was_up = self.probes[place].is_up;
            let counters = &mut self.counters;
            self.probes[place].handle_answer(now, answer, terms, counters, tools.random);
            self.tell_server(place, was_up, tools);
        }
    }

    /// Puts a request in line that has taken the next number.
    fn send(&self, sent: Option<(Message, usize)>, tools: &mut Tools<'_>) {
        let Some((message, server)) = sent else { return };
        let Some(server) = self.terms.servers.get(server) else {
            return;
        };
        *tools.requests += 1;
        tools.sent.push(*tools.requests);
        tools.outputs.push(Output::Send {
            request: *tools.requests,
            message,
            destination: server.destination,
        });
    }

    fn tell_server(&self, place: usize, was_up: bool, tools: &mut Tools<'_>) {
        let up = self.probes[place].is_up;
        if up == was_up {
            return;
        }
        let (trunk, destination) = (&self.terms.name, self.terms.servers[place].destination);
        match up {
            true => tracing::info!(trunk, server = %destination.remote, "the server is there again"),
            false => tracing::warn!(trunk, server = %destination.remote, "the server does not answer"),
        }
        tools.outputs.push(Output::Server {
            trunk: self.terms.number,
            destination,
            up,
        });
    }

    fn tell_route(&mut self, tools: &mut Tools<'_>) {
        let route = self.registration.as_ref().map(Registration::service_route);
        let route = route.cloned().unwrap_or_default();
        if !self.is_leaving && route != self.service_route {
            self.service_route = route.clone();
            tools.outputs.push(Output::ServiceRoute {
                trunk: self.terms.number,
                route,
            });
        }
    }

    pub(crate) fn status(&self) -> Status {
        let server = |(place, server): (usize, &crate::Server)| ServerStatus {
            destination: server.destination,
            up: self.probes.get(place).is_none_or(|probe| probe.is_up),
        };
        Status {
            number: self.terms.number,
            name: self.terms.name.clone(),
            servers: self.terms.servers.iter().enumerate().map(server).collect(),
            registration: self.registration.as_ref().map(Registration::status),
            counters: self.counters,
        }
    }
}
