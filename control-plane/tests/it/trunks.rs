//! Trunks: a carrier that knows where we are, and whether it is there.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use proto::admin_v1::control_plane_client::ControlPlaneClient;
use proto::admin_v1::{GetTrunksRequest, ServerState, Trunk};
use sip::digest::Credentials;
use sip::message::ResponseBuilder;
use sip::{HeaderName, Message};
use tempfile::TempDir;

use crate::phone::Phone;
use crate::plane::{Control, Node, Plane, wait};

const CHALLENGE: &str = "Digest realm=\"carrier\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth\"";

const QUICK: &str = "period_ms = 1000, timeout_ms = 200, down_after = 2, up_after = 1";

/// A carrier's configuration, with these keys beside its name and address.
fn trunk(name: &str, phone: &Phone, keys: &str) -> String {
    format!(
        "[[trunk]]\nname = \"{name}\"\nnext_hop = \"sip:{}\"\n{keys}\n",
        phone.address()
    )
}

const ACCOUNT: &str = "accounts = [{ username = \"us\", password = \"secret\", realms = [\"carrier\"] }]";

/// Starts a plane whose calls go to the trunks of that names, in this order.
fn start(node: &str, trunks: &[String], routes: &[&str]) -> (Control, Plane) {
    let mut control = Control::new(node, "127.0.0.1:9".parse().unwrap());
    let routes: String = routes
        .iter()
        .map(|keys| format!("[[route]]\nprefix = \"\"\n{keys}\n"))
        .collect();
    control.extra = format!("{}{routes}[admin]\nlisten = \"127.0.0.1:0\"\n", trunks.concat());
    let unused = "[[route]]\nprefix = \"\"\nnext_hop = \"sip:127.0.0.1:9\"\n";
    let text = control.text().replacen(unused, "", 1);
    let plane = Plane::start(&crate::plane::control_binary(), control.folder.path(), &text, &[]);
    (control, plane)
}

fn told(plane: &Plane) -> Vec<Trunk> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let address = format!("http://{}", plane.address("admin grpc"));
    runtime.block_on(async {
        let mut client = ControlPlaneClient::connect(address).await.unwrap();
        client
            .get_trunks(GetTrunksRequest {})
            .await
            .unwrap()
            .into_inner()
            .trunks
    })
}

/// Answers a REGISTER: with a challenge, unless it shows who it is from.
fn register(carrier: &Phone, fields: &[(HeaderName, String)]) -> Message {
    loop {
        let (request, from) = carrier.take("REGISTER");
        let response = match request.header(HeaderName::Authorization) {
            None => ResponseBuilder::for_request(&request, 401, "Unauthorized")
                .header(HeaderName::WwwAuthenticate, CHALLENGE),
            Some(_) => fields.iter().fold(
                ResponseBuilder::for_request(&request, 200, "OK"),
                |response, (name, value)| response.header(*name, value),
            ),
        };
        let response = response.to_tag("carrier").build().unwrap();
        carrier.send(response.bytes(), from);
        if request.has(HeaderName::Authorization) {
            return request;
        }
    }
}

/// RFC 3261 §10.2, RFC 3608: registered with digest, refreshed, used by a call out, and taken back at the end.
#[test]
fn a_carrier_knows_where_we_are_for_as_long_as_we_run() {
    let Some(node) = Node::start("a_carrier_knows_where_we_are_for_as_long_as_we_run") else {
        return;
    };
    let (carrier, caller) = (Phone::new("carrier"), Phone::new("caller"));
    let keys = format!("{ACCOUNT}\nregister = {{ user = \"+4930\", domain = \"carrier.example\" }}");
    let trunks = [trunk("carrier", &carrier, &keys)];
    let (_control, mut plane) = start(&node.address(), &trunks, &["trunk = \"carrier\""]);
    let granted = |seconds: u32| {
        vec![
            (HeaderName::Expires, seconds.to_string()),
            (
                HeaderName::ServiceRoute,
                "<sip:edge.carrier.example;lr>".to_owned(),
            ),
        ]
    };
    let first = register(&carrier, &granted(2));
    assert_eq!(first.request_uri(), Some("sip:carrier.example"));
    let contact = first.contact().unwrap().unwrap().uri.to_owned();
    assert_eq!(contact, format!("sip:+4930@{}", plane.address("sip udp")));
    let shown = first.header(HeaderName::Authorization).unwrap();
    assert_eq!(Credentials::parse(shown).unwrap().username, "us");
    // Two seconds are soon over: it comes again by itself, in the same series.
    let second = register(&carrier, &granted(3_600));
    assert_eq!(
        first.header(HeaderName::CallId),
        second.header(HeaderName::CallId)
    );
    wait("the registration is told", || {
        let trunks = told(&plane);
        let registration = trunks[0].registration.as_ref();
        trunks[0].trunk == "carrier" && registration.is_some_and(|it| it.until_unix_ms > 0)
    });
    plane.wait_for_metric("ringpath_control_trunk_registered", "carrier", 1.0);
    plane.wait_for_metric("ringpath_control_trunk_events_total", "\"registration\"", 2.0);

    plane.wait_for_readiness(200);
    let sip = plane.address("sip udp");
    caller.send(caller.invite("1000", "out").bytes(), sip);
    let (invite, from) = carrier.take("INVITE");
    assert_eq!(
        invite.header(HeaderName::Route),
        Some("<sip:edge.carrier.example;lr>")
    );
    carrier.answer(&invite, 486, from);
    assert_eq!(caller.final_of("INVITE").status(), Some(486));

    plane.ask_to_stop();
    let last = register(&carrier, &[]);
    assert_eq!(last.contact().unwrap().unwrap().param("expires"), Some("0"));
    assert!(plane.ended().success(), "{}", plane.log());
    node.plane.stop();
}

