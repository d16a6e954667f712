//! TLS, and who is let in with it. The transport does not depend on the back-end, so one of them is enough.

use std::path::{Path, PathBuf};

use proto::media_v1 as wire;
use proto::media_v1::media_node_client::MediaNodeClient;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use crate::node::{Backend, Node, Settings, Started};
use crate::process::PATIENCE;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    fn sign(&self, name: &str) -> Pair {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed").pem();
        Pair {
            certificate,
            key: key.serialize_pem(),
        }
    }
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).expect("written");
    path
}

fn settings(directory: &Path, node: &Pair, client_ca: Option<&str>) -> Settings {
    let certificate = write(directory, "node.pem", &node.certificate);
    let key = write(directory, "node.key", &node.key);
    let client_ca = client_ca
        .map(|pem| format!(", client_ca = \"{}\"", write(directory, "ca.pem", pem).display()))
        .unwrap_or_default();
    let grpc = format!(
        "tls = {{ certificate = \"{}\", key = \"{}\"{client_ca} }}",
        certificate.display(),
        key.display()
    );
    Settings {
        grpc,
        ..Settings::default()
    }
}

/// Describes the node over TLS; the error when that does not work.
async fn describe(node: &Started, ca: &str, client: Option<&Pair>) -> Result<String, String> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca))
        .domain_name("node.test");
    if let Some(pair) = client {
        tls = tls.identity(Identity::from_pem(&pair.certificate, &pair.key));
    }
    let (_, address) = node.grpc.split_once(' ').expect("protocol and address");
    let channel: Channel = Channel::from_shared(format!("https://{address}"))
        .map(|endpoint| endpoint.timeout(PATIENCE).connect_timeout(PATIENCE))
        .expect("a URI")
        .tls_config(tls)
        .map_err(|error| error.to_string())?
        .connect()
        .await
        .map_err(|error| error.to_string())?;
    let answer = MediaNodeClient::new(channel)
        .describe(wire::DescribeRequest {})
        .await;
    answer
        .map(|answer| answer.into_inner().node_id)
        .map_err(|status| status.to_string())
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_gets_in_and_another_does_not() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let directory = tempfile::tempdir().expect("a directory");
    let node = Node::start_process(
        Backend::Socket,
        &settings(directory.path(), &ours.sign("node.test"), None),
    );
    assert_eq!(describe(&node, &ours.pem, None).await.as_deref(), Ok("media-it"));
    describe(&node, &other.pem, None)
        .await
        .expect_err("the client does not trust the node");
    let plain = std::panic::AssertUnwindSafe(node.grpc.split_once(' ').expect("an address").1.to_owned());
    let channel = Channel::from_shared(format!("http://{}", *plain))
        .expect("a URI")
        .timeout(PATIENCE)
        .connect()
        .await;
    if let Ok(channel) = channel {
        MediaNodeClient::new(channel)
            .describe(wire::DescribeRequest {})
            .await
            .expect_err("no TLS, no answer");
    }
    assert_eq!(describe(&node, &ours.pem, None).await.as_deref(), Ok("media-it"));
}

#[tokio::test]
async fn with_mutual_tls_only_the_authoritys_clients_get_in() {
    let (nodes, clients, other) = (
        Authority::new("nodes"),
        Authority::new("clients"),
        Authority::new("other"),
    );
    let directory = tempfile::tempdir().expect("a directory");
    let settings = settings(directory.path(), &nodes.sign("node.test"), Some(&clients.pem));
    let node = Node::start_process(Backend::Socket, &settings);
    let good = clients.sign("control.test");
    assert_eq!(
        describe(&node, &nodes.pem, Some(&good)).await.as_deref(),
        Ok("media-it")
    );
    describe(&node, &nodes.pem, None)
        .await
        .expect_err("no certificate");
    describe(&node, &nodes.pem, Some(&other.sign("control.test")))
        .await
        .expect_err("another authority's");
    // An authority's name alone proves nothing.
    let forged = Authority::new("clients");
    describe(&node, &nodes.pem, Some(&forged.sign("control.test")))
        .await
        .expect_err("a forged authority's");
    assert_eq!(
        describe(&node, &nodes.pem, Some(&good)).await.as_deref(),
        Ok("media-it")
    );
}

#[tokio::test]
async fn a_tap_shows_its_certificate() {
    let (nodes, clients) = (Authority::new("nodes"), Authority::new("clients"));
    let directory = tempfile::tempdir().expect("a directory");
    let settings = settings(directory.path(), &nodes.sign("node.test"), Some(&clients.pem));
    let node = Node::start_process(Backend::Socket, &settings);
    let (_, address) = node.grpc.split_once(' ').expect("protocol and address");
    let good = clients.sign("operator.test");
    let file = |name: &str, text: &str| write(directory.path(), name, text).display().to_string();
    let (ca, certificate, key) = (
        file("nodes.pem", &nodes.pem),
        file("operator.pem", &good.certificate),
        file("operator.key", &good.key),
    );
    let output = directory.path().join("call.pcapng");
    let tap = |arguments: &[&str]| {
        let address = format!("https://{address}");
        let ended = std::process::Command::new(env!("CARGO_BIN_EXE_ringpath-dataplane"))
            .args([
                "tap",
                "--node",
                &address,
                "--call",
                "nobody",
                "--tls-name",
                "node.test",
                "-o",
            ])
            .arg(&output)
            .args(arguments)
            .output()
            .expect("it runs");
        assert_eq!(ended.status.code(), Some(1));
        String::from_utf8(ended.stderr).expect("text")
    };
    let said = tap(&[
        "--tls-ca",
        &ca,
        "--tls-certificate",
        &certificate,
        "--tls-key",
        &key,
    ]);
    assert!(
        said.contains("NotFound"),
        "let in, and there is no such call: {said}"
    );
    let said = tap(&["--tls-ca", &ca]);
    assert!(
        !said.contains("NotFound"),
        "not let in without a certificate: {said}"
    );
    let said = tap(&[]);
    assert!(said.contains("https needs --tls-ca"), "{said}");
    assert!(!output.exists());
}
