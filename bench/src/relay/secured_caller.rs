//! The SRTP of a call whose caller is secured and whose callee is in clear (RFC 3711, keys as RFC 4568 signals them).
//!
//! The suite is AES_CM_128_HMAC_SHA1_80, which every peer has. Packets are protected by our own crate; a peer that opens them
//! shows that they are right.

use std::fmt;

use anyhow::Context as _;
use proto::media_v1 as pb;
use sdp::sdes::Crypto;
use srtp::{MasterKey, Receiver, Sender, Suite};

const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
/// What the suite's tag adds to a packet, in bytes.
pub const TAG: usize = 10;
/// One each way; a stream of the load keeps its SSRC.
const STREAMS_MAX: usize = 1;

/// Keys of the caller's line.
pub struct CallerKeys {
    /// What the caller protects with, the value of its `a=crypto` with tag 1.
    caller: String,
    /// What the relay protects with towards it, likewise.
    relay: String,
}

impl CallerKeys {
    /// Both of our choice. No two calls have the same; that they can be guessed harms nobody in a bed of our own.
    pub fn of_call(call: u32) -> Self {
        Self {
            caller: key_of("caller", call),
            relay: key_of("relay", call),
        }
    }

    /// With the key that the relay chose itself, the value of its `a=crypto`.
    pub fn with_relays(self, relay: &str) -> Self {
        Self {
            relay: relay.to_owned(),
            ..self
        }
    }

    /// The caller's `a=crypto` as its offer has it.
    pub fn offered(&self) -> String {
        format!("a=crypto:{}", self.caller)
    }

    /// As a media node is told them.
    pub fn request(&self) -> anyhow::Result<pb::Srtp> {
        Ok(pb::Srtp {
            receive: vec![wire(&self.caller)?],
            send: Some(wire(&self.relay)?),
        })
    }
}

impl fmt::Debug for CallerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallerKeys")
    }
}

/// One caller's end of the SRTP.
pub struct SecuredCaller {
    sender: Sender,
    receiver: Receiver,
}

impl SecuredCaller {
    /// Nothing protected yet.
    pub fn new(keys: &CallerKeys) -> anyhow::Result<Self> {
        Ok(Self {
            sender: Sender::new(&master_key(&keys.caller)?, STREAMS_MAX)?,
            receiver: Receiver::new(&master_key(&keys.relay)?, STREAMS_MAX)?,
        })
    }

    /// Protects the RTP packet in the first `len` bytes of `buffer`; [`TAG`] bytes follow it. The new length. Does not allocate.
    pub fn protect(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, srtp::Error> {
        self.sender.protect_rtp(buffer, len)
    }

    /// The length of the RTP packet that was in `packet`, where it is now. Does not allocate.
    pub fn unprotect(&mut self, packet: &mut [u8]) -> Result<usize, srtp::Error> {
        self.receiver.unprotect_rtp(packet)
    }
}

impl fmt::Debug for SecuredCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecuredCaller")
    }
}

/// Forty characters of Base64 are a key of 16 bytes and a salt of 14.
fn key_of(side: &str, call: u32) -> String {
    format!("1 {SUITE} inline:{side:x<20}{call:020}")
}

fn material(crypto: &str) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let crypto = Crypto::parse(crypto).map_err(|error| anyhow::anyhow!("a=crypto: {error:?}"))?;
    let key = crypto.keys().first().context("a=crypto has a key")?;
    Ok((key.master_key().to_vec(), key.master_salt().to_vec()))
}

fn master_key(crypto: &str) -> anyhow::Result<MasterKey> {
    let (key, salt) = material(crypto)?;
    Ok(MasterKey::new(Suite::AesCm128HmacSha1_80, &[key, salt].concat())?)
}

fn wire(crypto: &str) -> anyhow::Result<pb::SrtpKey> {
    let (master_key, master_salt) = material(crypto)?;
    Ok(pb::SrtpKey {
        suite: pb::SrtpSuite::AesCm128HmacSha180.into(),
        master_key,
        master_salt,
        ..pb::SrtpKey::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_relay_protects_the_caller_opens_and_no_other_caller_does() {
        let keys = CallerKeys::of_call(7);
        let mut relay = Sender::new(&master_key(&keys.relay).unwrap(), 1).unwrap();
        let mut packet = [0; 60 + TAG];
        packet[0] = 0x80;
        packet[20] = 99;
        assert_eq!(relay.protect_rtp(&mut packet, 60).unwrap(), 60 + TAG);
        let mut other = SecuredCaller::new(&CallerKeys::of_call(8)).unwrap();
        assert!(other.unprotect(&mut packet.clone()).is_err());
        let mut caller = SecuredCaller::new(&keys).unwrap();
        assert_eq!(caller.unprotect(&mut packet).unwrap(), 60);
        assert_eq!(packet[20], 99);
    }

    #[test]
    fn a_node_is_told_the_keys_that_an_offer_has() {
        let keys = CallerKeys::of_call(4_000_000_000);
        let told = keys.request().unwrap();
        assert_eq!(told.receive[0].master_key.len(), 16);
        assert_eq!(told.send.as_ref().unwrap().master_salt.len(), 14);
        assert_ne!(told.receive[0], told.send.unwrap());
        assert!(
            keys.offered()
                .starts_with("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:caller")
        );
    }
}
