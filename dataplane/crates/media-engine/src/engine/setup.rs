use std::net::SocketAddr;

use media_types::{DtlsState, EventKind, IceState, Latching, SrtpSpec};
use rtp::Class;
use sans_io::Timestamp;

use super::{Component, Engine};
use crate::budget::Origin;
use crate::latch::is_same;
use crate::security::NewKeys;
use crate::settings::LineSettings;
use crate::setup::Setup;
use crate::{
    DropReason, PortId, SETUP_DATAGRAM_MAX, SetupId, SetupNews, SetupOrder, SetupReport, SetupState,
    SetupTerms,
};

/// Why a handshake that is done gave no keys: the line has had as many as it may.
const KEYS_MAX: &str = "srtp_keys";

impl Engine {
    /// The next thing to ask of whoever sets lines up. Poll until `None` after every command and timeout; in order, none may be
    /// lost.
    pub fn poll_setup_order(&mut self) -> Option<SetupOrder> {
        self.orders.pop_front()
    }

    /// The port that datagrams of a line's setting up leave from; `None` when it is gone.
    pub fn setup_port(&self, id: SetupId) -> Option<PortId> {
        let line = self.setups.get(&id)?;
        Some(self.line(*line).ports?.rtp)
    }

    /// What whoever sets a line up has come to. News of a line that is gone are ignored, and so are those of a search or a handshake
    /// that is not wanted any more: the keys of a party before must not secure the line of another.
    pub fn handle_setup_report(&mut self, now: Timestamp, id: SetupId, report: SetupReport) {
        let Some(&line) = self.setups.get(&id) else {
            return;
        };
        let setup = self.line(line).setup.as_ref();
        if !setup.is_some_and(|setup| setup.waits_for(report.rounds, &report.news)) {
            return;
        }
        match report.news {
            SetupNews::Selected(remote) => self.selected(now, line, remote),
            SetupNews::Unreachable(reason) => {
                self.searched(line, IceState::Failed, None, reason);
                self.reach(now, line, None);
                self.tell_setup_failed(line, reason);
            }
            SetupNews::Silent(reason) => {
                let selected = self.line(line).setup.as_ref().and_then(|it| it.search.selected);
                self.searched(line, IceState::Silent, selected, reason);
                self.tell_setup_failed(line, reason);
            }
            SetupNews::Handshaking => self.shaken(line, DtlsState::Handshaking, "", ""),
            SetupNews::Secured {
                keys,
                version,
                remote,
            } => self.secured(now, line, &keys, version, remote),
            SetupNews::Failed(reason) => self.handshake_failed(now, line, reason),
            SetupNews::Refused(reason) => self.count_refused(line, reason),
        }
    }

    /// A datagram for a line's setting up found no place with whoever does it.
    pub fn count_setup_dropped(&mut self, id: SetupId) {
        if let Some(&line) = self.setups.get(&id) {
            self.count_refused(line, DropReason::SetupQueue);
        }
    }

    /// Whose a datagram is that is neither RTP nor RTCP. Neither allocates, locks nor logs.
    pub(super) fn setup_datagram(
        &mut self,
        now: Timestamp,
        key: u32,
        component: Component,
        source: SocketAddr,
        class: Class,
        datagram: &[u8],
    ) -> Result<SetupId, DropReason> {
        let refused = DropReason::of_class(class).unwrap_or(DropReason::NotMedia);
        let per_second_max = self.config.limits.setup_datagrams_per_second_max;
        let line = self.line_mut(key);
        let is_of_party = line
            .latch
            .destination()
            .is_some_and(|party| is_same(party, source));
        // Behind its NAT it is at another port of the address that it says (RFC 4961); with ICE none counts before there is a pair.
        let is_at_party = line.latch.policy() != Latching::Off
            && line
                .latch
                .signalled()
                .is_some_and(|party| party.ip() == source.ip());
        let setup = line.setup.as_mut().ok_or(refused)?;
        let is_wanted = match class {
            Class::Stun => setup.ice.is_some(),
            Class::Dtls => setup.dtls.is_some(),
            _ => false,
        };
        if !is_wanted || component == Component::Rtcp {
            return Err(refused);
        }
        if datagram.len() > SETUP_DATAGRAM_MAX {
            return Err(DropReason::SetupTooLong);
        }
        let origin = match class {
            _ if is_of_party => Origin::Party,
            Class::Stun => setup.origin_of_stun(source, datagram),
            _ if is_at_party => Origin::Likely,
            _ => Origin::Other,
        };
        if !setup.budget.admit(now, origin, per_second_max) {
            return Err(DropReason::SetupRate);
        }
        Ok(setup.id)
    }

    /// Takes a specification over into a line, and has it set up as that says.
    pub(super) fn apply(&mut self, now: Timestamp, key: u32, settings: LineSettings) {
        self.take_over(now, key, settings);
        self.order_setup(key, SetupState::default());
    }

    /// Takes a specification over into a line.
    pub(super) fn take_over(&mut self, now: Timestamp, key: u32, settings: LineSettings) {
        let (dtls, ice) = (settings.dtls.clone(), settings.ice.clone());
        self.line_mut(key).apply(now, settings);
        if dtls.is_none() && ice.is_none() {
            return self.end_setup(key);
        }
        if let Some(setup) = &mut self.line_mut(key).setup {
            return setup.change(dtls, ice);
        }
        let id = SetupId(self.next_setup);
        self.next_setup += 1;
        self.setups.insert(id, key);
        self.line_mut(key).setup = Some(Box::new(Setup::new(id, dtls, ice)));
    }

