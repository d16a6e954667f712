//! Operators over gRPC.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use proto::admin_v1::control_plane_client::ControlPlaneClient;
use proto::admin_v1::{
    Call, CallState, DescribeRequest, DrainRequest, GetActiveCallsRequest, GetActiveCallsResponse,
    GetTrunksRequest, HangupCallRequest, ReleasedBy,
};
use sip::HeaderName;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Streaming};

use crate::phone::Phone;
use crate::plane::{Control, LIMIT, Node, Plane, control_binary};

pub const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n";

/// An operator who waits for one thing at a time.
pub struct Operator {
    pub runtime: tokio::runtime::Runtime,
    pub client: ControlPlaneClient<Channel>,
}

impl Operator {
    pub fn of(plane: &Plane) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let address = format!("http://{}", plane.address("admin grpc"));
        let client = runtime.block_on(ControlPlaneClient::connect(address)).unwrap();
        Self { runtime, client }
    }

    pub fn calls(&mut self, watch: bool, call_id: &str) -> Streaming<GetActiveCallsResponse> {
        let request = GetActiveCallsRequest {
            watch,
            call_id: call_id.into(),
        };
        let answer = self.runtime.block_on(self.client.get_active_calls(request));
        answer.unwrap().into_inner()
    }

    pub fn next(&self, calls: &mut Streaming<GetActiveCallsResponse>) -> Option<GetActiveCallsResponse> {
        let message = async { tokio::time::timeout(LIMIT, calls.message()).await };
        self.runtime.block_on(message).expect("in time").unwrap()
    }

    /// The calls that there are.
    pub fn list(&mut self) -> Vec<Call> {
        let mut stream = self.calls(false, "");
        let mut calls: Vec<Call> = Vec::new();
        let mut complete = false;
        while let Some(message) = self.next(&mut stream) {
            if message.restart {
                calls.clear();
            }
            calls.extend(message.calls);
            complete = message.complete;
        }
        assert!(complete);
        calls
    }

    /// Reads until a call is in that state, or gone.
    pub fn until(&self, stream: &mut Streaming<GetActiveCallsResponse>, state: Option<CallState>) -> Call {
        loop {
            let message = self.next(stream).expect("the stream goes on");
            let found = match state {
                Some(state) => message.calls.into_iter().find(|call| call.state() == state),
                None => message.gone.into_iter().next(),
            };
            if let Some(call) = found {
                return call;
            }
        }
    }
}

fn ctl_binary() -> PathBuf {
    control_binary().with_file_name("ringpathctl")
}

/// Whether `ringpathctl` is built; says so if not.
pub fn ctl_is_here(test: &str) -> bool {
    let binary = ctl_binary();
    if binary.exists() {
        return true;
    }
    let reason = format!("SKIP {test}: {} is not built; run `make build`", binary.display());
    assert!(
        std::env::var_os("STRICT").is_none_or(|strict| strict != "1"),
        "{reason}"
    );
    eprintln!("{reason}");
    false
}

