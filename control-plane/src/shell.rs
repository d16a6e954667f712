use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use call::{
    Asked, B2bua, Cdr, Contact, MediaAnswer, NextHop, Output, Placement, Stage, TransferPolicy, Wanted,
};
use media_client::{Client, Report};
use media_types::NodeName;
use ops::clock::MonotonicClock;
use ops::http::Readiness;
use registrar::{Located, Registrar, Target, Users};
use sans_io::Timestamp;
use sip::Transmit;
use sip::message::Uri;
use sip_transport::{Inbound, Transport};
use store::{Journal, ReleasedBy};
use tokio::sync::{mpsc, watch};

use crate::challenge::Prepared;
use crate::operators::Operators;
use crate::plan::Plan;
use crate::standing::{Registrations, Standing};
use crate::trunks::TrunkDesk;
use crate::{direct, media, record, registration};

/// Messages handled before the sockets have their turn again. They read many more at a time, so that under overload
/// messages wait in the transport's queues, where new requests are refused early, and not in the kernel's buffer, where
/// they only grow old.
const MESSAGES_PER_TURN: usize = 32;

/// How often the journal is looked at while new calls wait for it: nothing else tells that it has room again.
const JOURNAL_AGAIN: Duration = Duration::from_millis(100);

/// Answers and events of media nodes handled in a turn.
const REPORTS_PER_TURN: usize = 64;

/// Owns the calls and everything that they act through. One task: what the B2BUA decides is carried out in the order in
/// which it was decided.
pub struct Shell {
    /// The calls.
    pub b2bua: B2bua,
    /// SIP.
    pub transport: Transport,
    /// Media nodes.
    pub client: Client,
    /// What they tell.
    pub reports: mpsc::Receiver<Report>,
    /// What stands for a node in records when media goes from party to party; then none is asked.
    pub direct: Option<NodeName>,
    /// How many of them are up.
    pub healthy: watch::Receiver<usize>,
    /// Where call records go before anything that is sent after them.
    pub journal: Journal,
    /// Who registers, and where users are.
    pub registrar: Option<Registrar>,
    /// The users, whenever they change.
    pub users: Option<mpsc::Receiver<Users>>,
    /// Registrations at trunks, and whether their servers are there.
    pub trunks: TrunkDesk,
    /// Routing table and trunks, whenever they change.
    pub plan: watch::Receiver<Plan>,
    /// What a REFER of a user leads to.
    pub user_transfer: TransferPolicy,
    /// What is agreed with users about SRTP.
    pub user_srtp: call::Srtp,
    /// What is agreed with users' devices beside.
    pub user_peer: Option<Arc<call::Peer>>,
    /// For metrics.
    pub standing: Standing,
    /// For `/readyz`.
    pub readiness: watch::Sender<Readiness>,
    /// SIGHUP: certificates are read again.
    pub reload: ops::signal::HungUp,
    /// And so are trunks and routes.
    pub reread: mpsc::Sender<()>,
    /// The clock that drives all this.
    pub clock: MonotonicClock,
    /// What a caller waits after being refused for too many media requests.
    pub retry_after: Duration,
    /// Who may ask and order.
    pub operators: Operators,
    /// Set when the process is asked to stop.
    pub stopping: bool,
    /// Whether calls from next hops are never challenged.
    pub trusts_next_hops: bool,
    /// Their addresses. Who is merely not limited or banned is not among them, nor who shares a /64 with one.
    pub next_hops: BTreeSet<IpAddr>,
    /// Of the request that is being worked on.
    pub prepared: Option<Prepared>,
    /// What this turn decided and has not done yet.
    pub turn: Turn,
}

/// What is put off to the end of a turn: records first, all by one write, then what is sent. So a record is in the journal
/// before any party hears of what it records.
#[derive(Debug, Default)]
pub struct Turn {
    records: Vec<store::Entry>,
    transmits: Vec<Transmit>,
}

