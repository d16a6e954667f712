//! TLS: against OpenSSL, and between two transports.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use sip::{FlowId, Transmit, Transport as Protocol};
use sip_transport::{ClientAuth, Config, Drop, Listen, Tls, TlsFiles, Transport};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::Message as Frame;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::{closed, dropped, failure, message, request, to, until_dropped, within};

/// A folder with an authority, `ca.pem`, that signs what it is asked to.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let certificate = params.self_signed(&key).unwrap();
        fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    /// Writes certificate and key of `name` over those that are there.
    fn sign(&self, file: &str, name: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.folder.path().join(file)
    }

    /// How a transport speaks with the certificate in `file`.
    fn tls(&self, file: &str, client_auth: ClientAuth) -> Tls {
        Tls {
            files: TlsFiles {
                certificate: self.path(&format!("{file}.pem")),
                key: self.path(&format!("{file}.key")),
                ca: Some(self.path("ca.pem")),
                client_auth,
            },
            peers: vec!["a.example".into(), "b.example".into(), "c.example".into()],
            handshake_timeout: Duration::from_secs(10),
            handshakes_max: 10,
            handshakes_per_source_max: 10,
            watch_interval: Duration::from_secs(3_600),
        }
    }

    fn transport(&self, name: &str, change: impl FnOnce(&mut Tls)) -> (Transport, SocketAddr) {
        self.transport_of(Protocol::Tls, name, change)
    }

    fn transport_of(
        &self,
        protocol: Protocol,
        name: &str,
        change: impl FnOnce(&mut Tls),
    ) -> (Transport, SocketAddr) {
        self.sign(name, &format!("{name}.example"));
        let mut tls = self.tls(name, ClientAuth::Accept);
        change(&mut tls);
        let transport = Transport::bind(Config {
            listen: vec![Listen {
                transport: protocol,
                address: "127.0.0.1:0".parse().unwrap(),
            }],
            tls: Some(tls),
            ..Config::default()
        })
        .unwrap();
        let address = transport.bound()[0].local;
        (transport, address)
    }

    /// A browser on secure WebSocket that trusts this authority alone, and wants a server of that name.
    async fn browser(&self, address: SocketAddr, name: &'static str) -> io::Result<Browser> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap())
            .unwrap();
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await?;
        let name_of_server = ServerName::try_from(name).unwrap();
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name_of_server, stream)
            .await?;
        let mut request = format!("wss://{name}/").into_client_request().unwrap();
        let sip = HeaderValue::from_static("sip");
        request.headers_mut().insert("sec-websocket-protocol", sip);
        let (browser, _) = client_async(request, stream).await.map_err(io::Error::other)?;
        Ok(browser)
    }
}

type Browser = WebSocketStream<TlsStream<TcpStream>>;

const A: u32 = 0;
const B: u32 = 1;
const C: u32 = 2;

fn send(transport: &Transport, remote: SocketAddr, peer: u32, text: String) {
    transport.send(Transmit {
        destination: to(Protocol::Tls, remote, Some(FlowId::of_peer(0, peer))),
        bytes: Bytes::from(text),
    });
}

fn options() -> String {
    request("OPTIONS", "<sip:b@h>", "TLS b.example;alias")
}

