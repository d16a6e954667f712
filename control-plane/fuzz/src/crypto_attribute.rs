use sans_io::Random;
use sdp::Session;
use sdp::sdes::{Choice, Crypto, Profile, Rules, SrtpPolicy, SrtpSuite, accept, answer, choose, offer};

/// Values of `a=crypto` (RFC 4568), divided by line feeds. The first byte says the transport and the policy.
///
/// Asserts: no input panics; what is read is the same when printed and read again, and no `Debug` has a key in it; of an
/// offer only what the rules allow is chosen, and what we answer is taken by an offerer like us; nothing that is sent as
/// an answer to our own offer changes its suite.
///
/// # Panics
/// When one of these does not hold.
pub fn crypto_attribute(data: &[u8]) {
    let (&[choice], rest) = data.split_first_chunk::<1>().unwrap_or((&[0], data));
    let text = String::from_utf8_lossy(rest);
    let values: Vec<&str> = text.split(['\n', '\r']).collect();
    for value in &values {
        match Crypto::parse(value) {
            Ok(crypto) => check_read(&crypto),
            Err(error) => assert!(!error.reason().is_empty()),
        }
    }

    let profile = Profile {
        is_secure: choice & 1 != 0,
        has_feedback: choice & 2 != 0,
        is_dtls: false,
    };
    let policies = [
        SrtpPolicy::Forbid,
        SrtpPolicy::Allow,
        SrtpPolicy::Prefer,
        SrtpPolicy::Require,
    ];
    let rules = Rules {
        policy: policies[usize::from(choice >> 2 & 3)],
        suites: &SrtpSuite::ALL[..usize::from(choice >> 4) % 7],
        keys_may_travel: choice & 8 != 0 || choice & 1 != 0,
    };
    let mut random = Random::from_number(u64::from(choice));
    let mut fill = |bytes: &mut [u8]| random.fill(bytes);
    let Some(session) = describe(profile, &values) else {
        return;
    };
    let Some(line) = session.lines().next() else {
        return;
    };
    match choose(&rules, &line) {
        Ok(Choice::Clear) => assert!(!profile.is_secure && rules.policy != SrtpPolicy::Require),
        Ok(Choice::Protected {
            is_insistent,
            receive,
        }) => {
            assert!(rules.policy != SrtpPolicy::Forbid && rules.keys_may_travel);
            assert!(rules.suites.contains(&receive.suite()));
            assert_eq!(is_insistent, profile.is_secure);
            let ours = answer(is_insistent, receive.clone(), None, &mut fill)
                .unwrap_or_else(|refusal| panic!("{refusal} without a key of ours"));
            assert_eq!(
                (ours.send.tag(), ours.send.suite()),
                (receive.tag(), receive.suite())
            );
            assert_eq!(ours.receive, receive);
        }
        Err(refusal) => assert!(!refusal.reason().is_empty()),
    }
    if let Ok(offered) = offer(&rules, None, &mut fill) {
        match accept(&offered, &line) {
            Ok(None) => assert!(!offered.is_insistent),
            Ok(Some(both)) => {
                assert!(rules.suites.contains(&both.send.suite()));
                assert_eq!(both.send.suite(), both.receive.suite());
                assert!(offered.crypto.contains(&both.send));
            }
            Err(fault) => assert!(!fault.reason().is_empty()),
        }
    }
}

fn check_read(crypto: &Crypto) {
    let printed = crypto.value();
    let again = Crypto::parse(&printed).unwrap_or_else(|error| panic!("{error} in what we print"));
    assert_eq!(&again, crypto);
    assert_eq!(*again.value(), *printed);
    let shown = format!("{crypto:?}");
    for key in crypto.keys() {
        assert_eq!(key.master_key().len(), key.suite().key_len());
        assert_eq!(key.master_salt().len(), key.suite().salt_len());
        assert!(!shown.contains(&format!("{:?}", key.master_key())));
    }
    for inline in printed.split("inline:").skip(1) {
        assert!(!shown.contains(&inline[..37]), "a key is shown");
    }
}

fn describe(profile: Profile, values: &[&str]) -> Option<Session> {
    let mut text = format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 {} 0\r\n",
        profile.name()
    );
    for value in values {
        text.push_str("a=crypto:");
        text.push_str(value);
        text.push_str("\r\n");
    }
    Session::parse(text.as_bytes()).ok()
}
