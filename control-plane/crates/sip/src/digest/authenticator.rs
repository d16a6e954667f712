use std::net::IpAddr;
use std::time::Duration;

use sans_io::{Random, Timestamp};
use subtle::ConstantTimeEq as _;

use super::algorithm::{Algorithm, Ha1};
use super::challenge::Challenge;
use super::credentials::{Credentials, CredentialsError};
use super::guesses::Guesses;
use super::nonce::Nonces;
use super::replay::Replays;
use super::response::{Qop, Request, request_digest};
use crate::HeaderName;
use crate::message::{Message, Uri};

/// Credentials that one request may carry; a client that answers several realms has a few.
const CREDENTIALS_MAX: usize = 8;

/// How an [`Authenticator`] challenges.
#[derive(Clone, Debug)]
pub struct Config {
    /// The realm of its users.
    pub realm: String,
    /// What is offered, in this order, and all that is accepted (RFC 8760 §2.3).
    pub algorithms: Vec<Algorithm>,
    /// Whether `auth-int` is offered beside `auth`.
    pub offers_auth_int: bool,
    /// How long a nonce can be used.
    pub nonce_lifetime: Duration,
    /// Nonces whose counts are remembered; with more in use the oldest have to be got anew.
    pub nonces_max: usize,
    /// Wrong passwords for one user in [`guess_window`](Self::guess_window), whoever tries; then its password is not looked at
    /// until some time has passed, but from where the user is known ([`Users::is_known_at`]). Zero: no limit.
    pub guesses_max: u32,
    /// The time in which so many are allowed again.
    pub guess_window: Duration,
    /// Users that this is remembered of, 16 bytes each; beyond it those that were guessed at least are forgotten.
    pub guessed_users_max: usize,
}

impl Config {
    /// The defaults for a realm: every algorithm, `auth` and `auth-int`, nonces of five minutes.
    pub fn new(realm: impl Into<String>) -> Self {
        Self {
            realm: realm.into(),
            algorithms: Algorithm::ALL.to_vec(),
            offers_auth_int: true,
            nonce_lifetime: Duration::from_secs(300),
            nonces_max: 200_000,
            guesses_max: 30,
            guess_window: Duration::from_secs(600),
            guessed_users_max: 20_000,
        }
    }
}

/// Where the passwords are.
pub trait Users {
    /// H(A1) of a user; `None` for a user that there is not, or that has none for this algorithm.
    fn ha1(&self, username: &str, algorithm: Algorithm) -> Option<Ha1>;

    /// Whether the user has proven its password from there before, as far as is known. Those who guess elsewhere do not keep
    /// it out there.
    fn is_known_at(&self, _username: &str, _source: IpAddr) -> bool {
        false
    }
}

/// As what we ask for credentials (RFC 3261 §22.2, §22.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// As the server that answers: 401.
    Server,
    /// As one on the way: 407.
    Proxy,
}

impl Front {
    /// The status of a challenge.
    pub const fn status(self) -> u16 {
        match self {
            Self::Server => 401,
            Self::Proxy => 407,
        }
    }

    /// The header of a challenge.
    pub const fn challenge(self) -> HeaderName {
        match self {
            Self::Server => HeaderName::WwwAuthenticate,
            Self::Proxy => HeaderName::ProxyAuthenticate,
        }
    }

    /// The header of the credentials.
    pub const fn credentials(self) -> HeaderName {
        match self {
            Self::Server => HeaderName::Authorization,
            Self::Proxy => HeaderName::ProxyAuthorization,
        }
    }
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has no credentials for our realm.
    None,
    /// Its credentials are broken: 400.
    Malformed(CredentialsError),
    /// Its credentials are for another URI than it asks for: 400 (RFC 7616 §3.4.6).
    Uri,
    /// Its algorithm or qop is none that was offered.
    NotOffered,
    /// Its nonce is too old, of another source, or of an earlier process. Its proof was not looked at.
    Stale,
    /// Its proof is right, and was used before.
    Replayed,
    /// Its proof is wrong, or there is no such user: which of the two, nobody is told.
    Wrong,
    /// There were too many wrong proofs for that user: this one counts as wrong whatever it is. Nobody is told that either.
    Guessed,
}

impl Refusal {
    /// The label of its counter.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::None => "no_credentials",
            Self::Malformed(error) => error.reason(),
            Self::Uri => "credentials_uri",
            Self::NotOffered => "not_offered",
            Self::Stale => "stale_nonce",
            Self::Replayed => "replayed",
            Self::Wrong => "wrong_credentials",
            Self::Guessed => "guess_limit",
        }
    }

    /// Whether the request is answered 400, and not with a challenge.
    pub const fn is_bad_request(self) -> bool {
        matches!(self, Self::Malformed(_) | Self::Uri)
    }

    const fn is_stale(self) -> bool {
        matches!(self, Self::Stale | Self::Replayed)
    }
}

/// Checks who sent a request.
///
/// A user that does not exist takes the same steps as one whose password is wrong, over a secret of nobody, and gets the
/// same answer.
#[derive(Debug)]
pub struct Authenticator {
    config: Config,
    nonces: Nonces,
    replays: Replays,
    guesses: Guesses,
}

impl Authenticator {
    /// One that has given no nonce yet.
    pub fn new(config: Config, mut random: Random) -> Self {
        Self {
            nonces: Nonces::new(&mut random, config.nonce_lifetime),
            replays: Replays::new(config.nonces_max),
            guesses: Guesses::new(config.guesses_max, config.guess_window, config.guessed_users_max),
            config,
        }
    }

