//! Browsers and other WebRTC that we did not write, calling and called by SIPp with plain G.711: `make test-webrtc`.
//!
//! Everybody says a tone of its own, and is heard by its frequency at the other end. What is kept for people is in `target/webrtc`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::media_v1 as pb;
use ringpath_bench::process::Process;
use ringpath_bench::sipp::Script;
use ringpath_bench::stand::{Stand, StandOptions};
use ringpath_bench::wait;
use serde_json::{Value, json};

use crate::bench::{WITHIN, sipp_is_here, skip, stand};
use crate::plain_phone::PlainPhone;

const SCENARIO: &str = "webrtc/browser";
const CHROMIUM: &str = "/usr/bin/chromium";
/// Every wait of the browser is bounded, too.
const STORY_WITHIN: Duration = Duration::from_secs(90);
/// The users' names, and the number behind the route.
const USERS: &str = "1001;wonderland\n1002;builder\n";
const NUMBER: &str = "2000";
/// From its answer until a browser is connected: it may begin before, and half a second more would be heard as silence.
const CONNECTED_MS_MAX: f64 = 1_000.0;
/// What browsers say, and what phones do.
const BROWSER_HZ: [f64; 2] = [1_000.0, 1_500.0];
const PHONE_HZ: f64 = 440.0;
/// Of all that is heard, what a tone must be; and how far a spectrum's peak must stand above its middle.
const SHARE_MIN: f64 = 0.8;
const ABOVE_DB_MIN: f64 = 20.0;
/// Half the width of what counts as a tone in a browser's spectrum, whose bins are six hertz wide.
const NEAR_HZ: f64 = 8.0;

/// Where peers are installed (`make bench-bootstrap`).
fn peers() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../peers")
}

/// The modules of npm; `None`, with a line that says why, when the browser or they are missing.
fn browser(test: &str) -> Option<PathBuf> {
    let modules = peers().join("webrtc/node_modules");
    let missing = [
        Path::new(CHROMIUM),
        &modules.join("sip.js"),
        &modules.join("playwright-core"),
    ]
    .into_iter()
    .find(|path| !path.exists())
    .map(|path| path.display().to_string());
    match missing {
        None => Some(std::fs::canonicalize(modules).unwrap()),
        Some(missing) => {
            skip(
                test,
                &format!("{missing} is not there; run `make bench-bootstrap`"),
            );
            None
        }
    }
}

fn options() -> StandOptions {
    StandOptions {
        tls: true,
        wss: true,
        prefix: NUMBER.to_owned(),
        control_extra:
            "[registrar]\ndomains = [\"ringpath.example\"]\nalgorithms = [\"MD5\"]\nusers_refresh_s = 1\n"
                .to_owned(),
        ..StandOptions::default()
    }
}

/// Where what is kept for people goes.
fn artefacts() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../webrtc");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::canonicalize(folder).unwrap()
}

/// Starts a story in the browser.
fn begin(stand: &mut Stand, modules: &Path, story: &str) -> Process {
    let wss = stand.wss().expect("a listener");
    let phones: Vec<Value> = USERS
        .lines()
        .zip(BROWSER_HZ)
        .map(|(user, hertz)| {
            let (user, password) = user.split_once(';').unwrap();
            json!({ "user": user, "password": password, "hertz": hertz })
        })
        .collect();
    let options = json!({
        "story": story,
        "modules": modules,
        "chromium": CHROMIUM,
        "host": stand.host().ip(),
        "line": { "server": format!("wss://{wss}/"), "domain": "ringpath.example" },
        "phones": phones,
        "callee": NUMBER,
        "artefacts": artefacts(),
    });
    let driver = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/webrtc/drive.mjs");
    let arguments = [driver.to_owned(), options.to_string()];
    Process::start("browser", "node", arguments, &[], stand.folder()).unwrap()
}

