//! `ringpath-dataplane doctor` on interfaces and sysctls of a network namespace of its own.

use serde_json::Value;

use crate::namespace::{Namespace, text};
use crate::node::Settings;

const VETH: &str = "ip link add rp0 type veth peer name rp1; ip address add 198.51.100.1/24 dev rp0; \
                    ip link set rp0 up; ip link set rp1 up; ethtool -K rp1 gro off tx on >&2; \
                    sysctl -q -w 'net.ipv4.ip_local_port_range=1024 65535'";

const RESERVED: &str = "cat /proc/sys/net/ipv4/ip_local_reserved_ports";

struct Bed {
    namespace: Namespace,
    config: tempfile::NamedTempFile,
    directory: tempfile::TempDir,
}

impl Bed {
    fn new(test: &str) -> Option<Self> {
        let namespace = Namespace::with(test, VETH)?;
        let config = tempfile::NamedTempFile::new().expect("a file");
        let settings = Settings {
            address: "198.51.100.1".parse().expect("an address"),
            ..Settings::default()
        };
        std::fs::write(config.path(), settings.toml()).expect("written");
        let directory = tempfile::tempdir().expect("a directory");
        Some(Self {
            namespace,
            config,
            directory,
        })
    }

    /// Runs doctor on the bed: exit status and standard output.
    fn doctor(&self, arguments: &[&str]) -> (i32, String) {
        let config = self.config.path().display().to_string();
        let mut all = vec!["doctor", "--config", &config];
        all.extend(arguments);
        let output = self.namespace.run(&all);
        let status = output.status.code().expect("an exit status");
        (
            status,
            format!("{}{}", text(&output.stdout), text(&output.stderr)),
        )
    }

    /// The same with the record of changes.
    fn changing(&self, arguments: &[&str]) -> (i32, String) {
        let file = self.directory.path().join("undo.json").display().to_string();
        let mut all = vec!["--undo-file", &file];
        all.extend(arguments);
        self.doctor(&all)
    }

    fn peer_offloads(&self) -> String {
        self.namespace
            .shell("ethtool -k rp1 | grep -E '^(generic-receive-offload|.tx-checksum-ip-generic):'")
    }
}

#[test]
fn findings_are_a_list_of_objects_and_only_the_media_interface_is_looked_at() {
    let Some(bed) = Bed::new("findings_are_a_list_of_objects_and_only_the_media_interface_is_looked_at")
    else {
        return;
    };
    let (status, found) = bed.doctor(&["--json"]);
    let findings: Vec<Value> = serde_json::from_str(&found).expect("a list");
    assert_eq!(status, 1, "ports are handed out to clients: {found}");
    for finding in &findings {
        let object = finding.as_object().expect("an object");
        let keys: Vec<&str> = object.keys().map(String::as_str).collect();
        let mut wanted = ["check", "subject", "status", "found", "wanted", "why", "change"];
        wanted.sort_unstable();
        assert_eq!(keys, wanted);
        let status = finding["status"].as_str().expect("text");
        assert!(
            ["ok", "advice", "problem", "unknown"].contains(&status),
            "{finding}"
        );
        assert!(!finding["why"].as_str().expect("text").is_empty(), "{finding}");
        if status == "unknown" {
            assert!(
                finding["found"].as_str().expect("text").starts_with("unknown: "),
                "{finding}"
            );
        }
    }
    let of = |check: &str| {
        findings
            .iter()
            .filter(|finding| finding["check"] == check)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("mtu").len(), 1);
    assert_eq!(of("mtu")[0]["subject"], "rp0");
    assert_eq!(of("interfaces")[0]["found"], "driver veth, up");
    assert_eq!(of("ports")[0]["status"], "problem");
    assert_eq!(
        of("ports")[0]["change"],
        "sysctl -w net.ipv4.ip_local_reserved_ports='20000-20999'"
    );
    let (status, lines) = bed.doctor(&["--only", "mtu,queues"]);
    assert_eq!(status, 0, "{lines}");
    assert_eq!(lines.lines().count(), 3, "two findings and their sum: {lines}");
}

#[test]
fn what_is_applied_is_there_and_is_taken_back() {
    let Some(bed) = Bed::new("what_is_applied_is_there_and_is_taken_back") else {
        return;
    };
    let before = bed.peer_offloads();
    assert_eq!(bed.namespace.shell(RESERVED), "");
    let only = ["--only", "ports,veth"];
    assert_eq!(bed.doctor(&only).0, 1);
    let (status, said) = bed.changing(&["--apply", "--only", "ports,veth"]);
    assert_eq!(status, 0, "{said}");
    assert!(
        said.contains("changed  net.ipv4.ip_local_reserved_ports:  -> 20000-20999"),
        "{said}"
    );
    assert_eq!(bed.namespace.shell(RESERVED), "20000-20999");
    let offloads = bed.peer_offloads();
    assert!(
        offloads.contains("receive-offload: on") && offloads.contains("ip-generic: off"),
        "{offloads}"
    );
    let (status, findings) = bed.doctor(&only);
    assert_eq!(status, 0, "{findings}");
    let (status, said) = bed.changing(&["--apply", "--only", "ports,veth"]);
    assert_eq!((status, said.as_str()), (0, "nothing to change"));

    let (status, said) = bed.changing(&["--undo"]);
    assert_eq!(status, 0, "{said}");
    assert_eq!(said.lines().count(), 3, "{said}");
    assert_eq!(bed.namespace.shell(RESERVED), "");
    assert_eq!(bed.peer_offloads(), before);
    assert_eq!(bed.changing(&["--undo"]), (0, "nothing to change".to_owned()));
}

#[test]
fn an_undo_does_not_run_over_what_somebody_else_set() {
    let Some(bed) = Bed::new("an_undo_does_not_run_over_what_somebody_else_set") else {
        return;
    };
    assert_eq!(bed.changing(&["--apply", "--only", "ports"]).0, 0);
    bed.namespace
        .shell("sysctl -q -w net.ipv4.ip_local_reserved_ports=20000-30000");
    let (status, said) = bed.changing(&["--undo"]);
    assert_eq!(status, 1);
    assert!(said.contains("somebody changed it since"), "{said}");
    assert_eq!(bed.namespace.shell(RESERVED), "20000-30000");
    // Another namespace has other sysctls of the same name.
    let other =
        Namespace::with("an_undo_does_not_run_over_what_somebody_else_set", "true").expect("as before");
    let file = bed.directory.path().join("undo.json").display().to_string();
    let output = other.run(&["doctor", "--undo", "--undo-file", &file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("another network namespace"),
        "{}",
        text(&output.stderr)
    );
    let (status, said) = bed.changing(&["--undo", "--force"]);
    assert_eq!(status, 0, "{said}");
    assert_eq!(bed.namespace.shell(RESERVED), "");
}

#[test]
fn wrong_arguments_are_told() {
    for (arguments, words) in [
        (&["doctor", "--only", "colour"][..], "possible values: interfaces"),
        (&["doctor", "--apply", "--undo"], "cannot be used with"),
        (&["doctor", "--force"], "--undo"),
        (&["doctor", "--config", "/nonexistent"], "/nonexistent"),
        (&["--config", "x", "doctor"], "cannot be used with"),
        (&[], "--config"),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringpath-dataplane"))
            .args(arguments)
            .output()
            .expect("runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            text(&output.stderr).contains(words),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
    }
}
