//! Lines that come up while strangers flood their port with checks and ClientHellos from the beginning.

use std::net::SocketAddr;
use std::time::Duration;

use media_types::DtlsRole;
use proto::media_v1 as wire;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::line_setup::{check, client_hello, created, described, secured, status};
use crate::node::{Backend, Node, line, on_both_backends, own_address};
use crate::party::Party;
use crate::secure_peer::{SecurePeer, facing, fingerprint_of};

on_both_backends!(a_flood_from_the_beginning_keeps_no_line_from_coming_up);

/// How soon a line must be up, and how soon strangers must have spent their part of a second.
const SOON: Duration = Duration::from_secs(8);

/// Sends checks by wrong names and ClientHellos from many places until it is ended.
async fn flood(target: SocketAddr) -> JoinHandle<()> {
    let mut strangers = Vec::new();
    for _ in 0..8 {
        strangers.push(UdpSocket::bind((own_address(), 0)).await.expect("binds"));
    }
    let datagrams = [client_hello(), check("nobody:else", 7)];
    tokio::spawn(async move {
        loop {
            for stranger in &strangers {
                for datagram in &datagrams {
                    // One that finds no place in the socket is one less.
                    let _ = stranger.try_send_to(datagram, target);
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
}

async fn a_flood_from_the_beginning_keeps_no_line_from_coming_up(backend: Backend) {
    let mut node = Node::start(backend).await;
    let fingerprint = fingerprint_of(&described(&mut node).await);
    let b = Party::at(own_address()).await;
    let browser = SecurePeer::with_ice(DtlsRole::Active).await;
    let phone = SecurePeer::new(DtlsRole::Active).await;
    for (name, mut party) in [("ice", browser), ("dtls", phone)] {
        let made = created(&mut node, name, party.line(), line(Some(b.address()))).await;
        let strangers = flood(facing(&made, 0)).await;
        let is_spent = async {
            let spent =
                |line: &wire::LineStatus| line.drops.get("setup_rate").is_some_and(|count| *count > 100);
            while !spent(&status(&mut node, name, 0).await) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(SOON, is_spent)
            .await
            .expect("strangers have spent theirs");
        party.begin(facing(&made, 0), &fingerprint);
        let up = secured(&mut node, name, 0, &mut party);
        tokio::time::timeout(SOON, up)
            .await
            .expect("it comes up all the same");
        strangers.abort();
        let line = status(&mut node, name, 0).await;
        assert_eq!(line.dtls.expect("with DTLS").state(), wire::DtlsState::Connected);
        if let Some(ice) = line.ice {
            assert_eq!(ice.state(), wire::IceState::Connected);
        }
    }
    node.stop().await;
}
