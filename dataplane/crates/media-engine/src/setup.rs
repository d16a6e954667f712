use media_types::{DtlsReport, DtlsSpec, DtlsState, IceReport, IceSpec, IceState};
use sans_io::Timestamp;

use crate::{SetupId, SetupNews, SetupRounds, SetupState};

/// Datagrams are counted for so long.
const SECOND_NS: u64 = 1_000_000_000;

/// How far a line is whose addresses or keys are found out by itself and its party.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) id: SetupId,
    pub(crate) dtls: Option<DtlsSpec>,
    pub(crate) ice: Option<IceSpec>,
    pub(crate) handshake: DtlsReport,
    pub(crate) search: IceReport,
    pub(crate) rounds: SetupRounds,
    /// Datagrams from where the party is known to be.
    of_party: Counted,
    /// Those from elsewhere, which must not keep the party's away.
    of_others: Counted,
}

impl Setup {
    pub(crate) fn new(id: SetupId, dtls: Option<DtlsSpec>, ice: Option<IceSpec>) -> Self {
        Self {
            id,
            dtls,
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
            of_party: Counted::default(),
            of_others: Counted::default(),
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

    /// Counts a datagram; false when there were as many as a second may have, of the party or of others. Does not allocate.
    pub(crate) fn admit(&mut self, now: Timestamp, is_of_party: bool, per_second_max: u32) -> bool {
        let counted = match is_of_party {
            true => &mut self.of_party,
            false => &mut self.of_others,
        };
        counted.admit(now, per_second_max)
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

/// The second that datagrams were counted in last, and how many.
#[derive(Debug, Default)]
struct Counted {
    second: u64,
    datagrams: u32,
}

impl Counted {
    fn admit(&mut self, now: Timestamp, per_second_max: u32) -> bool {
        let second = now.as_nanos() / SECOND_NS;
        if self.second != second {
            *self = Self { second, datagrams: 0 };
        }
        let fits = self.datagrams < per_second_max;
        self.datagrams += u32::from(fits);
        fits
    }
}

/// Whether a line with these handshakes, before and now, keeps what came of the one before.
pub(crate) fn goes_on(before: Option<&DtlsSpec>, now: Option<&DtlsSpec>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => now.continues(before),
        _ => false,
    }
}
