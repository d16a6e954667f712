//! Calls over TLS, with OpenSSL as the caller's transport.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use sip::message::framing::{StreamFramer, StreamItem};
use sip::message::{Limits, RequestBuilder};
use sip::{HeaderName, Message};
use tempfile::TempDir;

use crate::phone::Phone;
use crate::plane::{Control, Node, Plane};

/// A party behind `openssl s_client`.
struct Secured {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    framer: StreamFramer,
}

impl Secured {
    fn connect(to: SocketAddr, ca: &Path, name: &str) -> Self {
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error", "-connect"])
            .arg(to.to_string())
            .arg("-CAfile")
            .arg(ca)
            .args(["-verify_hostname", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take().unwrap(),
            stdout: child.stdout.take().unwrap(),
            child,
            framer: StreamFramer::new(Limits::default()),
        }
    }

    fn send(&mut self, message: &Message) {
        self.stdin.write_all(message.bytes()).unwrap();
    }

    /// The next message; `None` when the connection is over.
    fn receive(&mut self) -> Option<Message> {
        loop {
            if let Ok(Some(StreamItem::Message(message))) = self.framer.next() {
                return Some(message);
            }
            let mut chunk = [0; 4_096];
            let length = self.stdout.read(&mut chunk).unwrap();
            if length == 0 {
                return None;
            }
            self.framer.push(&chunk[..length]);
        }
    }

    fn final_of(&mut self, method: &str) -> Message {
        loop {
            let message = self.receive().expect("the connection is over");
            let is_it = message.cseq().is_ok_and(|cseq| cseq.method.as_str() == method);
            if is_it && message.status().is_some_and(|status| status >= 200) {
                return message;
            }
        }
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(method: &str, uri: &str, to: &str, cseq: u32) -> RequestBuilder {
    RequestBuilder::new(method, uri)
        .via(format_args!(
            "SIP/2.0/TLS caller.invalid;branch=z9hG4bK{method}{cseq}"
        ))
        .header(HeaderName::MaxForwards, 70)
        .header(HeaderName::From, "<sip:caller@example.com>;tag=tls")
        .header(HeaderName::To, to)
        .header(HeaderName::CallId, "tls")
        .header(HeaderName::CSeq, format_args!("{cseq} {method}"))
        .header(HeaderName::Contact, "<sip:caller@caller.invalid;transport=tls>")
}

/// Writes `ours.pem` and `ours.key` for that name, signed by an authority whose certificate is `ca.pem`.
fn certify(folder: &Path, authority: &str, name: &str) {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, authority);
    let certificate = params.self_signed(&authority_key).unwrap();
    fs::write(folder.join(format!("{authority}.pem")), certificate.pem()).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    fs::write(folder.join("ours.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("ours.key"), key.serialize_pem()).unwrap();
}

/// A control plane with a TLS listener beside the others, whose callee is `next_hop`.
fn control(node: &str, next_hop: SocketAddr, folder: &Path) -> Control {
    let mut control = Control::new(node, next_hop);
    control.listen += ", { at = \"tls:127.0.0.1:0\", advertised = \"plane.example\" }";
    control.sip = format!(
        "[sip.tls]\ncertificate = \"{0}/ours.pem\"\nkey = \"{0}/ours.key\"\nwatch_interval_ms = 3600000\n",
        folder.display()
    );
    control
}

#[test]
fn a_certificate_is_exchanged_at_sighup_while_a_call_over_tls_goes_on() {
    let test = "a_certificate_is_exchanged_at_sighup_while_a_call_over_tls_goes_on";
    let Some(node) = Node::start(test) else { return };
    if !Path::new("/usr/bin/openssl").exists() {
        let reason = format!("SKIP {test}: there is no openssl");
        assert!(
            std::env::var_os("STRICT").is_none_or(|strict| strict != "1"),
            "{reason}"
        );
        eprintln!("{reason}");
        return;
    }
    let folder = TempDir::new().unwrap();
    certify(folder.path(), "old", "plane.example");
    let callee = Phone::new("callee");
    let control = control(&node.address(), callee.address(), folder.path());
    let plane = control.start();
    plane.wait_for_readiness(200);
    let address = plane.address("sip tls");
    let (old, new) = (folder.path().join("old.pem"), folder.path().join("new.pem"));

    let mut caller = Secured::connect(address, &old, "plane.example");
    let to = "<sip:1000@plane.example>";
    let invite = caller_invite(&callee, to);
    caller.send(&invite);
    let (offered, from) = callee.take("INVITE");
    callee.answer(&offered, 200, from);
    let answer = caller.final_of("INVITE");
    assert_eq!(answer.status(), Some(200));
    let contact = format!("<sip:plane.example:{};transport=tls>", address.port());
    assert_eq!(answer.header(HeaderName::Contact), Some(&*contact));
    let target = answer.contact().unwrap().unwrap().uri.to_owned();
    let to = answer.header(HeaderName::To).unwrap().to_owned();
    caller.send(&request("ACK", &target, &to, 1).build().unwrap());
    callee.take("ACK");

    certify(folder.path(), "new", "plane.example");
    plane.hang_up();
    plane.wait_for_metric("ringpath_control_sip_tls_reloads_total", "taken", 1.0);
    // Who comes now gets the new one.
    let mut late = Secured::connect(address, &new, "plane.example");
    let ping = request("OPTIONS", "sip:ping@plane.example", "<sip:ping@plane.example>", 1);
    late.send(&ping.build().unwrap());
    assert_eq!(late.final_of("OPTIONS").status(), Some(200));
    let mut stale = Secured::connect(address, &old, "plane.example");
    assert!(stale.receive().is_none(), "the old certificate was shown");
    // The call goes on where it was, both ways.
    callee_hangs_up(&callee, &offered, &plane);
    let bye = caller.receive().unwrap();
    assert_eq!(
        bye.method().map(|method| method.as_str().to_owned()),
        Some("BYE".into())
    );
    let via = bye.header(HeaderName::Via).unwrap();
    assert!(
        via.starts_with(&format!("SIP/2.0/TLS plane.example:{};", address.port())),
        "{via}"
    );
    caller.send(
        &sip::message::ResponseBuilder::for_request(&bye, 200, "OK")
            .build()
            .unwrap(),
    );
    assert_eq!(callee.final_of("BYE").status(), Some(200));
    plane.stop();
    node.plane.stop();
}

fn caller_invite(like: &Phone, to: &str) -> Message {
    let offer = like.invite("1000", "x");
    request("INVITE", "sip:1000@plane.example", to, 1)
        .body("application/sdp", offer.body())
        .build()
        .unwrap()
}

/// A BYE of the callee within the dialog that `offered` and the answer of [`Phone::answer`] made.
fn callee_hangs_up(callee: &Phone, offered: &Message, plane: &Plane) {
    let header = |name| offered.header(name).unwrap().to_owned();
    let target = offered.contact().unwrap().unwrap().uri.to_owned();
    let bye = RequestBuilder::new("BYE", &target)
        .via(format_args!("SIP/2.0/UDP {};branch=z9hG4bKbye", callee.address()))
        .header(HeaderName::MaxForwards, 70)
        .header(
            HeaderName::From,
            format_args!("{};tag={}", header(HeaderName::To), callee.name),
        )
        .header(HeaderName::To, header(HeaderName::From))
        .header(HeaderName::CallId, header(HeaderName::CallId))
        .header(HeaderName::CSeq, "1 BYE")
        .build()
        .unwrap();
    callee.send(bye.bytes(), plane.address("sip udp"));
}

/// The budget of a connection (docs/operations/control-plane.md has what was measured).
#[tokio::test]
async fn a_connection_over_tls_costs_less_than_24_kib() {
    const WARM: u32 = 50;
    const COUNTED: u32 = 300;
    let folder = TempDir::new().unwrap();
    certify(folder.path(), "ca", "plane.example");
    let mut control = control(
        "http://127.0.0.1:9",
        "127.0.0.1:9".parse().unwrap(),
        folder.path(),
    );
    control.sip += "[sip.tcp]\nconnections_per_source_max = 1000\n";
    let plane = control.run();
    let remote = plane.address("sip tls");
    // One connection for each name that has to be proven, so one name many times.
    let tls = sip_transport::Tls {
        files: sip_transport::TlsFiles {
            certificate: folder.path().join("ours.pem"),
            key: folder.path().join("ours.key"),
            ca: Some(folder.path().join("ca.pem")),
            client_auth: sip_transport::ClientAuth::Off,
        },
        peers: vec!["plane.example".into(); (WARM + COUNTED) as usize],
        handshake_timeout: crate::plane::LIMIT,
        handshakes_max: 1,
        handshakes_per_source_max: 1,
        watch_interval: crate::plane::LIMIT,
    };
    let clients = sip_transport::Transport::bind(sip_transport::Config {
        listen: vec![sip_transport::Listen {
            transport: sip::Transport::Tls,
            address: "127.0.0.1:0".parse().unwrap(),
        }],
        tls: Some(tls),
        ..sip_transport::Config::default()
    })
    .unwrap();
    let mut memory_kib = [0; 2];
    for (numbers, memory_kib) in [0..WARM, WARM..WARM + COUNTED].into_iter().zip(&mut memory_kib) {
        for number in numbers {
            let ping = request(
                "OPTIONS",
                "sip:ping@plane.example",
                "<sip:ping@plane.example>",
                number,
            )
            .build()
            .unwrap();
            clients.send(sip::Transmit {
                destination: sip::Destination {
                    transport: sip::Transport::Tls,
                    remote,
                    flow: Some(sip::FlowId::of_peer(0, number)),
                },
                bytes: ping.bytes().clone(),
            });
            // The answer: the connection stands and is idle again.
            let answer = tokio::time::timeout(crate::plane::LIMIT, clients.receive()).await;
            assert!(
                matches!(answer, Ok(sip_transport::Inbound::Message { .. })),
                "{answer:?}"
            );
        }
        *memory_kib = plane.memory_kib();
    }
    assert_eq!(
        plane.metric("ringpath_control_sip_connections", ""),
        f64::from(WARM + COUNTED)
    );
    let each = (memory_kib[1] - memory_kib[0]) as f64 / f64::from(COUNTED);
    eprintln!("{each:.1} KiB a connection, its transaction that lingers included");
    assert!(each < 24.0, "{each:.1} KiB");
    plane.stop();
}
