//! Broken configurations: a line, a reason, exit status 2, and nothing started.

use std::process::Output;

use crate::node::Settings;
use crate::process::command;

fn run(config: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), config).expect("written");
    command(file.path())
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .expect("runs")
}

/// Line `number` of what [`Settings`] write, to be replaced.
fn refused(config: &str, variables: &[(&str, &str)]) -> String {
    for arguments in [&["--check-config"][..], &[]] {
        let output = run(config, arguments, variables);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty(), "nothing was started");
    }
    String::from_utf8(run(config, &["--check-config"], variables).stderr).expect("text")
}

fn with_workers(count: &str) -> String {
    Settings::default()
        .toml()
        .replace("[workers]\ncount = 1", &format!("[workers]\ncount = {count}"))
}

#[test]
fn a_good_configuration_passes() {
    let output = run(&Settings::default().toml(), &["--check-config"], &[]);
    assert_eq!(
        (output.status.code(), output.stdout.len(), output.stderr.len()),
        (Some(0), 0, 0),
        "{output:?}"
    );
}

#[test]
fn the_example_passes() {
    let output = run(
        include_str!("../../dataplane.example.toml"),
        &["--check-config"],
        &[],
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_broken_one_gets_its_line_and_reason() {
    let config = with_workers("-1");
    let line = config
        .lines()
        .position(|line| line == "count = -1")
        .expect("there")
        + 1;
    assert!(
        refused(&config, &[]).contains(&format!(":{line}: invalid value")),
        "{}",
        refused(&config, &[])
    );

    let config = with_workers("1000");
    assert!(refused(&config, &[]).contains(&format!(":{line}: workers.count must be 0 to 256, not 1000")));

    let config = Settings {
        limits: "calls = 3".into(),
        ..Settings::default()
    }
    .toml();
    assert!(refused(&config, &[]).contains("unknown field `calls`"));

    let config = Settings {
        ports: "many".into(),
        ..Settings::default()
    }
    .toml();
    assert!(refused(&config, &[]).contains("\"many\" is not a range of ports"));
}

#[test]
fn a_variable_overrides_the_file_and_is_named_when_it_is_wrong() {
    let variables = [("RINGPATH_DATAPLANE__LIMITS__CALLS_MAX", "0")];
    let told = refused(&Settings::default().toml(), &variables);
    assert!(
        told.contains("RINGPATH_DATAPLANE__LIMITS__CALLS_MAX: limits.calls_max must be 1 to 1000000"),
        "{told}"
    );
    let good = [("RINGPATH_DATAPLANE__WORKERS__COUNT", "2")];
    assert_eq!(
        run(&with_workers("-1"), &["--check-config"], &good).status.code(),
        Some(0)
    );
}

#[test]
fn certificates_that_do_not_fit_are_found_before_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("node.pem");
    std::fs::write(&path, "not a certificate").expect("written");
    let grpc = format!("tls = {{ certificate = \"{0}\", key = \"{0}\" }}", path.display());
    let told = refused(
        &Settings {
            grpc,
            ..Settings::default()
        }
        .toml(),
        &[],
    );
    assert!(told.contains("grpc.tls"), "{told}");
    let grpc = "tls = { certificate = \"/nonexistent\", key = \"/nonexistent\" }".to_owned();
    let told = refused(
        &Settings {
            grpc,
            ..Settings::default()
        }
        .toml(),
        &[],
    );
    assert!(
        told.contains(":5: grpc.tls.certificate /nonexistent cannot be read"),
        "{told}"
    );
}

#[test]
fn a_file_that_is_not_there_and_a_wrong_argument_are_told() {
    let output = command(std::path::Path::new("/nonexistent.toml"))
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("/nonexistent.toml: cannot be read"),
        "{output:?}"
    );
    let output = run(&Settings::default().toml(), &["--backend", "dpdk"], &[]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn an_address_that_is_taken_is_told_with_status_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let listen = taken.local_addr().expect("bound").to_string();
    let output = run(
        &Settings {
            listen: listen.clone(),
            ..Settings::default()
        }
        .toml(),
        &["--backend", "socket"],
        &[],
    );
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains(&format!("grpc.listen: tcp {listen}: Address already in use")),
        "{told}"
    );
    assert!(!String::from_utf8_lossy(&output.stdout).contains("ready"));
}

#[test]
fn an_interface_that_this_machine_does_not_have_is_told_with_status_1() {
    let address = "192.0.2.1".parse().expect("an address");
    let output = run(
        &Settings {
            address,
            ..Settings::default()
        }
        .toml(),
        &["--backend", "socket"],
        &[],
    );
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("interface \"public\": none of its addresses can be bound here"),
        "{told}"
    );
}
