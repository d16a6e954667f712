use std::fs;
use std::path::{Path, PathBuf};

use sdp::{Origin, Session, rewrite};

use crate::our_lines;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden")
}

/// Names and bodies of the golden descriptions. The files have bare line feeds; all but one test of that go in
/// with CRLF.
pub fn bodies() -> Vec<(String, String)> {
    let mut bodies: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name()?.to_str()?.strip_suffix(".in.sdp")?.to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let text = if name == "bare_line_feeds" {
                text
            } else {
                text.replace('\n', "\r\n")
            };
            Some((name, text))
        })
        .collect();
    bodies.sort();
    assert!(bodies.len() >= 16, "the golden files are gone");
    bodies
}

/// Every `<name>.in.sdp` is printed for the other side as `<name>.out.sdp` says. `UPDATE_GOLDEN=1` writes these files
/// anew, for review.
#[test]
fn golden_bodies_are_rewritten_as_recorded() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for (name, body) in bodies() {
        let session = Session::parse(body.as_bytes()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut origin = Origin::new(4_000);
        let out = rewrite(&session, &our_lines(&session), &[], &mut origin);
        assert_eq!(
            out.matches('\n').count(),
            out.matches("\r\n").count(),
            "{name}: a line ends without CR"
        );
        let out = out.replace("\r\n", "\n");
        let path = folder().join(format!("{name}.out.sdp"));
        if update {
            fs::write(&path, &out).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != out {
            wrong.push(format!("--- {name}\n{out}"));
        }
    }
    assert!(wrong.is_empty(), "not as recorded:\n{}", wrong.join("\n"));
}

/// Every attribute that the other side gets is one that was sent, byte for byte and in order, or one of ours.
#[test]
fn unknown_attributes_survive_byte_for_byte_and_in_order() {
    let ours = ["a=rtcp-mux", "a=rtcp:", "a=sendonly", "a=inactive"];
    for (name, body) in bodies() {
        let session = Session::parse(body.as_bytes()).unwrap();
        let out = rewrite(&session, &our_lines(&session), &[], &mut Origin::new(1));
        let mut sent = body.lines().filter(|line| line.starts_with("a="));
        for line in out.lines().filter(|line| line.starts_with("a=")) {
            let is_ours = ours.iter().any(|prefix| line.starts_with(prefix));
            assert!(
                is_ours || sent.any(|original| original == line),
                "{name}: {line} is new or out of order"
            );
        }
    }
}

/// No address and no host name that the sender named reaches the reader.
#[test]
fn no_address_of_the_sender_gets_through() {
    for (name, body) in bodies() {
        let session = Session::parse(body.as_bytes()).unwrap();
        let out = rewrite(&session, &our_lines(&session), &[], &mut Origin::new(1)).to_lowercase();
        for address in [
            "10.0.0.5",
            "10.0.0.6",
            "10.0.0.7",
            "10.0.0.9",
            "203.0.113.9",
            "192.0.2.3",
            "127.0.0.1",
        ] {
            assert!(!out.contains(address), "{name}: {address} leaks:\n{out}");
        }
        for word in [
            "2001:db8::5",
            "::1 ",
            "inside.example",
            "candidate",
            "inline:",
            "ice-",
            "fingerprint",
            "secret",
        ] {
            assert!(!out.contains(word), "{name}: {word} leaks:\n{out}");
        }
    }
}