/// What a story came to.
fn end(stand: &Stand, mut browser: Process) -> Value {
    let status = browser.wait(STORY_WITHIN).unwrap();
    let said = std::fs::read_to_string(stand.folder().join("browser.out")).unwrap();
    assert!(
        status.success(),
        "{status}\n{said}\n{}\n{}",
        browser.tail(),
        stand.control.log_tail()
    );
    let line = said
        .lines()
        .rev()
        .find(|line| line.starts_with('{'))
        .expect("a result");
    serde_json::from_str(line).unwrap()
}

/// Everything that the browser heard was this tone, and it was secured by a handshake over a pair that ICE found.
fn assert_heard(result: &Value, hertz: &[f64]) {
    let heard = result["heard"].as_array().unwrap();
    assert_eq!(heard.len(), hertz.len());
    for (heard, hertz) in heard.iter().zip(hertz) {
        let near = (heard["hertz"].as_f64().unwrap() - hertz).abs() < NEAR_HZ;
        assert!(
            near && heard["above_db"].as_f64().unwrap() > ABOVE_DB_MIN,
            "{hertz}: {result}"
        );
    }
    let figures = &result["figures"];
    assert_eq!(figures["dtls"], "connected", "{result}");
    assert!(
        ["connected", "completed"].contains(&figures["ice"].as_str().unwrap()),
        "{result}"
    );
}

/// What the node says of the line that faces a browser, in mid-call; kept, too.
fn node_line(stand: &Stand, leg: usize, name: &str) -> pb::LineStatus {
    let mut client = stand.node_client(0).unwrap();
    let line = wait::until("a line with keys", WITHIN, || {
        let calls = client.calls()?;
        let Some(call) = calls.first() else {
            return Ok(None);
        };
        let line = client.query(call)?.legs[leg].lines[0].clone();
        let state = line.dtls.as_ref().map(|dtls| dtls.state());
        Ok((state == Some(pb::DtlsState::Connected)).then_some(line))
    });
    let line = line.unwrap_or_else(|error| panic!("{error:#}\n{}", stand.control.log_tail()));
    std::fs::write(
        artefacts().join(format!("{name}-node.txt")),
        format!("{line:#?}\n"),
    )
    .unwrap();
    line
}

fn assert_secured(line: &pb::LineStatus) {
    assert_eq!(
        line.ice.as_ref().unwrap().state(),
        pb::IceState::Connected,
        "{line:?}"
    );
    let srtp = line.srtp.as_ref().unwrap();
    assert!(srtp.send_suite() != pb::SrtpSuite::Unspecified, "{line:?}");
    assert!(srtp.receive_suite() != pb::SrtpSuite::Unspecified, "{line:?}");
}

/// No secret of a handshake or search is in what the planes wrote down.
fn assert_no_secrets(stand: &Stand) {
    for entry in std::fs::read_dir(stand.folder()).unwrap() {
        let path = entry.unwrap().path();
        let is_log = path
            .extension()
            .is_some_and(|ending| ending == "out" || ending == "err");
        let is_ours = path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.starts_with("control") || name.starts_with("media")
        });
        if is_log && is_ours {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(
                !text.contains("ice-pwd") && !text.contains("inline:"),
                "{}",
                path.display()
            );
        }
    }
}

/// Starts aiortc, which says a browser's tone.
fn begin_aiortc(stand: &Stand, python: &Path, story: &str) -> Process {
    let (wss, (_, certificate)) = (
        stand.wss().expect("a listener"),
        stand.tls().expect("a certificate"),
    );
    let (user, password) = USERS
        .lines()
        .next()
        .and_then(|user| user.split_once(';'))
        .unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/webrtc/peer.py");
    let arguments = [
        "-B",
        script,
        story,
        &format!("wss://{wss}/"),
        &certificate.authority.display().to_string(),
        "ringpath.example",
        user,
        password,
        NUMBER,
        &BROWSER_HZ[0].to_string(),
    ];
    Process::start(
        "aiortc",
        python,
        arguments.map(str::to_owned),
        &[],
        stand.folder(),
    )
    .unwrap()
}

