use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};

use sans_io::Random;

use crate::message::Host;

/// What a message is matched by, as 128 bits under a secret of this process.
///
/// The matching rules of RFC 3261 compare several strings that the sender chose. Their keyed hash (SipHash) takes 16
/// bytes whatever their length, so a finished transaction can forget its messages, and a sender who doesn't know
/// the secret can neither make two of them equal nor crowd a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint {
    upper: u64,
    lower: u64,
}

/// The secret, and the hasher of every table whose keys a sender chooses.
#[derive(Clone, Debug)]
pub(super) struct Secret([u64; 2]);

/// How a request names its transaction (§17.2.3).
#[derive(Clone, Copy, Debug)]
pub(super) enum ServerMatch<'a> {
    /// The branch starts with the magic cookie: branch and sent-by of the top Via.
    Branch {
        /// The whole branch, compared byte by byte.
        branch: &'a str,
        /// Host of the top Via, compared without regard to case.
        host: Host<'a>,
        /// Port of the top Via.
        port: Option<u16>,
    },
    /// From an RFC 2543 element. The To tag is not among these: the ACK for a failure has one that the INVITE
    /// lacks, and is compared by itself.
    Fields {
        /// Request-URI.
        uri: &'a str,
        /// From tag.
        from_tag: Option<&'a str>,
        /// Call-ID.
        call_id: &'a str,
        /// CSeq number.
        cseq: u32,
        /// The whole of the top Via.
        via: &'a str,
    },
}

impl Secret {
    pub(super) fn new(random: &mut Random) -> Self {
        Self([random.next_u64(), random.next_u64()])
    }

    /// Of a request. `method` is that of the transaction: INVITE for an ACK, and for a CANCEL that looks for its
    /// INVITE.
    pub(super) fn server(&self, method: &str, by: ServerMatch<'_>) -> Fingerprint {
        self.fingerprint(|hasher| match by {
            ServerMatch::Branch { branch, host, port } => {
                (0u8, method, branch, port).hash(hasher);
                match host {
                    Host::Name(name) => name
                        .bytes()
                        .for_each(|byte| hasher.write_u8(byte.to_ascii_lowercase())),
                    address => address.ip().hash(hasher),
                }
            }
            ServerMatch::Fields {
                uri,
                from_tag,
                call_id,
                cseq,
                via,
            } => {
                (1u8, method, uri, from_tag, call_id, cseq, via).hash(hasher);
            }
        })
    }

    /// Of a response, or of the request that it answers (§17.1.3): branch of the top Via and method of the CSeq.
    pub(super) fn client(&self, branch: &str, method: &str) -> Fingerprint {
        self.fingerprint(|hasher| (2u8, branch, method).hash(hasher))
    }

    /// Of what two requests share when they are one request that arrived over two paths (§8.2.2.2).
    pub(super) fn merged(&self, from_tag: &str, call_id: &str, cseq: u32, method: &str) -> Fingerprint {
        self.fingerprint(|hasher| (3u8, from_tag, call_id, cseq, method).hash(hasher))
    }

    /// Of a To tag, to compare it with another.
    pub(super) fn tag(&self, tag: Option<&str>) -> u64 {
        self.hash_one((4u8, tag))
    }

    /// The To tag of our own answer to a request: the same for each of its retransmissions, as §8.2.7 wants it of one
    /// who keeps no state, and not to be guessed.
    pub(super) fn own_tag(&self, request: Fingerprint) -> String {
        format!("{:016x}", self.hash_one((5u8, request)))
    }

    fn fingerprint(&self, write: impl Fn(&mut DefaultHasher)) -> Fingerprint {
        let half = |side: u8| {
            let mut hasher = self.build_hasher();
            hasher.write_u8(side);
            write(&mut hasher);
            hasher.finish()
        };
        Fingerprint {
            upper: half(0),
            lower: half(1),
        }
    }
}

impl BuildHasher for Secret {
    type Hasher = DefaultHasher;

    /// SipHash with a key known to all, then our secret as the first two words: the state after these is the key.
    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0[0]);
        hasher.write_u64(self.0[1]);
        hasher
    }
}

/// A table by fingerprint, which is a good hash as it is.
pub(super) type ByFingerprint<T> = HashMap<Fingerprint, T, Identity>;

/// Takes a fingerprint's own bits for the hash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Identity;

impl BuildHasher for Identity {
    type Hasher = Bits;

    fn build_hasher(&self) -> Bits {
        Bits(0)
    }
}

/// See [`Identity`].
#[derive(Debug)]
pub(super) struct Bits(u64);

impl Hasher for Bits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    /// The last word of a fingerprint.
    fn write_u64(&mut self, bits: u64) {
        self.0 = bits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(seed: u64) -> Secret {
        Secret::new(&mut Random::from_number(seed))
    }

    #[test]
    fn branch_sent_by_and_method_tell_transactions_apart() {
        let secret = secret(1);
        let of = |method, branch, host, port| {
            secret.server(
                method,
                ServerMatch::Branch {
                    branch,
                    host: Host::parse(host).unwrap(),
                    port,
                },
            )
        };
        let one = of("INVITE", "z9hG4bKa", "example.com", Some(5060));
        assert_eq!(one, of("INVITE", "z9hG4bKa", "EXAMPLE.com", Some(5060)));
        assert_ne!(one, of("CANCEL", "z9hG4bKa", "example.com", Some(5060)));
        assert_ne!(one, of("INVITE", "z9hG4bKA", "example.com", Some(5060)));
        assert_ne!(one, of("INVITE", "z9hG4bKa", "example.org", Some(5060)));
        assert_ne!(one, of("INVITE", "z9hG4bKa", "example.com", Some(5061)));
        assert_ne!(one, of("INVITE", "z9hG4bKa", "example.com", None));
    }

    #[test]
    fn the_secret_decides() {
        assert_eq!(
            secret(1).client("z9hG4bKa", "BYE"),
            secret(1).client("z9hG4bKa", "BYE")
        );
        assert_ne!(
            secret(1).client("z9hG4bKa", "BYE"),
            secret(2).client("z9hG4bKa", "BYE")
        );
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let secret = secret(1);
        assert_ne!(secret.client("z9hG4bKab", "c"), secret.client("z9hG4bKa", "bc"));
        assert_ne!(
            secret.merged("a", "b", 1, "INVITE"),
            secret.merged("ab", "", 1, "INVITE")
        );
    }
}
