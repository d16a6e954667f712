mod damage;
mod limits;

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::time::Duration;

use super::open::{DAMAGED, LeftOut, SET_ASIDE};
use super::record::Head;
use super::written::encode;
use super::*;
use media_types::{
    Codec, Direction, Latching, LegReport, LineReport, LineSpec, LocalLine, MediaKind, Path as MediaPath,
};

const BYTES_MAX: u64 = 1 << 20;

fn at(port: u16) -> std::net::SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn id(name: &str) -> CallId {
    CallId::new(name).expect("a name")
}

fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey::new(name).expect("a key")
}

fn line(port: u16) -> LineSpec {
    LineSpec {
        kind: MediaKind::Audio,
        enabled: true,
        direction: Direction::SendRecv,
        remote: Some(at(port)),
        remote_rtcp: None,
        rtcp_mux: false,
        latching: Latching::SameAddress,
        relearn: true,
        srtp: None,
        dtls: None,
        ice: None,
        codecs: vec![Codec {
            payload_type: 8,
            name: "PCMA".into(),
            clock_rate_hz: 8_000,
            channels: 1,
            ptime_ms: 20,
        }],
    }
}

fn leg(name: &str, port: u16) -> LegSpec {
    LegSpec {
        id: LegId::new(name).expect("a name"),
        interface: Some(media_types::InterfaceName::new("public").expect("a name")),
        ipv6: false,
        lines: vec![line(port)],
    }
}

fn spec(name: &str) -> CallSpec {
    CallSpec {
        id: id(name),
        legs: vec![leg("a", 4_000), leg("b", 4_002)],
        lease: Duration::from_secs(30),
        media_timeout: Duration::ZERO,
    }
}

fn report(name: &str, learned: [Option<std::net::SocketAddr>; 2]) -> CallReport {
    let leg = |at_leg: usize, name: &str| LegReport {
        id: LegId::new(name).expect("a name"),
        lines: vec![LineReport {
            local: Some(LocalLine {
                rtp: at(20_000 + 2 * at_leg as u16),
                rtcp: at(20_001 + 2 * at_leg as u16),
            }),
            learned: learned[at_leg],
            path: MediaPath::Simulated,
            path_reason: "a test",
            rtcp_path: None,
            drops: vec![],
            rtcp_forwarded: 0,
            srtp: None,
            dtls: None,
            ice: None,
            streams: vec![],
        }],
    };
    CallReport {
        id: id(name),
        age: Duration::ZERO,
        lease_left: Duration::ZERO,
        legs: vec![leg(0, "a"), leg(1, "b")],
    }
}

/// A state directory of a test.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn open(&self, bytes_max: u64) -> Opened {
        open(&self.directory(), "m", bytes_max).expect("opens")
    }

    fn directory(&self) -> StateDirectory {
        StateDirectory::lock(self.0.path(), "m").expect("free")
    }

    fn path(&self) -> PathBuf {
        self.file("journal")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join("m").join(name)
    }
}

fn create(journal: &mut Journal, name: &str) {
    journal.created(1, &key("c"), &spec(name), 1_234, &report(name, [None; 2]));
}

#[test]
fn the_next_process_finds_the_calls_as_they_were() {
    let root = Root::new();
    let mut journal = root.open(BYTES_MAX).journal;
    for name in ["first", "second", "third"] {
        create(&mut journal, name);
    }
    create(&mut journal, "first");
    journal.learned(&id("first"), &LegId::new("b").expect("a name"), 0, at(5_000));
    let moved = LegSpec {
        interface: None,
        ..leg("a", 4_100)
    };
    journal.updated(
        &key("u"),
        &id("second"),
        std::slice::from_ref(&moved),
        &report("second", [None; 2]),
    );
    journal.gone(&id("third"));
    journal.gone(&id("never"));
    let bytes = journal.bytes();
    drop(journal);
    assert_eq!(fs::metadata(root.path()).expect("there").len(), bytes);

    let opened = root.open(BYTES_MAX);
    assert_eq!(opened.set_aside, None);
    let [first, second] = opened.records.as_slice() else {
        panic!("{:?}", opened.records)
    };
    let mut wanted = spec("first");
    wanted
        .legs
        .iter_mut()
        .for_each(|leg| leg.lines[0].relearn = false);
    assert_eq!((&first.spec, first.worker, first.created_ms), (&wanted, 1, 1_234));
    assert_eq!((&first.key, &first.updated_with), (&key("c"), &None));
    let ports: Vec<_> = first
        .lines
        .iter()
        .map(|line| (line.leg, line.place, line.port, line.learned))
        .collect();
    assert_eq!(ports, [(0, 0, 20_000, None), (1, 0, 20_002, Some(at(5_000)))]);
    assert_eq!(second.updated_with, Some(key("u")));
    assert_eq!(second.spec.legs[0].lines[0].remote, Some(at(4_100)));
    assert_eq!(
        second.spec.legs[0].interface,
        leg("a", 0).interface,
        "stays where it is"
    );
    assert_eq!(opened.journal.calls(), 2);
}

#[test]
fn hold_keeps_what_was_signalled_before() {
    let mut journal = Root::new().open(BYTES_MAX).journal;
    create(&mut journal, "c");
    let mut held = leg("a", 9);
    held.lines[0].remote = Some(([0, 0, 0, 0], 9).into());
    for key_name in ["u1", "u2"] {
        journal.updated(
            &key(key_name),
            &id("c"),
            std::slice::from_ref(&held),
            &report("c", [Some(at(7)), None]),
        );
        let line = journal.record(&id("c")).expect("there").lines[0];
        assert_eq!((line.signalled, line.learned), (Some(at(4_000)), Some(at(7))));
    }
    journal.updated(
        &key("u3"),
        &id("c"),
        &[leg("a", 4_000)],
        &report("c", [Some(at(7)), None]),
    );
    assert_eq!(journal.record(&id("c")).expect("there").lines[0].signalled, None);
}

#[test]
fn another_nodes_boots_or_versions_journal_is_set_aside() {
    let root = Root::new();
    let head = |node_id: &str, boot_id: &str| Head {
        node_id: node_id.into(),
        boot_id: boot_id.into(),
    };
    drop(root.open(BYTES_MAX));
    let mut next = frame::MARK.to_vec();
    next[7] += 1;
    let file = |head: Head| {
        let mut bytes = frame::MARK.to_vec();
        encode(Change::Head(head), &mut bytes);
        bytes
    };
    for (bytes, reason) in [
        (file(head("other", "")), "it is of node \"other\""),
        (
            file(head("m", "yesterday")),
            "it is of an earlier boot of this machine",
        ),
        (next, "it has version 0.2, this build reads 0.1"),
        (b"what is this".to_vec(), "it is not a journal"),
    ] {
        fs::write(root.path(), &bytes).expect("written");
        let opened = root.open(BYTES_MAX);
        assert_eq!(opened.set_aside.as_deref(), Some(reason));
        assert!(opened.records.is_empty());
        assert_eq!(fs::read(root.file(SET_ASIDE)).expect("kept"), bytes);
        assert_eq!(root.open(BYTES_MAX).set_aside, None);
    }
}

#[test]
fn a_journal_that_is_off_keeps_nothing() {
    let mut journal = Journal::off();
    create(&mut journal, "c");
    journal.gone(&id("c"));
    journal.clear();
    assert_eq!((journal.calls(), journal.bytes(), journal.is_on()), (0, 0, false));
}
