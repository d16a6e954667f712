use std::fs;
use std::os::unix::fs::symlink;

use host::hash;

use super::super::*;
use super::machine::{Machine, Tree};

#[test]
fn changes_are_applied_once_and_taken_back_once() {
    let (tree, machine) = (Tree::new(), Machine::default());
    *machine.hash.borrow_mut() = hash::IP_SOURCE;
    machine
        .features
        .borrow_mut()
        .get_mut("rx-lro")
        .expect("known")
        .active = true;
    tree.put("/proc/sys/net/core/rmem_max", "212992");
    tree.put("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535");
    tree.put("/sys/class/net/eth0/queues/tx-0/xps_cpus", "00000000");
    let (view, file) = (tree.view(&machine), tree.undo_file());
    let steps = apply::apply(&view, &[], &file).expect("applied");
    assert!(steps.iter().all(|step| step.refused.is_empty()), "{steps:#?}");
    let problems: Vec<String> = checks::run(&view, &[])
        .iter()
        .filter(|finding| finding.status != Status::Ok)
        .map(Finding::to_string)
        .collect();
    assert!(problems.is_empty(), "{problems:#?}");
    assert_eq!(machine.channels.borrow().combined, 4);
    assert_eq!(machine.channels.borrow().other, 1, "not ours");
    let again = apply::apply(&view, &[], &file).expect("applied");
    assert!(again.is_empty(), "{again:#?}");

    let undone = apply::undo(&view, &file, false).expect("undone");
    assert_eq!(undone.len(), steps.len());
    assert_eq!(*machine.hash.borrow(), hash::IP_SOURCE);
    assert!(machine.features.borrow()["rx-lro"].active);
    assert_eq!(machine.channels.borrow().combined, 2);
    assert_eq!(view.read("/proc/sys/net/core/rmem_max").unwrap(), "212992");
    assert_eq!(
        view.read("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap(),
        ""
    );
    assert_eq!(
        view.read("/sys/class/net/eth0/queues/tx-0/xps_cpus").unwrap(),
        "00000000"
    );
    assert!(!file.exists());
    assert!(
        apply::undo(&view, &file, false)
            .expect("nothing to do")
            .is_empty()
    );
}

#[test]
fn what_somebody_changed_since_stays_unless_told() {
    let (tree, machine) = (Tree::new(), Machine::default());
    tree.put("/proc/sys/net/core/rmem_max", "212992");
    tree.put("/proc/sys/net/core/wmem_max", "212992");
    let (view, file) = (tree.view(&machine), tree.undo_file());
    let only = ["sysctl".to_owned()];
    assert_eq!(apply::apply(&view, &only, &file).expect("applied").len(), 2);
    tree.put("/proc/sys/net/core/rmem_max", "67108864");
    let steps = apply::undo(&view, &file, false).expect("undone");
    assert_eq!(view.read("/proc/sys/net/core/wmem_max").unwrap(), "212992");
    assert_eq!(view.read("/proc/sys/net/core/rmem_max").unwrap(), "67108864");
    assert!(
        steps
            .iter()
            .any(|step| step.refused.contains("somebody changed it since")),
        "{steps:#?}"
    );
    assert!(file.exists());
    apply::undo(&view, &file, true).expect("undone");
    assert_eq!(view.read("/proc/sys/net/core/rmem_max").unwrap(), "212992");
    assert!(!file.exists());
}

#[test]
fn a_record_of_another_start_or_namespace_is_not_used() {
    let (tree, machine) = (Tree::new(), Machine::default());
    tree.put("/proc/sys/net/core/rmem_max", "212992");
    let (view, file) = (tree.view(&machine), tree.undo_file());
    apply::apply(&view, &["sysctl".to_owned()], &file).expect("applied");
    let namespace = tree.0.path().join("proc/self/ns/net");
    fs::remove_file(&namespace).expect("removed");
    symlink("net:[2]", &namespace).expect("made");
    let refused = apply::undo(&view, &file, false).expect_err("another namespace");
    assert!(
        refused.to_string().contains("net:[1], this is net:[2]"),
        "{refused}"
    );
    assert_eq!(view.read("/proc/sys/net/core/rmem_max").unwrap(), "33554432");
    tree.put("/proc/sys/kernel/random/boot_id", "second");
    assert!(
        apply::undo(&view, &file, false)
            .expect("no longer of use")
            .is_empty()
    );
    assert!(!file.exists());
    fs::write(&file, "{}").expect("written");
    let refused = apply::undo(&view, &file, false).expect_err("no record");
    assert!(refused.to_string().contains("no undo record"), "{refused}");
}
