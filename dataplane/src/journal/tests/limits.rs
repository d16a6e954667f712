use super::*;

fn learn(journal: &mut Journal, name: &str, port: u16) {
    journal.learned(&id(name), &LegId::new("a").expect("a name"), 0, at(port));
}

#[test]
fn the_file_is_written_anew_and_never_outgrows_its_limit() {
    let root = Root::new();
    let mut journal = root.open(8_192).journal;
    for n in 0..500 {
        create(&mut journal, &format!("call-{n}"));
        journal.learned(
            &id(&format!("call-{n}")),
            &LegId::new("a").expect("a name"),
            0,
            at(5_000),
        );
        if n > 0 {
            journal.gone(&id(&format!("call-{n}")));
        }
        assert!(journal.bytes() <= 8_192, "{}", journal.bytes());
        assert_eq!(fs::metadata(root.path()).expect("there").len(), journal.bytes());
    }
    assert!(journal.counters().rewrites > 10);
    assert_eq!(
        (journal.counters().refused_full, journal.counters().errors),
        (0, 0)
    );
    for n in 0..500 {
        create(&mut journal, &format!("more-{n}"));
    }
    let kept = journal.calls();
    assert_eq!(
        journal.counters().refused_full,
        501 - kept as u64,
        "each call that is left out is counted"
    );
    assert!(journal.bytes() <= 8_192 && kept > 10);
    drop(journal);
    let opened = root.open(8_192);
    assert_eq!(opened.records.len(), kept);
    assert_eq!(
        opened.records[0].lines[0].learned,
        Some(at(5_000)),
        "kept by the rewriting"
    );
}

#[test]
fn new_calls_leave_half_of_the_file_to_what_is_over() {
    const MAX: u64 = 64 << 10;
    let root = Root::new();
    let mut journal = root.open(MAX).journal;
    let mut names = Vec::new();
    while journal.counters().refused_full == 0 {
        names.push(format!("call-{:04}", names.len()));
        create(&mut journal, names.last().expect("one"));
    }
    names.pop();
    assert!(
        (MAX / 2 - 1_000..=MAX / 2).contains(&journal.live_bytes),
        "{}",
        journal.live_bytes
    );
    let rewrites = journal.counters().rewrites;
    let mut entries = 0;
    for port in 0..10 {
        for name in &names {
            learn(&mut journal, name, 5_000 + port);
            entries += 1;
        }
    }
    let rewrites = journal.counters().rewrites - rewrites;
    assert!(
        (1..=entries / 100).contains(&rewrites),
        "{rewrites} times in {entries} entries"
    );
    assert_eq!(journal.calls(), names.len());
    // The file is full of calls, and still each entry is in it.
    drop(journal);
    let opened = root.open(MAX);
    assert_eq!(opened.records.len(), names.len());
    assert!(
        opened
            .records
            .iter()
            .all(|record| record.lines[0].learned == Some(at(5_009)))
    );
}

#[test]
fn calls_that_grow_are_kept_within_three_quarters() {
    const MAX: u64 = 64 << 10;
    let root = Root::new();
    let mut journal = root.open(MAX).journal;
    let mut names = Vec::new();
    while journal.counters().refused_full == 0 {
        names.push(format!("call-{:04}", names.len()));
        create(&mut journal, names.last().expect("one"));
    }
    let mut large = leg("a", 4_000);
    large.lines[0].codecs = vec![large.lines[0].codecs[0].clone(); 32];
    for name in &names {
        journal.updated(
            &key("u"),
            &id(name),
            std::slice::from_ref(&large),
            &report(name, [None; 2]),
        );
        learn(&mut journal, name, 5_000);
        assert!(journal.live_bytes <= MAX / 4 * 3, "{}", journal.live_bytes);
        assert!(journal.bytes() <= MAX, "{}", journal.bytes());
    }
    let counts = journal.counters();
    assert_eq!(names.len() as u64 - journal.calls() as u64, counts.refused_full);
    assert!(counts.rewrites < 20, "{counts:?}");
    let kept = journal.calls();
    drop(journal);
    assert_eq!(
        root.open(MAX).records.len(),
        kept,
        "what was refused is gone from the file"
    );
    // A limit that is lower than what was left.
    let opened = root.open(MAX / 2);
    assert_eq!(opened.records.len(), kept, "they go on");
    assert!(opened.journal.calls() < kept);
    assert!(opened.journal.bytes() <= MAX / 2);
    assert_eq!(
        opened.journal.counters().refused_full,
        (kept - opened.journal.calls()) as u64
    );
}

