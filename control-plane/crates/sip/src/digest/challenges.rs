use super::answer::credentials;
use super::{AnswerError, Challenge, Login, Request};
use crate::HeaderName;
use crate::message::Message;

/// Realms that one request may be challenged for; further ones are not answered.
const REALMS_MAX: usize = 8;

/// What one request of ours has been challenged for so far: several proxies on its way may ask one after the other, each
/// for a realm of its own, and the request then has to show them all (RFC 3261 §22.3).
#[derive(Debug, Default)]
pub struct Challenges {
    held: Vec<Held>,
}

/// A challenge that is answered in every copy of the request from now on.
#[derive(Debug)]
struct Held {
    /// The field that the answer goes into.
    header: HeaderName,
    challenge: Challenge<'static>,
    /// How often its nonce has been used.
    count: u32,
}

impl Challenges {
    /// Takes the 401 or 407 `response` to the request as it was sent last. [`Self::credentials`] has what the next copy needs.
    ///
    /// Of a realm that asks twice the first challenge counts whose algorithm we know (RFC 8760 §2.4).
    ///
    /// # Errors
    /// When there is nothing to answer, a realm asks in which we have no login, or one asks again without saying that
    /// only the nonce is old.
    pub fn take(&mut self, response: &Message, logins: &[Login]) -> Result<(), AnswerError> {
        let mut asked: Vec<(HeaderName, Challenge<'static>)> = Vec::new();
        for (field, header) in [
            (HeaderName::WwwAuthenticate, HeaderName::Authorization),
            (HeaderName::ProxyAuthenticate, HeaderName::ProxyAuthorization),
        ] {
            for text in response.fields(field) {
                let Ok(challenge) = Challenge::parse(text) else {
                    continue;
                };
                let is_same = |(known, earlier): &(HeaderName, Challenge<'_>)| {
                    *known == header && earlier.realm == challenge.realm
                };
                if !asked.iter().any(is_same) && asked.len() < REALMS_MAX {
                    asked.push((header, challenge.into_owned()));
                }
            }
        }
        if asked.is_empty() {
            return Err(AnswerError::NoChallenge);
        }
        for (header, challenge) in asked {
            Login::of_realm(logins, &challenge.realm).ok_or(AnswerError::NoAccount)?;
            let is_same = |held: &Held| held.header == header && held.challenge.realm == challenge.realm;
            let known = self.held.iter().position(is_same);
            let is_refused = match known {
                Some(_) => !challenge.stale,
                None => self.held.len() >= REALMS_MAX,
            };
            if is_refused {
                return Err(AnswerError::Refused);
            }
            let held = Held {
                header,
                challenge,
                count: 0,
            };
            match known {
                Some(place) => self.held[place] = held,
                None => self.held.push(held),
            }
        }
        Ok(())
    }

    /// The fields for the next copy of the request; each nonce is counted as used once more. `cnonce` is a fresh random
    /// text.
    pub fn credentials(
        &mut self,
        request: Request<'_>,
        logins: &[Login],
        cnonce: &str,
    ) -> Vec<(HeaderName, String)> {
        let fields = self.held.iter_mut().filter_map(|held| {
            let account = Login::of_realm(logins, &held.challenge.realm)?;
            held.count = held.count.saturating_add(1);
            let value = credentials(&held.challenge, request, account, cnonce, held.count);
            Some((held.header, value))
        });
        fields.collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::digest::Credentials;

    fn login(username: &str, realms: &[&str]) -> Login {
        Login {
            username: username.into(),
            password: "secret".into(),
            realms: realms.iter().map(|&realm| realm.into()).collect(),
        }
    }

    fn response(fields: &str) -> Message {
        let text = format!(
            "SIP/2.0 407 Proxy Authentication Required\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
             From: <sip:a@h>;tag=1\r\nTo: <sip:a@h>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n{fields}\r\n"
        );
        Message::parse_datagram(Bytes::from(text)).unwrap()
    }

    fn asks(realm: &str, nonce: &str, more: &str) -> Message {
        response(&format!(
            "Proxy-Authenticate: Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\"{more}\r\n"
        ))
    }

    /// Who is shown to whom: name, realm, nonce and its count.
    fn shown(challenges: &mut Challenges, logins: &[Login]) -> Vec<String> {
        let request = Request {
            method: "INVITE",
            uri: "sip:b@h",
            body: b"",
        };
        let fields = challenges.credentials(request, logins, "c");
        let read = |(header, value): &(HeaderName, String)| {
            assert_eq!(*header, HeaderName::ProxyAuthorization);
            let held = Credentials::parse(value).unwrap();
            let count = value
                .split_once("nc=")
                .unwrap()
                .1
                .split(',')
                .next()
                .unwrap()
                .to_owned();
            format!("{} {} {} {count}", held.username, held.realm, held.nonce)
        };
        fields.iter().map(read).collect()
    }

    /// RFC 3261 §22.3.
    #[test]
    fn proxies_that_ask_one_after_the_other_are_all_shown_who_we_are() {
        let logins = [login("any", &[]), login("second", &["two", "three"])];
        let mut challenges = Challenges::default();
        challenges.take(&asks("one", "n1", ""), &logins).unwrap();
        assert_eq!(shown(&mut challenges, &logins), ["any one n1 00000001"]);
        challenges.take(&asks("two", "n2", ""), &logins).unwrap();
        assert_eq!(
            shown(&mut challenges, &logins),
            ["any one n1 00000002", "second two n2 00000001"]
        );
        // The first one's nonce is old: the other's goes on.
        challenges
            .take(&asks("one", "n3", ", stale=true"), &logins)
            .unwrap();
        assert_eq!(
            shown(&mut challenges, &logins),
            ["any one n3 00000001", "second two n2 00000002"]
        );
        assert_eq!(
            challenges.take(&asks("two", "n4", ""), &logins),
            Err(AnswerError::Refused)
        );
    }

    #[test]
    fn only_realms_with_an_account_are_answered() {
        let logins = [login("us", &["ours"])];
        let mut challenges = Challenges::default();
        assert_eq!(
            challenges.take(&asks("theirs", "n", ""), &logins),
            Err(AnswerError::NoAccount)
        );
        assert_eq!(
            challenges.take(&response("Proxy-Authenticate: Bearer\r\n"), &logins),
            Err(AnswerError::NoChallenge)
        );
        assert!(shown(&mut challenges, &logins).is_empty());
        let debug = format!("{logins:?}");
        assert!(debug.contains("us") && !debug.contains("secret"), "{debug}");
    }

    #[test]
    fn one_request_holds_only_so_many_realms() {
        let logins = [login("us", &[])];
        let mut challenges = Challenges::default();
        for n in 0..REALMS_MAX {
            challenges
                .take(&asks(&format!("r{n}"), "n", ""), &logins)
                .unwrap();
        }
        assert_eq!(
            challenges.take(&asks("more", "n", ""), &logins),
            Err(AnswerError::Refused)
        );
    }
}
