use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

use sans_io::Timestamp;

use crate::{Bucket, Network};

/// Sources that share a place: of these the one that was silent longest makes room.
const WAYS: usize = 8;

/// What is known of a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    /// Of its network; zero is nobody's.
    fingerprint: u64,
    pub(crate) bucket: Bucket,
    seen: Timestamp,
    /// Until when it is believed.
    pub(crate) vouched_until: Timestamp,
    /// Points in thousandths, as of `scored`.
    pub(crate) score_milli: u32,
    pub(crate) scored: Timestamp,
}

impl Source {
    const fn new(fingerprint: u64, now: Timestamp) -> Self {
        Self {
            fingerprint,
            bucket: Bucket::full(now),
            seen: now,
            vouched_until: Timestamp::ZERO,
            score_milli: 0,
            scored: now,
        }
    }
}

/// A table of a fixed size. What is forgotten begins anew with a full bucket and a clean account: a flood from more sources
/// than there is room for is the matter of the layers behind.
#[derive(Debug)]
pub(crate) struct Sources {
    /// Whose key nobody outside knows, so that nobody can aim at a place.
    hasher: RandomState,
    places: Box<[Source]>,
}

impl Sources {
    pub(crate) fn new(max: usize) -> Self {
        let number = max.clamp(WAYS, 1 << 24).next_power_of_two();
        Self {
            hasher: RandomState::new(),
            places: vec![Source::new(0, Timestamp::ZERO); number].into(),
        }
    }

    /// The account of the network of `address`; a new one if it is not known.
    pub(crate) fn find(&mut self, now: Timestamp, address: IpAddr) -> &mut Source {
        let fingerprint = self.hasher.hash_one(Network::of_source(address)) | 1;
        let first = (fingerprint >> 1) as usize & (self.places.len() / WAYS - 1);
        let ways = &mut self.places[first * WAYS..][..WAYS];
        let found = ways.iter().position(|source| source.fingerprint == fingerprint);
        let place = found.unwrap_or_else(|| {
            // One that is believed goes last.
            let oldest = (0..WAYS).min_by_key(|&place| (ways[place].vouched_until > now, ways[place].seen));
            let oldest = oldest.unwrap_or(0);
            ways[oldest] = Source::new(fingerprint, now);
            oldest
        });
        ways[place].seen = now;
        &mut ways[place]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_table_keeps_its_size_and_those_who_are_believed() {
        let mut sources = Sources::new(64);
        let now = Timestamp::ZERO + Duration::from_secs(1);
        let friend: IpAddr = [192, 0, 2, 1].into();
        sources.find(now, friend).vouched_until = now + Duration::from_secs(1_000);
        sources.find(now, friend).score_milli = 7;
        for number in 0..100_000u32 {
            let at = now + Duration::from_millis(u64::from(number));
            sources.find(at, number.to_be_bytes().into());
        }
        assert_eq!(sources.places.len(), 64);
        let later = now + Duration::from_secs(101);
        assert_eq!(sources.find(later, friend).score_milli, 7);
    }
}