/// A trunk that does not answer is passed over before a call finds out, and used again when it does.
#[test]
fn calls_pass_over_a_trunk_that_is_down() {
    let Some(node) = Node::start("calls_pass_over_a_trunk_that_is_down") else {
        return;
    };
    let (first, second, caller) = (Phone::new("first"), Phone::new("second"), Phone::new("caller"));
    let keys = format!("options = {{ {QUICK} }}");
    let trunks = [trunk("first", &first, &keys), trunk("second", &second, "")];
    let routes = ["trunk = \"first\"", "trunk = \"second\""];
    let (_control, plane) = start(&node.address(), &trunks, &routes);
    // It hears the OPTIONS and says nothing.
    let (options, _) = first.take("OPTIONS");
    assert_eq!(options.request_uri(), Some(&*format!("sip:{}", first.address())));
    let is_up = |plane: &Plane| plane.metric("ringpath_control_trunk_servers_up", "first") == 1.0;
    wait("the first is down", || !is_up(&plane));
    let states: Vec<_> = told(&plane)
        .iter()
        .map(|trunk| (trunk.trunk.clone(), trunk.state()))
        .collect();
    let expected = [("first", ServerState::Down), ("second", ServerState::Unspecified)];
    assert_eq!(states, expected.map(|(name, state)| (name.to_owned(), state)));
    plane.wait_for_readiness(200);
    let sip = plane.address("sip udp");
    caller.call(sip, "1000", &second, "one").hang_up(&second);
    assert_eq!(
        plane.metric("ringpath_control_call_events_total", "next_hop_skipped"),
        0.0
    );
    // One answer, and it is there again; what it did not answer is sent again, and old ones count for nothing.
    wait("the first is up", || {
        let (options, from) = first.take("OPTIONS");
        first.answer(&options, 404, from);
        is_up(&plane)
    });
    caller.call(sip, "1000", &first, "two").hang_up(&first);
    plane.stop();
    node.plane.stop();
}

/// By code and by number of calls, over the real sockets.
#[test]
fn calls_go_on_to_the_next_trunk() {
    let Some(node) = Node::start("calls_go_on_to_the_next_trunk") else {
        return;
    };
    let (first, second, caller) = (Phone::new("first"), Phone::new("second"), Phone::new("caller"));
    let trunks = [
        trunk("first", &first, "calls_max = 1"),
        trunk("second", &second, ""),
    ];
    let routes = ["trunk = \"first\"\nfailover_codes = [500]", "trunk = \"second\""];
    let (_control, plane) = start(&node.address(), &trunks, &routes);
    plane.wait_for_readiness(200);
    let sip = plane.address("sip udp");
    let held = caller.call(sip, "1000", &first, "held");
    wait("its call is counted", || told(&plane)[0].calls == 1);
    // The first has all that it takes.
    caller.call(sip, "1000", &second, "next").hang_up(&second);
    held.hang_up(&first);
    caller.send(caller.invite("1000", "code").bytes(), sip);
    let (invite, from) = first.take("INVITE");
    first.answer(&invite, 500, from);
    let (invite, from) = second.take("INVITE");
    second.answer(&invite, 486, from);
    assert_eq!(caller.final_of("INVITE").status(), Some(486));
    plane.wait_for_metric("ringpath_control_trunk_events_total", "passed_over_at_limit", 1.0);
    plane.stop();
    node.plane.stop();
}

