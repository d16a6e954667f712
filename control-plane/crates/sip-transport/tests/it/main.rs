//! The transport over real sockets on the loopback.

mod tls;
mod ws;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sip::message::{Overload, ResponseBuilder};
use sip::{Destination, FlowId, Message, Source, Transmit, Transport as Protocol};
use sip_transport::{BindError, Config, Direction, Drop, Inbound, Listen, Transport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Bound of every wait; reached only when something is broken.
const LIMIT: Duration = Duration::from_secs(20);

fn listening(transport: Protocol, change: impl FnOnce(&mut Config)) -> (Transport, SocketAddr) {
    let listen = vec![Listen {
        transport,
        address: "127.0.0.1:0".parse().unwrap(),
    }];
    let mut config = Config {
        listen,
        ..Config::default()
    };
    change(&mut config);
    let transport = Transport::bind(config).unwrap();
    let address = transport.bound()[0].local;
    (transport, address)
}

fn request(method: &str, to: &str, via: &str) -> String {
    format!(
        "{method} sip:b@h SIP/2.0\r\nVia: SIP/2.0/{via};branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         From: <sip:a@h>;tag=1\r\nTo: {to}\r\nCall-ID: x\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"))
}

async fn message(transport: &Transport) -> (Source, Message) {
    match within("a message", transport.receive()).await {
        Inbound::Message { source, message } => (source, message),
        other => panic!("{other:?}"),
    }
}

async fn failure(transport: &Transport) -> Destination {
    match within("a failure", transport.receive()).await {
        Inbound::Failed(destination) => destination,
        other => panic!("{other:?}"),
    }
}

async fn datagram(socket: &UdpSocket) -> Message {
    let mut buffer = [0; 4_096];
    let length = within("a datagram", socket.recv(&mut buffer)).await.unwrap();
    Message::parse_datagram(Bytes::copy_from_slice(&buffer[..length])).unwrap()
}

/// Reads until the head of a message is complete.
async fn streamed(stream: &mut TcpStream) -> Message {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(within("a byte", stream.read_u8()).await.unwrap());
    }
    Message::parse_datagram(Bytes::from(bytes)).unwrap()
}

async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = within("the end of the connection", stream.read_to_end(&mut rest)).await;
}

async fn client() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

fn dropped(transport: &Transport, reason: Drop) -> u64 {
    transport
        .view()
        .counters()
        .drops
        .iter()
        .find(|(drop, _)| *drop == reason)
        .unwrap()
        .1
}

async fn until_dropped(transport: &Transport, reason: Drop) {
    let waiting = async {
        while dropped(transport, reason) == 0 {
            tokio::task::yield_now().await;
        }
    };
    within(reason.reason(), waiting).await;
}

fn to(transport: Protocol, remote: SocketAddr, flow: Option<FlowId>) -> Destination {
    Destination {
        transport,
        remote,
        flow,
    }
}

#[tokio::test]
async fn a_datagram_comes_in_and_its_answer_goes_out_by_the_same_socket() {
    let (transport, address) = listening(Protocol::Udp, |_| {});
    let client = client().await;
    client
        .send_to(request("INVITE", "<sip:b@h>", "UDP a").as_bytes(), address)
        .await
        .unwrap();
    let (source, message) = message(&transport).await;
    assert_eq!(
        (source.remote, source.local),
        (client.local_addr().unwrap(), address)
    );
    assert_eq!(message.request_uri(), Some("sip:b@h"));
    let bytes = Bytes::from(request("OPTIONS", "<sip:a@h>", "UDP b"));
    transport.send(Transmit {
        destination: source.into(),
        bytes,
    });
    assert_eq!(datagram(&client).await.request_uri(), Some("sip:b@h"));
    let counted = transport.view().counters().messages;
    let found: Vec<_> = counted
        .iter()
        .map(|line| (line.direction, line.method, line.count))
        .collect();
    assert_eq!(
        found,
        [
            (Direction::Received, Some("INVITE"), 1),
            (Direction::Sent, Some("OPTIONS"), 1)
        ]
    );
    assert_eq!(transport.view().kernel_drops(), Some(0));
}

