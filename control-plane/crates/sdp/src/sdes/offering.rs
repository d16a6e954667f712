use super::{Crypto, CryptoError, MasterKey, Profile, Protection, Rules, SrtpPolicy, SrtpSuite, TAG_MAX};
use crate::MediaLine;

/// What we offer on a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The transport is to be a secure profile.
    pub is_insistent: bool,
    /// The choice that the party has, the best first; empty offers RTP in clear.
    pub crypto: Vec<Crypto>,
}

/// Why nothing can be offered to a party that must have SRTP. We or our configuration are at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OfferError {
    /// Keys may not travel by its signalling.
    #[error("SRTP is required, and its keys may not go by unprotected signalling")]
    Signalling,
    /// There is no suite left.
    #[error("SRTP is required, and there is no suite for it")]
    NoSuite,
}

/// Why the security of an answer does not fit our offer. The answerer is at fault, or somebody on the way; media must
/// not flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AnswerFault {
    /// The transport is not the offered one.
    #[error("the answer has another transport than the offer")]
    Profile,
    /// Keys were taken out, or never put in, though the transport insists on them.
    #[error("the answer has no key")]
    Stripped,
    /// More than one choice (RFC 4568 §7.1.2).
    #[error("the answer has several keys where it may have one")]
    Several,
    /// Keys where none were offered.
    #[error("the answer has a key, and none was offered")]
    NotOffered,
    /// A tag that the offer has not.
    #[error("the answer has a tag that was not offered")]
    UnknownTag,
    /// The suite is not the one that was offered with the tag: a downgrade.
    #[error("the answer has another suite than was offered with its tag")]
    OtherSuite,
    /// Our own key came back: both directions would use one key stream.
    #[error("the answer has our own key")]
    OurKey,
    /// The choice cannot be used.
    #[error("the key of the answer cannot be used: {0}")]
    Unusable(CryptoError),
}

impl AnswerFault {
    /// A label for a counter, a record or a log line.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Profile => "srtp_profile",
            Self::Stripped => "srtp_stripped",
            Self::Several => "srtp_several",
            Self::NotOffered => "srtp_not_offered",
            Self::UnknownTag => "srtp_unknown_tag",
            Self::OtherSuite => "srtp_other_suite",
            Self::OurKey => "srtp_our_key",
            Self::Unusable(error) => error.reason(),
        }
    }
}

/// What to offer on a line by the party's rules. A line that is protected is offered as it is, with the same tag and
/// key, so that a description which is only repeated changes nothing (RFC 4568 §7.1.4); see [`offer_new_key`].
pub fn offer(
    rules: &Rules<'_>,
    current: Option<&Protection>,
    fill: &mut impl FnMut(&mut [u8]),
) -> Result<Offer, OfferError> {
    if let Some(current) = current {
        return Ok(current.restated());
    }
    let is_insistent = rules.policy == SrtpPolicy::Require;
    let fault = if !rules.keys_may_travel {
        Some(OfferError::Signalling)
    } else if rules.suites.is_empty() {
        Some(OfferError::NoSuite)
    } else {
        None
    };
    match (rules.policy, fault) {
        (SrtpPolicy::Require, Some(fault)) => Err(fault),
        (SrtpPolicy::Forbid | SrtpPolicy::Allow, _) | (SrtpPolicy::Prefer, Some(_)) => Ok(Offer::default()),
        (SrtpPolicy::Prefer | SrtpPolicy::Require, None) => {
            let crypto = (1..=TAG_MAX)
                .zip(rules.suites)
                .map(|(tag, &suite)| new_crypto(tag, suite, fill))
                .collect();
            Ok(Offer { is_insistent, crypto })
        }
    }
}

/// An offer of a new key for a protected line, of the same suite and under another tag (RFC 4568 §7.1.4).
pub fn offer_new_key(current: &Protection, fill: &mut impl FnMut(&mut [u8])) -> Offer {
    let tag = match current.send.tag() {
        0 | TAG_MAX => 1,
        tag => tag + 1,
    };
    Offer {
        is_insistent: current.is_insistent,
        crypto: vec![new_crypto(tag, current.send.suite(), fill)],
    }
}

/// What the answer's `line` makes of our `offer` (RFC 4568 §7.1.3, RFC 8643 §3.3): protected, or in clear where that was
/// left to the party. The line is enabled; one with port 0 has no security to speak of.
pub fn accept(offer: &Offer, line: &MediaLine<'_>) -> Result<Option<Protection>, AnswerFault> {
    let profile = Profile::named(line.protocol()).ok_or(AnswerFault::Profile)?;
    if profile.is_secure != offer.is_insistent || profile.is_dtls {
        return Err(AnswerFault::Profile);
    }
    let mut answered = line.crypto();
    let receive = match (answered.pop(), answered.is_empty()) {
        (None, _) if offer.is_insistent => return Err(AnswerFault::Stripped),
        (None, _) => return Ok(None),
        (Some(_), _) if offer.crypto.is_empty() => return Err(AnswerFault::NotOffered),
        (Some(_), false) => return Err(AnswerFault::Several),
        (Some(crypto), true) => crypto.map_err(AnswerFault::Unusable)?,
    };
    let send = offer
        .crypto
        .iter()
        .find(|offered| offered.tag() == receive.tag())
        .ok_or(AnswerFault::UnknownTag)?;
    if send.suite() != receive.suite() {
        return Err(AnswerFault::OtherSuite);
    }
    if offer.crypto.iter().any(|ours| ours.shares_key_with(&receive)) {
        return Err(AnswerFault::OurKey);
    }
    Ok(Some(Protection {
        is_insistent: offer.is_insistent,
        send: send.clone(),
        receive,
    }))
}

pub(super) fn new_crypto(tag: u32, suite: SrtpSuite, fill: &mut impl FnMut(&mut [u8])) -> Crypto {
    Crypto::new(tag, MasterKey::random(suite, fill))
}
