//! Calls of users: who may make one.

use bytes::Bytes;
use registrar::Calls;
use sip::{HeaderName, Message};

use crate::world::{World, closed, open};

fn invite(from: &str, fields: &str) -> Message {
    let text = format!(
        "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
         From: <{from}>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n{fields}\r\n"
    );
    Message::parse_datagram(Bytes::from(text)).unwrap()
}

fn admit(world: &mut World, invite: &Message) -> Result<Option<String>, u16> {
    let result = world.registrar.admit_call(world.now, &world.source, invite, "t");
    result.map_err(|response| response.unwrap().status().unwrap())
}

#[test]
fn calls_are_challenged_when_they_shall_be() {
    let mut world = closed(|config| config.calls = Calls::Challenged);
    let from = "sip:alice@example.com";
    let plain = invite(from, "");
    let challenge = world
        .registrar
        .admit_call(world.now, &world.source, &plain, "t")
        .unwrap_err()
        .unwrap();
    assert_eq!(challenge.status(), Some(407));
    assert_eq!(challenge.fields(HeaderName::ProxyAuthenticate).count(), 3);
    let fields = world.credentials(&challenge, "INVITE", "sip:bob@example.com", "alice", "wonderland");
    assert_eq!(
        admit(&mut world, &invite(from, &fields)),
        Ok(Some("alice".into()))
    );
    assert_eq!(
        admit(&mut world, &invite(from, &fields)),
        Err(407),
        "once a count"
    );
    // Under another's name.
    let challenge = world
        .registrar
        .admit_call(world.now, &world.source, &plain, "t")
        .unwrap_err()
        .unwrap();
    let fields = world.credentials(&challenge, "INVITE", "sip:bob@example.com", "alice", "wonderland");
    assert_eq!(
        admit(&mut world, &invite("sip:bob@example.com", &fields)),
        Err(403)
    );
    // Under no name is allowed (RFC 3323).
    let challenge = world
        .registrar
        .admit_call(world.now, &world.source, &plain, "t")
        .unwrap_err()
        .unwrap();
    let fields = world.credentials(&challenge, "INVITE", "sip:bob@example.com", "alice", "wonderland");
    let anonymous = invite("sip:anonymous@anonymous.invalid", &fields);
    assert_eq!(admit(&mut world, &anonymous), Ok(Some("alice".into())));
}

/// Attack 11: a valid account that floods.
#[test]
fn a_user_begins_so_many_calls_a_second_and_no_more() {
    let mut world = closed(|config| {
        config.calls = Calls::Challenged;
        config.calls_per_s_max = 3;
    });
    let from = "sip:alice@example.com";
    let mut outcomes = Vec::new();
    for second in [0, 0, 0, 0, 0, 1, 1] {
        if second == 1 && outcomes.len() == 5 {
            world.now = world.now + std::time::Duration::from_secs(1);
        }
        let challenge = world
            .registrar
            .admit_call(world.now, &world.source, &invite(from, ""), "t")
            .unwrap_err()
            .unwrap();
        let fields = world.credentials(&challenge, "INVITE", "sip:bob@example.com", "alice", "wonderland");
        outcomes.push(admit(&mut world, &invite(from, &fields)).err());
    }
    let refused = Some(503);
    assert_eq!(outcomes, [None, None, None, refused, refused, None, None]);
}

#[test]
fn trusted_networks_and_open_doors_need_no_password() {
    let mut world = closed(|config| {
        config.calls = Calls::Challenged;
        config.trusted = vec!["192.0.2.0/30".parse().unwrap()];
    });
    assert_eq!(admit(&mut world, &invite("sip:x@y.example", "")), Ok(None));
    world.source.remote = "192.0.2.4:5060".parse().unwrap();
    assert_eq!(admit(&mut world, &invite("sip:x@y.example", "")), Err(407));
    for mut world in [closed(|_| {}), open(|config| config.calls = Calls::Challenged)] {
        assert_eq!(admit(&mut world, &invite("sip:x@y.example", "")), Ok(None));
    }
}
