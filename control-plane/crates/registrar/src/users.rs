use std::collections::HashMap;
use std::net::IpAddr;

use guard::Network;
use sans_io::Timestamp;
use sip::digest::{Algorithm, Ha1};

use crate::location::Location;

/// What is known of a user's password: a hash an algorithm, those that there are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Secrets {
    /// For MD5.
    pub md5: Option<Ha1>,
    /// For SHA-256.
    pub sha256: Option<Ha1>,
    /// For SHA-512-256.
    pub sha512_256: Option<Ha1>,
}

/// The users by their name, which is the user part of their address-of-record.
#[derive(Clone, Debug, Default)]
pub struct Users {
    by_name: HashMap<Box<str>, Box<Secrets>>,
}

impl Users {
    /// Adds a user, in place of one of the same name.
    pub fn add(&mut self, name: &str, secrets: Secrets) {
        self.by_name.insert(name.into(), Box::new(secrets));
    }

    /// Adds a user with a password, hashed for every algorithm.
    pub fn add_with_password(&mut self, name: &str, realm: &str, password: &str) {
        let of = |algorithm| Some(Ha1::new(algorithm, name, realm, password));
        let secrets = Secrets {
            md5: of(Algorithm::Md5),
            sha256: of(Algorithm::Sha256),
            sha512_256: of(Algorithm::Sha512_256),
        };
        self.add(name, secrets);
    }

    /// Whether there is such a user.
    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

impl sip::digest::Users for Users {
    fn ha1(&self, username: &str, algorithm: Algorithm) -> Option<Ha1> {
        let secrets = self.by_name.get(username)?;
        match algorithm {
            Algorithm::Md5 => secrets.md5,
            Algorithm::Sha256 => secrets.sha256,
            Algorithm::Sha512_256 => secrets.sha512_256,
        }
    }
}

/// The users, and where they are registered.
pub(crate) struct Known<'a> {
    pub(crate) users: &'a Users,
    pub(crate) location: &'a Location,
    pub(crate) now: Timestamp,
}

impl sip::digest::Users for Known<'_> {
    fn ha1(&self, username: &str, algorithm: Algorithm) -> Option<Ha1> {
        self.users.ha1(username, algorithm)
    }

    /// By the IPv4 address or IPv6 /64 of a contact's REGISTER.
    fn is_known_at(&self, username: &str, source: IpAddr) -> bool {
        let source = Network::of_source(source);
        let mut bindings = self.location.of(self.now, username);
        bindings.any(|binding| Network::of_source(binding.received.remote.ip()) == source)
    }
}
