//! Offer and answer of keys (RFC 4568 §7.1, RFC 8643), from both ends.

use media_types::LocalLine;
use proptest::prelude::*;
use sans_io::Random;
use sdp::sdes::{
    AnswerFault, Choice, Crypto, CryptoError, Offer, OfferError, Protection, Refusal, Rules, SrtpPolicy,
    SrtpSuite, accept, answer, choose, offer, offer_new_key,
};
use sdp::{Origin, OurLine, Session, rewrite};

const POLICIES: [SrtpPolicy; 4] = [
    SrtpPolicy::Forbid,
    SrtpPolicy::Allow,
    SrtpPolicy::Prefer,
    SrtpPolicy::Require,
];

fn rules(policy: SrtpPolicy) -> Rules<'static> {
    Rules {
        policy,
        suites: &SrtpSuite::ALL,
        keys_may_travel: true,
    }
}

fn party(transport: &str, crypto: &[&str]) -> Session {
    let attributes: String = crypto
        .iter()
        .map(|value| format!("a=crypto:{value}\r\n"))
        .collect();
    let text = format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
         m=audio 4000 {transport} 0\r\n{attributes}"
    );
    Session::parse(text.as_bytes()).unwrap()
}

fn choice(rules: &Rules<'_>, session: &Session) -> Result<Choice, Refusal> {
    choose(rules, &session.lines().next().unwrap())
}

fn accepted(offered: &Offer, session: &Session) -> Result<Option<Protection>, AnswerFault> {
    accept(offered, &session.lines().next().unwrap())
}

/// What the party reads of our offer or answer, through the printing and parsing of a description.
fn sent(ours: &Offer) -> Session {
    let local = LocalLine {
        rtp: "198.51.100.1:20000".parse().unwrap(),
        rtcp: "198.51.100.1:20001".parse().unwrap(),
    };
    let line = OurLine {
        local,
        rtcp_mux: false,
        has_feedback: false,
        handshake: None,
    };
    let of_other_leg = party(
        "RTP/AVP",
        &["9 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"],
    );
    let text = rewrite(
        &of_other_leg,
        &[Some(line)],
        std::slice::from_ref(ours),
        &mut Origin::new(1),
    );
    assert!(!text.contains("d0Rm"), "the other leg's key: {text}");
    Session::parse(text.as_bytes()).unwrap()
}

fn protected(choice: Choice) -> (bool, Crypto) {
    match choice {
        Choice::Protected {
            is_insistent,
            receive,
        } => (is_insistent, receive),
        Choice::Clear => panic!("in clear"),
    }
}

fn random() -> impl FnMut(&mut [u8]) {
    let mut random = Random::from_number(4568);
    move |bytes| random.fill(bytes)
}

/// A first exchange in which we offer under `policy` to somebody who allows all.
fn exchange(policy: SrtpPolicy, fill: &mut impl FnMut(&mut [u8])) -> (Protection, Protection) {
    let offered = offer(&rules(policy), None, fill).unwrap();
    let (is_insistent, receive) = protected(choice(&rules(SrtpPolicy::Allow), &sent(&offered)).unwrap());
    let theirs = answer(is_insistent, receive, None, fill).unwrap();
    let ours = accepted(&offered, &sent(&theirs.restated())).unwrap().unwrap();
    (ours, theirs)
}

#[test]
fn both_ends_have_the_same_keys() {
    let mut fill = random();
    for (policy, insists) in [(SrtpPolicy::Prefer, false), (SrtpPolicy::Require, true)] {
        let (ours, theirs) = exchange(policy, &mut fill);
        assert_eq!((ours.is_insistent, theirs.is_insistent), (insists, insists));
        assert_eq!((&ours.send, &ours.receive), (&theirs.receive, &theirs.send));
        assert!(ours.send.keys() != ours.receive.keys());
    }
}

