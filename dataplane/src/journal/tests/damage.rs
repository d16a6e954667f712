use proptest::prelude::*;

use super::*;

#[test]
fn a_torn_entry_costs_nothing_but_itself() {
    let root = Root::new();
    let mut journal = root.open(BYTES_MAX).journal;
    create(&mut journal, "first");
    let whole = journal.bytes();
    create(&mut journal, "second");
    let end = journal.bytes();
    drop(journal);
    for length in whole..end {
        let file = OpenOptions::new().write(true).open(root.path()).expect("opens");
        file.set_len(length).expect("cut");
        let cut = fs::read(root.path()).expect("there");
        let mut opened = root.open(BYTES_MAX);
        assert_eq!((opened.set_aside, opened.records.len()), (None, 1));
        let bytes = (length - whole) as usize;
        let left_out = (bytes > 0).then(|| LeftOut {
            bytes,
            reason: format!("the entry at byte {whole} is cut off or damaged"),
        });
        assert_eq!(opened.left_out, left_out);
        assert_eq!(opened.journal.counters().left_out_bytes, bytes as u64);
        assert_eq!(fs::read(root.file(DAMAGED)).ok(), (bytes > 0).then_some(cut));
        create(&mut opened.journal, "second");
        assert_eq!(opened.journal.bytes(), end);
    }
}

#[test]
fn a_damaged_file_that_cannot_be_kept_is_read_all_the_same() {
    let root = Root::new();
    let mut journal = root.open(BYTES_MAX).journal;
    create(&mut journal, "first");
    let whole = journal.bytes();
    create(&mut journal, "second");
    drop(journal);
    let file = OpenOptions::new().write(true).open(root.path()).expect("opens");
    file.set_len(whole + 5).expect("cut");
    // In the way of its second name: a directory.
    fs::create_dir(root.file(DAMAGED)).expect("made");
    let opened = root.open(BYTES_MAX);
    assert_eq!((opened.set_aside, opened.records.len()), (None, 1));
    assert!(opened.left_out.is_some() && opened.not_kept.is_some());
}

/// The length of the file after each call's entry.
fn ends(root: &Root, names: &[&str]) -> Vec<usize> {
    let mut journal = root.open(BYTES_MAX).journal;
    let write = |name: &&str| {
        create(&mut journal, name);
        journal.bytes() as usize
    };
    names.iter().map(write).collect()
}

#[test]
fn damage_in_the_middle_leaves_the_calls_before_it() {
    let root = Root::new();
    let [first, second, third] = ends(&root, &["first", "second", "third"])[..] else {
        unreachable!("three calls")
    };
    let whole = fs::read(root.path()).expect("there");
    // A length that is too large, one that leads beyond the end, one that leads into the next entry; a checksum; a payload.
    for (at, value) in [
        (first + 3, 0x40),
        (first + 1, 0x40),
        (first, 1),
        (first + 4, 1),
        (first + 20, 0xff),
    ] {
        let mut damaged = whole.clone();
        damaged[at] ^= value;
        fs::write(root.path(), &damaged).expect("written");
        let opened = root.open(BYTES_MAX);
        let names: Vec<_> = opened
            .records
            .iter()
            .map(|record| record.spec.id.as_str())
            .collect();
        assert_eq!(names, ["first"], "byte {at}");
        let left_out = opened.left_out.expect("the second and third");
        assert_eq!(left_out.bytes, third - first);
        assert!(
            left_out.reason.contains(&first.to_string()),
            "{}",
            left_out.reason
        );
        assert_eq!(fs::read(root.file(DAMAGED)).expect("kept"), damaged);
        assert!(second > first);
        drop(opened.journal);
        let again = root.open(BYTES_MAX);
        assert_eq!((again.records.len(), again.left_out), (1, None));
    }
}

#[test]
fn an_entry_that_makes_no_sense_leaves_the_calls_before_it() {
    let root = Root::new();
    let first = ends(&root, &["first", "second"])[0];
    let whole = fs::read(root.path()).expect("there");
    let mut bytes = whole[..first].to_vec();
    encode(Change::Gone("not a name, for it has spaces".into()), &mut bytes);
    let senseless = bytes.len() - first;
    bytes.extend_from_slice(&whole[first..]);
    fs::write(root.path(), &bytes).expect("written");
    let opened = root.open(BYTES_MAX);
    assert_eq!(opened.records.len(), 1);
    let left_out = opened.left_out.expect("from there on");
    assert_eq!(left_out.bytes, senseless + whole.len() - first);
    assert!(left_out.reason.contains("makes no sense"), "{}", left_out.reason);
}

fn whole_file() -> (Vec<u8>, Head) {
    let root = Root::new();
    let mut journal = root.open(BYTES_MAX).journal;
    for name in ["a", "b", "c"] {
        create(&mut journal, name);
    }
    journal.learned(&id("a"), &LegId::new("a").expect("a name"), 0, at(9));
    journal.gone(&id("b"));
    let head = journal.file.as_ref().expect("on").head().clone();
    (fs::read(root.path()).expect("there"), head)
}

proptest! {
    #[test]
    fn entries_of_any_bytes_never_panic(payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..6)) {
        let head = Head { node_id: "m".into(), boot_id: String::new() };
        let mut bytes = frame::MARK.to_vec();
        encode(Change::Head(head.clone()), &mut bytes);
        for payload in &payloads {
            frame::encode(payload, &mut bytes);
        }
        let _ = open::read(&bytes, &head);
    }

    #[test]
    fn damaged_entries_with_good_checksums_never_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let (whole, head) = whole_file();
        let mut bytes = frame::MARK.to_vec();
        let payloads = frame::payloads(&whole).expect("whole");
        for (number, range) in payloads.into_iter().enumerate() {
            let mut payload = whole[range].to_vec();
            for (at, value) in changes.iter().filter(|_| number > 0) {
                let at = at.index(payload.len());
                payload[at] = *value;
            }
            frame::encode(&payload, &mut bytes);
        }
        if let Ok(read) = open::read(&bytes, &head) {
            for record in read.calls.values() {
                let again = Record::from_wire(record.to_wire());
                prop_assert_eq!(again.expect("what was read can be written"), record.clone());
            }
        }
    }

    #[test]
    fn a_file_cut_or_changed_anywhere_never_panics(at: prop::sample::Index, value: u8, cut: bool) {
        let (mut bytes, head) = whole_file();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= value;
        }
        let _ = open::read(&bytes, &head);
    }
}
