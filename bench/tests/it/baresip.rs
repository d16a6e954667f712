//! Calls between phones that we did not write: Debian's baresip at both ends, a tone each, its own SRTP by keys in
//! descriptions.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use media_types::SrtpSuite;
use proto::media_v1 as pb;
use ringpath_bench::cdr::Cdr;
use ringpath_bench::host::Host;
use ringpath_bench::process::Process;
use ringpath_bench::stand::{Stand, StandOptions};
use ringpath_bench::wait;

use crate::bench::{WITHIN, skip, stand};

const MODULES: &str = "/usr/lib/baresip/modules";
/// What both phones answer to.
const NUMBER: &str = "1000";
/// Packets that the node must have of each party.
const PACKETS: u64 = 50;

/// Keys may go over UDP here; latching as for parties behind NAT, since baresip sends from whatever address the system chooses.
const SIP: &str = "caller_srtp = { policy = \"allow\", keys_over = \"any\" }";
const MEDIA: &str = "caller_latching = \"any-address\"\ncallee_latching = \"any-address\"\n";

fn is_here(test: &str) -> bool {
    let is_here = Path::new(MODULES).join("srtp.so").exists();
    if !is_here {
        skip(test, "baresip is not installed; run `make bench-bootstrap`");
    }
    is_here
}

/// Whether a phone insists on SRTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    Clear,
    Secured,
}

struct Baresip {
    process: Process,
    files: [PathBuf; 2],
}

impl Baresip {
    /// A phone at `address` that takes calls, and makes one if it is told whom to call. It leaves, with a BYE, after `lasts`.
    fn start(
        stand: &Stand,
        name: &str,
        address: SocketAddr,
        media: Media,
        dial: Option<&str>,
        lasts: Duration,
    ) -> Self {
        let folder = stand.folder().join(format!("{name}.baresip"));
        std::fs::create_dir_all(&folder).unwrap();
        let tone = folder.join("tone.wav");
        std::fs::write(&tone, wav()).unwrap();
        let modules = ["g711.so", "aufile.so", "srtp.so"].map(|name| format!("module {name}\n"));
        let config = format!(
            "poll_method epoll\nsip_listen {address}\nnet_interface {}\nmodule_path {MODULES}\n{}\
             module_app account.so\nmodule_app menu.so\naudio_source aufile,{}\naudio_alert aufile,/dev/null\n",
            address.ip(),
            modules.concat(),
            tone.display(),
        );
        let security = match media {
            Media::Clear => "",
            Media::Secured => ";mediaenc=srtp-mand",
        };
        let account = format!(
            "<sip:{NUMBER}@{}>;regint=0;answermode=auto;audio_codecs=PCMA{security}\n",
            address.ip()
        );
        std::fs::write(folder.join("config"), config).unwrap();
        std::fs::write(folder.join("accounts"), account).unwrap();
        std::fs::write(folder.join("contacts"), "").unwrap();
        let mut arguments = vec!["-f".to_owned(), folder.display().to_string()];
        arguments.extend(["-t".to_owned(), lasts.as_secs().to_string()]);
        if let Some(uri) = dial {
            arguments.extend(["-e".to_owned(), format!("/dial {uri}")]);
        }
        let process = Process::start(name, "baresip", arguments, &[], stand.folder()).unwrap();
        let files = ["out", "log"].map(|kind| stand.folder().join(format!("{name}.{kind}")));
        Self { process, files }
    }

    /// All that it has written.
    fn told(&self) -> String {
        let mut told = String::new();
        for file in &self.files {
            let bytes = std::fs::read(file).unwrap_or_default();
            // To a String there is no error.
            let _ = writeln!(told, "{}", String::from_utf8_lossy(&bytes));
        }
        told
    }

    fn wait_for(&self, word: &str) {
        let waited = wait::until_true(word, WITHIN, || Ok(self.told().contains(word)));
        waited.unwrap_or_else(|error| panic!("{error:#}\n{}", self.told()));
    }
}

/// Twenty seconds of a tone, 16 bits at 8 kHz.
fn wav() -> Vec<u8> {
    let samples: Vec<u8> = (0..160_000u32)
        .flat_map(|n| (if n / 9 % 2 == 0 { 6_000i16 } else { -6_000 }).to_le_bytes())
        .collect();
    let len = samples.len() as u32;
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + len).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16u32.to_le_bytes());
    wav.extend([1u16, 1].into_iter().flat_map(u16::to_le_bytes));
    wav.extend([8_000u32, 16_000].into_iter().flat_map(u32::to_le_bytes));
    wav.extend([2u16, 16].into_iter().flat_map(u16::to_le_bytes));
    wav.extend(b"data");
    wav.extend(len.to_le_bytes());
    wav.extend(samples);
    wav
}

/// The lines of the only call, caller first.
fn lines(stand: &Stand) -> Option<[pb::LineStatus; 2]> {
    let mut client = stand.node_client(0).ok()?;
    let name = client.calls().ok()?.pop()?;
    let mut legs = client.query(&name).ok()?.legs.into_iter();
    let mut line = || legs.next()?.lines.into_iter().next();
    Some([line()?, line()?])
}

fn received(line: &pb::LineStatus) -> u64 {
    line.streams.iter().map(|stream| stream.packets).sum()
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
            Media::Secured => "require",
        };
        let route = format!(
            "[[route]]\nprefix = \"1\"\nnext_hop = \"sip:{at_b}\"\n\
             srtp = {{ policy = \"{policy}\", keys_over = \"any\" }}\n"
        );
        let options = StandOptions {
            prefix: "2".to_owned(),
            sip_extra: SIP.to_owned(),
            control_extra: format!("{route}[media]\nsrtp_suites = [\"{}\"]\n{MEDIA}", suite.name()),
            ..StandOptions::default()
        };
        let stand = stand(&test, &options);
        let b = Baresip::start(&stand, "callee", at_b, callee, None, Duration::from_secs(30));
        b.wait_for("baresip is ready");
        let uri = format!("sip:{NUMBER}@{}", stand.sip());
        let a = Baresip::start(&stand, "caller", at_a, caller, Some(&uri), Duration::from_secs(5));
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

/// Speech both ways, secured where it should be.
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
