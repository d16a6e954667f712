use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sans_io::{Random, Timestamp};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::algorithm::{hex, unhex};

/// Bytes of the authenticator that a nonce carries.
const SEAL_BYTES: usize = 16;

/// Bytes before it: the nonce's number.
const NUMBER_BYTES: usize = 8;

/// Makes nonces that hold all that is known of them: their number, which is the time of issue and never used twice, and
/// an HMAC of it with the source's address and the realm under a secret of this process. So a flood of requests
/// without credentials leaves nothing behind, and a nonce is worth nothing to another source.
#[derive(Debug)]
pub(super) struct Nonces {
    secret: Hmac<Sha256>,
    lifetime: Duration,
    last: u64,
}

impl Nonces {
    pub(super) fn new(random: &mut Random, lifetime: Duration) -> Self {
        let mut key = [0; 32];
        random.fill(&mut key);
        Self {
            secret: Hmac::new_from_slice(&key).expect("HMAC takes a key of any length"),
            lifetime,
            last: 0,
        }
    }

    /// A new nonce for `source`.
    pub(super) fn issue(&mut self, now: Timestamp, source: IpAddr, realm: &str) -> String {
        self.last = now.as_nanos().max(self.last.saturating_add(1));
        let number = self.last.to_be_bytes();
        let mut nonce = [0; NUMBER_BYTES + SEAL_BYTES];
        nonce[..NUMBER_BYTES].copy_from_slice(&number);
        nonce[NUMBER_BYTES..].copy_from_slice(&self.seal(number, source, realm));
        hex(&nonce)
    }

    /// The number of a nonce of ours that was given to `source` and is young enough.
    pub(super) fn check(&self, now: Timestamp, source: IpAddr, realm: &str, nonce: &str) -> Option<u64> {
        let bytes: [u8; NUMBER_BYTES + SEAL_BYTES] = unhex(nonce)?;
        let (number, seal) = bytes.split_at(NUMBER_BYTES);
        let number: [u8; NUMBER_BYTES] = number.try_into().ok()?;
        let is_ours = bool::from(self.seal(number, source, realm).ct_eq(seal));
        let number = u64::from_be_bytes(number);
        // Numbers run ahead of the clock by the nonces issued in one reading of it.
        let age = now.saturating_since(Timestamp::from_nanos(number));
        (is_ours && number <= self.last && age <= self.lifetime).then_some(number)
    }

    fn seal(&self, number: [u8; NUMBER_BYTES], source: IpAddr, realm: &str) -> [u8; SEAL_BYTES] {
        let mut mac = self.secret.clone();
        mac.update(&number);
        mac.update(&prefix(source));
        mac.update(realm.as_bytes());
        let mut seal = [0; SEAL_BYTES];
        seal.copy_from_slice(&mac.finalize().into_bytes()[..SEAL_BYTES]);
        seal
    }

    /// Secret bytes for `text`, the same whenever they are asked for.
    pub(super) fn derive(&self, text: &str) -> [u8; 32] {
        let mut mac = self.secret.clone();
        mac.update(b"derived:");
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// What of an address a nonce is bound to: all of IPv4, and of IPv6 the network, within which hosts change their address
/// for privacy (RFC 8981).
fn prefix(address: IpAddr) -> [u8; 16] {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_nonce_is_good_for_its_source_realm_and_time() {
        let mut nonces = Nonces::new(&mut Random::from_number(1), Duration::from_secs(300));
        let at = Timestamp::from_millis;
        let home = address("192.0.2.1");
        let nonce = nonces.issue(at(1_000), home, "r");
        assert!(nonces.check(at(1_000), home, "r", &nonce).is_some());
        assert!(
            nonces
                .check(at(301_000), home, "r", &nonce.to_uppercase())
                .is_some()
        );
        assert_eq!(nonces.check(at(301_001), home, "r", &nonce), None, "too old");
        assert_eq!(nonces.check(at(1_000), address("192.0.2.2"), "r", &nonce), None);
        assert_eq!(nonces.check(at(1_000), home, "s", &nonce), None);
        for place in 0..nonce.len() {
            let mut forged = nonce.clone().into_bytes();
            forged[place] = if forged[place] == b'0' { b'1' } else { b'0' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(nonces.check(at(1_000), home, "r", &forged), None, "digit {place}");
        }
        for nonce in ["", "0", "ü", &nonce[1..]] {
            assert_eq!(nonces.check(at(1_000), home, "r", nonce), None);
        }
    }

    #[test]
    fn no_two_nonces_are_the_same() {
        let mut nonces = Nonces::new(&mut Random::from_number(2), Duration::from_secs(1));
        let home = address("2001:db8::1");
        let first = nonces.issue(Timestamp::ZERO, home, "r");
        let second = nonces.issue(Timestamp::ZERO, home, "r");
        assert_ne!(first, second);
        let neighbour = address("2001:db8::2");
        assert!(nonces.check(Timestamp::ZERO, neighbour, "r", &second).is_some());
        assert!(
            nonces
                .check(Timestamp::ZERO, address("2001:db8:0:1::1"), "r", &second)
                .is_none()
        );
    }
}
