//! Keys of SRTP in descriptions: `a=crypto` (RFC 4568), with and without a profile that insists on it (RFC 8643).
//!
//! The keys of a leg are its own: what one party offers never reaches the other. Each side signals what it protects
//! with, so our key towards a party is in our description, and the party's in its own.

mod answering;
mod base64;
mod crypto;
mod key;
mod offering;
mod profile;
mod rules;

pub use answering::{Choice, Refusal, answer, choose};
pub use crypto::{Crypto, CryptoError, KEYS_MAX, TAG_MAX};
pub use key::{MKI_LEN_MAX, MasterKey, Mki, PACKETS_MAX};
use media_types::SrtpSpec;
pub use media_types::SrtpSuite;
pub use offering::{AnswerFault, Offer, OfferError, accept, offer, offer_new_key};
pub use profile::Profile;
pub use rules::{Rules, SrtpPolicy};

/// What protects a media line towards one party, after an offer and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// The transport is a secure profile; else it is opportunistic (RFC 8643).
    pub is_insistent: bool,
    /// Ours: what we protect with.
    pub send: Crypto,
    /// The party's: what it protects with.
    pub receive: Crypto,
}

impl Protection {
    /// What our answer has, and what an offer has that changes nothing (RFC 4568 §7.1.4).
    pub fn restated(&self) -> Offer {
        Offer {
            is_insistent: self.is_insistent,
            crypto: vec![self.send.clone()],
        }
    }

    /// The keys as the media plane wants them.
    pub fn spec(&self) -> SrtpSpec {
        SrtpSpec {
            receive: self
                .receive
                .keys()
                .iter()
                .filter_map(MasterKey::media_key)
                .collect(),
            send: self.send.keys().first().and_then(MasterKey::media_key),
        }
    }
}
