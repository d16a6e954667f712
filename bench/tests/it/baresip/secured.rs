//! Calls between two phones, a tone each, with baresip's own SRTP by keys in descriptions and without.

use std::net::SocketAddr;
use std::time::Duration;

use media_types::SrtpSuite;
use proto::media_v1 as pb;
use ringpath_bench::cdr::Cdr;
use ringpath_bench::host::Host;
use ringpath_bench::stand::{Stand, StandOptions};
use ringpath_bench::wait;

use super::{Baresip, Phone, is_here, received};
use crate::bench::{WITHIN, stand};

/// What both phones answer to.
const NUMBER: &str = "1000";
/// Packets that the node must have of each party.
const PACKETS: u64 = 50;

/// Keys may go over UDP here; latching as for parties behind NAT, since baresip sends from whatever address the system chooses.
const SIP: &str = "caller_srtp = { policy = \"allow\", keys_over = \"any\" }";
const MEDIA: &str = "caller_latching = \"any-address\"\ncallee_latching = \"any-address\"\n";

/// Whether a phone insists on SRTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    Clear,
    Secured,
    /// By DTLS, over the pair that ICE finds.
    Found,
}

/// The lines of the only call, caller first.
fn lines(stand: &Stand) -> Option<[pb::LineStatus; 2]> {
    let mut client = stand.node_client(0).ok()?;
    let name = client.calls().ok()?.pop()?;
    let mut legs = client.query(&name).ok()?.legs.into_iter();
    let mut line = || legs.next()?.lines.into_iter().next();
    Some([line()?, line()?])
}

/// A phone that takes calls and does not register.
fn account(at: SocketAddr, media: Media) -> String {
    let security = match media {
        Media::Clear => "",
        Media::Secured => ";mediaenc=srtp-mand",
        Media::Found => ";mediaenc=dtls_srtp;medianat=ice",
    };
    format!(
        "<sip:{NUMBER}@{}>;regint=0;answermode=auto;audio_codecs=PCMA{security}",
        at.ip()
    )
}

/// Both phones and the planes between them, which may use `suite` alone.
struct Ground {
    stand: Stand,
    caller: Baresip,
    callee: Baresip,
    /// Each phone has one for itself: TLS listens at the port after the one that it is told.
    _hosts: [Host; 2],
}

impl Ground {
    /// `None` without baresip.
    fn new(test: &str, caller: Media, callee: Media, suite: SrtpSuite) -> Option<Self> {
        let test = format!("baresip-{test}");
        if !is_here(&test) {
            return None;
        }
        let mut hosts = [Host::reserve().unwrap(), Host::reserve().unwrap()];
        let [at_a, at_b] = hosts.each_mut().map(|host| host.address().unwrap());
        let policy = match callee {
            Media::Clear => "forbid",
            Media::Secured | Media::Found => "require",
        };
        let dtls = match callee {
            Media::Clear | Media::Secured => "allow",
            Media::Found => "offer",
        };
        let route = format!(
            "[[route]]\nprefix = \"1\"\nnext_hop = \"sip:{at_b}\"\n\
             srtp = {{ policy = \"{policy}\", keys_over = \"any\", dtls = \"{dtls}\" }}\n"
        );
        let options = StandOptions {
            prefix: "2".to_owned(),
            sip_extra: SIP.to_owned(),
            control_extra: format!("{route}[media]\nsrtp_suites = [\"{}\"]\n{MEDIA}", suite.name()),
            ..StandOptions::default()
        };
        let stand = stand(&test, &options);
        let phone = |at, media| {
            let phone = Phone::new(at, account(at, media));
            match media {
                Media::Clear | Media::Secured => phone,
                Media::Found => phone.muxed(),
            }
        };
        let b = phone(at_b, callee).start(&stand, "callee");
        b.wait_for("baresip is ready");
        let dial = format!("sip:{NUMBER}@{}", stand.sip());
        let a = phone(at_a, caller)
            .dial(dial, Duration::from_secs(5))
            .start(&stand, "caller");
        Some(Self {
            stand,
            caller: a,
            callee: b,
            _hosts: hosts,
        })
    }

    /// All that was said, for who has to find a fault.
    fn told(&self) -> String {
        let (caller, callee) = (self.caller.told(), self.callee.told());
        format!("{caller}\n{callee}\n{}", self.stand.control.log_tail())
    }

    /// The phones leave; the record of the only call.
    fn finish(mut self) -> Cdr {
        self.caller.process.wait(WITHIN).unwrap();
        let cdr = self.stand.wait_for_cdrs(1, WITHIN).unwrap().remove(0);
        self.callee.process.stop(WITHIN).unwrap();
        self.stand.finish().unwrap();
        cdr
    }
}