    /// Goes on with what an earlier process had come to. The line has its specification.
    pub(super) fn restore_setup(&mut self, now: Timestamp, key: u32, state: SetupState) {
        let ssrcs_max = self.config.limits.srtp_ssrcs_per_line_max;
        let line = self.line_mut(key);
        let Some(setup) = &mut line.setup else { return };
        if let Some(selected) = state.selected.filter(|_| setup.ice.is_some()) {
            setup.search.state = IceState::Connected;
            setup.search.selected = Some(selected);
        }
        let mut reached = state;
        reached.connected &= setup.dtls.is_some()
            && line
                .security
                .as_mut()
                .is_some_and(|security| security.resume(now, ssrcs_max));
        if reached.connected {
            setup.handshake.state = DtlsState::Connected;
        }
        self.order_setup(key, reached);
    }

    /// A line needs no setting up any more.
    pub(super) fn end_setup(&mut self, key: u32) {
        if let Some(setup) = self.line_mut(key).setup.take() {
            self.setups.remove(&setup.id);
            self.orders.push_back(SetupOrder::End(setup.id));
        }
    }

    fn order_setup(&mut self, key: u32, reached: SetupState) {
        let line = self.line(key);
        let (Some(setup), Some(ports)) = (&line.setup, line.ports) else {
            return;
        };
        let terms = SetupTerms {
            local: self.pool.local(ports.pair, 0),
            remote: line.latch.signalled().filter(|_| setup.ice.is_none()),
            latching: line.latch.policy(),
            dtls: setup.dtls.clone(),
            ice: setup.ice.clone(),
            reached,
            rounds: setup.rounds,
        };
        let order = SetupOrder::Set(setup.id, Box::new(terms));
        self.orders.push_back(order);
    }

    fn selected(&mut self, now: Timestamp, key: u32, remote: SocketAddr) {
        let is_ice = self.line(key).setup.as_ref().is_some_and(|it| it.ice.is_some());
        if is_ice {
            self.searched(key, IceState::Connected, Some(remote), "");
            self.reach(now, key, Some(remote));
        }
    }

    /// Media of a line with ICE goes there and comes from there.
    fn reach(&mut self, now: Timestamp, key: u32, remote: Option<SocketAddr>) {
        let line = self.line_mut(key);
        line.latch.change(Latching::Off, remote, false);
        let peer = line.peer;
        self.route(peer, key);
        self.undecide(key);
        for line in [key, peer] {
            self.expect_media(now, line);
        }
    }

    fn secured(
        &mut self,
        now: Timestamp,
        key: u32,
        keys: &SrtpSpec,
        version: &'static str,
        remote: SocketAddr,
    ) {
        let limits = &self.config.limits;
        let (ssrcs_max, keys_max) = (limits.srtp_ssrcs_per_line_max, limits.srtp_keys_per_line_max);
        let line = self.line_mut(key);
        if line.setup.as_ref().is_none_or(|setup| setup.dtls.is_none()) {
            return;
        }
        let made = NewKeys::new(keys, ssrcs_max).ok().filter(|made| {
            let security = line.security.as_ref();
            security.is_some_and(|security| security.check(made, keys_max).is_ok())
        });
        let (Some(made), Some(security)) = (made, &mut line.security) else {
            let id = self.line(key).setup.as_ref().map(|setup| setup.id);
            // Else a later reason to try again would be none to whoever takes it for connected.
            self.orders.extend(id.map(SetupOrder::Discard));
            return self.handshake_failed(now, key, KEYS_MAX);
        };
        security.change(now, Some(*made));
        // Whoever has proven itself is the party, wherever its description has it.
        let locked = line.latch.lock(remote);
        self.shaken(key, DtlsState::Connected, version, "");
        if locked {
            self.rtp_locked(key, remote);
        }
    }

    /// Nothing passes any more: not with the keys of a party before, and not in clear.
    fn handshake_failed(&mut self, now: Timestamp, key: u32, reason: &'static str) {
        if let Some(security) = &mut self.line_mut(key).security {
            security.close(now);
        }
        self.shaken(key, DtlsState::Failed, "", reason);
        self.tell_setup_failed(key, reason);
    }

    fn shaken(&mut self, key: u32, state: DtlsState, version: &'static str, failure: &'static str) {
        if let Some(setup) = &mut self.line_mut(key).setup {
            setup.handshake.state = state;
            setup.handshake.failure = failure;
            setup.handshake.version = version;
        }
    }

    fn searched(&mut self, key: u32, state: IceState, selected: Option<SocketAddr>, failure: &'static str) {
        if let Some(setup) = &mut self.line_mut(key).setup {
            setup.search.state = state;
            setup.search.selected = selected;
            setup.search.failure = failure;
        }
    }

    fn tell_setup_failed(&mut self, key: u32, reason: &'static str) {
        let line = self.line(key);
        let (call, leg, place) = (line.call, line.leg, line.place);
        let leg = self.call(call).legs[usize::from(leg)].id.clone();
        let line = usize::from(place);
        self.tell(call, EventKind::SetupFailed { leg, line, reason });
    }

    /// A datagram that was handed over was not taken.
    fn count_refused(&mut self, key: u32, reason: DropReason) {
        self.counters.set_up_refused += 1;
        self.counters.drops.count(reason);
        self.line_mut(key).drops.count(reason);
    }
}
