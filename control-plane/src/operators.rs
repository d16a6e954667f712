//! Where commands of operators reach the calls.

use std::net::IpAddr;
use std::time::Duration;

use api::{Command, Desk, HangUp, NotTransferred, Transfer};
use call::{Party, TransferError};
use guard::Network;
use media_types::CallId;
use proto::admin_v1 as wire;
use sans_io::Timestamp;

use crate::overview::Converter;
use crate::shell::Shell;

/// How often watchers are told what has changed, and how soon more follows when not all could be told at once: at most
/// 25,600 calls a second, a few per cent of a core.
const TELL_EVERY: Duration = Duration::from_millis(100);
const TELL_MORE: Duration = Duration::from_millis(5);
const CALLS_PER_TELLING: usize = 128;

/// The shell's end of the admin API.
#[derive(Debug)]
pub struct Operators {
    /// `None` when the API is off.
    desk: Option<Desk>,
    /// When watchers are told next; `None` while nobody watches.
    tell_at: Option<Timestamp>,
    /// When the process was ready.
    since: Timestamp,
    /// Whether an operator wants no new calls.
    pub drained: bool,
}

impl Operators {
    /// For the desk of a server, if there is one.
    pub fn new(desk: Option<Desk>, now: Timestamp) -> Self {
        Self {
            desk,
            tell_at: None,
            since: now,
            drained: false,
        }
    }

    /// The next command. Can be dropped at any time.
    pub async fn receive(&mut self) -> Command {
        match &mut self.desk {
            Some(desk) => desk.receive().await,
            None => std::future::pending().await,
        }
    }

    /// When [`Shell::tell_watchers`] has something to do.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.tell_at
    }
}

impl Shell {
    /// Does what an operator wants.
    pub fn take_command(&mut self, command: Command) {
        let now = self.clock.now();
        // That nobody waits for an answer any more is no fault.
        match command {
            Command::Watch(on) => {
                self.b2bua.watch(on);
                self.operators.tell_at = on.then_some(now);
            }
            Command::Describe(reply) => drop(reply.send(self.describe(now))),
            Command::HangUp(wanted) => self.hang_up(now, wanted),
            Command::Transfer(wanted) => self.transfer(now, wanted),
            Command::Registrations { wanted, reply } => {
                let converter = Converter::new(&self.clock);
                let told = match &self.registrar {
                    Some(registrar) => converter.registrations(registrar, now, &wanted),
                    None => Some(wire::GetRegistrationsResponse::default()),
                };
                let _ = reply.send(told);
            }
            Command::Trunks { max, reply } => {
                let standing = self.standing.now().trunks.clone();
                let told = Converter::new(&self.clock).trunks(&self.plan.borrow(), &standing, max);
                let _ = reply.send(told);
            }
            Command::Bans { max, reply } => {
                let bans = self.transport.bans();
                let converter = Converter::new(&self.clock);
                let _ = reply.send(wire::GetBansResponse {
                    total: bans.len() as u64,
                    bans: bans
                        .into_iter()
                        .take(max)
                        .map(|(network, left, offence)| converter.ban(network, now + left, offence))
                        .collect(),
                });
            }
            Command::Ban { wanted, reply } => {
                let lasts = Duration::from_secs(wanted.lasts_s);
                let banned = network_to_ban(&wanted.network).map(|network| {
                    self.transport.ban(network, lasts);
                    Converter::new(&self.clock).ban(network, now + lasts, None)
                });
                let _ = reply.send(banned);
            }
            Command::LiftBan { network, reply } => {
                let network = network_to_ban(&network);
                let _ = reply.send(network.map(|network| self.transport.unban(network)));
            }
            Command::Drain { drain, reply } => {
                self.operators.drained = drain;
                self.settle();
                let _ = reply.send(self.describe(now));
            }
        }
    }

    fn hang_up(&mut self, now: Timestamp, wanted: HangUp) {
        let HangUp {
            call_id,
            q850,
            text,
            reply,
        } = wanted;
        let ended = CallId::new(&call_id)
            .ok()
            .and_then(|call| self.b2bua.hang_up(now, &call, q850, text));
        // The record is kept before anybody is told.
        self.carry_out();
        self.finish_turn();
        let converter = Converter::new(&self.clock);
        let _ = reply.send(ended.map(|call| converter.call(call)));
    }