#[tokio::test]
async fn both_families_listen_at_one_port_and_a_port_in_use_is_named() {
    let (_transport, address) = listening(Protocol::Udp, |_| {});
    let bind = |address| {
        let listen = vec![Listen {
            transport: Protocol::Udp,
            address,
        }];
        Transport::bind(Config {
            listen,
            ..Config::default()
        })
    };
    let v6 = SocketAddr::new("::1".parse().unwrap(), address.port());
    assert_eq!(bind(v6).unwrap().bound()[0].local, v6);
    match bind(address).unwrap_err() {
        BindError::Listener { bound, error } => assert_eq!(
            (bound.local, error.kind()),
            (address, std::io::ErrorKind::AddrInUse)
        ),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_malformed_request_is_answered_to_where_it_came_from() {
    let (transport, address) = listening(Protocol::Udp, |_| {});
    let client = client().await;
    let good = request("INVITE", "<sip:b@h>", "UDP 192.0.2.1:9;rport");
    for (text, status) in [
        (good.replace("CSeq: 1 INVITE\r\n", ""), 400),
        (good.replace("CSeq: 1", "CSeq: x"), 400),
        (good.replace("SIP/2.0\r\nVia", "SIP/3.0\r\nVia"), 505),
    ] {
        client.send_to(text.as_bytes(), address).await.unwrap();
        let answer = datagram_bytes(&client).await;
        assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{answer}");
        assert!(answer.contains(";tag="), "{answer}");
    }
    assert!(transport.try_receive().is_none());
    let malformed: u64 = transport
        .view()
        .counters()
        .malformed
        .iter()
        .map(|(_, count)| count)
        .sum();
    assert_eq!(malformed, 3);
}

async fn datagram_bytes(socket: &UdpSocket) -> String {
    let mut buffer = [0; 4_096];
    let length = within("a datagram", socket.recv(&mut buffer)).await.unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_tag_and_another_a_different_one() {
    let (_transport, address) = listening(Protocol::Udp, |_| {});
    let client = client().await;
    let broken = request("INVITE", "<sip:b@h>", "UDP a;rport").replace("CSeq: 1", "CSeq: x");
    let mut tags = Vec::new();
    for text in [
        broken.clone(),
        broken.clone(),
        broken.replace("z9hG4bK1", "z9hG4bK2"),
    ] {
        client.send_to(text.as_bytes(), address).await.unwrap();
        let answer = datagram_bytes(&client).await;
        let tag = answer
            .lines()
            .find(|line| line.starts_with("To:"))
            .unwrap()
            .to_owned();
        tags.push(tag);
    }
    assert_eq!(tags[0], tags[1]);
    assert_ne!(tags[0], tags[2]);
}

#[tokio::test]
async fn what_is_not_sip_is_counted_and_not_answered() {
    let (transport, address) = listening(Protocol::Udp, |_| {});
    let client = client().await;
    let ack = request("ACK", "<sip:b@h>", "UDP a;rport").replace("CSeq: 1", "CSeq: x");
    // A binding request without the cookie, as RFC 3489 had it.
    let binding = b"\0\x01\0\0\x21\x12\xA4\x43abcdefghijkl";
    let noise: [&[u8]; 6] = [
        b"\r\n\r\n",
        binding,
        b"\xFF\xFE",
        b"GET / HTTP/1.1\r\n\r\n",
        &[b'A'; 60_000],
        ack.as_bytes(),
    ];
    for bytes in noise {
        client.send_to(bytes, address).await.unwrap();
    }
    // The next one is the first to come out and to be answered.
    client
        .send_to(request("OPTIONS", "<sip:b@h>", "UDP a").as_bytes(), address)
        .await
        .unwrap();
    assert_eq!(
        message(&transport).await.1.cseq().unwrap().method.as_str(),
        "OPTIONS"
    );
    let counters = transport.view().counters();
    let malformed: u64 = counters.malformed.iter().map(|(_, count)| count).sum();
    assert_eq!(
        (counters.keep_alives, dropped(&transport, Drop::Stun), malformed),
        (1, 1, 4)
    );
    let mut buffer = [0; 1];
    assert!(client.try_recv(&mut buffer).is_err(), "noise was answered");
}

/// RFC 5626 §8: over IPv4 and IPv6.
#[tokio::test]
async fn a_stun_binding_request_gets_the_address_that_it_came_from() {
    for (local, last_id_byte) in [("127.0.0.1:0", 0), ("[::1]:0", 1)] {
        let (transport, address) = listening(Protocol::Udp, |config| {
            config.listen[0].address = local.parse().unwrap();
        });
        let client = UdpSocket::bind(local).await.unwrap();
        let mut binding = *b"\0\x01\0\0\x21\x12\xA4\x42abcdefghijkl";
        binding[19] = last_id_byte;
        client.send_to(&binding, address).await.unwrap();
        let mut answer = [0; 128];
        let length = within("a binding", client.recv(&mut answer)).await.unwrap();
        assert_eq!(answer[..2], [1, 1]);
        assert_eq!(answer[4..20], binding[4..20]);
        let port = u16::from_be_bytes([answer[26] ^ 0x21, answer[27] ^ 0x12]);
        assert_eq!(port, client.local_addr().unwrap().port());
        let ip: Vec<u8> = answer[28..length]
            .iter()
            .zip(&binding[4..])
            .map(|(a, b)| a ^ b)
            .collect();
        match client.local_addr().unwrap().ip() {
            std::net::IpAddr::V4(own) => assert_eq!(ip, own.octets()),
            std::net::IpAddr::V6(own) => assert_eq!(ip, own.octets()),
        }
        let counters = transport.view().counters();
        assert_eq!((counters.bindings, dropped(&transport, Drop::Stun)), (1, 0));
    }
}

/// RFC 5626 §4.4.1, over TCP: two line ends are answered with one.
#[tokio::test]
async fn a_ping_on_a_connection_gets_its_pong() {
    let (transport, address) = listening(Protocol::Tcp, |_| {});
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"\r\n\r\n").await.unwrap();
    let mut pong = [0; 2];
    within("a pong", stream.read_exact(&mut pong)).await.unwrap();
    assert_eq!(&pong, b"\r\n");
    assert_eq!(transport.view().counters().keep_alives, 1);
}

#[tokio::test]
async fn new_requests_beyond_the_limit_get_503_and_calls_that_exist_go_on() {
    let (transport, address) = listening(Protocol::Udp, |config| config.new_requests_max = 2);
    let client = client().await;
    let invite = request("INVITE", "<sip:b@h>", "UDP a;rport");
    for number in 0..20 {
        let text = invite.replace("z9hG4bK1", &format!("z9hG4bK{number}"));
        client.send_to(text.as_bytes(), address).await.unwrap();
    }
    let bye = request("BYE", "<sip:b@h>;tag=2", "UDP a;rport");
    client.send_to(bye.as_bytes(), address).await.unwrap();
    let mut waits = HashSet::new();
    for _ in 0..18 {
        let answer = datagram(&client).await;
        assert_eq!(answer.status(), Some(503));
        let wait: u32 = answer
            .header(sip::HeaderName::RetryAfter)
            .unwrap()
            .parse()
            .unwrap();
        assert!((5..=30).contains(&wait), "{wait}");
        waits.insert(wait);
    }
    assert!(waits.len() > 1, "all come back together");
    let methods = [
        message(&transport).await,
        message(&transport).await,
        message(&transport).await,
    ]
    .map(|(_, message)| message.cseq().unwrap().method.as_str().to_owned());
    assert_eq!(methods, ["BYE", "INVITE", "INVITE"]);
    assert_eq!(dropped(&transport, Drop::Overload), 18);
}

#[tokio::test]
async fn a_repetition_meets_the_fate_of_its_request() {
    let (transport, address) = listening(Protocol::Udp, |config| config.new_requests_max = 1);
    let client = client().await;
    let invite = |branch: &str| request("INVITE", "<sip:b@h>", "UDP a;rport").replace("z9hG4bK1", branch);
    for branch in ["z9hG4bKtaken", "z9hG4bKrefused"] {
        client.send_to(invite(branch).as_bytes(), address).await.unwrap();
    }
    let refused = datagram(&client).await;
    assert_eq!(refused.status(), Some(503));
    // No room: the one that was taken is not refused by its repetition.
    client
        .send_to(invite("z9hG4bKtaken").as_bytes(), address)
        .await
        .unwrap();
    until_dropped(&transport, Drop::Repetition).await;
    message(&transport).await;
    // Room: the one that was refused does not begin after all, and its answer is the same.
    client
        .send_to(invite("z9hG4bKrefused").as_bytes(), address)
        .await
        .unwrap();
    assert_eq!(datagram(&client).await.bytes(), refused.bytes());
    assert!(transport.try_receive().is_none());
    client
        .send_to(invite("z9hG4bKtaken").as_bytes(), address)
        .await
        .unwrap();
    assert_eq!(
        message(&transport).await.1.via().unwrap().branch(),
        Some("z9hG4bKtaken")
    );
}

#[tokio::test]
async fn a_stream_is_cut_into_messages_and_answered_on_itself() {
    let (transport, address) = listening(Protocol::Tcp, |_| {});
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let text = request("INVITE", "<sip:b@h>", "TCP a");
    for part in text.as_bytes().chunks(40) {
        stream.write_all(part).await.unwrap();
        tokio::task::yield_now().await;
    }
    let (source, _) = message(&transport).await;
    assert_eq!(source.transport, Protocol::Tcp);
    stream.write_all(b"\r\n\r\n").await.unwrap();
    let mut pong = [0; 2];
    within("a pong", stream.read_exact(&mut pong)).await.unwrap();
    assert_eq!(&pong, b"\r\n");
    stream
        .write_all(text.replace("CSeq: 1", "CSeq: x").as_bytes())
        .await
        .unwrap();
    assert_eq!(streamed_status(&mut stream).await, "SIP/2.0 400");
    let destination = to(Protocol::Tcp, "192.0.2.1:9".parse().unwrap(), Some(source.flow));
    transport.send(Transmit {
        destination,
        bytes: Bytes::from(request("OPTIONS", "<sip:a@h>", "TCP b")),
    });
    assert_eq!(streamed(&mut stream).await.request_uri(), Some("sip:b@h"));
}

async fn streamed_status(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(within("a byte", stream.read_u8()).await.unwrap());
    }
    String::from_utf8(bytes[..11].to_vec()).unwrap()
}

#[tokio::test]
async fn a_stream_out_of_step_is_answered_and_closed() {
    let (transport, address) = listening(Protocol::Tcp, |_| {});
    let mut stream = TcpStream::connect(address).await.unwrap();
    let text = request("INVITE", "<sip:b@h>", "TCP a").replace("Content-Length: 0\r\n", "");
    stream.write_all(text.as_bytes()).await.unwrap();
    assert_eq!(streamed_status(&mut stream).await, "SIP/2.0 400");
    closed(&mut stream).await;
    assert_eq!(dropped(&transport, Drop::ConnectionFraming), 1);
    let mut garbage = TcpStream::connect(address).await.unwrap();
    garbage.write_all(&[0xFF; 100]).await.unwrap();
    closed(&mut garbage).await;
    let mut endless = TcpStream::connect(address).await.unwrap();
    let _ = endless.write_all(&vec![b'A'; 200_000]).await;
    closed(&mut endless).await;
    assert_eq!(transport.view().connections(), 0);
}

#[tokio::test]
async fn slow_and_idle_connections_are_closed() {
    let (transport, address) = listening(Protocol::Tcp, |config| {
        config.message_timeout = Duration::from_millis(200);
        config.idle_timeout = Duration::from_millis(600);
    });
    let mut slow = TcpStream::connect(address).await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    // A byte now and then does not buy time.
    let feeding = async {
        for byte in request("INVITE", "<sip:b@h>", "TCP a").bytes() {
            if slow.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("a slow message was taken");
    };
    within("the slow connection is closed", feeding).await;
    assert_eq!(dropped(&transport, Drop::ConnectionSlow), 1);
    closed(&mut idle).await;
    assert_eq!(dropped(&transport, Drop::ConnectionIdle), 1);
}

#[tokio::test]
async fn connections_are_limited_for_each_source_and_in_all() {
    let (transport, address) = listening(Protocol::Tcp, |config| {
        config.connections_per_source_max = 2;
        config.connections_max = 3;
    });
    let mut kept = Vec::new();
    for _ in 0..2 {
        kept.push(TcpStream::connect(address).await.unwrap());
    }
    closed(&mut TcpStream::connect(address).await.unwrap()).await;
    assert_eq!(dropped(&transport, Drop::ConnectionsPerSource), 1);
    for source in ["127.0.0.2:0", "127.0.0.3:0"] {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(source.parse().unwrap()).unwrap();
        kept.push(socket.connect(address).await.unwrap());
    }
    closed(&mut kept[3]).await;
    assert_eq!(dropped(&transport, Drop::ConnectionsMax), 1);
    // A place that becomes free can be had.
    drop(kept.remove(0));
    let freed = async {
        while transport.view().connections() > 2 {
            tokio::task::yield_now().await;
        }
    };
    within("a free place", freed).await;
    let mut again = TcpStream::connect(address).await.unwrap();
    again
        .write_all(request("OPTIONS", "<sip:b@h>", "TCP a").as_bytes())
        .await
        .unwrap();
    message(&transport).await;
}

#[tokio::test]
async fn a_request_connects_once_and_a_response_without_its_connection_connects_anew() {
    let (transport, _) = listening(Protocol::Tcp, |_| {});
    let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = peer.local_addr().unwrap();
    let bytes = Bytes::from(request("OPTIONS", "<sip:a@h>", "TCP b"));
    for _ in 0..2 {
        transport.send(Transmit {
            destination: to(Protocol::Tcp, address, None),
            bytes: bytes.clone(),
        });
    }
    let (mut first, _) = within("a connection", peer.accept()).await.unwrap();
    streamed(&mut first).await;
    streamed(&mut first).await;
    assert!(transport.is_connected(&to(Protocol::Tcp, address, None)));
    first
        .write_all(request("BYE", "<sip:b@h>;tag=2", "TCP a").as_bytes())
        .await
        .unwrap();
    let (source, _) = message(&transport).await;
    drop(first);
    let gone = async {
        while transport.view().connections() > 0 {
            tokio::task::yield_now().await;
        }
    };
    within("the connection is forgotten", gone).await;
    assert!(!transport.is_connected(&to(Protocol::Tcp, address, Some(source.flow))));
    transport.send(Transmit {
        destination: to(Protocol::Tcp, address, Some(source.flow)),
        bytes,
    });
    let (mut second, _) = within("a new connection", peer.accept()).await.unwrap();
    streamed(&mut second).await;
    second
        .write_all(request("BYE", "<sip:b@h>;tag=2", "TCP a").as_bytes())
        .await
        .unwrap();
    let (again, _) = message(&transport).await;
    assert!(again.flow > source.flow, "flows are not numbered twice");
}

#[tokio::test]
async fn what_cannot_be_sent_is_reported() {
    let (transport, _) = listening(Protocol::Udp, |_| {});
    let bytes = Bytes::from_static(b"OPTIONS sip:a SIP/2.0\r\n\r\n");
    // A port that was free a moment ago refuses.
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let refused = to(Protocol::Tcp, free, None);
    transport.send(Transmit {
        destination: refused,
        bytes: bytes.clone(),
    });
    assert_eq!(failure(&transport).await, refused);
    let no_listener = to(Protocol::Udp, "[::1]:9".parse().unwrap(), None);
    transport.send(Transmit {
        destination: no_listener,
        bytes,
    });
    assert_eq!(failure(&transport).await, no_listener);
    let too_large = to(Protocol::Udp, free, None);
    transport.send(Transmit {
        destination: too_large,
        bytes: vec![b'A'; 70_000].into(),
    });
    assert_eq!(failure(&transport).await, too_large);
    let counted =
        [Drop::ConnectError, Drop::NoListener, Drop::SendError].map(|drop| dropped(&transport, drop));
    assert_eq!(counted, [1, 1, 1]);
}

#[tokio::test]
async fn a_connection_that_does_not_read_is_closed_and_what_waited_is_reported() {
    let (transport, _) = listening(Protocol::Tcp, |config| config.write_queue_max = 4);
    let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let destination = to(Protocol::Tcp, peer.local_addr().unwrap(), None);
    let bytes = Bytes::from(vec![b'A'; 1_000_000]);
    transport.send(Transmit {
        destination,
        bytes: bytes.clone(),
    });
    let (_stream, _) = within("a connection", peer.accept()).await.unwrap();
    let filling = async {
        while dropped(&transport, Drop::ConnectionStuck) == 0 {
            transport.send(Transmit {
                destination,
                bytes: bytes.clone(),
            });
            tokio::task::yield_now().await;
        }
    };
    within("the connection is given up", filling).await;
    assert_eq!(failure(&transport).await, destination);
}

#[tokio::test]
async fn a_large_request_goes_over_tcp_and_back_to_udp_when_nobody_listens() {
    let (transport, _) = listening(Protocol::Udp, |config| config.large_requests_over_tcp = true);
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let small = request("INVITE", "<sip:b@h>", "UDP a");
    let large = Bytes::from(small.replace(
        "Max-Forwards",
        &format!("X: {}\r\nMax-Forwards", "x".repeat(1_400)),
    ));
    let destination = to(Protocol::Udp, address, None);
    transport.send(Transmit {
        destination,
        bytes: large.clone(),
    });
    let (mut stream, _) = within("a connection", tcp.accept()).await.unwrap();
    assert_eq!(streamed(&mut stream).await.via().unwrap().transport, "TCP");
    drop((stream, tcp));
    let gone = async {
        while transport.view().connections() > 0 {
            tokio::task::yield_now().await;
        }
    };
    within("the connection is forgotten", gone).await;
    let udp = UdpSocket::bind(address).await.unwrap();
    transport.send(Transmit {
        destination,
        bytes: large,
    });
    assert_eq!(datagram(&udp).await.via().unwrap().transport, "UDP");
    transport.send(Transmit {
        destination,
        bytes: Bytes::from(small),
    });
    assert_eq!(datagram(&udp).await.via().unwrap().transport, "UDP");
    until_dropped(&transport, Drop::ConnectError).await;
}

#[tokio::test]
async fn a_connection_is_made_from_the_listener_of_its_flow_and_used_again_for_it() {
    let at = |address: &str| Listen {
        transport: Protocol::Tcp,
        address: address.parse().unwrap(),
    };
    let (transport, _) = listening(Protocol::Tcp, |config| {
        config.listen = vec![at("127.0.0.1:0"), at("127.0.0.2:0")];
    });
    let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let remote = peer.local_addr().unwrap();
    let send = |place| {
        let bytes = Bytes::from(request("OPTIONS", "<sip:a@h>", "TCP b"));
        transport.send(Transmit {
            destination: to(Protocol::Tcp, remote, Some(FlowId::of_listener(place))),
            bytes,
        });
    };
    for (place, expected) in [(1, "127.0.0.2"), (0, "127.0.0.1")] {
        send(place);
        let (mut stream, from) = within("a connection", peer.accept()).await.unwrap();
        assert_eq!(from.ip().to_string(), expected);
        streamed(&mut stream).await;
        send(place);
        streamed(&mut stream).await;
        // What comes over it belongs to that listener.
        stream
            .write_all(request("OPTIONS", "<sip:b@h>", "TCP a").as_bytes())
            .await
            .unwrap();
        let flow = message(&transport).await.0.flow;
        assert_eq!(
            (flow.listener(), flow.is_connection()),
            (usize::from(place), true)
        );
    }
}

/// RFC 7339 §5.3: who is allowed and asks is told a share; of full queues without a long wait it is 0, and a time says how long to be
/// silent for.
#[tokio::test]
async fn a_neighbour_that_asks_is_told_about_overload_in_every_response() {
    for (is_allowed, is_told_by_policy) in [(true, true), (false, true), (true, false)] {
        let (transport, address) = listening(Protocol::Udp, |config| {
            config.new_requests_max = 1;
            config.overload_told = is_told_by_policy;
            config.overload_epoch_s = 1_700_000_000;
            if is_allowed {
                config.guard.allow = vec!["127.0.0.0/8".parse().unwrap()];
            }
        });
        let is_told = is_allowed && is_told_by_policy;
        let client = client().await;
        let mut sequence = 0;
        for (number, via) in [
            "UDP a;rport; OC ;oc-algo = \"loss\"",
            "UDP a;rport;oc;oc-algo=\"rate\"",
            "UDP a;rport",
        ]
        .into_iter()
        .enumerate()
        {
            // The first fills the queue and the second is refused; the owner answers the first.
            let texts = [2 * number, 2 * number + 1].map(|number| {
                request("INVITE", "<sip:b@h>", via).replace("z9hG4bK1", &format!("z9hG4bK-{number}"))
            });
            for text in &texts {
                client.send_to(text.as_bytes(), address).await.unwrap();
            }
            let refusal = datagram(&client).await;
            let (source, invite) = message(&transport).await;
            let response = ResponseBuilder::for_request(&invite, 486, "Busy Here")
                .to_tag("b")
                .build();
            transport.send(Transmit {
                destination: source.into(),
                bytes: response.unwrap().bytes().clone(),
            });
            let busy = datagram(&client).await;
            assert_eq!((refusal.status(), busy.status()), (Some(503), Some(486)));
            assert!(refusal.header(sip::HeaderName::RetryAfter).is_some());
            for response in [&refusal, &busy] {
                let said = Overload::of(&response.via().unwrap());
                if !(is_told && number == 0) {
                    assert_eq!(said, None, "{via}");
                    continue;
                }
                let said = said.unwrap().unwrap();
                assert_eq!((said.percent, said.validity_ms), (0, 500));
                assert!(said.sequence > sequence && said.sequence / 100_000 >= 1_700_000_000);
                sequence = said.sequence;
            }
        }
        let told = transport.view().counters().overloads_told;
        assert_eq!(told, if is_told { 2 } else { 0 });
    }
}