/// SIGHUP: what is as it was stays as it is, what is new is called, what is gone is taken back; a file with mistakes changes
/// nothing.
#[test]
fn trunks_and_routes_are_read_again_when_the_process_is_told() {
    let test = "trunks_and_routes_are_read_again_when_the_process_is_told";
    let Some(node) = Node::start(test) else { return };
    let (kept, gone, new, caller) = (
        Phone::new("kept"),
        Phone::new("gone"),
        Phone::new("new"),
        Phone::new("caller"),
    );
    let keys = format!("{ACCOUNT}\nregister = {{ user = \"us\" }}");
    let trunks = [trunk("kept", &kept, &keys), trunk("gone", &gone, &keys)];
    let (control, plane) = start(&node.address(), &trunks, &["trunk = \"gone\""]);
    let hour = [(HeaderName::Expires, "3600".to_owned())];
    register(&kept, &hour);
    register(&gone, &hour);
    plane.wait_for_metric("ringpath_control_trunk_registered", "", 2.0);
    let file = control.folder.path().join("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("trunk = \"gone\"", "trunk = \"nobody\"")).unwrap();
    plane.hang_up();
    plane.wait_for_metric("ringpath_control_config_reloads_total", "refused", 1.0);
    assert_eq!(told(&plane)[0].trunk, "gone");
    // Calls would leave by another listener than the one that the file says until the next start.
    let listener = "listen = [{ at = \"udp:127.0.0.1:0\", name = \"later\" }, \"udp:";
    let later = text.replacen("listen = [\"udp:", listener, 1).replacen(
        "[[trunk]]",
        "[[trunk]]\nlistener = \"later\"",
        1,
    );
    assert!(later.contains(listener) && later.contains("listener ="));
    std::fs::write(&file, later).unwrap();
    plane.hang_up();
    plane.wait_for_metric("ringpath_control_config_reloads_total", "refused", 2.0);

    let changed = text
        .replace(&trunks[1], &trunk("new", &new, ""))
        .replace("trunk = \"gone\"", "trunk = \"new\"");
    std::fs::write(&file, changed).unwrap();
    plane.hang_up();
    let last = register(&gone, &[]);
    assert_eq!(last.contact().unwrap().unwrap().param("expires"), Some("0"));
    plane.wait_for_metric("ringpath_control_config_reloads_total", "taken", 1.0);
    plane.wait_for_readiness(200);
    caller
        .call(plane.address("sip udp"), "1000", &new, "new")
        .hang_up(&new);
    let kept_on = plane.metric(
        "ringpath_control_trunk_events_total",
        "trunk=\"kept\",event=\"registration\"",
    );
    assert_eq!(kept_on, 1.0, "it was not registered anew");
    plane.ask_to_stop();
    register(&kept, &[]);
    node.plane.stop();
}

/// A registrar that we did not write.
struct Kamailio {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Kamailio {
    /// Starts one, or says why it cannot be: then the test is skipped, or fails under `STRICT=1`.
    fn start(test: &str, algorithm: &str) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Debian has it where only root looks.
        let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        let Some(binary) = folders
            .map(|folder| folder.join("kamailio"))
            .find(|file| file.exists())
        else {
            let reason = format!("SKIP {test}: kamailio is not installed; run `make bench-bootstrap`");
            assert!(
                std::env::var_os("STRICT").is_none_or(|strict| strict != "1"),
                "{reason}"
            );
            eprintln!("{reason}");
            return None;
        };
        let folder = TempDir::new().unwrap();
        let config = folder.path().join("kamailio.cfg");
        let text = include_str!("kamailio.cfg").replace("ALGORITHM", algorithm);
        std::fs::write(&config, text).unwrap();
        // Free now, and nobody else of this test wants it.
        let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new(binary)
            .args(["-DD", "-E", "-m", "32", "-M", "4"])
            .arg("-f")
            .arg(&config)
            .arg("-l")
            .arg(format!("udp:{address}"))
            .arg("-Y")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Some(Self {
            process,
            address,
            _folder: folder,
        })
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // SIGTERM, so that its children end with it; it may have ended already.
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

/// Registered with what Debian ships, called through it, and taken back at the end.
#[test]
fn kamailio_knows_where_we_are_and_sends_us_calls() {
    let test = "kamailio_knows_where_we_are_and_sends_us_calls";
    let Some(node) = Node::start(test) else { return };
    for algorithm in ["MD5", "SHA-256"] {
        let Some(kamailio) = Kamailio::start(test, algorithm) else {
            return;
        };
        let (caller, callee) = (Phone::new("caller"), Phone::new("callee"));
        let trunk = format!(
            "[[trunk]]\nname = \"kamailio\"\nnext_hop = \"sip:{}\"\n{ACCOUNT}\n\
             register = {{ user = \"4930\", retry_base_s = 1 }}\noptions = {{ {QUICK} }}\n",
            kamailio.address
        );
        let route = format!("next_hop = \"sip:{}\"", callee.address());
        let (_control, plane) = start(&node.address(), &[trunk], &[&route]);
        plane.wait_for_metric("ringpath_control_trunk_registered", "kamailio", 1.0);
        plane.wait_for_metric("ringpath_control_trunk_events_total", "probe_answered", 1.0);
        plane.wait_for_readiness(200);
        // The caller asks Kamailio for our number; Kamailio asks us, and we the callee.
        caller.send(caller.invite("4930", "through").bytes(), kamailio.address);
        let (invite, from) = callee.take("INVITE");
        assert!(invite.request_uri().unwrap().starts_with("sip:4930@"));
        callee.answer(&invite, 486, from);
        assert_eq!(caller.final_of("INVITE").status(), Some(486));
        plane.stop();
        caller.send(caller.invite("4930", "gone").bytes(), kamailio.address);
        assert_eq!(caller.final_of("INVITE").status(), Some(404), "{algorithm}");
    }
    node.plane.stop();
}