/// What `ringpathctl` ends with, and what it writes to each output.
pub fn ctl(server: &str, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(ctl_binary())
        .args(["--server", server])
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn an_operator_lists_watches_and_hangs_up_calls() {
    let Some(node) = Node::start("an_operator_lists_watches_and_hangs_up_calls") else {
        return;
    };
    let (caller, callee) = (Phone::new("caller"), Phone::new("callee"));
    let mut control = Control::new(&node.address(), callee.address());
    control.extra = ADMIN.into();
    let plane = control.start();
    plane.wait_for_readiness(200);
    let mut operator = Operator::of(&plane);
    assert!(operator.list().is_empty());

    let mut watched = operator.calls(true, "");
    assert!(operator.next(&mut watched).unwrap().restart);
    let _call = caller.call(plane.address("sip udp"), "1000", &callee, "watched");
    let call = operator.until(&mut watched, Some(CallState::Answered));
    let (from, to) = (call.caller.clone().unwrap(), call.callee.clone().unwrap());
    assert_eq!((&*from.user, &*to.user), ("caller", "1000"));
    assert_eq!(from.address, caller.address().to_string());
    assert_eq!(to.address, callee.address().to_string());
    assert_eq!((&*call.codec, &*call.media_node), ("PCMU/8000", "media-1"));
    assert!(call.answered_unix_ms >= call.ringing_unix_ms && call.ringing_unix_ms >= call.started_unix_ms);
    assert_eq!(operator.list(), std::slice::from_ref(&call));
    let mut one = operator.calls(false, &call.call_id);
    assert_eq!(
        operator.next(&mut one).unwrap().calls,
        std::slice::from_ref(&call)
    );

    let request = HangupCallRequest {
        call_id: call.call_id.clone(),
        q850: 31,
        text: "Maintenance".into(),
    };
    let ended = operator
        .runtime
        .block_on(operator.client.hangup_call(request.clone()));
    let ended = ended.unwrap().into_inner().call.unwrap();
    assert_eq!(ended.state(), CallState::Ending);
    for phone in [&caller, &callee] {
        let (bye, from) = phone.take("BYE");
        let reason = bye.header(HeaderName::Reason).unwrap();
        assert_eq!(reason, "Q.850;cause=31;text=\"Maintenance\"");
        phone.answer(&bye, 200, from);
    }
    let gone = operator.until(&mut watched, None);
    let end = gone.end.clone().unwrap();
    assert_eq!(
        (gone.call_id, end.released_by(), end.q850),
        (call.call_id, ReleasedBy::System, 31)
    );
    let again = operator.runtime.block_on(operator.client.hangup_call(request));
    assert_eq!(again.unwrap_err().code(), Code::NotFound);
    assert!(operator.list().is_empty());
    assert!(plane.metric("ringpath_control_admin_requests_total", "hangup_call") >= 2.0);
    plane.stop();
    let rows = crate::records::rows(&control.database());
    assert_eq!(rows[0].released_by.as_deref(), Some("system"));
    // The watch has ended with the process.
    while let Ok(Some(_)) = operator.runtime.block_on(watched.message()) {}
    node.plane.stop();
}

#[test]
fn a_drain_refuses_new_calls_tells_what_is_left_and_can_be_taken_back() {
    let Some(node) = Node::start("a_drain_refuses_new_calls_tells_what_is_left_and_can_be_taken_back") else {
        return;
    };
    let (caller, callee, late) = (Phone::new("caller"), Phone::new("callee"), Phone::new("late"));
    let mut control = Control::new(&node.address(), callee.address());
    control.extra = ADMIN.into();
    let plane = control.run();
    plane.wait_for_readiness(200);
    let mut operator = Operator::of(&plane);
    let call = caller.call(plane.address("sip udp"), "1000", &callee, "left");

    let drain = DrainRequest {
        drain: true,
        follow: true,
    };
    let progress = operator.runtime.block_on(operator.client.drain(drain));
    let mut progress = progress.unwrap().into_inner();
    let first = operator.runtime.block_on(progress.message()).unwrap().unwrap();
    assert_eq!(
        (first.calls_left, &*first.refusing),
        (1, "drained by an operator")
    );
    late.send(late.invite("1000", "late").bytes(), plane.address("sip udp"));
    let refused = late.final_of("INVITE");
    assert_eq!(
        (refused.status(), refused.header(HeaderName::RetryAfter)),
        (Some(503), Some("5"))
    );
    assert_eq!(plane.get("/readyz").0, 503);
    call.hang_up(&callee);
    let mut left = 1;
    while let Some(message) = operator.runtime.block_on(progress.message()).unwrap() {
        left = message.calls_left;
    }
    assert_eq!(left, 0, "the stream ends with the last call");

    let resume = operator
        .runtime
        .block_on(operator.client.drain(DrainRequest::default()));
    let mut told = resume.unwrap().into_inner();
    assert_eq!(
        operator
            .runtime
            .block_on(told.message())
            .unwrap()
            .unwrap()
            .refusing,
        ""
    );
    plane.wait_for_readiness(200);
    caller
        .call(plane.address("sip udp"), "1000", &callee, "again")
        .hang_up(&callee);
    plane.stop();
    node.plane.stop();
}

#[test]
fn trunks_and_standing_are_told_and_bad_requests_are_refused_by_field() {
    let mut control = Control::alone();
    control.extra = format!("[[route]]\nprefix = \"+49\"\nnext_hop = \"sip:127.0.0.1:5099\"\n{ADMIN}");
    let plane = control.run();
    let mut operator = Operator::of(&plane);
    let standing = operator
        .runtime
        .block_on(operator.client.describe(DescribeRequest {}));
    let standing = standing.unwrap().into_inner();
    assert_eq!((standing.calls, standing.calls_max), (0, 5_000));
    assert_eq!(standing.media_nodes_up, 0);
    let trunks = operator
        .runtime
        .block_on(operator.client.get_trunks(GetTrunksRequest {}));
    let trunks = trunks.unwrap().into_inner();
    let told: Vec<_> = trunks
        .trunks
        .iter()
        .map(|trunk| (&*trunk.prefix, &*trunk.address))
        .collect();
    assert_eq!(told, [("", "127.0.0.1:9"), ("+49", "127.0.0.1:5099")]);
    assert_eq!((trunks.total, &*trunks.trunks[0].transport), (2, "udp"));

    let hang_up = |call_id: &str, q850, text: &str| HangupCallRequest {
        call_id: call_id.into(),
        q850,
        text: text.into(),
    };
    for (request, field) in [
        (hang_up("", 0, ""), "call_id"),
        (hang_up("a b", 0, ""), "call_id"),
        (hang_up("a", 128, ""), "q850"),
        (hang_up("a", 0, "x\r\nVia: y"), "text"),
        (hang_up("a", 0, &"x".repeat(65)), "text"),
    ] {
        let refused = operator.runtime.block_on(operator.client.hangup_call(request));
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(field), "{refused:?}");
    }
    let mut unknown = operator.calls(true, "nobody");
    let end = operator.runtime.block_on(async {
        loop {
            match unknown.message().await {
                Ok(Some(_)) => {}
                end => break end,
            }
        }
    });
    assert_eq!(end.unwrap_err().code(), Code::NotFound);
    plane.stop();
}

