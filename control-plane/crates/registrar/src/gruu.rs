use hmac::{Hmac, KeyInit as _, Mac as _};
use sans_io::Random;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::Binding;

/// What the user part of a temporary GRUU begins with.
const MARK: &str = "tgruu.";

/// Bytes of the part that makes each temporary GRUU another.
const SALT_BYTES: usize = 8;

/// Bytes of the authenticator.
const SEAL_BYTES: usize = 12;

/// Makes and reads temporary GRUUs (RFC 5627 §3.2): names for one instance that tell nobody whose it is. They hold all
/// that is needed to read them, so nothing is stored: a salt, the user hidden under a key stream from it, and an HMAC
/// over both with instance and Call-ID. A REGISTER with another Call-ID makes earlier ones void, as §5.1 wants.
#[derive(Debug)]
pub(crate) struct Gruus {
    secret: Hmac<Sha256>,
    random: Random,
}

impl Gruus {
    pub(crate) fn new(mut random: Random) -> Self {
        let mut key = [0; 32];
        random.fill(&mut key);
        Self {
            secret: Hmac::new_from_slice(&key).expect("HMAC takes a key of any length"),
            random,
        }
    }

    /// The user part of a new temporary GRUU.
    pub(crate) fn mint(&mut self, user: &str, binding: &Binding) -> String {
        let mut salt = [0; SALT_BYTES];
        self.random.fill(&mut salt);
        let mut bytes = salt.to_vec();
        bytes.extend(self.veil(&salt, user.as_bytes()));
        bytes.extend(self.seal(&salt, user, binding));
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{MARK}{digits}")
    }

    /// The user that a temporary GRUU names, whether or not it is one of ours; `None` for what is no such name.
    pub(crate) fn user(&self, name: &str) -> Option<String> {
        let (salt, veiled, _) = parts(name)?;
        String::from_utf8(self.veil(&salt, &veiled)).ok()
    }

    /// Whether the name is one of ours for that binding.
    pub(crate) fn is_for(&self, name: &str, user: &str, binding: &Binding) -> bool {
        let Some((salt, _, seal)) = parts(name) else {
            return false;
        };
        bool::from(self.seal(&salt, user, binding).ct_eq(&seal))
    }

    fn seal(&self, salt: &[u8], user: &str, binding: &Binding) -> [u8; SEAL_BYTES] {
        let mut mac = self.secret.clone();
        mac.update(b"seal");
        mac.update(salt);
        for part in [user, &binding.instance, &binding.call_id] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        let mut seal = [0; SEAL_BYTES];
        seal.copy_from_slice(&mac.finalize().into_bytes()[..SEAL_BYTES]);
        seal
    }

    /// `bytes` under the key stream of `salt`; the same again takes it off.
    fn veil(&self, salt: &[u8], bytes: &[u8]) -> Vec<u8> {
        let block = |number: usize| {
            let mut mac = self.secret.clone();
            mac.update(b"veil");
            mac.update(salt);
            mac.update(&(number as u64).to_be_bytes());
            mac.finalize().into_bytes()
        };
        let blocks = bytes.chunks(32).enumerate();
        blocks
            .flat_map(|(number, chunk)| {
                let stream = block(number);
                chunk
                    .iter()
                    .zip(stream)
                    .map(|(byte, key)| byte ^ key)
                    .collect::<Vec<u8>>()
            })
            .collect()
    }
}

/// Salt, hidden user and seal.
fn parts(name: &str) -> Option<([u8; SALT_BYTES], Vec<u8>, Vec<u8>)> {
    let digits = name.strip_prefix(MARK)?.as_bytes();
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let bytes: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?))
        .collect();
    let bytes = bytes?;
    let end = bytes
        .len()
        .checked_sub(SEAL_BYTES)
        .filter(|&end| end > SALT_BYTES)?;
    let salt = bytes[..SALT_BYTES].try_into().ok()?;
    Some((salt, bytes[SALT_BYTES..end].to_vec(), bytes[end..].to_vec()))
}