/// Speech both ways, secured where it should be, by `suite` where the keys are in descriptions.
fn call(test: &str, caller: Media, callee: Media, suite: SrtpSuite) {
    let Some(ground) = Ground::new(test, caller, callee, suite) else {
        return;
    };
    let mut last = None;
    let heard = wait::until_true("speech of both", Duration::from_secs(5), || {
        last = lines(&ground.stand).or(last.take());
        let enough = |line: &pb::LineStatus| received(line) >= PACKETS;
        Ok(last.as_ref().is_some_and(|lines| lines.iter().all(enough)))
    });
    heard.unwrap_or_else(|error| panic!("{error:#}\n{last:#?}\n{}", ground.told()));
    for (line, media) in last.iter().flatten().zip([caller, callee]) {
        let suites = line
            .srtp
            .as_ref()
            .map(|srtp| [srtp.receive_suite(), srtp.send_suite()]);
        let suites = suites.map(|both| both.map(|suite| suite.as_str_name().replace("SRTP_SUITE_", "")));
        let expected = (media == Media::Secured).then(|| [(); 2].map(|()| suite.name().to_owned()));
        assert_eq!(suites, expected, "{}", ground.told());
        let refused = line.drops.get("srtp_authentication");
        assert_eq!(refused, None, "{line:#?}\n{}", ground.told());
    }
    for (phone, media) in [(&ground.caller, caller), (&ground.callee, callee)] {
        phone.wait_for("incoming rtp for 'audio' established");
        let told = phone.told();
        assert_eq!(
            told.contains("SRTP is Enabled"),
            media == Media::Secured,
            "{told}"
        );
        assert!(!told.contains("failed to decrypt RTP packet"), "{told}");
    }
    let cdr = ground.finish();
    assert_eq!(
        (cdr.status, cdr.released_by.as_deref()),
        (Some(200), Some("caller")),
        "{cdr:#?}"
    );
}

/// It answers with any suite that it has, and offers one.
#[test]
fn a_phone_without_srtp_and_one_with_it_hear_each_other() {
    use SrtpSuite::{AeadAes128Gcm, AeadAes256Gcm, AesCm128HmacSha1_32, AesCm128HmacSha1_80};
    std::thread::scope(|scope| {
        for suite in [
            AesCm128HmacSha1_80,
            AesCm128HmacSha1_32,
            AeadAes128Gcm,
            AeadAes256Gcm,
        ] {
            scope.spawn(move || call(suite.name(), Media::Clear, Media::Secured, suite));
        }
    });
}

#[test]
fn a_phone_that_offers_srtp_hears_one_with_it_and_one_without() {
    let suite = SrtpSuite::AesCm128HmacSha1_80;
    call("both", Media::Secured, Media::Secured, suite);
    call("caller", Media::Secured, Media::Clear, suite);
}

/// It is found by its own ICE, and OpenSSL shakes hands for it with an RSA key: those are not taken (docs/limits.md), and the call ends by
/// that reason before anything has passed.
#[test]
fn a_phone_with_dtls_is_found_by_its_ice_and_refused_for_its_rsa_key() {
    let suite = SrtpSuite::AesCm128HmacSha1_80;
    for (test, caller, callee) in [
        ("ice-to-clear", Media::Found, Media::Clear),
        ("clear-to-ice", Media::Clear, Media::Found),
    ] {
        let Some(ground) = Ground::new(test, caller, callee, suite) else {
            return;
        };
        ground.stand.wait_for_cdrs(1, WITHIN).unwrap();
        let metrics = ground.stand.node_metrics(0).unwrap();
        let count = |name: &str, result: &str| metrics.value(name, result);
        let (searches, handshakes) = (
            count("ringpath_dataplane_ice_searches_total", "selected"),
            count("ringpath_dataplane_dtls_handshakes_total", "dtls_certificate"),
        );
        assert!(searches.is_some_and(|count| count >= 1.0), "{}", ground.told());
        assert_eq!(handshakes, Some(1.0), "{}", ground.told());
        let forwarded = metrics.value("ringpath_dataplane_rtp_forwarded_total", "");
        assert_eq!(forwarded, Some(0.0), "{}", ground.told());
        let cdr = ground.finish();
        assert_eq!(
            (cdr.status, cdr.released_by.as_deref()),
            (Some(200), Some("system")),
            "{cdr:#?}"
        );
        assert_eq!(cdr.cause.as_deref(), Some("dtls_certificate"), "{cdr:#?}");
    }
}

/// Asked for a suite that it has not, it answers with another under the same tag.
#[test]
fn a_phone_that_answers_with_another_suite_is_hung_up_on() {
    let suite = SrtpSuite::AesCm256HmacSha1_80;
    let Some(ground) = Ground::new("downgraded", Media::Clear, Media::Secured, suite) else {
        return;
    };
    ground.stand.wait_for_cdrs(1, WITHIN).unwrap();
    let metrics = ground.stand.control_metrics().unwrap();
    let refused = metrics.value("ringpath_control_srtp_refusals_total", "srtp_other_suite");
    assert_eq!(refused, Some(1.0), "{}", ground.told());
    assert_eq!(ground.finish().status, Some(502));
}
