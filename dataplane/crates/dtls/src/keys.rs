use dimpl::SrtpProfile;
use media_types::{DtlsRole, SrtpKey, SrtpSuite};
use zeroize::Zeroizing;

use crate::Failure;

/// What a handshake has given: one master key a direction. Not in `Debug`, and wiped when dropped.
#[derive(Debug)]
pub struct Keys {
    /// What we protect with.
    pub send: SrtpKey,
    /// What the party protects with.
    pub receive: SrtpKey,
}

impl Keys {
    /// From what the handshake exports (RFC 5764 §4.2): the client's key, the server's, the client's salt, the server's.
    pub(crate) fn from_export(
        profile: SrtpProfile,
        exported: &[u8],
        role: DtlsRole,
    ) -> Result<Self, Failure> {
        let suite = match profile {
            SrtpProfile::AES128_CM_SHA1_80 => SrtpSuite::AesCm128HmacSha1_80,
            SrtpProfile::AEAD_AES_128_GCM => SrtpSuite::AeadAes128Gcm,
            SrtpProfile::AEAD_AES_256_GCM => SrtpSuite::AeadAes256Gcm,
            _ => return Err(Failure::Profile),
        };
        let (key_len, salt_len) = (suite.key_len(), suite.salt_len());
        if exported.len() != 2 * (key_len + salt_len) {
            return Err(Failure::Profile);
        }
        let (keys, salts) = exported.split_at(2 * key_len);
        let of = |place: usize| {
            let key = &keys[place * key_len..][..key_len];
            let salt = &salts[place * salt_len..][..salt_len];
            let joined = Zeroizing::new([key, salt].concat());
            SrtpKey::new(suite, &joined).ok_or(Failure::Profile)
        };
        let (client, server) = (of(0)?, of(1)?);
        Ok(match role {
            DtlsRole::Active => Self {
                send: client,
                receive: server,
            },
            DtlsRole::Passive => Self {
                send: server,
                receive: client,
            },
        })
    }

    /// The suite of both.
    pub fn suite(&self) -> SrtpSuite {
        self.send.suite()
    }
}
