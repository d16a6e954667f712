use call::TransferPolicy;
use serde::Deserialize;

/// What a REFER leads to, and an INVITE with `Replaces`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transfer {
    /// 403.
    #[default]
    Refuse,
    /// The call is transferred here; the other party stays in its dialog.
    Local,
    /// The other party gets the REFER.
    Pass,
}

impl Transfer {
    /// For users, who are known.
    pub const fn local() -> Self {
        Self::Local
    }
}

impl From<Transfer> for TransferPolicy {
    fn from(transfer: Transfer) -> Self {
        match transfer {
            Transfer::Refuse => Self::Refuse,
            Transfer::Local => Self::Local,
            Transfer::Pass => Self::Pass,
        }
    }
}
