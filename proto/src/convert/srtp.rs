use media_types::{SrtpKey, SrtpReport, SrtpSpec, SrtpSuite};
use zeroize::{Zeroize, Zeroizing};

use super::field::{FieldError, Problem, counted, ranged};
use crate::media_v1 as wire;

/// Master keys that a party may use at once.
pub const SRTP_KEYS_MAX: usize = 4;
/// The longest master key identifier, in bytes. RFC 4568 §6.1 would allow 128; nobody uses more than 4.
pub const MKI_LEN_MAX: usize = 16;
/// The most packets under one master key (RFC 3711 §9.2).
const LIFETIME_MAX: u64 = 1 << 48;

pub(super) fn srtp_to_wire(srtp: &SrtpSpec) -> wire::Srtp {
    wire::Srtp {
        receive: srtp.receive.iter().map(srtp_key_to_wire).collect(),
        send: srtp.send.as_ref().map(srtp_key_to_wire),
    }
}

pub(super) fn srtp_from_wire(srtp: wire::Srtp) -> Result<SrtpSpec, FieldError> {
    counted("receive", srtp.receive.len(), 0, SRTP_KEYS_MAX)?;
    Ok(SrtpSpec {
        receive: srtp
            .receive
            .into_iter()
            .enumerate()
            .map(|(index, key)| srtp_key_from_wire(key).map_err(|e| e.within_item("receive", index)))
            .collect::<Result<_, _>>()?,
        send: srtp
            .send
            .map(|key| srtp_key_from_wire(key).map_err(|e| e.within("send")))
            .transpose()?,
    })
}

/// A key as it goes over the wire. It is wiped nowhere on its way.
pub fn srtp_key_to_wire(key: &SrtpKey) -> wire::SrtpKey {
    let (master_key, master_salt) = key.key_and_salt().split_at(key.suite().key_len());
    wire::SrtpKey {
        suite: suite_to_wire(key.suite()).into(),
        master_key: master_key.to_vec(),
        master_salt: master_salt.to_vec(),
        mki: key.mki().to_vec(),
        lifetime_packets: key.lifetime_packets(),
    }
}

/// A key as it came.
pub fn srtp_key_from_wire(mut key: wire::SrtpKey) -> Result<SrtpKey, FieldError> {
    let joined = Zeroizing::new([key.master_key.as_slice(), key.master_salt.as_slice()].concat());
    let (key_len, salt_len) = (key.master_key.len(), key.master_salt.len());
    key.master_key.zeroize();
    key.master_salt.zeroize();
    let suite = suite_from_wire("suite", key.suite)?;
    let suite = suite.ok_or(FieldError::new("suite", Problem::Enumeration(key.suite)))?;
    counted("master_key", key_len, suite.key_len(), suite.key_len())?;
    counted("master_salt", salt_len, suite.salt_len(), suite.salt_len())?;
    counted("mki", key.mki.len(), 0, MKI_LEN_MAX)?;
    let lifetime = ranged("lifetime_packets", key.lifetime_packets, 0, LIFETIME_MAX)?;
    let made = SrtpKey::new(suite, &joined).ok_or(FieldError::new("master_key", Problem::Missing))?;
    Ok(made.with_mki(&key.mki).with_lifetime(lifetime))
}

/// A suite as it goes over the wire.
pub fn suite_to_wire(suite: SrtpSuite) -> wire::SrtpSuite {
    match suite {
        SrtpSuite::AesCm128HmacSha1_80 => wire::SrtpSuite::AesCm128HmacSha180,
        SrtpSuite::AesCm128HmacSha1_32 => wire::SrtpSuite::AesCm128HmacSha132,
        SrtpSuite::AesCm256HmacSha1_80 => wire::SrtpSuite::Aes256CmHmacSha180,
        SrtpSuite::AesCm256HmacSha1_32 => wire::SrtpSuite::Aes256CmHmacSha132,
        SrtpSuite::AeadAes128Gcm => wire::SrtpSuite::AeadAes128Gcm,
        SrtpSuite::AeadAes256Gcm => wire::SrtpSuite::AeadAes256Gcm,
    }
}

/// A suite of the field `name`; `None` when it is unspecified.
pub fn suite_from_wire(name: &str, suite: i32) -> Result<Option<SrtpSuite>, FieldError> {
    match wire::SrtpSuite::try_from(suite) {
        Ok(wire::SrtpSuite::Unspecified) => Ok(None),
        Ok(known) => Ok(SrtpSuite::ALL
            .into_iter()
            .find(|suite| suite_to_wire(*suite) == known)),
        Err(_) => Err(FieldError::new(name, Problem::Enumeration(suite))),
    }
}

pub(super) fn srtp_status_to_wire(srtp: &SrtpReport) -> wire::SrtpStatus {
    let suite = |suite: Option<SrtpSuite>| suite.map_or(wire::SrtpSuite::Unspecified, suite_to_wire);
    wire::SrtpStatus {
        receive_suite: suite(srtp.receive).into(),
        send_suite: suite(srtp.send).into(),
    }
}

pub(super) fn srtp_status_from_wire(status: wire::SrtpStatus) -> Result<SrtpReport, FieldError> {
    let within = |e: FieldError| e.within("srtp");
    Ok(SrtpReport {
        receive: suite_from_wire("receive_suite", status.receive_suite).map_err(within)?,
        send: suite_from_wire("send_suite", status.send_suite).map_err(within)?,
    })
}