#[test]
fn each_policy_offers_what_it_means() {
    let mut fill = random();
    let mut offered = |rules: Rules<'_>| offer(&rules, None, &mut fill);
    for policy in [SrtpPolicy::Forbid, SrtpPolicy::Allow] {
        assert_eq!(offered(rules(policy)), Ok(Offer::default()));
    }
    let preferred = offered(rules(SrtpPolicy::Prefer)).unwrap();
    let transports = |offer: &Offer| sent(offer).lines().next().unwrap().protocol().to_owned();
    assert_eq!(
        (transports(&preferred).as_str(), preferred.crypto.len()),
        ("RTP/AVP", 6)
    );
    let tags: Vec<_> = preferred
        .crypto
        .iter()
        .map(|crypto| (crypto.tag(), crypto.suite()))
        .collect();
    let expected: Vec<_> = (1..).zip(SrtpSuite::ALL).collect();
    assert_eq!(tags, expected, "tags from 1, suites in the configured order");
    assert_eq!(
        transports(&offered(rules(SrtpPolicy::Require)).unwrap()),
        "RTP/SAVP"
    );

    let by_udp = |policy| Rules {
        keys_may_travel: false,
        ..rules(policy)
    };
    assert_eq!(offered(by_udp(SrtpPolicy::Prefer)), Ok(Offer::default()));
    assert_eq!(offered(by_udp(SrtpPolicy::Require)), Err(OfferError::Signalling));
    let without_suite = |policy| Rules {
        suites: &[],
        ..rules(policy)
    };
    assert_eq!(offered(without_suite(SrtpPolicy::Prefer)), Ok(Offer::default()));
    assert_eq!(
        offered(without_suite(SrtpPolicy::Require)),
        Err(OfferError::NoSuite)
    );
}

const GOOD: &str = "2 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";
const BROKEN: &str = "1 AES_CM_128_HMAC_SHA1_80 inline:PS1u";
const NULL_CIPHER: &str =
    "1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj UNENCRYPTED_SRTP";

/// The whole table: transport and keys of an offer × policy.
#[test]
fn each_policy_chooses_what_it_means() {
    use Refusal::{Forbidden, NoKey, NoUsableKey, Required};
    #[allow(clippy::type_complexity, reason = "a table")]
    let table: [(&str, &[&str], [Result<bool, Refusal>; 4]); 7] = [
        ("RTP/AVP", &[], [Ok(false), Ok(false), Ok(false), Err(Required)]),
        ("RTP/AVPF", &[GOOD], [Ok(false), Ok(true), Ok(true), Ok(true)]),
        (
            "RTP/AVP",
            &[BROKEN],
            [Ok(false), Ok(false), Ok(false), Err(NoUsableKey)],
        ),
        (
            "RTP/SAVP",
            &[],
            [Err(Forbidden), Err(NoKey), Err(NoKey), Err(NoKey)],
        ),
        (
            "RTP/SAVPF",
            &[BROKEN, GOOD],
            [Err(Forbidden), Ok(true), Ok(true), Ok(true)],
        ),
        (
            "RTP/SAVP",
            &[NULL_CIPHER],
            [
                Err(Forbidden),
                Err(NoUsableKey),
                Err(NoUsableKey),
                Err(NoUsableKey),
            ],
        ),
        ("UDP/TLS/RTP/SAVP", &[GOOD], [Err(Refusal::Transport); 4]),
    ];
    for (transport, crypto, expected) in table {
        for (policy, expected) in POLICIES.into_iter().zip(expected) {
            let found = choice(&rules(policy), &party(transport, crypto));
            let found = found.map(|choice| choice != Choice::Clear);
            assert_eq!(found, expected, "{transport} {crypto:?} {policy:?}");
        }
    }
    for (transport, expected) in [
        ("RTP/AVP", Ok(Choice::Clear)),
        ("RTP/SAVP", Err(Refusal::Signalling)),
    ] {
        let by_udp = Rules {
            keys_may_travel: false,
            ..rules(SrtpPolicy::Allow)
        };
        assert_eq!(choice(&by_udp, &party(transport, &[GOOD])), expected);
    }
}