impl Shell {
    /// Runs until `until` completes, or `done` says that there is nothing left to wait for.
    pub async fn run(&mut self, until: impl Future<Output = ()>, done: impl Fn(&Self) -> bool) {
        let mut until = pin!(until);
        // What was decided between two runs.
        self.finish_turn();
        loop {
            self.settle();
            if done(self) {
                return;
            }
            let due = self.registrar.as_ref().and_then(Registrar::poll_timeout);
            let wakes = [
                self.b2bua.poll_timeout(),
                due,
                self.operators.poll_timeout(),
                self.trunks.poll_timeout(),
            ];
            let wake = wakes
                .into_iter()
                .flatten()
                .min()
                .map(|at| tokio::time::Instant::from_std(self.clock.instant(at)));
            let sleep = async {
                match wake {
                    Some(wake) => tokio::time::sleep_until(wake).await,
                    None => std::future::pending().await,
                }
            };
            let waits_for_journal =
                !self.stopping && !self.operators.drained && self.standing.now().refusing.is_some();
            let look_again = async {
                match waits_for_journal {
                    true => tokio::time::sleep(JOURNAL_AGAIN).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut until => return,
                Ok(()) = self.plan.changed() => self.take_plan(),
                () = self.reload.next() => {
                    self.transport.reload_tls();
                    // One that is still to be served serves for this, too.
                    let _ = self.reread.try_send(());
                }
                command = self.operators.receive() => self.take_command(command),
                Some(report) = self.reports.recv() => self.take_report(report),
                inbound = self.transport.receive() => self.take_inbound(inbound),
                Some(users) = next_users(&mut self.users) => self.take_users(users),
                // What changed is told by `settle`.
                Ok(()) = self.healthy.changed() => {}
                () = sleep => {}
                // What changed is told by `settle`.
                () = look_again => {}
            }
            for _ in 1..REPORTS_PER_TURN {
                let Ok(report) = self.reports.try_recv() else {
                    break;
                };
                self.take_report(report);
            }
            for _ in 1..MESSAGES_PER_TURN {
                let Some(inbound) = self.transport.try_receive() else {
                    break;
                };
                self.take_inbound(inbound);
            }
            let now = self.clock.now();
            if let Some(registrar) = &mut self.registrar
                && registrar.poll_timeout().is_some_and(|at| at <= now)
            {
                registrar.handle_timeout(now);
                self.keep_bindings();
            }
            if self.b2bua.poll_timeout().is_some_and(|at| at <= now) {
                self.b2bua.handle_timeout(now);
                self.carry_out();
            }
            self.run_trunks(now);
            self.finish_turn();
            self.tell_watchers();
            tokio::task::yield_now().await;
        }
    }

    fn take_users(&mut self, users: Users) {
        if let Some(registrar) = &mut self.registrar {
            let before = registrar.set_users(users);
            // Freeing a large table takes its time, which no message shall wait for.
            tokio::task::spawn_blocking(move || drop(before));
        }
    }

    /// Has the registrar answer. What it promises is in the journal first.
    fn register(&mut self, asked: &Asked) {
        let now = self.clock.now();
        let response = self.registered(now, asked);
        self.keep_bindings();
        if let Some(response) = response {
            self.b2bua.respond(now, asked.key, response);
        }
    }

    /// Says where a call goes: to a user's contacts, or where the routing table says.
    fn place(&mut self, mut asked: Asked) {
        let now = self.clock.now();
        let admitted = self.admitted(now, &asked);
        let Some(registrar) = &mut self.registrar else {
            return;
        };
        let mut account = None;
        let placement = match admitted {
            Err(Some(response)) => Placement::Refused(response),
            // Not even a refusal can be printed: the call goes nowhere.
            Err(None) => Placement::To(Vec::new()),
            Ok(user) => {
                let is_user = user.is_some();
                let domain = registrar.config().domains.first();
                account = user
                    .zip(domain)
                    .map(|(user, domain)| format!("sip:{user}@{domain}"));
                if is_user || registrar.is_user_at(now, &asked.source, &asked.request) {
                    asked.transfer = self.user_transfer;
                    asked.srtp = self.user_srtp;
                }
                let uri = asked.request.request_uri().unwrap_or("");
                self.placement(now, uri)
            }
        };
        self.b2bua.place(now, &asked, placement, account);
    }

    /// Says where somebody is that a call shall be transferred to: as a call would find them.
    fn locate(&mut self, wanted: &Wanted) {
        let now = self.clock.now();
        let placement = self.placement(now, &wanted.uri);
        self.b2bua.located(now, wanted, placement);
    }

    /// Where a call to `uri` goes: to a user's contacts, by what is agreed with users, or where the routing table says.
    fn placement(&self, now: Timestamp, uri: &str) -> Placement {
        let Some(registrar) = &self.registrar else {
            return Placement::Routed;
        };
        let located = Uri::parse(uri).map_or(Located::Unknown, |uri| registrar.locate(now, &uri));
        let host = registrar.config().domains.first();
        match located {
            Located::Unknown => Placement::Routed,
            Located::Away => Placement::To(Vec::new()),
            Located::At(targets) => {
                let host = host.map_or("invalid", String::as_str);
                let is_there = |target: &Target| self.transport.is_connected(&target.destination);
                let mut hops = next_hops(targets, host, is_there);
                for hop in &mut hops {
                    hop.transfer = self.user_transfer;
                    hop.srtp = self.user_srtp;
                    hop.peer = self.user_peer.clone();
                }
                Placement::To(hops)
            }
        }
    }

    pub(crate) fn keep_bindings(&mut self) {
        let Some(registrar) = &mut self.registrar else {
            return;
        };
        while let Some(change) = registrar.poll_change() {
            let binding = registration::stored(change, &self.clock);
            self.turn.records.push(store::Entry::Binding { binding });
        }
    }

    /// Hangs up all calls.
    pub fn end_all(&mut self) {
        self.b2bua.end_all(self.clock.now());
        self.carry_out();
        self.finish_turn();
    }

    fn take_report(&mut self, report: Report) {
        let now = self.clock.now();
        match report {
            Report::Answer(answer) => self.b2bua.handle_media(now, media::answer(answer)),
            Report::Event { node, event } => self.b2bua.handle_media_event(now, &node, event),
            Report::CallLost { node, call } => self.b2bua.handle_media_event(now, &node, media::gone(call)),
        }
        self.carry_out();
    }

    fn take_inbound(&mut self, inbound: Inbound) {
        let now = self.clock.now();
        match inbound {
            Inbound::Message { source, message } => {
                if let Some(message) = self.challenge(now, source, message) {
                    self.b2bua.handle_message(now, source, message);
                }
            }
            Inbound::Failed(destination) => self.b2bua.handle_transport_error(now, destination),
        }
        self.carry_out();
        self.prepared = None;
    }

    /// Does what the B2BUA decided; [`finish_turn`](Self::finish_turn) does the rest.
    pub(crate) fn carry_out(&mut self) {
        let mut answers: VecDeque<MediaAnswer> = VecDeque::new();
        loop {
            while let Some(output) = self.b2bua.poll_output() {
                match output {
                    Output::Send(transmit) => self.turn.transmits.push(transmit),
                    Output::Cdr(cdr) => self.keep(&cdr),
                    Output::Register(asked) => self.register(&asked),
                    Output::Place(asked) => self.place(*asked),
                    Output::Locate(wanted) => self.locate(&wanted),
                    Output::Answered(answered) => self.take_answer(&answered),
                    Output::Media(request) => match &self.direct {
                        Some(name) => answers.push_back(direct::answer(name, request)),
                        None => {
                            let id = request.id;
                            if self.client.request(media::request(request)).is_err() {
                                answers.push_back(media::overloaded(id, self.retry_after));
                            }
                        }
                    },
                }
            }
            let Some(answer) = answers.pop_front() else { return };
            self.b2bua.handle_media(self.clock.now(), answer);
        }
    }

    /// Writes the records of this turn, then sends what is to be sent.
    pub(crate) fn finish_turn(&mut self) {
        let Turn { records, transmits } = &mut self.turn;
        if !records.is_empty() {
            // The journal counts failures, for metrics. The log gets the record itself: it has it if nothing else does.
            self.journal.append_all(records, |record, error| {
                tracing::error!(%error, ?record, "a record is not kept");
            });
            records.clear();
        }
        for transmit in transmits.drain(..) {
            self.transport.send(transmit);
        }
    }

    fn keep(&mut self, cdr: &Cdr) {
        self.standing.count(cdr);
        let record = record::of(cdr, &self.clock);
        let (call, status, node) = (&cdr.call, record.status, &record.node);
        match cdr.stage {
            Stage::Answered => tracing::debug!(%call, node, "call answered"),
            Stage::Ended => {
                let released_by = record.released_by.map(ReleasedBy::as_str);
                tracing::debug!(%call, status, cause = record.cause, released_by, node, "call ended");
            }
            Stage::Quality => tracing::debug!(%call, node, "call measured"),
        }
        self.turn.records.push(store::Entry::Call(Box::new(record)));
    }

    /// Tells how things stand, and whether new calls are taken.
    pub(crate) fn settle(&mut self) {
        self.settle_trunks();
        let refusing = match (self.stopping, self.operators.drained, self.journal.has_room()) {
            (true, ..) => Some("stopping"),
            (false, true, _) => Some("drained by an operator"),
            (false, false, false) => Some("the journal of call records is nearly full"),
            (false, false, true) => None,
        };
        let mut now = self.standing.now();
        now.calls = self.b2bua.call_count();
        now.dialogs = self.b2bua.dialog_count();
        now.transactions = self.b2bua.transactions().len();
        if let Some(registrar) = &self.registrar {
            now.registrar = Some(Registrations {
                users: registrar.user_count(),
                bindings: registrar.binding_count(),
                registered: registrar.registered_count(),
                counters: *registrar.counters(),
            });
        }
        now.call_counters = *self.b2bua.counters();
        now.srtp_refusals.clone_from(self.b2bua.srtp_refusals());
        now.transaction_counters = *self.b2bua.transactions().counters();
        if now.refusing != refusing {
            now.refusing = refusing;
            self.b2bua.drain(refusing.is_some());
            match refusing {
                Some(reason) => tracing::warn!(reason, "new calls are refused"),
                None => tracing::info!("new calls are taken again"),
            }
        }
        drop(now);
        let readiness = match (refusing, *self.healthy.borrow_and_update()) {
            (Some(reason), _) => Readiness::NotReady(reason.into()),
            (None, 0) if self.direct.is_none() => Readiness::NotReady("no media node takes calls".into()),
            (None, _) => Readiness::Ready,
        };
        self.readiness.send_if_modified(|told| {
            let changed = *told != readiness;
            if changed {
                *told = readiness;
            }
            changed
        });
    }
}

/// The next change of the users; never, without a registrar.
async fn next_users(users: &mut Option<mpsc::Receiver<Users>>) -> Option<Users> {
    match users {
        Some(users) => users.recv().await,
        None => std::future::pending().await,
    }
}

/// A user's contacts as next hops: those of one preference are called at once, those of one device in turn (RFC 5626 §6).
/// Devices whose connection has ended come last, whatever their preference: another one would wait for a connection that is
/// rarely to be had, behind a NAT never. `host` stands in `To`: what was called is the address-of-record.
fn next_hops(targets: Vec<Target>, host: &str, is_there: impl Fn(&Target) -> bool) -> Vec<NextHop> {
    const LAST: u32 = 1_001;
    let number = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
    let mut devices: Vec<String> = Vec::new();
    let mut hops: Vec<NextHop> = Vec::with_capacity(targets.len());
    for target in targets {
        let known = devices
            .iter()
            .position(|device| !device.is_empty() && *device == target.instance);
        let device = known.unwrap_or_else(|| {
            devices.push(target.instance.clone());
            devices.len() - 1
        });
        let place = call::Place {
            rank: u32::from(1_000 - target.q_permille.min(1_000)) + if is_there(&target) { 0 } else { LAST },
            server: number(device),
            ..call::Place::default()
        };
        hops.push(next_hop(target, place, host));
    }
    // The live one of two flows of a device comes first, and the sort keeps that order.
    hops.sort_by_key(|hop| (hop.place.rank, hop.place.server));
    hops
}

fn next_hop(target: Target, place: call::Place, host: &str) -> NextHop {
    NextHop {
        destination: target.destination,
        host: host.to_owned(),
        contact: Some(Contact {
            uri: target.uri,
            routes: target.routes,
        }),
        place,
        transfer: TransferPolicy::Refuse,
        srtp: call::Srtp::default(),
        logins: None,
        trunk: None,
        failover: None,
        peer: None,
        called: None,
    }
}
