//! Parties on WebSocket, who are where they have connected from and nowhere else (RFC 7118 §5).

use sans_io::network::Conditions;
use sip::transaction::Listener;
use sip::{FlowId, HeaderName, Transport};

use crate::ua::Manner;
use crate::world::{B, World, config};

/// The connection that the last request of this method to A left by.
fn flow_to_a(world: &World, method: &str) -> Option<FlowId> {
    let to_a = |sent: &&sip::Transmit| {
        sent.destination.remote == world.a.address && sent.bytes.starts_with(method.as_bytes())
    };
    world
        .sent
        .iter()
        .rev()
        .find(to_a)
        .and_then(|sent| sent.destination.flow)
}

/// A is on secure WebSocket.
fn on_websocket() -> World {
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
    world
}

/// A browser that changes its network connects anew and restarts ICE: what we ask it from then on goes to where it is.
#[test]
fn a_party_that_has_connected_anew_is_found_there() {
    let mut world = on_websocket();
    world.a.invite(world.now, true);
    world.run_ms(20);
    world.b.answer(world.now);
    world.run_ms(100);
    assert!(world.a.is_talking());
    world.b.reinvite(world.now, "sendonly", true);
    world.run_ms(100);
    assert_eq!(flow_to_a(&world, "INVITE"), Some(FlowId::of_connection(1, 7)));
    // Over a transport that anybody may read it does not go.
    world.a_comes_by = Some((Transport::Ws, FlowId::of_connection(2, 8)));
    world.a.reinvite(world.now, "sendrecv", true);
    world.run_ms(100);
    world.b.reinvite(world.now, "sendonly", true);
    world.run_ms(100);
    assert_eq!(flow_to_a(&world, "INVITE"), Some(FlowId::of_connection(1, 7)));
    world.a_comes_by = Some((Transport::Wss, FlowId::of_connection(1, 9)));
    world.a.reinvite(world.now, "sendrecv", true);
    world.run_ms(100);
    world.b.bye(world.now);
    world.run_ms(100);
    assert_eq!(flow_to_a(&world, "BYE"), Some(FlowId::of_connection(1, 9)));
    world.finish();
}

/// What is refused for what is under way changes no target (RFC 3261 §12.2.2).
#[test]
fn a_refused_offer_leaves_a_party_where_it_was() {
    let mut world = on_websocket();
    world.a.invite(world.now, true);
    world.run_ms(20);
    world.b.answer(world.now);
    world.run_ms(100);
    world.a.manner = Manner::Ignore;
    world.b.reinvite(world.now, "sendonly", true);
    world.run_ms(100);
    world.a_comes_by = Some((Transport::Wss, FlowId::of_connection(1, 9)));
    world.a.reinvite(world.now, "sendrecv", true);
    world.run_ms(100);
    assert_eq!(world.a.log.last().unwrap(), "491 INVITE");
    world.b.bye(world.now);
    world.run_ms(100);
    assert_eq!(flow_to_a(&world, "BYE"), Some(FlowId::of_connection(1, 7)));
    world.finish();
}

/// Before the answer, too: by an UPDATE with an offer and by one without. A re-INVITE, for which it is early, moves nothing.
#[test]
fn a_party_that_connects_anew_before_the_answer_is_found_there() {
    for has_offer in [true, false] {
        let mut world = on_websocket();
        let body = world.a.body();
        let builder = world
            .a
            .invite_builder("1000")
            .header(HeaderName::Supported, "100rel")
            .body("application/sdp", body.as_bytes());
        world.a.send_invite(world.now, builder);
        world.run_ms(20);
        let body = world.b.body();
        world.b.respond_reliably(world.now, 183, "b1", Some(&body));
        world.run_ms(50);
        world.a_comes_by = Some((Transport::Wss, FlowId::of_connection(1, 8)));
        let body = world.a.body();
        world
            .a
            .update_early(world.now, has_offer.then_some(body.as_str()));
        world.run_ms(50);
        assert_eq!(world.a.log.last().unwrap(), "200 UPDATE");
        let body = world.b.body();
        world.b.update_early(world.now, Some(&body));
        world.run_ms(50);
        assert_eq!(
            flow_to_a(&world, "UPDATE"),
            Some(FlowId::of_connection(1, 8)),
            "{has_offer}"
        );
        world.a_comes_by = Some((Transport::Wss, FlowId::of_connection(1, 9)));
        world.a.reinvite_early(world.now);
        world.run_ms(50);
        assert_eq!(world.a.log.last().unwrap(), "500 INVITE");
        world.b.answer(world.now);
        world.run_ms(50);
        world.b.bye(world.now);
        world.run_ms(50);
        assert_eq!(
            flow_to_a(&world, "BYE"),
            Some(FlowId::of_connection(1, 8)),
            "{has_offer}"
        );
        world.finish();
    }
}
