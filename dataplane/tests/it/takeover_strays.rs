//! Connections to the takeover's socket that come to nothing, in the midst of calls.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketType,
};
use rustix::process::Signal;

use crate::node::{Backend, Node, Settings, delete, on_both_backends};
use crate::takeover::{all_heard, settings, successor, talk, until_sent};

on_both_backends!(
    strays_and_successors_that_die_cost_no_packet,
    a_signal_in_the_midst_of_a_takeover_ends_the_calls_in_order,
);

/// `Ask` with `Hello`: its version, a process and a build, of this version of the protocol.
const HELLO: &[u8] = &[0x0a, 4, 0x08, 3, 0x10, 7];
/// Of another version.
const HELLO_OF_ANOTHER: &[u8] = &[0x0a, 4, 0x08, 99, 0x10, 7];
/// `Ask` with `Begin`.
const BEGIN: &[u8] = &[0x12, 0];
/// The first bytes of `Tell` with each of these.
const WELCOME: u8 = 0x0a;
const REFUSED: u8 = 0x12;
const CALL: u8 = 0x22;
const END: u8 = 0x2a;

/// The end of a process that would take over.
struct Stray(OwnedFd);

impl Stray {
    fn connect(state: &Path) -> Self {
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a socket");
        let patience = Some(Duration::from_secs(10));
        rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, patience)
            .expect("a limit");
        let path = SocketAddrUnix::new(state.join("media-it/takeover.sock")).expect("short");
        rustix::net::connect(&socket, &path).expect("somebody listens");
        Self(socket)
    }

    fn say(&self, message: &[u8]) {
        let mut none = SendAncillaryBuffer::default();
        rustix::net::sendmsg(&self.0, &[IoSlice::new(message)], &mut none, SendFlags::NOSIGNAL)
            .expect("said");
    }

    /// The first byte of what is heard next; `None` at the end. Descriptors are closed.
    fn hear(&self) -> Option<u8> {
        let mut bytes = vec![0; 256 * 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            RecvFlags::empty(),
        );
        match received {
            Ok(received) if received.bytes > 0 => Some(bytes[0]),
            Ok(_) | Err(Errno::CONNRESET) => None,
            Err(error) => panic!("nothing heard: {error}"),
        }
    }

    fn hear_until(&self, kind: u8) {
        while self.hear().expect("more") != kind {}
    }
}

/// In a thread of its own, for the clock of the talkers goes on.
async fn meanwhile(what: impl FnOnce() + Send + 'static) {
    tokio::task::spawn_blocking(what).await.expect("no panic");
}

async fn strays_and_successors_that_die_cost_no_packet(backend: Backend) {
    let state = tempfile::tempdir().expect("a directory");
    let settings = Settings {
        // Far longer than the calls take to be sent, and no more than the parties' packets have room for in the sockets.
        limits: "takeover_ms = 1000".into(),
        ..settings(&state)
    };
    let mut node = Node::with(backend, settings.clone()).await;
    let talkers = talk(&mut node).await;
    until_sent(&talkers, 20).await;
    let path = state.path().to_owned();
    meanwhile(move || {
        drop(Stray::connect(&path));
        let garbled = Stray::connect(&path);
        garbled.say(&[0xff; 100]);
        assert_eq!(garbled.hear(), None);
        let other = Stray::connect(&path);
        other.say(HELLO_OF_ANOTHER);
        assert_eq!(other.hear(), Some(REFUSED));
        let early = Stray::connect(&path);
        early.say(BEGIN);
        assert_eq!(early.hear(), None);
        let polite = Stray::connect(&path);
        polite.say(HELLO);
        assert_eq!(polite.hear(), Some(WELCOME));
        drop(polite);
        // Those that stop the calls, and die then: at once, in the midst of the calls, and when they have them all.
        for heard in [None, Some(CALL), Some(END)] {
            let dying = Stray::connect(&path);
            dying.say(HELLO);
            assert_eq!(dying.hear(), Some(WELCOME));
            dying.say(BEGIN);
            if let Some(heard) = heard {
                dying.hear_until(heard);
            }
        }
        // One that has them all and says nothing more.
        let stuck = Stray::connect(&path);
        stuck.say(HELLO);
        stuck.say(BEGIN);
        stuck.hear_until(END);
        assert_eq!(stuck.hear(), None, "left alone in time");
        // One that says nothing at all; another one waits behind it.
        let silent = Stray::connect(&path);
        let behind = Stray::connect(&path);
        behind.say(HELLO);
        assert_eq!(silent.hear(), None);
        assert_eq!(behind.hear(), Some(WELCOME));
    })
    .await;
    assert!(node.process.log().contains("limits.takeover_ms = 1000"));
    all_heard(talkers).await;
    // And one that is meant: what the others were given is no hindrance.
    let process = successor(backend, &settings);
    let status = node.process.ended().await;
    assert_eq!(status.code(), Some(0), "{status}, log:\n{}", node.process.log());
    while process.line() != "ready" {}
    node.process = process;
    node.client.delete_call(delete("c3")).await.expect("deleted");
    node.stop().await;
}

async fn a_signal_in_the_midst_of_a_takeover_ends_the_calls_in_order(backend: Backend) {
    let state = tempfile::tempdir().expect("a directory");
    let settings = Settings {
        grace_ms: 10_000,
        ..settings(&state)
    };
    let mut node = Node::with(backend, settings).await;
    let talkers = talk(&mut node).await;
    let count = talkers.len() / 2;
    until_sent(&talkers, 20).await;
    let path = state.path().to_owned();
    let (stopped, has_stopped) = tokio::sync::oneshot::channel();
    let stray = tokio::task::spawn_blocking(move || {
        let dying = Stray::connect(&path);
        dying.say(HELLO);
        dying.say(BEGIN);
        dying.hear_until(END);
        stopped.send(()).expect("the test waits");
        assert_eq!(dying.hear(), None);
    });
    has_stopped.await.expect("the calls stand still");
    node.process.signal(Signal::TERM);
    stray.await.expect("no panic");
    // The calls have their time, and those who make them.
    all_heard(talkers).await;
    for n in 0..count {
        let deleted = node.client.delete_call(delete(&format!("c{n}"))).await;
        deleted.expect("deleted");
    }
    let status = node.process.ended().await;
    assert_eq!(status.code(), Some(0), "{status}, log:\n{}", node.process.log());
}
