//! The ways in which the planes reach each other.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::phone::Phone;
use crate::plane::{Control, Node};

/// A call over a control plane that has this as its `[[media_node]]`.
fn a_call_succeeds(node: &Node, lines: &str) {
    let (caller, callee) = (Phone::new("caller"), Phone::new("callee"));
    let mut control = Control::new("", callee.address());
    control.node = lines.into();
    let plane = control.run();
    plane.wait_for_readiness(200);
    caller
        .call(plane.address("sip udp"), "1000", &callee, "linked")
        .hang_up(&callee);
    plane.stop();
    assert_eq!(node.plane.get("/healthz").0, 200);
}

#[test]
fn a_unix_socket_joins_the_planes() {
    let folder = TempDir::new().unwrap();
    let address = format!("unix:{}", folder.path().join("media.sock").display());
    let Some(node) = Node::start_with(
        "a_unix_socket_joins_the_planes",
        &format!("listen = \"{address}\""),
    ) else {
        return;
    };
    a_call_succeeds(&node, &format!("address = \"{address}\""));
    node.plane.stop();
}

/// Writes an authority's certificate, and certificates and keys of a node and a control plane that it signed.
fn certificates(folder: &Path) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(
        folder.join("ca.pem"),
        authority.self_signed(&authority_key).unwrap().pem(),
    )
    .unwrap();
    let issuer = Issuer::new(authority, authority_key);
    for name in ["node", "control"] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["media.example".to_owned()])
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[test]
fn mutual_tls_joins_the_planes_and_keeps_others_out() {
    let folder = TempDir::new().unwrap();
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let grpc = format!(
        "listen = \"127.0.0.1:0\"\ntls = {{ certificate = \"{}\", key = \"{}\", client_ca = \"{}\" }}",
        file("node.pem"),
        file("node.key"),
        file("ca.pem")
    );
    let Some(node) = Node::start_with("mutual_tls_joins_the_planes_and_keeps_others_out", &grpc) else {
        return;
    };
    let lines = |identity: &str| {
        format!(
            "address = \"https://{}\"\ntls = {{ ca = \"{}\", {identity}domain = \"media.example\" }}",
            node.plane.address("grpc tcp"),
            file("ca.pem")
        )
    };
    let identity = format!(
        "certificate = \"{}\", key = \"{}\", ",
        file("control.pem"),
        file("control.key")
    );
    a_call_succeeds(&node, &lines(&identity));

    let mut stranger = Control::alone();
    stranger.node = lines("");
    let stranger = stranger.run();
    stranger.wait_for_metric(
        "ringpath_control_media_attempts_total",
        "operation=\"describe\"",
        2.0,
    );
    assert_eq!(stranger.get("/readyz").0, 503);
    stranger.stop();
    node.plane.stop();
}
