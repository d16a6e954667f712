use super::offering::new_crypto;
use super::{Crypto, Profile, Protection, Rules, SrtpPolicy};
use crate::MediaLine;

/// What an offered line becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// RTP in clear; keys that came with it are not used.
    Clear,
    /// SRTP with one of the offered keys; [`answer`] makes ours.
    Protected {
        /// The transport is a secure profile.
        is_insistent: bool,
        /// The party's choice that we take.
        receive: Crypto,
    },
}

/// Why an offered line is refused: 488, or port 0 where other lines stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// No profile of RTP over UDP, or one whose keys come from a handshake.
    #[error("the transport is not RTP over UDP")]
    Transport,
    /// SRTP, and the policy forbids it.
    #[error("SRTP is forbidden")]
    Forbidden,
    /// RTP in clear, and the policy wants SRTP.
    #[error("SRTP is required")]
    Required,
    /// Its keys came by signalling that protects nothing.
    #[error("keys came by unprotected signalling")]
    Signalling,
    /// The line insists on SRTP and has no key.
    #[error("there is no key")]
    NoKey,
    /// None of its keys can be used, or their suites are not allowed.
    #[error("there is no usable key of an allowed suite")]
    NoUsableKey,
    /// It offers the key that we protect with.
    #[error("the key is our own")]
    OurKey,
}

impl Refusal {
    /// A label for a counter, a record or a log line.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Transport => "srtp_transport",
            Self::Forbidden => "srtp_forbidden",
            Self::Required => "srtp_required",
            Self::Signalling => "srtp_signalling",
            Self::NoKey => "srtp_no_key",
            Self::NoUsableKey => "srtp_no_usable_key",
            Self::OurKey => "srtp_our_key",
        }
    }
}

/// Chooses what an offered `line` becomes: the first key in the offerer's order that can be used and has an allowed
/// suite (RFC 4568 §7.1.2).
///
/// Keys under `RTP/AVP` or `RTP/AVPF` are an opportunity: those that cannot be used leave the line in clear (RFC 8643
/// §3.2), unless SRTP is required.
pub fn choose(rules: &Rules<'_>, line: &MediaLine<'_>) -> Result<Choice, Refusal> {
    let is_insistent = Profile::named(line.protocol())
        .filter(|profile| !profile.is_dtls)
        .ok_or(Refusal::Transport)?
        .is_secure;
    let offered = line.crypto();
    let fault = if rules.policy == SrtpPolicy::Forbid {
        Refusal::Forbidden
    } else if offered.is_empty() && is_insistent {
        Refusal::NoKey
    } else if offered.is_empty() {
        Refusal::Required
    } else if !rules.keys_may_travel {
        Refusal::Signalling
    } else {
        let is_allowed = |crypto: &Crypto| rules.suites.contains(&crypto.suite());
        if let Some(receive) = offered.into_iter().flatten().find(is_allowed) {
            return Ok(Choice::Protected {
                is_insistent,
                receive,
            });
        }
        Refusal::NoUsableKey
    };
    if is_insistent || rules.policy == SrtpPolicy::Require {
        Err(fault)
    } else {
        Ok(Choice::Clear)
    }
}

/// Our answer to a chosen key: the same tag and suite. Our key stays while the party's stays (RFC 4568 §7.1.4), and is a
/// new one otherwise: who has a new key may be somebody else, who was not told of the old one.
pub fn answer(
    is_insistent: bool,
    receive: Crypto,
    current: Option<&Protection>,
    fill: &mut impl FnMut(&mut [u8]),
) -> Result<Protection, Refusal> {
    if current.is_some_and(|current| current.send.shares_key_with(&receive)) {
        return Err(Refusal::OurKey);
    }
    let kept = current.filter(|current| {
        current.send.suite() == receive.suite() && current.receive.keys() == receive.keys()
    });
    let send = match kept {
        Some(current) => current.send.with_tag(receive.tag()),
        None => new_crypto(receive.tag(), receive.suite(), fill),
    };
    Ok(Protection {
        is_insistent,
        send,
        receive,
    })
}