#[test]
fn no_more_watchers_than_allowed_and_a_place_is_free_when_one_goes() {
    let mut control = Control::alone();
    control.extra = format!("{ADMIN}watchers_max = 1\n");
    let plane = control.run();
    let mut operator = Operator::of(&plane);
    let watched = operator.calls(true, "");
    let request = GetActiveCallsRequest {
        watch: true,
        call_id: String::new(),
    };
    let refused = operator
        .runtime
        .block_on(operator.client.get_active_calls(request.clone()));
    assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
    drop(watched);
    operator.runtime.block_on(async {
        let again = async {
            while operator.client.get_active_calls(request.clone()).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, again).await.expect("a free place");
    });
    plane.stop();
}

#[test]
fn without_the_token_nothing_is_told() {
    let mut control = Control::alone();
    let file = control.folder.path().join("token");
    fs::write(&file, "a-token-of-some-length\n").unwrap();
    control.extra = format!("{ADMIN}token_file = \"{}\"\n", file.display());
    let plane = control.run();
    let mut operator = Operator::of(&plane);
    let describe = |token: Option<&str>| {
        let mut request = Request::new(DescribeRequest {});
        if let Some(token) = token {
            let value = AsciiMetadataValue::try_from(format!("Bearer {token}")).unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        request.set_timeout(Duration::from_secs(5));
        request
    };
    for wrong in [None, Some("another-token-that-is-wrong")] {
        let refused = operator
            .runtime
            .block_on(operator.client.describe(describe(wrong)));
        assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    }
    let right = describe(Some("a-token-of-some-length"));
    assert!(operator.runtime.block_on(operator.client.describe(right)).is_ok());
    assert_eq!(
        plane.metric("ringpath_control_admin_unauthenticated_total", ""),
        2.0
    );
    assert!(!plane.log().contains("a-token-of"), "a token is never logged");
    plane.stop();
}

#[test]
fn another_address_than_loopback_needs_more_than_trust() {
    let mut control = Control::alone();
    control.extra = "[admin]\nlisten = \"0.0.0.0:0\"\n".into();
    let file = control.folder.path().join("control.toml");
    fs::write(&file, control.text()).unwrap();
    let output = Command::new(control_binary())
        .arg("--config")
        .arg(&file)
        .arg("--check-config")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(
        problems.contains("admin.listen is no loopback address"),
        "{problems}"
    );
}

#[test]
fn ringpathctl_tells_what_there_is_and_its_exit_status_says_what_went_wrong() {
    let name = "ringpathctl_tells_what_there_is_and_its_exit_status_says_what_went_wrong";
    if !ctl_is_here(name) {
        return;
    }
    let mut control = Control::alone();
    control.extra = ADMIN.into();
    let plane = control.run();
    let server = format!("http://{}", plane.address("admin grpc"));
    let (status, told, _) = ctl(&server, &["calls"]);
    assert_eq!(
        (status, &*told),
        (0, "CALL  STATE  TIME  FROM  TO  NEXT HOP  CODEC  NODE\n")
    );
    let (status, told, _) = ctl(&server, &["trunks"]);
    assert!(status == 0 && told.contains("127.0.0.1:9"), "{told}");
    let (status, told, _) = ctl(&server, &["status", "--json"]);
    assert!(status == 0 && told.contains("\"calls_max\": 5000"), "{told}");
    let (status, told, _) = ctl(&server, &["drain"]);
    assert_eq!((status, &*told), (0, "draining: 0 calls left\n"));
    assert_eq!(ctl(&server, &["drain", "--cancel"]).0, 0);
    assert_eq!(ctl(&server, &["call", "nobody"]).0, 4);
    assert_eq!(ctl(&server, &["hangup", "nobody"]).0, 4);
    assert_eq!(ctl(&server, &["hangup", "nobody", "--cause", "200"]).0, 2);
    plane.stop();
    let (status, _, reason) = ctl(&server, &["calls"]);
    assert_eq!(status, 3);
    assert!(
        reason.starts_with(&format!("ringpathctl: no control plane answers at {server}")),
        "{reason}"
    );
}
