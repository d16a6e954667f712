use media_types::{DtlsReport, DtlsSpec, DtlsState, IceReport, IceSpec, IceState};
use sans_io::Timestamp;

use crate::{SetupId, SetupState};

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
    /// The second that datagrams were counted in last, and how many.
    counted: (u64, u32),
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
            counted: (0, 0),
        }
    }

    /// Takes over other terms.
    pub(crate) fn change(&mut self, dtls: Option<DtlsSpec>, ice: Option<IceSpec>) {
        if !goes_on(self.dtls.as_ref(), dtls.as_ref()) {
            self.handshake = Self::new(self.id, None, None).handshake;
        }
        if ice.is_none() {
            self.search = Self::new(self.id, None, None).search;
        }
        self.dtls = match (&self.dtls, dtls) {
            (Some(before), Some(now)) => Some(now.after(before)),
            (_, dtls) => dtls,
        };
        self.ice = ice;
    }

    /// Counts a datagram; false when there were as many as a second may have.
    pub(crate) fn admit(&mut self, now: Timestamp, per_second_max: u32) -> bool {
        let second = now.as_nanos() / SECOND_NS;
        if self.counted.0 != second {
            self.counted = (second, 0);
        }
        let fits = self.counted.1 < per_second_max;
        self.counted.1 += u32::from(fits);
        fits
    }

    pub(crate) fn state(&self) -> SetupState {
        SetupState {
            selected: self.search.selected,
            connected: self.handshake.state == DtlsState::Connected,
        }
    }
}

/// Whether a line with these handshakes, before and now, keeps what came of the one before.
pub(crate) fn goes_on(before: Option<&DtlsSpec>, now: Option<&DtlsSpec>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => now.continues(before),
        _ => false,
    }
}