/// It heard the phone, in this role of the handshake.
fn assert_aiortc(stand: &Stand, mut aiortc: Process, role: &str) {
    let status = aiortc.wait(STORY_WITHIN).unwrap();
    let said = std::fs::read_to_string(stand.folder().join("aiortc.out")).unwrap();
    assert!(
        status.success(),
        "{status}\n{said}\n{}\n{}",
        aiortc.tail(),
        stand.control.log_tail()
    );
    let result: Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!(
        (&result["role"], &result["state"]),
        (&json!(role), &json!("connected")),
        "{said}"
    );
    assert!(result["share"]["440"].as_f64().unwrap() > SHARE_MIN, "{said}");
    std::fs::write(artefacts().join(format!("aiortc-{role}.json")), said).unwrap();
}

fn python(test: &str) -> Option<PathBuf> {
    let python = peers().join("bin/python3");
    let wanted = concat!(env!("CARGO_MANIFEST_DIR"), "/peers.txt");
    let installed = std::fs::read(peers().join("peers.txt")).ok();
    if installed.is_some() && installed == std::fs::read(wanted).ok() {
        return Some(python);
    }
    skip(
        test,
        "aiortc is not installed as it is now; run `make bench-bootstrap`",
    );
    None
}

fn fields(stand: &Stand, name: &str, line: &str) {
    std::fs::write(stand.folder().join(name), format!("SEQUENTIAL\n{line}\n")).unwrap();
}