/// RFC 4568 §7.1.2: the offerer's order counts, among what is allowed.
#[test]
fn the_offerers_order_counts() {
    let mut fill = random();
    let mut offered = offer(&rules(SrtpPolicy::Require), None, &mut fill).unwrap();
    offered.crypto.reverse();
    let first = |suites| {
        let rules = Rules {
            suites,
            ..rules(SrtpPolicy::Allow)
        };
        protected(choice(&rules, &sent(&offered)).unwrap()).1.suite()
    };
    assert_eq!(first(&SrtpSuite::ALL), SrtpSuite::AeadAes256Gcm);
    assert_eq!(
        first(&[SrtpSuite::AesCm128HmacSha1_80, SrtpSuite::AesCm256HmacSha1_32]),
        SrtpSuite::AesCm256HmacSha1_32
    );
    let twice = party("RTP/SAVP", &[GOOD, GOOD]);
    let found: Vec<_> = twice
        .lines()
        .next()
        .unwrap()
        .crypto()
        .into_iter()
        .map(|c| c.err())
        .collect();
    assert_eq!(found, [None, Some(CryptoError::TagTaken)]);
}

/// RFC 4568 §7.1.4.
#[test]
fn a_repeated_description_keeps_its_keys_and_a_new_key_is_new() {
    let mut fill = random();
    let (ours, theirs) = exchange(SrtpPolicy::Require, &mut fill);
    let repeated = offer(&rules(SrtpPolicy::Require), Some(&ours), &mut fill).unwrap();
    assert_eq!(repeated.crypto, std::slice::from_ref(&ours.send));
    let (insists, receive) = protected(choice(&rules(SrtpPolicy::Allow), &sent(&repeated)).unwrap());
    let same = answer(insists, receive, Some(&theirs), &mut fill).unwrap();
    assert_eq!(same, theirs);

    let renewed = offer_new_key(&ours, &mut fill);
    assert_eq!(renewed.crypto[0].suite(), ours.send.suite());
    assert!(renewed.crypto[0].tag() != ours.send.tag() && renewed.crypto[0].keys() != ours.send.keys());
    let (insists, receive) = protected(choice(&rules(SrtpPolicy::Allow), &sent(&renewed)).unwrap());
    let new = answer(insists, receive, Some(&theirs), &mut fill).unwrap();
    assert!(new.send.keys() != theirs.send.keys());
    assert_eq!(
        accepted(&renewed, &sent(&new.restated()))
            .unwrap()
            .unwrap()
            .receive,
        new.send
    );
}

#[test]
fn an_answer_that_was_tampered_with_is_refused() {
    let mut fill = random();
    let narrow = Rules {
        suites: &[SrtpSuite::AeadAes256Gcm, SrtpSuite::AesCm128HmacSha1_80],
        ..rules(SrtpPolicy::Require)
    };
    let offered = offer(&narrow, None, &mut fill).unwrap();
    let own = offered.crypto[1].value();
    let downgraded = GOOD.replacen('2', "1", 1);
    let unknown = GOOD.replacen('2', "3", 1);
    for (transport, crypto, fault) in [
        ("RTP/AVP", vec![GOOD], AnswerFault::Profile),
        ("RTP/AVP", vec![], AnswerFault::Profile),
        ("UDP/TLS/RTP/SAVP", vec![GOOD], AnswerFault::Profile),
        ("RTP/SAVP", vec![], AnswerFault::Stripped),
        ("RTP/SAVP", vec![GOOD, unknown.as_str()], AnswerFault::Several),
        ("RTP/SAVP", vec![unknown.as_str()], AnswerFault::UnknownTag),
        ("RTP/SAVP", vec![downgraded.as_str()], AnswerFault::OtherSuite),
        ("RTP/SAVP", vec![own.as_str()], AnswerFault::OurKey),
        (
            "RTP/SAVP",
            vec![BROKEN],
            AnswerFault::Unusable(CryptoError::KeyLength),
        ),
        (
            "RTP/SAVP",
            vec![NULL_CIPHER],
            AnswerFault::Unusable(CryptoError::Unencrypted),
        ),
    ] {
        assert_eq!(
            accepted(&offered, &party(transport, &crypto)),
            Err(fault),
            "{transport}"
        );
    }
    assert!(accepted(&offered, &party("RTP/SAVP", &[GOOD])).unwrap().is_some());

    let clear = Offer::default();
    assert_eq!(accepted(&clear, &party("RTP/AVP", &[])), Ok(None));
    assert_eq!(
        accepted(&clear, &party("RTP/AVP", &[GOOD])),
        Err(AnswerFault::NotOffered)
    );
    let opportunity = Offer {
        is_insistent: false,
        ..offered
    };
    assert_eq!(
        accepted(&opportunity, &party("RTP/AVP", &[])),
        Ok(None),
        "RFC 8643 §3.3"
    );
    assert_eq!(
        accepted(&opportunity, &party("RTP/SAVP", &[GOOD])),
        Err(AnswerFault::Profile)
    );
}

