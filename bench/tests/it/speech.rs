//! Calls with speech both ways, every packet counted at the receiver, over each packet back-end that the kernel has.

use std::time::Duration;

use ringpath_bench::trial::{self, TrialOptions};

use crate::bench::{folder, sipp_is_here};

fn speech_over(backend: &str) {
    let test = format!("speech-{backend}");
    if !sipp_is_here(&test) {
        return;
    }
    let report = trial::run(&TrialOptions {
        name: test.clone(),
        calls: 10,
        rate: 10,
        talk: Duration::from_secs(2),
        backend: backend.to_owned(),
        folder: folder(&test),
        seed: 7,
    });
    let report = match report {
        Ok(report) => report,
        Err(error) => panic!("{error:?}"),
    };
    println!("{report}");
    assert!(report.problems().is_empty(), "{:?}\n{report}", report.problems());
    assert_eq!(report.rtp_received, 10 * 2 * 100);
    assert_eq!(report.rtcp_received, report.rtcp_sent);
}

#[test]
fn speech_arrives_whole_over_the_back_end_that_the_node_chooses() {
    speech_over("auto");
}

#[test]
fn speech_arrives_whole_over_plain_sockets() {
    speech_over("socket");
}