/// The other party has connected, and proven its password.
fn await_registration(stand: &Stand, party: &Process) {
    wait::until_true("the registration", WITHIN, || {
        let registered = stand
            .control_metrics()?
            .value("ringpath_control_registrations", "");
        Ok(registered == Some(1.0))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", party.tail(), stand.control.log_tail()));
}

/// The phone heard the other party, whose line was secured, and nothing is left of the call but its record.
fn finish(stand: Stand, phone: PlainPhone, line: &pb::LineStatus) {
    assert_secured(line);
    let heard = phone.hang_up();
    let share = heard.share(BROWSER_HZ[0]);
    assert!(share > SHARE_MIN, "{share} of {} samples", heard.samples());
    assert_no_secrets(&stand);
    let cdrs = stand.finish().unwrap();
    assert!(cdrs.len() == 1 && cdrs[0].answered, "{cdrs:#?}");
}

/// With hold, resume and a restart of ICE in mid-call.
#[test]
fn a_browser_calls_a_plain_phone() {
    let test = "webrtc-browser-calls";
    let (true, Some(modules)) = (sipp_is_here(test), browser(test)) else {
        return;
    };
    let mut stand = stand(test, &options());
    stand.import_users(USERS, 2).unwrap();
    let mut phone = PlainPhone::new(stand.host().address().unwrap(), PHONE_HZ);
    fields(&stand, "callee.csv", &format!("{NUMBER};{};8;PCMA", phone.port()));
    let script = Script {
        fields: Some("callee.csv"),
        ..stand.callee(SCENARIO, 1)
    };
    let mut callee = stand.run(&script).unwrap();
    let story = begin(&mut stand, &modules, "call");
    phone.talk(callee.call_log().to_owned());
    let line = node_line(&stand, 0, "call");
    let result = end(&stand, story);
    callee
        .finish(WITHIN)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", callee.complaint()));
    assert_heard(&result, &[PHONE_HZ; 3]);
    assert_eq!(result["figures"]["codec"], "audio/PCMA", "{result}");
    finish(stand, phone, &line);
}

#[test]
fn a_plain_phone_calls_a_browser() {
    let test = "webrtc-browser-called";
    let (true, Some(modules)) = (sipp_is_here(test), browser(test)) else {
        return;
    };
    let mut stand = stand(test, &options());
    stand.import_users(USERS, 2).unwrap();
    let mut phone = PlainPhone::new(stand.host().address().unwrap(), PHONE_HZ);
    fields(&stand, "caller.csv", &format!("0;{};1001;8;PCMA", phone.port()));
    let story = begin(&mut stand, &modules, "called");
    await_registration(&stand, &story);
    let script = Script {
        fields: Some("caller.csv"),
        talk: Duration::from_secs(6),
        ..stand.caller(SCENARIO, 1)
    };
    let mut caller = stand.run(&script).unwrap();
    phone.talk(caller.call_log().to_owned());
    let line = node_line(&stand, 1, "called");
    let result = end(&stand, story);
    caller
        .finish(WITHIN)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", caller.complaint()));
    assert_heard(&result, &[PHONE_HZ]);
    assert_eq!(result["figures"]["codec"], "audio/PCMA", "{result}");
    let connected_ms = result["figures"]["connected_ms"].as_f64().unwrap();
    assert!(connected_ms < CONNECTED_MS_MAX, "{result}");
    finish(stand, phone, &line);
}

/// The node sends the ClientHello; SIP is by Python's `websockets`.
#[test]
fn aiortc_calls_a_plain_phone_and_waits_for_the_handshake() {
    let test = "webrtc-aiortc-calls";
    let (true, Some(python)) = (sipp_is_here(test), python(test)) else {
        return;
    };
    let mut stand = stand(test, &options());
    stand.import_users(USERS, 2).unwrap();
    let mut phone = PlainPhone::new(stand.host().address().unwrap(), PHONE_HZ);
    fields(&stand, "callee.csv", &format!("{NUMBER};{};8;PCMA", phone.port()));
    let script = Script {
        fields: Some("callee.csv"),
        ..stand.callee("webrtc/plain", 1)
    };
    let mut callee = stand.run(&script).unwrap();
    let aiortc = begin_aiortc(&stand, &python, "calls");
    phone.talk(callee.call_log().to_owned());
    let line = node_line(&stand, 0, "aiortc-calls");
    assert_aiortc(&stand, aiortc, "server");
    callee
        .finish(WITHIN)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", callee.complaint()));
    finish(stand, phone, &line);
}

/// It sends the ClientHello.
#[test]
fn a_plain_phone_calls_aiortc_which_begins_the_handshake() {
    let test = "webrtc-aiortc-called";
    let (true, Some(python)) = (sipp_is_here(test), python(test)) else {
        return;
    };
    let mut stand = stand(test, &options());
    stand.import_users(USERS, 2).unwrap();
    let mut phone = PlainPhone::new(stand.host().address().unwrap(), PHONE_HZ);
    fields(&stand, "caller.csv", &format!("0;{};1001;8;PCMA", phone.port()));
    let aiortc = begin_aiortc(&stand, &python, "called");
    await_registration(&stand, &aiortc);
    let script = Script {
        fields: Some("caller.csv"),
        talk: Duration::from_secs(6),
        ..stand.caller(SCENARIO, 1)
    };
    let mut caller = stand.run(&script).unwrap();
    phone.talk(caller.call_log().to_owned());
    let line = node_line(&stand, 1, "aiortc-called");
    assert_aiortc(&stand, aiortc, "client");
    caller
        .finish(WITHIN)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", caller.complaint()));
    finish(stand, phone, &line);
}

/// Each has an association of its own with the node.
#[test]
fn two_browsers_hear_each_other() {
    let test = "webrtc-two-browsers";
    let Some(modules) = browser(test) else { return };
    let mut stand = stand(test, &options());
    stand.import_users(USERS, 2).unwrap();
    let story = begin(&mut stand, &modules, "two");
    let lines = [0, 1].map(|leg| node_line(&stand, leg, &format!("two-{leg}")));
    let result = end(&stand, story);
    assert_heard(&result, &[BROWSER_HZ[1], BROWSER_HZ[0]]);
    lines.iter().for_each(assert_secured);
    assert_no_secrets(&stand);
    let cdrs = stand.finish().unwrap();
    assert!(cdrs.len() == 1 && cdrs[0].answered, "{cdrs:#?}");
}