/// Our key in an offer of the party: one key stream for both directions.
#[test]
fn our_own_key_is_refused_in_an_offer() {
    let mut fill = random();
    let (ours, _) = exchange(SrtpPolicy::Prefer, &mut fill);
    let refused = answer(true, ours.send.clone(), Some(&ours), &mut fill);
    assert_eq!(refused, Err(Refusal::OurKey));
}

#[test]
fn no_debug_of_a_description_shows_a_key() {
    let session = party("RTP/SAVP", &[GOOD]);
    let shown = format!("{session:?} {:?}", session.lines().next().unwrap());
    assert!(!shown.contains("PS1u") && shown.contains("RTP/SAVP"), "{shown}");
}

#[test]
fn a_line_that_is_refused_has_no_key() {
    let offered = offer(&rules(SrtpPolicy::Require), None, &mut random()).unwrap();
    let text = rewrite(
        &party("RTP/AVP", &[GOOD]),
        &[None],
        &[offered],
        &mut Origin::new(1),
    );
    assert!(text.contains("m=audio 0 ") && !text.contains("inline"), "{text}");
}

fn suite() -> impl Strategy<Value = SrtpSuite> {
    proptest::sample::select(&SrtpSuite::ALL[..])
}

proptest! {
    /// parse ∘ print, over all that an attribute may have.
    #[test]
    fn what_is_printed_reads_the_same(
        tag in 0..=999_999_999u32,
        suite in suite(),
        lifetime in proptest::option::of(1..=1u64 << 48),
        mkis in proptest::collection::btree_set(0..=255u8, 1..=4),
        with_mki: bool,
        seed: u64,
    ) {
        let mut random = Random::from_number(seed);
        let mut text = format!("{tag} {}", suite.name());
        let count = if with_mki { mkis.len() } else { 1 };
        for (index, mki) in mkis.iter().take(count).enumerate() {
            let key = sdp::sdes::MasterKey::random(suite, &mut |bytes: &mut [u8]| random.fill(bytes));
            let digits = base64(&[key.master_key(), key.master_salt()].concat());
            text.push_str(&format!("{}inline:{digits}", if index == 0 { ' ' } else { ';' }));
            if let Some(packets) = lifetime {
                text.push_str(&format!("|{packets}"));
            }
            if with_mki {
                text.push_str(&format!("|{mki}:1"));
            }
        }
        let crypto = Crypto::parse(&text).unwrap();
        prop_assert_eq!((crypto.tag(), crypto.suite(), crypto.keys().len()), (tag, suite, count));
        prop_assert!(crypto.keys().iter().all(|key| key.lifetime_packets() == lifetime));
        prop_assert_eq!(Crypto::parse(&crypto.value()).unwrap(), crypto);
    }

    /// Whatever is written, nothing panics, and what is taken is printed in a form that reads the same.
    #[test]
    fn damaged_values_are_refused_or_read_the_same(
        at in 0..GOOD.len(),
        until in 0..GOOD.len(),
        instead in "[ -~é]{0,4}|[|;:=0-9^]{0,24}",
    ) {
        let mut value = NULL_CIPHER.replace(" UNENCRYPTED_SRTP", "|2^31|1:4 WSH=128");
        value.replace_range(at.min(until)..at.max(until), &instead);
        if let Ok(crypto) = Crypto::parse(&value) {
            prop_assert_eq!(Crypto::parse(&crypto.value()).unwrap(), crypto);
        }
    }

    /// Whatever two ends want, they have the same keys, or both are in clear, or one says why not.
    #[test]
    fn two_ends_agree_or_say_why_not(
        offers in 0..4usize,
        answers in 0..4usize,
        offered in proptest::sample::subsequence(SrtpSuite::ALL.to_vec(), 0..=6).prop_shuffle(),
        allowed in proptest::sample::subsequence(SrtpSuite::ALL.to_vec(), 0..=6),
        seed: u64,
    ) {
        let mut random = Random::from_number(seed);
        let mut fill = |bytes: &mut [u8]| random.fill(bytes);
        let ours = Rules { suites: &offered, ..rules(POLICIES[offers]) };
        let theirs = Rules { suites: &allowed, ..rules(POLICIES[answers]) };
        let Ok(offer) = offer(&ours, None, &mut fill) else {
            prop_assert!(offered.is_empty() && ours.policy == SrtpPolicy::Require);
            return Ok(());
        };
        let common = offered.iter().find(|suite| allowed.contains(suite));
        match choice(&theirs, &sent(&offer)) {
            Err(_) => prop_assert!(offer.is_insistent || theirs.policy == SrtpPolicy::Require),
            Ok(Choice::Clear) => {
                prop_assert!(!offer.is_insistent);
                prop_assert_eq!(accepted(&offer, &sent(&Offer::default())), Ok(None));
            }
            Ok(Choice::Protected { is_insistent, receive }) => {
                prop_assert_eq!(Some(&receive.suite()), common);
                let other = answer(is_insistent, receive, None, &mut fill).unwrap();
                let this = accepted(&offer, &sent(&other.restated())).unwrap().unwrap();
                prop_assert_eq!((this.send, this.receive), (other.receive, other.send));
            }
        }
    }
}

