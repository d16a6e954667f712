use std::borrow::Cow;

use super::algorithm::{Algorithm, Ha1};
use super::auth_params::quoted;
use super::challenge::Challenge;
use super::response::{Qop, Request, request_digest};
use crate::HeaderName;
use crate::message::Message;

/// Realms that one response may challenge for; further ones are not answered.
const REALMS_MAX: usize = 4;

/// What we prove who we are with.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    /// The name, as the server knows it.
    pub username: &'a str,
    /// The password.
    pub password: &'a str,
}

/// Why a challenge cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The response has no challenge, or none whose algorithm and qop we know.
    #[error("no challenge that can be answered")]
    NoChallenge,
    /// The credentials were refused: the challenge does not say that only the nonce is old.
    #[error("the credentials are refused")]
    Refused,
    /// A realm asks in which we have no account.
    #[error("no account in a realm that asks")]
    NoAccount,
}

/// The credentials for the 401 or 407 `response` to a request of ours: a field for each realm, the first challenge of
/// which we know the algorithm (RFC 8760 §2.4, RFC 3261 §22.3).
///
/// `cnonce` is a fresh random text. `again` tells that the request had credentials: then only a challenge with
/// `stale=true` is worth an answer.
///
/// # Errors
/// When there is nothing to answer.
pub fn answer(
    response: &Message,
    request: Request<'_>,
    account: Account<'_>,
    cnonce: &str,
    again: bool,
) -> Result<Vec<(HeaderName, String)>, AnswerError> {
    let mut realms: Vec<(HeaderName, Cow<'_, str>)> = Vec::new();
    let mut fields = Vec::new();
    let mut refused = false;
    for (challenge, header) in [
        (HeaderName::WwwAuthenticate, HeaderName::Authorization),
        (HeaderName::ProxyAuthenticate, HeaderName::ProxyAuthorization),
    ] {
        for text in response.fields(challenge) {
            let Ok(challenge) = Challenge::parse(text) else {
                continue;
            };
            let realm = (header, challenge.realm.clone());
            if realms.contains(&realm) || realms.len() >= REALMS_MAX {
                continue;
            }
            realms.push(realm);
            if again && !challenge.stale {
                refused = true;
                continue;
            }
            fields.push((header, credentials(&challenge, request, account, cnonce, 1)));
        }
    }
    match (fields.is_empty(), refused) {
        (_, true) => Err(AnswerError::Refused),
        (true, false) => Err(AnswerError::NoChallenge),
        (false, false) => Ok(fields),
    }
}

/// The value of a field that answers `challenge`, whose nonce is used for the `count`th time.
pub(super) fn credentials(
    challenge: &Challenge<'_>,
    request: Request<'_>,
    account: Account<'_>,
    cnonce: &str,
    count: u32,
) -> String {
    let Challenge {
        realm,
        nonce,
        algorithm,
        ..
    } = challenge;
    let algorithm: Algorithm = *algorithm;
    let mut ha1 = Ha1::new(algorithm, account.username, realm, account.password).to_hex();
    if challenge.is_session {
        ha1 = algorithm.hash(&[ha1.as_bytes(), nonce.as_bytes(), cnonce.as_bytes()]);
    }
    // Proxies may change a body on its way, so auth-int is for those who insist on it.
    let qop = challenge
        .qop
        .iter()
        .find(|&&qop| qop == Qop::Auth)
        .or(challenge.qop.first());
    let protection = qop.map(|&qop| (qop, count, cnonce));
    let proof = request_digest(algorithm, &ha1, nonce, protection, request);
    let mut text = format!(
        "Digest username={}, realm={}, nonce={}, uri={}, response=\"{proof}\", algorithm={algorithm}{}",
        quoted(account.username),
        quoted(realm),
        quoted(nonce),
        quoted(request.uri),
        if challenge.is_session { "-sess" } else { "" },
    );
    if let Some(qop) = qop {
        text += &format!(", qop={}, nc={count:08x}, cnonce={}", qop.name(), quoted(cnonce));
    }
    if let Some(opaque) = &challenge.opaque {
        text += &format!(", opaque={}", quoted(opaque));
    }
    text
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn response(fields: &str) -> Message {
        let text = format!(
            "SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
             To: <sip:a@h>;tag=2\r\nCall-ID: x\r\nCSeq: 1 REGISTER\r\n{fields}\r\n"
        );
        Message::parse_datagram(Bytes::from(text)).unwrap()
    }

    fn of(fields: &str, again: bool) -> Result<Vec<(HeaderName, String)>, AnswerError> {
        let request = Request {
            method: "REGISTER",
            uri: "sip:example.com",
            body: b"v=0\r\n",
        };
        let account = Account {
            username: "alice",
            password: "wonderland",
        };
        answer(&response(fields), request, account, "0a4f113b", again)
    }

    const NONCE: &str = "nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"";

    #[test]
    fn the_first_challenge_that_we_know_is_answered() {
        let fields = format!(
            "WWW-Authenticate: Digest realm=\"example.com\", {NONCE}, algorithm=SHA3-512, qop=\"auth\"\r\n\
             WWW-Authenticate: Digest realm=\"example.com\", {NONCE}, algorithm=SHA-512-256, qop=\"auth-int,auth\", opaque=\"o\"\r\n\
             WWW-Authenticate: Digest realm=\"example.com\", {NONCE}, qop=\"auth\"\r\n"
        );
        let answer = of(&fields, false).unwrap();
        let [(HeaderName::Authorization, value)] = &answer[..] else {
            panic!("{answer:?}")
        };
        assert!(
            value.contains("response=\"6b6dda04849532c570c8aabadad3956a238cbc1372f7e8acc1c4f44500434791\"")
        );
        assert!(value.contains("qop=auth,") && value.contains("opaque=\"o\""));
    }

    #[test]
    fn sessions_and_old_servers_are_answered() {
        let fields = format!(
            "WWW-Authenticate: Digest realm=\"example.com\", {NONCE}, algorithm=MD5-sess, qop=\"auth\"\r\n\
             Proxy-Authenticate: Digest realm=\"example.com\", {NONCE}\r\n"
        );
        let answer = of(&fields, false).unwrap();
        assert!(
            answer[0]
                .1
                .contains("response=\"ebde857454372cb07692c560aa45e3da\"")
        );
        assert!(answer[0].1.contains("algorithm=MD5-sess"));
        assert_eq!(answer[1].0, HeaderName::ProxyAuthorization);
        assert!(
            answer[1]
                .1
                .contains("response=\"59a5b40843c5a062387a5516f3128210\"")
        );
    }

    #[test]
    fn refused_credentials_are_not_repeated() {
        let fields = format!("WWW-Authenticate: Digest realm=\"example.com\", {NONCE}, qop=\"auth\"\r\n");
        assert_eq!(of(&fields, true), Err(AnswerError::Refused));
        assert!(of(&fields.replace("qop", "stale=TRUE, qop"), true).is_ok());
        assert_eq!(of("", false), Err(AnswerError::NoChallenge));
        assert_eq!(
            of("WWW-Authenticate: Bearer\r\n", false),
            Err(AnswerError::NoChallenge)
        );
    }
}
