use sip::digest;

/// Why a REGISTER or a call of a user is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is for a domain that is not ours.
    Domain,
    /// It requires an extension that we don't have.
    Extension,
    /// It has a Path, and its sender does not know of such.
    Path,
    /// It does not use outbound flows, and has to.
    OutboundRequired,
    /// It has no credentials that let it in.
    Credentials(digest::Refusal),
    /// The user is another than the one it is for.
    Forbidden,
    /// A header that a registrar needs is broken or too long.
    Malformed,
    /// `*` beside another contact, or without `Expires: 0`.
    Wildcard,
    /// A contact would last less than we take.
    TooBrief,
    /// It is older than the binding it is for.
    OutOfOrder,
    /// The address-of-record would have too many bindings.
    TooManyContacts,
    /// A contact is at the public address of somebody else.
    ForeignContact,
    /// The first proxy on the way does not keep flows.
    FirstHop,
    /// The user begins more calls than a user may.
    CallRate,
    /// There are as many bindings as there may be, or they cannot be kept.
    Full,
}

impl Refusal {
    /// Every label, for metrics.
    pub const REASONS: [&'static str; 26] = [
        "domain",
        "extension",
        "path",
        "outbound_required",
        "no_credentials",
        "credentials_syntax",
        "credentials_scheme",
        "credentials_incomplete",
        "credentials_count",
        "credentials_unknown",
        "credentials_uri",
        "not_offered",
        "stale_nonce",
        "replayed",
        "wrong_credentials",
        "guess_limit",
        "forbidden",
        "malformed",
        "wildcard",
        "too_brief",
        "out_of_order",
        "too_many_contacts",
        "foreign_contact",
        "first_hop",
        "call_rate",
        "full",
    ];

    /// The label of its counter: one of [`Refusal::REASONS`].
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::Extension => "extension",
            Self::Path => "path",
            Self::OutboundRequired => "outbound_required",
            Self::Credentials(refusal) => refusal.reason(),
            Self::Forbidden => "forbidden",
            Self::Malformed => "malformed",
            Self::Wildcard => "wildcard",
            Self::TooBrief => "too_brief",
            Self::OutOfOrder => "out_of_order",
            Self::TooManyContacts => "too_many_contacts",
            Self::ForeignContact => "foreign_contact",
            Self::FirstHop => "first_hop",
            Self::CallRate => "call_rate",
            Self::Full => "full",
        }
    }

    /// The status of the answer; for credentials that of a server that is not a proxy.
    pub const fn status(self) -> u16 {
        match self {
            Self::Domain => 404,
            Self::Extension | Self::Path => 420,
            Self::OutboundRequired => 421,
            Self::Credentials(refusal) if refusal.is_bad_request() => 400,
            Self::Credentials(_) => 401,
            Self::Forbidden | Self::TooManyContacts | Self::ForeignContact => 403,
            Self::Malformed | Self::Wildcard => 400,
            Self::TooBrief => 423,
            Self::FirstHop => 439,
            // RFC 3261 §10.3 step 7 has the update fail and names no status.
            Self::OutOfOrder => 500,
            Self::CallRate | Self::Full => 503,
        }
    }
}

#[cfg(test)]
mod tests {
    use sip::digest::CredentialsError;

    use super::*;

    #[test]
    fn every_reason_has_its_counter_and_an_answer() {
        use digest::Refusal as D;
        let credentials = [
            D::None,
            D::Malformed(CredentialsError::Syntax),
            D::Malformed(CredentialsError::Scheme),
            D::Malformed(CredentialsError::Missing),
            D::Malformed(CredentialsError::Count),
            D::Malformed(CredentialsError::Unknown),
            D::Uri,
            D::NotOffered,
            D::Stale,
            D::Replayed,
            D::Wrong,
            D::Guessed,
        ];
        let others = [
            Refusal::Domain,
            Refusal::Extension,
            Refusal::Path,
            Refusal::OutboundRequired,
            Refusal::Forbidden,
            Refusal::Malformed,
            Refusal::Wildcard,
            Refusal::TooBrief,
            Refusal::OutOfOrder,
            Refusal::TooManyContacts,
            Refusal::ForeignContact,
            Refusal::FirstHop,
            Refusal::CallRate,
            Refusal::Full,
        ];
        let all: Vec<Refusal> = credentials
            .into_iter()
            .map(Refusal::Credentials)
            .chain(others)
            .collect();
        assert_eq!(all.len(), Refusal::REASONS.len());
        for refusal in all {
            assert!(Refusal::REASONS.contains(&refusal.reason()), "{refusal:?}");
            assert!((400..600).contains(&refusal.status()), "{refusal:?}");
        }
    }
}