/// Another encoder than the crate's, of the plainest kind.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let digits: Vec<String> = bits
        .as_bytes()
        .chunks(6)
        .map(|six| {
            let six = format!("{:0<6}", std::str::from_utf8(six).unwrap());
            char::from(DIGITS[usize::from_str_radix(&six, 2).unwrap()]).to_string()
        })
        .collect();
    let text = digits.concat();
    let padding = (4 - text.len() % 4) % 4;
    text + &"=".repeat(padding)
}

#[test]
fn the_media_plane_gets_the_keys_as_they_were_signalled() {
    const KEY: &str = "inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|2^20|258:2";
    let session = party("RTP/SAVP", &[&format!("1 AES_CM_128_HMAC_SHA1_80 {KEY}")]);
    let theirs = session.lines().next().unwrap().crypto().remove(0).unwrap();
    let ours = answer(true, theirs, None, &mut random()).unwrap();
    let spec = ours.spec();
    let (receive, send) = (&spec.receive[0], spec.send.as_ref().unwrap());
    let signalled = ours.receive.keys()[0].master_key();
    assert_eq!(&receive.key_and_salt()[..16], signalled);
    assert_eq!(
        (receive.mki(), receive.lifetime_packets()),
        (&[1, 2][..], 1 << 20)
    );
    assert_eq!(&send.key_and_salt()[16..], ours.send.keys()[0].master_salt());
    assert_eq!((send.mki(), send.lifetime_packets()), (&[][..], 0));
}