#[test]
fn a_call_that_no_entry_can_hold_is_left_out() {
    let root = Root::new();
    let mut journal = root.open(64 << 20).journal;
    let mut spec = spec("large");
    let line = spec.legs[0].lines[0].clone();
    spec.legs[0].lines = vec![line; 8_000];
    journal.created(1, &key("c"), &spec, 1_234, &report("large", [None; 2]));
    assert_eq!((journal.calls(), journal.counters().refused_too_large), (0, 1));
}

#[test]
fn a_file_that_cannot_be_written_anew_goes_on_as_it_is() {
    const MAX: u64 = 8_192;
    let root = Root::new();
    let mut journal = root.open(MAX).journal;
    create(&mut journal, "first");
    // In the way of the new file: a directory.
    let beside = root.file("journal.new");
    fs::create_dir(&beside).expect("made");
    while journal.counters().rewrite_errors == 0 {
        learn(&mut journal, "first", 5_000);
    }
    let lost = journal.counters().errors;
    assert_eq!(lost, 1, "the entry that had no place");
    for _ in 0..1_000 {
        learn(&mut journal, "first", 5_001);
    }
    let attempts = journal.counters().rewrite_errors;
    assert!((5..15).contains(&attempts), "rests double: {attempts}");
    assert_eq!(journal.counters().errors, 1_001, "each is counted");
    fs::remove_dir(&beside).expect("removed");
    for _ in 0..1_025 {
        learn(&mut journal, "first", 5_002);
    }
    assert!(journal.counters().rewrites > 0);
    drop(journal);
    let opened = root.open(MAX);
    assert_eq!(
        opened.records[0].lines[0].learned,
        Some(at(5_002)),
        "all is there again"
    );
}

#[test]
fn a_file_that_is_mostly_over_takes_the_entry_at_hand_when_it_cannot_be_written_anew() {
    let root = Root::new();
    let mut journal = root.open(16 << 20).journal;
    create(&mut journal, "first");
    fs::create_dir(root.file("journal.new")).expect("made");
    let mut port = 0;
    while journal.counters().rewrite_errors == 0 {
        port += 1;
        learn(&mut journal, "first", port);
    }
    assert_eq!(journal.counters().errors, 0);
    drop(journal);
    fs::remove_dir(root.file("journal.new")).expect("removed");
    assert_eq!(root.open(16 << 20).records[0].lines[0].learned, Some(at(port)));
}

#[test]
fn a_stop_leaves_no_call_in_a_file_that_cannot_be_written_anew() {
    let root = Root::new();
    let mut journal = root.open(BYTES_MAX).journal;
    create(&mut journal, "first");
    let beside = root.file("journal.new");
    fs::create_dir(&beside).expect("made");
    journal.clear();
    assert_eq!(journal.counters().rewrite_errors, 1);
    // Late words do no harm.
    create(&mut journal, "late");
    drop(journal);
    fs::remove_dir(&beside).expect("removed");
    let opened = root.open(BYTES_MAX);
    assert_eq!((opened.set_aside, opened.records.len()), (None, 0));
}

#[test]
fn the_journal_of_another_process_can_be_discarded() {
    let root = Root::new();
    let mut journal = root.open(BYTES_MAX).journal;
    create(&mut journal, "first");
    drop(journal);
    for _ in 0..2 {
        super::discard(&root.directory()).expect("emptied");
    }
    assert_eq!(root.open(BYTES_MAX).records.len(), 0);
    fs::remove_file(root.path()).expect("there");
    super::discard(&root.directory()).expect("there is none");
}

#[test]
fn who_has_left_the_file_does_not_write_it() {
    let root = Root::new();
    let mut journal = root.open(BYTES_MAX).journal;
    create(&mut journal, "first");
    let before = fs::read(root.path()).expect("there");
    journal.leave();
    journal.gone(&id("first"));
    create(&mut journal, "second");
    journal.clear();
    assert_eq!(fs::read(root.path()).expect("there"), before);
}
