//! What neighbours are told about our own overload (RFC 7339 §5.3).

use std::net::IpAddr;

use guard::Rank;
use sip::message::{Overload, mentions_overload};
use sip::{Message, Source, Transmit};

use crate::transport::Shared;

/// How long a word of ours holds (the default of RFC 7339 §4.3): the next response brings another.
const VALIDITY_MS: u32 = 500;

impl Shared {
    /// Whether who is there is told, if it asks: next hops and networks that are allowed.
    fn tells(&self, neighbour: IpAddr) -> bool {
        self.config.overload_told && self.defence.guard().is_allowed(neighbour)
    }

    /// Whether the sender of a request is told by a share to send less. Then it is not told to send nothing for a while.
    pub(crate) fn tells_a_share(&self, source: &Source, request: &Message) -> bool {
        let offers = request.via().is_ok_and(|via| via.offers_overload_control());
        offers && self.tells(source.remote.ip()) && self.overload().percent > 0
    }

    /// The share that we want less of from neighbours: what is refused of their calls now. Those that they give up and those
    /// that we refuse add up, and the controller sees the sum.
    fn overload(&self) -> Overload {
        let now = self.defence.now();
        let first = self.inbox.first();
        let refused = self
            .defence
            .admission()
            .refused_permille(now, Rank::TrunkInvite, first);
        let elapsed = u64::try_from(self.defence.elapsed().as_micros() / 10).unwrap_or(u64::MAX);
        Overload {
            percent: u8::try_from(refused.div_ceil(10)).unwrap_or(100).min(100),
            validity_ms: VALIDITY_MS,
            sequence: (self.config.overload_epoch_s * 100_000).saturating_add(elapsed),
        }
    }

    /// A message as it goes out: a response to a neighbour that wants to know tells it how we are.
    pub(crate) fn tell_overload(&self, transmit: Transmit) -> Transmit {
        if !transmit.bytes.starts_with(b"SIP/") || !mentions_overload(&transmit.bytes) {
            return transmit;
        }
        if !self.tells(transmit.destination.remote.ip()) {
            return transmit;
        }
        let told = Message::parse_datagram(transmit.bytes.clone())
            .ok()
            .filter(|response| response.via().is_ok_and(|via| via.offers_overload_control()))
            .and_then(|response| response.with_overload(&self.overload()).ok());
        match told {
            Some(response) => {
                self.counters.overload_told();
                Transmit {
                    bytes: response.bytes().clone(),
                    ..transmit
                }
            }
            None => transmit,
        }
    }
}