    /// What it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Nonces whose counts are remembered.
    pub fn nonces_in_use(&self) -> usize {
        self.replays.len()
    }

    /// The user that `request`, which came from `source`, proves to be of.
    ///
    /// # Errors
    /// Why it is not let in: answer with [`challenges`](Self::challenges), or 400.
    pub fn check(
        &mut self,
        now: Timestamp,
        source: IpAddr,
        request: &Message,
        front: Front,
        users: &impl Users,
    ) -> Result<String, Refusal> {
        self.replays.expire(now, self.config.nonce_lifetime);
        let mut refusal = Refusal::None;
        for text in request.fields(front.credentials()).take(CREDENTIALS_MAX) {
            match Credentials::parse(text) {
                Ok(credentials) if credentials.realm == self.config.realm => {
                    return self.check_one(now, source, request, &credentials, users);
                }
                // Those for another realm are another's matter.
                Ok(_) | Err(CredentialsError::Scheme) => {}
                // An algorithm that was not offered asks for the challenge again.
                Err(CredentialsError::Unknown) => refusal = Refusal::NotOffered,
                Err(error) => return Err(Refusal::Malformed(error)),
            }
        }
        Err(refusal)
    }

    /// Whether `request` has credentials for our realm with a nonce that was given to `source`, whatever they prove.
    pub fn has_our_nonce(&self, now: Timestamp, source: IpAddr, request: &Message, front: Front) -> bool {
        let mut credentials = request.fields(front.credentials()).take(CREDENTIALS_MAX);
        credentials.any(|text| {
            Credentials::parse(text).is_ok_and(|credentials| {
                let realm = &self.config.realm;
                credentials.realm == *realm
                    && self
                        .nonces
                        .check(now, source, realm, &credentials.nonce)
                        .is_some()
            })
        })
    }

    fn check_one(
        &mut self,
        now: Timestamp,
        source: IpAddr,
        request: &Message,
        credentials: &Credentials<'_>,
        users: &impl Users,
    ) -> Result<String, Refusal> {
        let Credentials {
            algorithm, username, ..
        } = credentials;
        let Some(protection) = &credentials.protection else {
            return Err(Refusal::NotOffered);
        };
        let is_offered = self.config.algorithms.contains(algorithm)
            && (protection.qop == Qop::Auth || self.config.offers_auth_int);
        if !is_offered {
            return Err(Refusal::NotOffered);
        }
        if !is_same_place(&credentials.uri, request.request_uri().unwrap_or("")) {
            return Err(Refusal::Uri);
        }
        // Before anything is learned from it or counted for its user: whoever sends under another's address has no nonce of it.
        let nonce = self
            .nonces
            .check(now, source, &self.config.realm, &credentials.nonce)
            .ok_or(Refusal::Stale)?;
        let secret = self.nonces.derive(username);
        let [a, b, c, d, e, f, g, h, ..] = secret;
        let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let of_nobody = Ha1::of_nobody(*algorithm, secret);
        let is_known = users.is_known_at(username, source);
        let is_spent = self.guesses.is_spent(now, number) && !is_known;
        // From here on as of a user that there is not.
        let found = users.ha1(username, *algorithm).filter(|_| !is_spent);
        let expected = request_digest(
            *algorithm,
            &found.unwrap_or(of_nobody).to_hex(),
            &credentials.nonce,
            Some((protection.qop, protection.count, &protection.cnonce)),
            Request {
                method: request.method().map_or("", |method| method.as_str()),
                uri: &credentials.uri,
                body: request.body(),
            },
        );
        let proof = credentials.response.to_ascii_lowercase();
        let is_right = bool::from(expected.as_bytes().ct_eq(proof.as_bytes()));
        if is_spent {
            return Err(Refusal::Guessed);
        }
        if !is_right || found.is_none() {
            if !is_known {
                self.guesses.note(now, number);
            }
            return Err(Refusal::Wrong);
        }
        if !self.replays.take(nonce, protection.count) {
            return Err(Refusal::Replayed);
        }
        Ok(username.clone().into_owned())
    }

    /// The values of the challenge header for a request from `source`, one an algorithm, all with one nonce.
    pub fn challenges(&mut self, now: Timestamp, source: IpAddr, refusal: Refusal) -> Vec<String> {
        let nonce = self.nonces.issue(now, source, &self.config.realm);
        let qop = match self.config.offers_auth_int {
            true => vec![Qop::Auth, Qop::AuthInt],
            false => vec![Qop::Auth],
        };
        let challenge = |&algorithm| Challenge {
            realm: self.config.realm.as_str().into(),
            nonce: nonce.as_str().into(),
            opaque: None,
            algorithm,
            is_session: false,
            qop: qop.clone(),
            stale: refusal.is_stale(),
        };
        let challenges = self.config.algorithms.iter().map(challenge);
        challenges.map(|challenge| challenge.to_string()).collect()
    }
}

/// Whether the URI in credentials means what the request asks for. Elements on the way rewrite URIs, and some clients
/// leave the user out; so the host must be the same, and the user if there is one.
fn is_same_place(claimed: &str, asked: &str) -> bool {
    if claimed == asked {
        return true;
    }
    let (Ok(claimed), Ok(asked)) = (Uri::parse(claimed), Uri::parse(asked)) else {
        return false;
    };
    let hosts = claimed.host().zip(asked.host());
    let is_same_host =
        hosts.is_some_and(|(claimed, asked)| claimed.to_string().eq_ignore_ascii_case(&asked.to_string()));
    is_same_host && (claimed.user().is_none() || claimed.user_decoded() == asked.user_decoded())
}
