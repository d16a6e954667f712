//! A configuration that cannot work is refused before anything is opened.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::plane::{Control, control_binary};

/// Exit status, standard output and standard error of a check or a start.
fn run(file: &Path, check: bool, variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(control_binary());
    command.arg("--config").arg(file).envs(variables.iter().copied());
    if check {
        command.arg("--check-config");
    }
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn written(text: &str) -> (TempDir, std::path::PathBuf) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("control.toml");
    fs::write(&file, text).unwrap();
    (folder, file)
}

#[test]
fn every_kind_of_mistake_ends_with_status_2_and_says_the_line() {
    let control = Control::alone();
    let good = control.text();
    let line_of = |needle: &str| good.lines().position(|line| line.contains(needle)).unwrap() + 1;
    let kinds = [
        ("syntax", good.replacen("[sip]", "[sip", 1), 1, ""),
        (
            "unknown key",
            good.replacen("[ops]", "[ops]\ncolour = 1", 1),
            line_of("[ops]") + 1,
            "unknown field `colour`",
        ),
        (
            "type",
            good.replacen("prefix = \"\"", "prefix = 1", 1),
            line_of("prefix"),
            "invalid type",
        ),
        (
            "address",
            good.replacen("udp:127.0.0.1:0", "udp:here", 1),
            line_of("udp:127"),
            "is not udp:<ip>:<port>",
        ),
        (
            "uri",
            good.replacen("sip:127", "http:127", 1),
            line_of("next_hop"),
            "is not a sip: URI",
        ),
        (
            "range",
            format!("{good}[limits]\ncalls_max = 0\n"),
            good.lines().count() + 2,
            "limits.calls_max must be",
        ),
        (
            "folder",
            good.replacen("cdr.sqlite", "none/cdr.sqlite", 1),
            line_of("path ="),
            "which is no folder",
        ),
        (
            "node",
            good.replacen("http://127", "ftp://127", 1),
            line_of("address ="),
            "media_node.0.address must be",
        ),
    ];
    let mut wrong = Vec::new();
    for (kind, text, line, reason) in kinds {
        let (_folder, file) = written(&text);
        for check in [true, false] {
            let (status, stdout, stderr) = run(&file, check, &[]);
            let place = format!("{}:{line}: ", file.display());
            if status != 2 || !stdout.is_empty() || !stderr.starts_with(&place) || !stderr.contains(reason) {
                wrong.push(format!(
                    "{kind}: status {status}, wanted {place}… {reason}, got {stderr}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!control.database().exists(), "nothing was opened");
}

#[test]
fn a_missing_file_and_a_wrong_variable_are_named() {
    let (status, _, stderr) = run(Path::new("/nonexistent/control.toml"), false, &[]);
    assert_eq!(status, 2);
    assert!(
        stderr.starts_with("/nonexistent/control.toml: cannot be read"),
        "{stderr}"
    );
    let (_folder, file) = written(&Control::alone().text());
    let (status, _, stderr) = run(&file, true, &[("RINGPATH_CONTROL__LIMITS__CALLS_MAX", "none")]);
    assert_eq!(status, 2);
    assert!(
        stderr.starts_with("variable RINGPATH_CONTROL__LIMITS__CALLS_MAX: "),
        "{stderr}"
    );
}

#[test]
fn a_good_file_passes_the_check_and_a_variable_mends_a_bad_one() {
    let control = Control::alone();
    let (_folder, file) = written(&control.text());
    assert_eq!(run(&file, true, &[]), (0, String::new(), String::new()));
    let (_folder, file) = written(&control.text().replace("http://127", "ftp://127"));
    let mended = [("RINGPATH_CONTROL__MEDIA_NODE__0__ADDRESS", "http://127.0.0.1:9")];
    assert_eq!(run(&file, true, &mended), (0, String::new(), String::new()));
}

#[test]
fn a_private_key_is_never_shown() {
    let folder = TempDir::new().unwrap();
    let secret = "MIIsecretSECRETsecret";
    let key = folder.path().join("control.key");
    fs::write(
        &key,
        format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n"),
    )
    .unwrap();
    let control = Control::alone();
    let (of, text) = (key.display(), control.text().replace("http://", "https://"));
    let tls = format!("tls = {{ ca = \"{of}\", certificate = \"{of}\", key = \"{of}\" }}\n[[route]]");
    let (_folder, file) = written(&text.replace("[[route]]", &tls));
    let (status, stdout, stderr) = run(&file, false, &[("RINGPATH_CONTROL__LOG__FILTER", "trace")]);
    assert_eq!(status, 2, "{stderr}");
    assert!(!format!("{stdout}{stderr}").contains(secret), "{stderr}");
}