/// OpenSSL, which speaks for whoever writes to it.
fn openssl(arguments: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

/// What OpenSSL as a client gets for a request that is answered without state; empty when there is no connection.
async fn answer_to_openssl(address: SocketAddr, arguments: &[&str]) -> String {
    let address = address.to_string();
    let (mut child, mut stdout) =
        openssl(&[&["s_client", "-quiet", "-connect", &address], arguments].concat());
    let broken = request("INVITE", "<sip:b@h>", "TLS a").replace("CSeq: 1", "CSeq: x");
    // It may have ended already.
    let _ = child.stdin.as_mut().unwrap().write_all(broken.as_bytes()).await;
    let mut line = String::new();
    within("an answer or the end", stdout.read_line(&mut line))
        .await
        .unwrap();
    line.trim_end().to_owned()
}

/// Whether OpenSSL is there.
fn can_run(test: &str) -> bool {
    let is_there = Path::new("/usr/bin/openssl").exists();
    if !is_there {
        let reason = format!("SKIP {test}: there is no openssl");
        assert!(
            std::env::var_os("STRICT").is_none_or(|strict| strict != "1"),
            "{reason}"
        );
        eprintln!("{reason}");
    }
    is_there
}

#[tokio::test]
async fn openssl_is_served_in_tls_1_2_and_1_3() {
    if !can_run("openssl_is_served_in_tls_1_2_and_1_3") {
        return;
    }
    let authority = Authority::new();
    let (transport, address) = authority.transport("a", |_| {});
    let ca = authority.path("ca.pem").display().to_string();
    let verified = [
        "-CAfile",
        &ca,
        "-verify_return_error",
        "-verify_hostname",
        "a.example",
    ];
    for version in ["-tls1_2", "-tls1_3"] {
        let answer = answer_to_openssl(address, &[&verified[..], &[version]].concat()).await;
        assert!(answer.starts_with("SIP/2.0 400 "), "{version}: {answer:?}");
    }
    let old = ["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"];
    assert_eq!(answer_to_openssl(address, &old).await, "");
    assert_eq!(transport.view().counters().handshakes, [2, 0]);
    assert_eq!(dropped(&transport, Drop::HandshakeError), 1);
}

#[tokio::test]
async fn a_request_reaches_openssl_that_has_the_right_name() {
    if !can_run("a_request_reaches_openssl_that_has_the_right_name") {
        return;
    }
    let authority = Authority::new();
    let (transport, _) = authority.transport("a", |_| {});
    authority.sign("b", "b.example");
    let (certificate, key) = (authority.path("b.pem"), authority.path("b.key"));
    let (_server, mut stdout) = openssl(&[
        "s_server",
        "-accept",
        "127.0.0.1:0",
        "-cert",
        certificate.to_str().unwrap(),
        "-key",
        key.to_str().unwrap(),
    ]);
    let mut line = String::new();
    while !line.starts_with("ACCEPT ") {
        line.clear();
        assert!(within("ACCEPT", stdout.read_line(&mut line)).await.unwrap() > 0);
    }
    let address: SocketAddr = line["ACCEPT ".len()..].trim().parse().unwrap();
    send(&transport, address, B, options());
    while !line.starts_with("OPTIONS sip:") {
        line.clear();
        assert!(within("the request", stdout.read_line(&mut line)).await.unwrap() > 0);
    }
    assert_eq!(transport.view().counters().handshakes, [0, 1]);
}

/// RFC 5922 §7.3.
#[tokio::test]
async fn a_server_with_another_name_is_refused_and_a_connection_is_kept_for_its_name() {
    let authority = Authority::new();
    let (a, _) = authority.transport("a", |_| {});
    let (b, at_b) = authority.transport("b", |_| {});
    send(&a, at_b, C, options());
    let failed = failure(&a).await;
    assert_eq!((failed.remote, failed.flow), (at_b, Some(FlowId::of_peer(0, C))));
    assert_eq!(dropped(&a, Drop::HandshakeError), 1);
    for _ in 0..2 {
        send(&a, at_b, B, options());
        message(&b).await;
    }
    // The connection that stands is not for who has another name at the same address.
    send(&a, at_b, C, options());
    failure(&a).await;
    // Nor for somebody of whom only the address is known.
    a.send(Transmit {
        destination: to(Protocol::Tls, at_b, None),
        bytes: options().into(),
    });
    failure(&a).await;
    assert_eq!(a.view().counters().handshakes, [0, 1]);
    assert!(b.try_receive().is_none());
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (a, _) = ours.transport("a", |_| {});
    let (_b, at_b) = theirs.transport("b", |_| {});
    send(&a, at_b, B, options());
    assert_eq!(failure(&a).await.remote, at_b);
}

#[tokio::test]
async fn clients_show_a_certificate_as_configured() {
    if !can_run("clients_show_a_certificate_as_configured") {
        return;
    }
    let (ours, theirs) = (Authority::new(), Authority::new());
    ours.sign("client", "client.example");
    theirs.sign("client", "client.example");
    let of = |authority: &Authority| {
        ["client.pem", "client.key"].map(|file| authority.path(file).display().to_string())
    };
    let (good, wrong) = (of(&ours), of(&theirs));
    let shown = |files: &[String; 2]| ["-cert".into(), files[0].clone(), "-key".into(), files[1].clone()];
    let cases = [
        (ClientAuth::Off, true, true, true),
        (ClientAuth::Accept, true, true, false),
        (ClientAuth::Require, true, false, false),
    ];
    for (client_auth, with_good, with_none, with_wrong) in cases {
        let (_transport, address) = ours.transport("a", |tls| tls.files.client_auth = client_auth);
        for (files, expected) in [
            (Some(&good), with_good),
            (None, with_none),
            (Some(&wrong), with_wrong),
        ] {
            let arguments = files.map(shown).unwrap_or_default();
            let arguments: Vec<&str> = arguments
                .iter()
                .map(String::as_str)
                .filter(|argument| !argument.is_empty())
                .collect();
            let answer = answer_to_openssl(address, &arguments).await;
            assert_eq!(
                answer.starts_with("SIP/2.0 400"),
                expected,
                "{client_auth:?} {files:?} {answer:?}"
            );
        }
    }
}

/// RFC 5923 §5: the client offers its connection for requests to where it serves.
#[tokio::test]
async fn a_connection_that_a_client_offers_is_used_for_requests_to_it() {
    let authority = Authority::new();
    let (a, at_a) = authority.transport("a", |_| {});
    let (b, at_b) = authority.transport("b", |_| {});
    let offer = |params: &str| {
        let via = format!("TLS 127.0.0.1:{}{params}", at_b.port());
        request("OPTIONS", "<sip:b@h>", &via)
    };
    // Without the parameter nothing is offered: the way back is another connection.
    send(&b, at_a, A, offer(""));
    message(&a).await;
    send(&a, at_b, B, options());
    message(&b).await;
    assert_eq!(b.view().counters().handshakes, [1, 1]);
    // A second client with the same certificate, from another address, is not taken for one that serves at `at_b`.
    let (second, _) = authority.transport("b", |_| {});
    let port_of_nobody = 9;
    let via = format!("TLS 127.0.0.1:{port_of_nobody};alias");
    send(&second, at_a, A, request("OPTIONS", "<sip:b@h>", &via));
    message(&a).await;
    // Nobody listens there: only the offered connection gets it through.
    let offered = SocketAddr::from(([127, 0, 0, 1], port_of_nobody));
    for _ in 0..2 {
        send(&a, offered, B, options());
        message(&second).await;
    }
    assert_eq!(second.view().counters().handshakes, [0, 1]);
    // Who has not proven the name does not get it.
    send(&a, offered, C, options());
    assert_eq!(failure(&a).await.remote, offered);
}

#[tokio::test]
async fn new_files_are_taken_and_connections_stand() {
    let authority = Authority::new();
    let (a, at_a) = authority.transport("a", |tls| tls.watch_interval = Duration::from_millis(20));
    let (b, _) = authority.transport("b", |_| {});
    send(&b, at_a, A, options());
    message(&a).await;
    let reloads = |index: usize, count: u64| {
        let a = &a;
        async move {
            while a.view().counters().reloads[index] < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    // A key that is not the certificate's is not taken.
    let refused = async {
        // A file that is written twice within a tick of the file system's clock looks as if it had been written once.
        while a.view().counters().reloads[1] < 1 {
            let key = KeyPair::generate().unwrap().serialize_pem();
            fs::write(authority.path("a.key"), key).unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the refusal", refused).await;
    let (c, _) = authority.transport("c", |_| {});
    send(&c, at_a, A, options());
    message(&a).await;
    // Another certificate is, with its key.
    authority.sign("a", "renamed.example");
    within("the new files", reloads(0, 1)).await;
    a.reload_tls();
    within("the files once more", reloads(0, 2)).await;
    send(&b, at_a, A, options());
    message(&a).await;
    assert_eq!(
        b.view().counters().handshakes,
        [0, 1],
        "the connection was dropped"
    );
    let (d, _) = authority.transport("d", |_| {});
    send(&d, at_a, A, options());
    failure(&d).await;
}

#[tokio::test]
async fn new_files_are_taken_and_browsers_stay_until_they_say_goodbye() {
    let authority = Authority::new();
    let (a, address) = authority.transport_of(Protocol::Wss, "a", |_| {});
    let mut browser = authority.browser(address, "a.example").await.unwrap();
    authority.sign("a", "renamed.example");
    a.reload_tls();
    let reloaded = async {
        while a.view().counters().reloads[0] < 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("the new files", reloaded).await;
    browser
        .send(Frame::Text(
            request("OPTIONS", "<sip:b@h>", "WSS df7jal23ls0d.invalid").into(),
        ))
        .await
        .unwrap();
    let (source, _) = message(&a).await;
    a.send(Transmit {
        destination: source.into(),
        bytes: Bytes::from(request("OPTIONS", "<sip:b@h>", "WSS us")),
    });
    let frame = within("a request", browser.next()).await.unwrap().unwrap();
    assert!(frame.to_text().unwrap().starts_with("OPTIONS "), "{frame}");
    // Others see the new certificate.
    assert!(authority.browser(address, "a.example").await.is_err());
    authority.browser(address, "renamed.example").await.unwrap();
    // A goodbye has its answer, and TLS its own (RFC 8446 §6.1): without it the end of the stream would be an error.
    browser.close(None).await.unwrap();
    let answer = within("the answer", browser.next()).await.unwrap().unwrap();
    assert!(answer.is_close(), "{answer}");
    let end = within("the end", browser.get_mut().read(&mut [0; 1])).await;
    assert_eq!(end.unwrap(), 0);
}

/// One source cannot keep the others from their handshakes.
#[tokio::test]
async fn handshakes_are_bounded_for_each_source() {
    let authority = Authority::new();
    let (transport, address) = authority.transport("a", |tls| tls.handshakes_per_source_max = 2);
    let mut kept = [
        TcpStream::connect(address).await.unwrap(),
        TcpStream::connect(address).await.unwrap(),
    ];
    let mut third = TcpStream::connect(address).await.unwrap();
    closed(&mut third).await;
    assert_eq!(dropped(&transport, Drop::HandshakesPerSource), 1);
    // One that fails makes room for another.
    kept[0].write_all(options().as_bytes()).await.unwrap();
    until_dropped(&transport, Drop::HandshakeError).await;
    let _another = TcpStream::connect(address).await.unwrap();
    let mut fifth = TcpStream::connect(address).await.unwrap();
    closed(&mut fifth).await;
    assert_eq!(dropped(&transport, Drop::HandshakesPerSource), 2);
}

#[tokio::test]
async fn handshakes_are_bounded_in_time_and_number() {
    let authority = Authority::new();
    let (transport, address) = authority.transport("a", |tls| {
        tls.handshakes_max = 1;
        tls.handshake_timeout = Duration::from_millis(200);
    });
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    closed(&mut second).await;
    assert_eq!(dropped(&transport, Drop::HandshakesMax), 1);
    until_dropped(&transport, Drop::HandshakeTimeout).await;
    closed(&mut silent).await;
    let mut noisy = TcpStream::connect(address).await.unwrap();
    noisy.write_all(options().as_bytes()).await.unwrap();
    until_dropped(&transport, Drop::HandshakeError).await;
    let mut rest = Vec::new();
    let _ = noisy.read_to_end(&mut rest).await;
    let connections = async {
        while transport.view().connections() > 0 {
            tokio::task::yield_now().await;
        }
    };
    within("all connections are forgotten", connections).await;
}
