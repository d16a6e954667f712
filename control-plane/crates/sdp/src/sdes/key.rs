use std::fmt;
use std::fmt::Write as _;

use media_types::SrtpKey;
use zeroize::Zeroizing;

use super::base64;
use super::{CryptoError, SrtpSuite};

/// The longest MKI in bytes that we take; RFC 4568 §6.1 would allow 128, and 4 is the most that is seen.
pub const MKI_LEN_MAX: u8 = 16;
/// The most packets under one master key (RFC 3711 §9.2).
pub const PACKETS_MAX: u64 = 1 << 48;

/// The longest key and salt together, in bytes.
const MATERIAL_LEN_MAX: usize = 32 + 14;

/// A master key identifier as packets carry it: a number of `length` bytes, the highest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mki {
    /// The number; it fits in the length.
    pub value: u128,
    /// Bytes in packets, 1 to [`MKI_LEN_MAX`].
    pub length: u8,
}

impl Mki {
    /// `<value>:<length>` (RFC 4568 §6.1).
    fn parse(text: &str) -> Option<Self> {
        let (value, length) = text.split_once(':')?;
        let value: u128 = digits(value, 39)?.parse().ok()?;
        let length: u8 = digits(length, 3)?.parse().ok()?;
        let fits = value.checked_shr(8 * u32::from(length)).unwrap_or(0) == 0;
        (fits && (1..=MKI_LEN_MAX).contains(&length)).then_some(Self { value, length })
    }
}

/// A master key with its salt: one `inline:` parameter (RFC 4568 §6.1). Wiped when dropped, absent from `Debug`, and
/// compared in constant time.
#[derive(Clone)]
pub struct MasterKey {
    suite: SrtpSuite,
    material: Zeroizing<[u8; MATERIAL_LEN_MAX]>,
    /// Packets that it may protect; `None`: the most that the suite allows.
    lifetime_packets: Option<u64>,
    mki: Option<Mki>,
}

impl MasterKey {
    /// A new key for `suite`, without MKI. `fill` writes random bytes from a cryptographic source.
    pub fn random(suite: SrtpSuite, fill: &mut impl FnMut(&mut [u8])) -> Self {
        let mut material = Zeroizing::new([0; MATERIAL_LEN_MAX]);
        fill(&mut material[..suite.key_len() + suite.salt_len()]);
        Self {
            suite,
            material,
            lifetime_packets: None,
            mki: None,
        }
    }

    /// `inline:<key and salt>[|<lifetime>][|<MKI>]`.
    pub(super) fn parse(suite: SrtpSuite, text: &str) -> Result<Self, CryptoError> {
        let (method, info) = text.split_once(':').ok_or(CryptoError::Syntax)?;
        if !method.eq_ignore_ascii_case("inline") {
            return Err(CryptoError::Method);
        }
        let mut fields = info.split('|');
        let mut material = Zeroizing::new([0; MATERIAL_LEN_MAX]);
        let encoded = fields.next().unwrap_or_default();
        let len = base64::decode(encoded, &mut *material).ok_or(CryptoError::Base64)?;
        if len != suite.key_len() + suite.salt_len() {
            return Err(CryptoError::KeyLength);
        }
        let mut next = fields.next();
        let lifetime = next.filter(|field| !field.contains(':'));
        if lifetime.is_some() {
            next = fields.next();
        }
        let lifetime_packets = lifetime.map(parse_lifetime).transpose()?;
        let mki = next
            .map(|text| Mki::parse(text).ok_or(CryptoError::Mki))
            .transpose()?;
        if fields.next().is_some() {
            return Err(CryptoError::Syntax);
        }
        Ok(Self {
            suite,
            material,
            lifetime_packets,
            mki,
        })
    }

    /// Appends the parameter to `out`, whose owner wipes it.
    pub(super) fn print(&self, out: &mut String) {
        out.push_str("inline:");
        out.push_str(&base64::encode(self.key_and_salt()));
        // Writing to a string does not fail.
        if let Some(packets) = self.lifetime_packets {
            let _ = match packets.is_power_of_two() && packets > 1 {
                true => write!(out, "|2^{}", packets.trailing_zeros()),
                false => write!(out, "|{packets}"),
            };
        }
        if let Some(Mki { value, length }) = self.mki {
            let _ = write!(out, "|{value}:{length}");
        }
    }

    /// Its suite.
    pub const fn suite(&self) -> SrtpSuite {
        self.suite
    }

    /// The master key alone. Secret.
    pub fn master_key(&self) -> &[u8] {
        &self.material[..self.suite.key_len()]
    }

    /// The master salt alone. Secret.
    pub fn master_salt(&self) -> &[u8] {
        &self.key_and_salt()[self.suite.key_len()..]
    }

    /// Packets that it may protect, at most [`PACKETS_MAX`]; `None` when the description does not say.
    pub const fn lifetime_packets(&self) -> Option<u64> {
        self.lifetime_packets
    }

    /// What names it in packets.
    pub const fn mki(&self) -> Option<Mki> {
        self.mki
    }

    /// Whether key and salt are those of `other`, whatever their identifier and lifetime. Takes the same time whether
    /// they are or not, as the other party chooses what we compare with.
    pub fn has_material_of(&self, other: &Self) -> bool {
        let pairs = self.material.iter().zip(other.material.iter());
        self.suite == other.suite && pairs.fold(0, |unlike, (a, b)| unlike | (a ^ b)) == 0
    }

    /// The key as the media plane wants it; always one, since key and salt are as long as the suite wants them.
    pub(super) fn media_key(&self) -> Option<SrtpKey> {
        let mki = self
            .mki
            .map(|mki| (mki.value.to_be_bytes(), usize::from(mki.length)));
        let mki = mki
            .as_ref()
            .and_then(|(bytes, length)| bytes.get(bytes.len() - length..));
        let key = SrtpKey::new(self.suite, self.key_and_salt())?;
        Some(
            key.with_mki(mki.unwrap_or_default())
                .with_lifetime(self.lifetime_packets.unwrap_or(0)),
        )
    }

    fn key_and_salt(&self) -> &[u8] {
        &self.material[..self.suite.key_len() + self.suite.salt_len()]
    }
}

impl PartialEq for MasterKey {
    fn eq(&self, other: &Self) -> bool {
        self.has_material_of(other)
            && self.lifetime_packets == other.lifetime_packets
            && self.mki == other.mki
    }
}

impl Eq for MasterKey {}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey")
            .field("suite", &self.suite)
            .field("mki", &self.mki)
            .finish_non_exhaustive()
    }
}

/// A number, or a power as `2^n` (RFC 4568 §6.1).
fn parse_lifetime(text: &str) -> Result<u64, CryptoError> {
    let packets = match text.strip_prefix("2^") {
        Some(power) => digits(power, 2)
            .and_then(|power| power.parse().ok())
            .and_then(|power| 1u64.checked_shl(power)),
        None => digits(text, 20).and_then(|number| number.parse().ok()),
    };
    packets
        .filter(|packets| (1..=PACKETS_MAX).contains(packets))
        .ok_or(CryptoError::Lifetime)
}

/// `text` when it is one to `len_max` decimal digits; number parsers of the library would take a sign.
pub(super) fn digits(text: &str, len_max: usize) -> Option<&str> {
    let is_number = (1..=len_max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then_some(text)
}
