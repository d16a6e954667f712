//! Registrations at trunks, and whether their servers are there: between the machine that decides and the transactions.

use std::time::Duration;

use call::{Answered, Lost, TrunkId, TrunkUse};
use sans_io::{Random, Timestamp};
use trunk::{NoAnswer, Output, Server, Status, Trunks};

use crate::plan::Plan;
use crate::shell::Shell;

/// How soon what calls do to trunks is told, for metrics and operators.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// The trunks and how they stood last.
#[derive(Debug)]
pub struct TrunkDesk {
    trunks: Trunks,
    statuses: Vec<Status>,
    /// When calls at trunks are counted next; `None` when nothing has changed.
    tell_at: Option<Timestamp>,
    told_at: Timestamp,
}

/// How a trunk stands, with its calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrunkStanding {
    /// Servers and registration.
    pub status: Status,
    /// Calls.
    pub used: TrunkUse,
}

impl TrunkDesk {
    /// Without trunks.
    pub fn new(random: Random) -> Self {
        Self {
            trunks: Trunks::new(random),
            statuses: Vec::new(),
            tell_at: None,
            told_at: Timestamp::ZERO,
        }
    }

    /// When there is something to do.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        [self.trunks.poll_timeout(), self.tell_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether all registrations are taken back.
    pub fn is_gone(&self) -> bool {
        self.trunks.is_gone()
    }
}

impl Shell {
    /// Takes routes and trunks as they are now.
    pub fn take_plan(&mut self) {
        let plan = self.plan.borrow_and_update().clone();
        self.b2bua.set_trunks(&plan.limits());
        self.b2bua.obey(&plan.obeyed());
        self.next_hops = plan.addresses();
        self.transport.set_peers(self.next_hops.iter().copied());
        self.set_trunks(&plan);
        self.b2bua.set_routes(call::Routes::new(plan.routes));
        self.carry_out();
    }

    fn set_trunks(&mut self, plan: &Plan) {
        if self.stopping {
            return;
        }
        let retries_max = self.b2bua.config().request_retries_max;
        let server = |hop: &call::NextHop| Server {
            destination: hop.destination,
            own_host: self.b2bua.host_towards(&hop.destination).to_owned(),
        };
        let terms = plan.trunks.iter().map(|trunk| {
            let servers = trunk.next_hops.iter().map(server).collect();
            trunk.config.terms(trunk.id, servers, retries_max)
        });
        let terms = terms.collect();
        self.trunks.trunks.set(self.clock.now(), terms);
        self.act_on_trunks();
    }

    /// Takes all registrations back.
    pub fn leave_trunks(&mut self) {
        self.trunks.trunks.leave(self.clock.now());
        self.act_on_trunks();
        self.carry_out();
    }

    /// What became of a request to a trunk.
    pub(crate) fn take_answer(&mut self, answered: &Answered) {
        let answer = answered.response.as_ref().map_err(|lost| match lost {
            Lost::TimedOut => NoAnswer::TimedOut,
            Lost::NotSent => NoAnswer::NotSent,
        });
        let now = self.clock.now();
        self.trunks.trunks.handle_answer(now, answered.id, answer);
        self.act_on_trunks();
    }

    /// Does what is due at trunks.
    pub(crate) fn run_trunks(&mut self, now: Timestamp) {
        if self.trunks.trunks.poll_timeout().is_some_and(|at| at <= now) {
            self.trunks.trunks.handle_timeout(now);
            self.act_on_trunks();
            self.carry_out();
        }
    }

    /// Does what the trunks' machine decided; what that makes calls' machine do is for `carry_out`.
    fn act_on_trunks(&mut self) {
        let now = self.clock.now();
        while let Some(output) = self.trunks.trunks.poll_output() {
            match output {
                Output::Send {
                    request,
                    message,
                    destination,
                } => self.b2bua.send_request(now, request, message, destination),
                Output::Server {
                    trunk,
                    destination,
                    up,
                } => {
                    let (transport, remote) = (destination.transport, destination.remote);
                    self.b2bua.set_server_up(TrunkId(trunk), transport, remote, up);
                }
                Output::ServiceRoute { trunk, route } => {
                    self.b2bua.set_service_route(TrunkId(trunk), route);
                }
            }
        }
    }

    /// Tells how the trunks stand, if that has changed, and not too often.
    pub(crate) fn settle_trunks(&mut self) {
        let now = self.clock.now();
        let desk = &mut self.trunks;
        let statuses = desk.trunks.poll_statuses();
        if statuses.is_none() && !self.b2bua.trunks_have_changed() && desk.tell_at.is_none() {
            return;
        }
        desk.statuses = statuses.unwrap_or_else(|| std::mem::take(&mut desk.statuses));
        let soonest = desk.told_at + TELL_EVERY;
        if now < soonest {
            desk.tell_at = Some(soonest);
            return;
        }
        (desk.told_at, desk.tell_at) = (now, None);
        let standing = desk.statuses.iter().map(|status| TrunkStanding {
            used: self.b2bua.trunk_use(TrunkId(status.number)),
            status: status.clone(),
        });
        self.standing.now().trunks = standing.collect();
    }
}
