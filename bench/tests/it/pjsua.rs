//! Phones that we did not write: pjsua2, over TLS and with SHA-256. What they do is in `pjsua/phones.py`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::media_v1 as pb;
use ringpath_bench::cdr::Cdr;
use ringpath_bench::host::Host;
use ringpath_bench::process::Process;
use ringpath_bench::stand::{Stand, StandOptions};

use crate::bench::{skip, stand};

/// Every wait of the phones is bounded, too.
const PHONES_WITHIN: Duration = Duration::from_secs(60);

/// Python with pjsua2, as `make bench-bootstrap` makes it. The list is there when it has succeeded.
fn python() -> Option<PathBuf> {
    let peers = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../peers");
    peers
        .join("peers.txt")
        .exists()
        .then(|| peers.join("bin/python3"))
}

/// Has three users of ours play a story; the records of their calls, and how many transfers were completed. `None` without pjsua2.
fn play(story: &str) -> Option<(Vec<Cdr>, f64)> {
    let test = format!("pjsua-{story}");
    let Some(python) = python() else {
        skip(&test, "pjsua2 is not installed; run `make bench-bootstrap`");
        return None;
    };
    let options = StandOptions {
        tls: true,
        control_extra:
            "[registrar]\ndomains = [\"ringpath.example\"]\nalgorithms = [\"SHA-256\"]\nusers_refresh_s = 1\n\
             [limits]\ntransferor_bye_timeout_ms = 500\n"
                .to_owned(),
        ..StandOptions::default()
    };
    let stand = stand(&test, &options);
    stand
        .import_users("alice;wonderland\nbob;builder\ncarol;singer\n", 3)
        .unwrap();
    let (at, certificate) = stand.tls().unwrap();
    let host = Host::reserve().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/pjsua/phones.py");
    let arguments = ["-B", script, story].map(str::to_owned).into_iter().chain([
        host.ip().to_string(),
        at.to_string(),
        certificate.authority.display().to_string(),
        stand.folder().join("pjsua.log").display().to_string(),
    ]);
    let mut phones = Process::start("phones", python, arguments, &[], stand.folder()).unwrap();
    let status = phones.wait(PHONES_WITHIN).unwrap();
    let said = std::fs::read_to_string(stand.folder().join("phones.out")).unwrap();
    let told = || format!("{said}\n{}\n{}", phones.tail(), stand.control.log_tail());
    assert!(status.success(), "{status}\n{:#?}\n{}", media(&stand), told());
    let metrics = stand.control_metrics().unwrap();
    let value = |name, label| metrics.value(name, label).unwrap_or_default();
    assert_eq!(value("ringpath_control_registrations", ""), 0.0, "{}", told());
    let completed = value("ringpath_control_transfers_total", "completed");
    let cdrs = stand.finish().unwrap();
    assert!(cdrs.iter().all(|cdr| cdr.answered), "{cdrs:#?}\n{said}");
    Some((cdrs, completed))
}

/// What the node knows of the calls that it has.
fn media(stand: &Stand) -> Vec<pb::LineStatus> {
    let mut client = stand.node_client(0).unwrap();
    let names = client.calls().unwrap();
    let calls = names.iter().filter_map(|name| client.query(name).ok());
    let legs: Vec<_> = calls.flat_map(|call| call.legs).collect();
    legs.into_iter().flat_map(|leg| leg.lines).collect()
}

/// Challenged at registration and at the call, with audio both ways; each phone calls once and hangs up once.
#[test]
fn phones_call_over_tls_with_sha_256() {
    let Some((cdrs, _)) = play("call") else { return };
    assert_eq!(cdrs.len(), 2, "{cdrs:#?}");
}

/// RFC 5359 §2.1, by caller and callee.
#[test]
fn phones_hold_and_resume_over_tls() {
    play("hold");
}

/// RFC 5359 §2.4, by callee and caller.
#[test]
fn phones_transfer_blind_over_tls() {
    let Some((_, completed)) = play("blind") else {
        return;
    };
    assert_eq!(completed, 2.0);
}

/// RFC 5359 §2.5, by callee and caller.
#[test]
fn phones_transfer_attended_over_tls() {
    let Some((_, completed)) = play("attended") else {
        return;
    };
    assert_eq!(completed, 2.0);
}

/// One insists on SRTP by keys in descriptions (RFC 4568), the others have none: hold, resume and transfers keep it so.
#[test]
fn a_phone_with_srtp_is_held_and_transferred_among_those_without() {
    let Some((_, completed)) = play("secured") else {
        return;
    };
    assert_eq!(completed, 3.0);
}

/// An INVITE and re-INVITEs without an offer (RFC 3261 §13.2.1, §14.1), and UPDATEs with one (RFC 3311), from either end.
#[test]
fn phones_ask_each_other_for_offers() {
    play("late");
}

/// The caller requires 100rel (RFC 3262) and a session timer (RFC 4028); what it hears before the answer is the callee.
#[test]
fn a_phone_that_requires_reliable_responses_hears_early_media() {
    play("early");
}
