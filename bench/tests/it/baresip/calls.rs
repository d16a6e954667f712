//! Phones that register over TLS with digest, call, hold and transfer.

use std::time::Duration;

use ringpath_bench::host::Host;
use ringpath_bench::stand::{Stand, StandOptions};
use ringpath_bench::wait;

use super::{Baresip, Phone, is_here};
use crate::bench::{WITHIN, stand};

const DOMAIN: &str = "ringpath.example";
const USERS: [(&str, &str); 3] = [("alice", "wonderland"), ("bob", "builder"), ("carol", "singer")];
const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;
/// More packets that a phone must get before it counts as hearing the other.
const PACKETS: u64 = 15;
/// In which a phone that hears nothing gets no packet.
const SILENCE: Duration = Duration::from_millis(150);

/// Three users of ours with a phone each.
struct Ground {
    stand: Stand,
    phones: Vec<Baresip>,
    _hosts: Vec<Host>,
}

impl Ground {
    fn new(test: &str) -> Self {
        let options = StandOptions {
            tls: true,
            control_extra: format!(
                "[registrar]\ndomains = [\"{DOMAIN}\"]\nusers_refresh_s = 1\nalgorithms = [\"MD5\"]\n\
                 [media]\ncaller_latching = \"any-address\"\ncallee_latching = \"any-address\"\n"
            ),
            ..StandOptions::default()
        };
        let stand = stand(test, &options);
        stand
            .import_users(
                &USERS
                    .map(|(name, password)| format!("{name};{password}\n"))
                    .concat(),
                3,
            )
            .unwrap();
        let (at, certificate) = stand.tls().unwrap().clone();
        let mut hosts = Vec::new();
        let mut phones = Vec::new();
        for (name, password) in USERS {
            let mut host = Host::reserve().unwrap();
            let sip = host.address().unwrap();
            // TLS listens at the port after the one that it is told.
            host.address().unwrap();
            let account = format!(
                "<sip:{name}@{DOMAIN};transport=tls>;auth_user={name};auth_pass={password};\
                 outbound=\"sip:{at};transport=tls\";answermode=auto;audio_codecs=PCMA"
            );
            let phone = Phone::new(sip, account)
                .authority(&certificate.authority)
                .commands(host.address().unwrap())
                .start(&stand, name);
            hosts.push(host);
            phones.push(phone);
        }
        Self {
            stand,
            phones,
            _hosts: hosts,
        }
    }

    /// All that was said, for who has to find a fault.
    fn told(&self) -> String {
        let phones: Vec<String> = self.phones.iter().map(Baresip::told).collect();
        format!("{}\n{}", phones.join("\n"), self.stand.control.log_tail())
    }

    fn wait(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let waited = wait::until_true(what, WITHIN, || Ok(holds(self)));
        waited.unwrap_or_else(|error| panic!("{error:#}\n{}", self.told()));
    }

    fn metric(&self, name: &str, label: &str) -> f64 {
        let metrics = self.stand.control_metrics().unwrap();
        metrics.value(name, label).unwrap_or_default()
    }

    /// Both get packets that were not on their way before.
    fn hear(&mut self, parties: [usize; 2]) {
        for party in parties {
            self.wait("a call with audio", |ground| {
                ground.phones[party].audio().is_some()
            });
            let before = self.phones[party].audio().unwrap().received;
            self.wait("more audio", |ground| {
                let audio = ground.phones[party].audio();
                audio.is_some_and(|audio| audio.received >= before + PACKETS)
            });
        }
    }

    /// `holder` holds, and neither gets packets any more.
    fn hold(&mut self, holder: usize, held: usize) {
        self.phones[holder].command("hold", "");
        for (party, directions) in [
            (held, ["recvonly", "inactive"]),
            (holder, ["sendonly", "inactive"]),
        ] {
            self.wait("hold", |ground| {
                directions.contains(&&*ground.phones[party].audio().unwrap().direction)
            });
            self.wait("silence", |ground| {
                let before = ground.phones[party].audio().unwrap().received;
                wait::pass(SILENCE);
                ground.phones[party].audio().unwrap().received == before
            });
        }
    }

    fn resume(&mut self, holder: usize, held: usize) {
        self.phones[holder].command("resume", "");
        for party in [holder, held] {
            self.wait("resumption", |ground| {
                ground.phones[party].audio().unwrap().direction == "sendrecv"
            });
        }
        self.hear([holder, held]);
    }

    /// `caller` calls `callee`, one of both refers the other to Carol, and those talk; then Carol hangs up.
    fn transfer(&mut self, (caller, callee): (usize, usize), leaves: usize) {
        let stays = if leaves == caller { callee } else { caller };
        let completed = self.metric("ringpath_control_transfers_total", "completed");
        self.phones[caller].command("dial", &uri(callee));
        self.hear([caller, callee]);
        self.phones[leaves].command("transfer", &uri(CAROL));
        self.wait("the end for who left", |ground| {
            ground.phones[leaves].audio().is_none()
        });
        self.hear([stays, CAROL]);
        assert_eq!(
            self.metric("ringpath_control_transfers_total", "completed"),
            completed + 1.0,
            "{}",
            self.told()
        );
        self.hang_up(CAROL, stays);
    }

    fn hang_up(&mut self, party: usize, other: usize) {
        self.phones[party].command("hangup", "");
        for party in [party, other] {
            self.wait("the end", |ground| ground.phones[party].audio().is_none());
        }
    }
}

fn uri(user: usize) -> String {
    format!("sip:{}@{DOMAIN}", USERS[user].0)
}

/// RFC 5359 §2.1 and §2.4 by phones that are challenged for every call. They know MD5 alone, and give up when something else is
/// offered beside it.
#[test]
fn phones_register_over_tls_call_hold_and_transfer() {
    let test = "baresip-calls";
    if !is_here(test) {
        return;
    }
    let mut ground = Ground::new(test);
    ground.wait("registrations", |ground| {
        ground.metric("ringpath_control_registrations", "") == 3.0
    });
    ground.phones[ALICE].command("dial", &uri(BOB));
    ground.hear([ALICE, BOB]);
    for (holder, held) in [(ALICE, BOB), (BOB, ALICE)] {
        ground.hold(holder, held);
        ground.resume(holder, held);
    }
    ground.hang_up(ALICE, BOB);
    ground.transfer((ALICE, BOB), BOB);
    ground.transfer((ALICE, BOB), ALICE);
    for phone in &mut ground.phones {
        phone.command("quit", "");
        phone.process.wait(WITHIN).unwrap();
    }
    let cdrs = ground.stand.finish().unwrap();
    assert!(cdrs.iter().all(|cdr| cdr.answered), "{cdrs:#?}");
}
