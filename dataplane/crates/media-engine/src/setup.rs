use std::net::{IpAddr, SocketAddr};

use media_types::{DtlsReport, DtlsSpec, DtlsState, IceReport, IceSpec, IceState};

use crate::budget::{Budget, Origin};
use crate::check_name::check_name;
use crate::latch::is_same;
use crate::{SetupId, SetupNews, SetupRounds, SetupState};

/// Candidates of a party whose place is looked at: as many as its agent takes.
const CANDIDATES_MAX: usize = 32;

/// How far a line is whose addresses or keys are found out by itself and its party.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) id: SetupId,
    pub(crate) dtls: Option<DtlsSpec>,
    pub(crate) ice: Option<IceSpec>,
    pub(crate) handshake: DtlsReport,
    pub(crate) search: IceReport,
    pub(crate) rounds: SetupRounds,
    /// Where the party's candidates are, as far as they have addresses.
    candidates: Box<[SocketAddr]>,
    pub(crate) budget: Budget,
}

impl Setup {
    pub(crate) fn new(id: SetupId, dtls: Option<DtlsSpec>, ice: Option<IceSpec>) -> Self {
        Self {
            id,
            dtls,
            candidates: addresses(ice.as_ref()),
            ice,
            handshake: DtlsReport {
                state: DtlsState::New,
                version: "",
                failure: "",
            },
            search: IceReport {
                state: IceState::Checking,
                selected: None,
                failure: "",
            },
            rounds: SetupRounds::default(),
            budget: Budget::default(),
        }
    }

    /// Takes over other terms.
    pub(crate) fn change(&mut self, dtls: Option<DtlsSpec>, ice: Option<IceSpec>) {
        let new = Self::new(self.id, None, None);
        if !goes_on(self.dtls.as_ref(), dtls.as_ref()) {
            self.handshake = new.handshake;
            self.rounds.handshake = self.rounds.handshake.wrapping_add(1);
        }
        let restarts = match (&self.ice, &ice) {
            (Some(before), Some(now)) => now.restarts(before),
            (before, now) => before.is_some() != now.is_some(),
        };
        if restarts {
            // Media stays where it is until another pair is selected (RFC 8445 §9).
            let selected = self.search.selected.filter(|_| ice.is_some());
            self.search = IceReport {
                selected,
                ..new.search
            };
            self.rounds.search = self.rounds.search.wrapping_add(1);
        }
        self.dtls = match (&self.dtls, dtls) {
            (Some(before), Some(now)) => Some(now.after(before)),
            (_, dtls) => dtls,
        };
        self.ice = match (&self.ice, ice) {
            (Some(before), Some(now)) => Some(now.after(before)),
            (_, ice) => ice,
        };
        self.candidates = addresses(self.ice.as_ref());
    }

    /// Whose a STUN message is by what it says: our name, which is random, in a check, and for answers, which have no name, the
    /// place. Does not allocate.
    pub(crate) fn origin_of_stun(&self, source: SocketAddr, datagram: &[u8]) -> Origin {
        let ours = self.ice.as_ref().map(|ice| ice.local.ufrag());
        let names_us = ours.is_some() && check_name(datagram) == ours;
        match names_us || self.candidates.iter().any(|known| is_same(*known, source)) {
            true => Origin::Likely,
            false => Origin::Other,
        }
    }

    /// Whether news are of the search, or of the handshake, that is wanted now.
    pub(crate) fn waits_for(&self, rounds: SetupRounds, news: &SetupNews) -> bool {
        match news {
            SetupNews::Selected(_) | SetupNews::Unreachable(_) | SetupNews::Silent(_) => {
                rounds.search == self.rounds.search
            }
            SetupNews::Handshaking | SetupNews::Secured { .. } | SetupNews::Failed(_) => {
                rounds.handshake == self.rounds.handshake
            }
            SetupNews::Refused(_) => true,
        }
    }

    pub(crate) fn state(&self) -> SetupState {
        SetupState {
            // While another is searched for the pair before is nobody's, though media still takes it.
            selected: self
                .search
                .selected
                .filter(|_| self.search.state != IceState::Checking),
            connected: self.handshake.state == DtlsState::Connected,
        }
    }
}

/// Where the candidates of a party are (RFC 8839 §5.1). One with a name has no place yet.
fn addresses(ice: Option<&IceSpec>) -> Box<[SocketAddr]> {
    let candidates = ice.iter().flat_map(|ice| &ice.candidates);
    let address = |candidate: &String| {
        let mut words = candidate.split_ascii_whitespace().skip(4);
        let ip: IpAddr = words.next()?.parse().ok()?;
        Some(SocketAddr::new(ip, words.next()?.parse().ok()?))
    };
    candidates.filter_map(address).take(CANDIDATES_MAX).collect()
}

/// Whether a line with these handshakes, before and now, keeps what came of the one before.
pub(crate) fn goes_on(before: Option<&DtlsSpec>, now: Option<&DtlsSpec>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => now.continues(before),
        _ => false,
    }
}