    fn transfer(&mut self, now: Timestamp, wanted: Transfer) {
        let Transfer {
            call_id,
            leaves,
            target,
            reply,
        } = wanted;
        let goes = match leaves {
            wire::CallParty::Callee => Party::Callee,
            wire::CallParty::Caller | wire::CallParty::Unspecified => Party::Caller,
        };
        let begun = CallId::new(&call_id)
            .map_err(|_| TransferError::UnknownCall)
            .and_then(|call| self.b2bua.transfer(now, &call, goes, &target));
        self.carry_out();
        let converter = Converter::new(&self.clock);
        let told = begun
            .map(|call| converter.call(call))
            .map_err(|error| match error {
                TransferError::UnknownCall => NotTransferred::UnknownCall,
                TransferError::BadTarget => NotTransferred::BadTarget(error.to_string()),
                TransferError::Busy | TransferError::TooOften | TransferError::NoRoute => {
                    NotTransferred::Refused(error.to_string())
                }
            });
        let _ = reply.send(told);
    }

    /// Tells watchers what has changed, when it is time and they have taken what they were told before.
    pub fn tell_watchers(&mut self) {
        let now = self.clock.now();
        let operators = &mut self.operators;
        let Some(desk) = operators
            .desk
            .as_ref()
            .filter(|_| operators.tell_at.is_some_and(|at| at <= now))
        else {
            return;
        };
        let mut told = 0;
        desk.tell(|| {
            let changes = self.b2bua.poll_changes(CALLS_PER_TELLING)?;
            told = changes.changed.len() + changes.gone.len();
            Some(Converter::new(&self.clock).changes(changes))
        });
        let pause = if told >= CALLS_PER_TELLING {
            TELL_MORE
        } else {
            TELL_EVERY
        };
        operators.tell_at = Some(now + pause);
    }

    fn describe(&self, now: Timestamp) -> wire::DescribeResponse {
        let counters = self.b2bua.counters();
        wire::DescribeResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_s: now.saturating_since(self.operators.since).as_secs(),
            calls: self.b2bua.call_count() as u64,
            calls_max: self.b2bua.config().calls_max as u64,
            dialogs: self.b2bua.dialog_count() as u64,
            transactions: self.b2bua.transactions().len() as u64,
            refusing: self.standing.now().refusing.unwrap_or_default().into(),
            draining: self.operators.drained,
            media_nodes_up: u32::try_from(*self.healthy.borrow()).unwrap_or(u32::MAX),
            calls_attempted: counters.calls_attempted,
            calls_answered: counters.calls_answered,
            calls_ended: counters.calls_ended,
            calls_refused_at_limit: counters.calls_refused_at_limit,
        }
    }
}

/// A network that operators may ban: an IPv6 address alone is its /64, as the guard counts sources, and nobody bans the world by a
/// slip of the hand.
fn network_to_ban(text: &str) -> Result<Network, &'static str> {
    let network: Network = text.parse()?;
    match network.address() {
        IpAddr::V4(_) if network.length() < 8 => Err("is wider than /8"),
        IpAddr::V6(_) if network.length() < 16 => Err("is wider than /16"),
        IpAddr::V6(address) if network.length() == 128 => Ok(Network::of_source(address.into())),
        _ => Ok(network),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_that_may_be_banned() {
        let banned = |text| network_to_ban(text).map(|network| network.to_string());
        assert_eq!(banned("192.0.2.1").unwrap(), "192.0.2.1/32");
        assert_eq!(banned("192.0.2.1/24").unwrap(), "192.0.2.0/24");
        assert_eq!(banned("10.0.0.0/8").unwrap(), "10.0.0.0/8");
        assert_eq!(banned("2001:db8::1").unwrap(), "2001:db8::/64");
        assert!(banned("10.0.0.0/7").is_err() && banned("2001::/15").is_err());
        assert!(banned("").is_err() && banned("example.org").is_err());
    }
}
