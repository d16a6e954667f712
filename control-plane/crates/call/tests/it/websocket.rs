//! Parties on WebSocket, who are where they have connected from and nowhere else (RFC 7118 §5).

use sans_io::network::Conditions;
use sip::transaction::Listener;
use sip::{FlowId, Transport};

use crate::world::{B, World, config};

/// The connection that the last request to A left by.
fn flow_to_a(world: &World) -> Option<FlowId> {
    let to_a = |sent: &&sip::Transmit| {
        sent.destination.remote == world.a.address && !sent.bytes.starts_with(b"SIP/")
    };
    world
        .sent
        .iter()
        .rev()
        .find(to_a)
        .and_then(|sent| sent.destination.flow)
}

/// A browser that changes its network connects anew and restarts ICE: what we ask it from then on goes to where it is.
#[test]
fn a_party_that_has_connected_anew_is_found_there() {
    let mut config = config(&[B]);
    let address = config.transactions.listeners[0].local;
    for transport in [Transport::Wss, Transport::Ws] {
        config
            .transactions
            .listeners
            .push(Listener::new(transport, address));
    }
    let mut world = World::with(config, Conditions::PERFECT, 1);
    world.a_comes_by = Some((Transport::Wss, FlowId::of_connection(1, 7)));
    world.a.invite(world.now, true);
    world.run_ms(20);
    world.b.answer(world.now);
    world.run_ms(100);
    assert!(world.a.is_talking());
    world.b.reinvite(world.now, "sendonly", true);
    world.run_ms(100);
    assert_eq!(flow_to_a(&world), Some(FlowId::of_connection(1, 7)));
    // Over a transport that anybody may read it does not go.
    world.a_comes_by = Some((Transport::Ws, FlowId::of_connection(2, 8)));
    world.a.reinvite(world.now, "sendrecv", true);
    world.run_ms(100);
    world.b.reinvite(world.now, "sendonly", true);
    world.run_ms(100);
    assert_eq!(flow_to_a(&world), Some(FlowId::of_connection(1, 7)));
    world.a_comes_by = Some((Transport::Wss, FlowId::of_connection(1, 9)));
    world.a.reinvite(world.now, "sendrecv", true);
    world.run_ms(100);
    world.b.bye(world.now);
    world.run_ms(100);
    assert_eq!(flow_to_a(&world), Some(FlowId::of_connection(1, 9)));
    world.finish();
}
