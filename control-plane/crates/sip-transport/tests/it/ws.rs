//! WebSocket (RFC 7118): who is taken, what comes and goes, and what ends a connection.

use futures_util::{SinkExt as _, StreamExt as _};
use sip_transport::WebSocket;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::frame::{Frame as RawFrame, coding};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message as Frame};
use tokio_tungstenite::tungstenite::{Error, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::*;

type Client = WebSocketStream<TcpStream>;

const INVALID: &str = "WS df7jal23ls0d.invalid";

async fn open(address: SocketAddr, headers: &[(&'static str, &str)]) -> Result<Client, Error> {
    let mut request = format!("ws://{address}/").into_client_request().unwrap();
    for (name, value) in headers {
        request
            .headers_mut()
            .insert(*name, HeaderValue::from_str(value).unwrap());
    }
    let stream = TcpStream::connect(address).await.unwrap();
    within("the handshake", client_async(request, stream))
        .await
        .map(|(client, _)| client)
}

async fn client_of(address: SocketAddr) -> Client {
    open(address, &[("sec-websocket-protocol", "sip")]).await.unwrap()
}

fn text(text: &str) -> Frame {
    Frame::Text(Utf8Bytes::from(text))
}

/// A frame of a message.
fn part(text: &str, opcode: coding::Data, is_last: bool) -> Frame {
    Frame::Frame(RawFrame::message(
        Bytes::copy_from_slice(text.as_bytes()),
        coding::OpCode::Data(opcode),
        is_last,
    ))
}

async fn said(client: &mut Client) -> Message {
    loop {
        match within("a frame", client.next())
            .await
            .expect("open")
            .expect("sound")
        {
            Frame::Text(text) => return Message::parse_datagram(text.into()).unwrap(),
            Frame::Ping(_) | Frame::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The code that the connection is closed with.
async fn ended(client: &mut Client) -> Option<CloseCode> {
    loop {
        match within("the end", client.next()).await {
            None | Some(Err(_)) => return None,
            Some(Ok(Frame::Close(frame))) => return frame.map(|frame| frame.code),
            Some(Ok(_)) => {}
        }
    }
}

#[tokio::test]
async fn requests_and_answers_go_both_ways_over_the_connection_alone() {
    let (transport, address) = listening(Protocol::Ws, |_| {});
    let mut client = client_of(address).await;
    client
        .send(text(&request("REGISTER", "<sip:b@h>", INVALID)))
        .await
        .unwrap();
    let (source, register) = message(&transport).await;
    assert_eq!((source.transport, source.local), (Protocol::Ws, address));
    assert_eq!(register.via().unwrap().host.to_string(), "df7jal23ls0d.invalid");
    // The answer, where the sent-by is a name that nobody may look up (RFC 7118 §5.3).
    let answer = ResponseBuilder::for_request(&register, 200, "OK")
        .to_tag("b")
        .build()
        .unwrap();
    let destination = sip::transaction::response_destination(&source, &register).unwrap();
    transport.send(Transmit {
        destination,
        bytes: answer.bytes().clone(),
    });
    assert_eq!(said(&mut client).await.status(), Some(200));
    // A request of ours, in one message with what is no text.
    let mut invite =
        request("INVITE", "<sip:b@h>", "WS us").replace("Content-Length: 0", "Content-Length: 2");
    invite.push_str("v=");
    transport.send(Transmit {
        destination: source.into(),
        bytes: Bytes::from(invite.clone()),
    });
    assert_eq!(said(&mut client).await.body(), b"v=");
    let mut binary = invite.into_bytes();
    let last = binary.len() - 1;
    binary[last] = 0xff;
    client.send(Frame::Binary(binary.clone().into())).await.unwrap();
    assert_eq!(message(&transport).await.1.body(), [b'v', 0xff]);
    transport.send(Transmit {
        destination: source.into(),
        bytes: binary.clone().into(),
    });
    assert_eq!(
        client.next().await.unwrap().unwrap(),
        Frame::Binary(binary.into())
    );
    // A body without its length ends with its message (RFC 3261 §18.3).
    let without = request("MESSAGE", "<sip:b@h>", INVALID).replace("Content-Length: 0\r\n", "") + "hello";
    client.send(text(&without)).await.unwrap();
    assert_eq!(message(&transport).await.1.body(), b"hello");
    // Whoever has gone is not called back.
    let remote = source.remote;
    client.close(None).await.unwrap();
    drop(client);
    let gone = async {
        while transport.view().connections() > 0 {
            tokio::task::yield_now().await;
        }
    };
    within("the connection to be gone", gone).await;
    transport.send(Transmit {
        destination: source.into(),
        bytes: Bytes::from(request("INVITE", "<sip:b@h>", "WS us")),
    });
    assert_eq!(failure(&transport).await.remote, remote);
    assert_eq!(dropped(&transport, Drop::ConnectionGone), 1);
}

#[tokio::test]
async fn who_asks_for_another_protocol_or_is_of_another_page_is_refused() {
    let (transport, address) = listening(Protocol::Ws, |config| {
        config.websocket = WebSocket {
            origins: vec!["https://phone.example.com".into()],
            ..WebSocket::default()
        };
    });
    let sip = ("sec-websocket-protocol", "chat, sip");
    for (headers, status, reason) in [
        (&[][..], 400, Drop::WebSocketHandshake),
        (
            &[("sec-websocket-protocol", "chat")],
            400,
            Drop::WebSocketHandshake,
        ),
        (
            &[sip, ("origin", "https://evil.example")],
            403,
            Drop::WebSocketOrigin,
        ),
        (
            &[sip, ("origin", "https://phone.example.com.evil.example")],
            403,
            Drop::WebSocketOrigin,
        ),
    ] {
        let before = dropped(&transport, reason);
        match open(address, headers).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), status, "{headers:?}"),
            other => panic!("{headers:?}: {other:?}"),
        }
        let counted = async {
            while dropped(&transport, reason) == before {
                tokio::task::yield_now().await;
            }
        };
        within("it to be counted", counted).await;
    }
    for origin in ["https://phone.example.com", "HTTPS://PHONE.example.com"] {
        assert!(
            open(address, &[sip, ("origin", origin)]).await.is_ok(),
            "{origin}"
        );
    }
    // A program has no page.
    assert!(open(address, &[sip]).await.is_ok());
}

#[tokio::test]
async fn a_client_that_never_asks_is_closed() {
    for beginning in ["", "GET / HTTP/1.1\r\nHost: ", "INVITE sip:b@h SIP/2.0\r\n\r\n"] {
        let (transport, address) = listening(Protocol::Ws, |config| {
            config.websocket.handshake_timeout = Duration::from_millis(200);
        });
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        closed(&mut stream).await;
        until_dropped(&transport, Drop::WebSocketHandshake).await;
        assert_eq!(transport.view().connections(), 0);
    }
}

#[tokio::test]
async fn what_is_no_sip_is_answered_counted_or_ends_the_connection() {
    let (transport, address) = listening(Protocol::Ws, |config| {
        config.message.head_bytes = 2_048;
        config.message.body_bytes = 1_024;
    });
    let mut client = client_of(address).await;
    // The pong of RFC 5626 §3.5.1 for its ping.
    client.send(text("\r\n\r\n")).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), text("\r\n"));
    client.send(Frame::Ping("are you there".into())).await.unwrap();
    assert_eq!(
        client.next().await.unwrap().unwrap(),
        Frame::Pong("are you there".into())
    );
    let broken = request("INVITE", "<sip:b@h>", INVALID).replace("CSeq: 1", "CSeq: one");
    client.send(text(&broken)).await.unwrap();
    let answer = client.next().await.unwrap().unwrap();
    assert!(answer.to_text().unwrap().starts_with("SIP/2.0 400 "), "{answer}");
    client.send(text("nonsense")).await.unwrap();
    // In two frames.
    let whole = request("OPTIONS", "<sip:b@h>", INVALID);
    let (one, two) = whole.split_at(40);
    client.send(part(one, coding::Data::Text, false)).await.unwrap();
    client
        .send(part(two, coding::Data::Continue, true))
        .await
        .unwrap();
    assert_eq!(
        message(&transport).await.1.method().map(|method| method.as_str()),
        Some("OPTIONS")
    );
    // More than head and body may have, in pieces that are less.
    for number in 0..8 {
        let opcode = if number == 0 {
            coding::Data::Text
        } else {
            coding::Data::Continue
        };
        if client.send(part(&"x".repeat(512), opcode, false)).await.is_err() {
            break;
        }
    }
    assert_eq!(ended(&mut client).await, Some(CloseCode::Size));
    until_dropped(&transport, Drop::WebSocketTooLong).await;
}

#[tokio::test]
async fn frames_that_break_the_protocol_end_the_connection() {
    for bytes in [
        // Not masked, an opcode that there is not, text that is none, a fragment of nothing.
        &[0x81, 0x02, b'h', b'i'][..],
        &[0x83, 0x80, 0, 0, 0, 0],
        &[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe],
        &[0x80, 0x80, 0, 0, 0, 0],
    ] {
        let (transport, address) = listening(Protocol::Ws, |_| {});
        let mut client = client_of(address).await;
        client.get_mut().write_all(bytes).await.unwrap();
        closed(client.get_mut()).await;
        until_dropped(&transport, Drop::WebSocketProtocol).await;
    }
}

#[tokio::test]
async fn a_message_has_its_time_and_its_number_of_frames_whatever_comes_between() {
    let (transport, address) = listening(Protocol::Ws, |config| {
        config.message_timeout = Duration::from_millis(400);
        config.websocket.fragments_max = 4;
    });
    // In as many frames as it may have, with pings between them.
    let mut client = client_of(address).await;
    let whole = request("OPTIONS", "<sip:b@h>", INVALID);
    let (one, rest) = whole.split_at(40);
    client.send(part(one, coding::Data::Text, false)).await.unwrap();
    for _ in 0..2 {
        client.send(Frame::Ping(Bytes::new())).await.unwrap();
        client
            .send(part("", coding::Data::Continue, false))
            .await
            .unwrap();
    }
    client
        .send(part(rest, coding::Data::Continue, true))
        .await
        .unwrap();
    message(&transport).await;
    // Silence after it is none of a message.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(dropped(&transport, Drop::ConnectionSlow), 0);
    // One that pings are to keep alive.
    client.send(part(one, coding::Data::Text, false)).await.unwrap();
    let ends = async {
        while client.send(Frame::Ping(Bytes::new())).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the end", ends).await;
    until_dropped(&transport, Drop::ConnectionSlow).await;
    // One whose only frame does not end.
    let mut client = client_of(address).await;
    client.get_mut().write_all(&[0x81, 0xff, 0, 0]).await.unwrap();
    assert_eq!(ended(&mut client).await, Some(CloseCode::Policy));
    // One of frames without anything in them.
    let mut client = client_of(address).await;
    client.send(part("", coding::Data::Text, false)).await.unwrap();
    for _ in 0..4 {
        client
            .send(part("", coding::Data::Continue, false))
            .await
            .unwrap();
    }
    assert_eq!(ended(&mut client).await, Some(CloseCode::Size));
    until_dropped(&transport, Drop::WebSocketTooLong).await;
}

/// RFC 6455 §5.5.1, §7.1.1.
#[tokio::test]
async fn a_goodbye_is_answered() {
    let (transport, address) = listening(Protocol::Ws, |_| {});
    let mut client = client_of(address).await;
    let code = CloseCode::Normal;
    let reason = Utf8Bytes::default();
    client
        .send(Frame::Close(Some(CloseFrame { code, reason })))
        .await
        .unwrap();
    assert_eq!(ended(&mut client).await, Some(CloseCode::Normal));
    closed(client.get_mut()).await;
    assert_eq!(transport.view().connections(), 0);
}

#[tokio::test]
async fn a_client_that_pings_and_does_not_read_is_closed() {
    let (transport, address) = listening(Protocol::Ws, |config| {
        config.write_timeout = Duration::from_millis(300);
        // So many pings a second are none of its limits here.
        config.guard.allow = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let mut client = client_of(address).await;
    // A ping of 125 bytes that is masked with zeros, many of them at a time.
    let mut ping = vec![0x89, 0x80 | 125, 0, 0, 0, 0];
    ping.resize(ping.len() + 125, b'p');
    let many = ping.repeat(1_000);
    let flood = async { while client.get_mut().write_all(&many).await.is_ok() {} };
    within("the end of the flood", flood).await;
    assert_eq!(dropped(&transport, Drop::ConnectionStuck), 1);
    assert_eq!(transport.view().connections(), 0);
}

/// Behind one address of a NAT or proxy there may be one browser after the other.
#[tokio::test]
async fn nobody_gets_what_is_for_a_connection_that_has_ended() {
    let (transport, address) = listening(Protocol::Ws, |_| {});
    let (mut gone, mut there) = (client_of(address).await, client_of(address).await);
    let mut sources = Vec::new();
    for client in [&mut gone, &mut there] {
        client
            .send(text(&request("REGISTER", "<sip:b@h>", INVALID)))
            .await
            .unwrap();
        sources.push(message(&transport).await.0);
    }
    gone.close(None).await.unwrap();
    closed(gone.get_mut()).await;
    for flow in [Some(sources[0].flow), None] {
        transport.send(Transmit {
            destination: to(Protocol::Ws, sources[1].remote, flow),
            bytes: Bytes::from(request("INVITE", "<sip:b@h>", "WS us")),
        });
        let there_before = to(Protocol::Ws, sources[1].remote, flow);
        assert!(!transport.is_connected(&there_before));
        assert_eq!(failure(&transport).await.remote, sources[1].remote);
    }
    assert_eq!(dropped(&transport, Drop::ConnectionGone), 2);
    transport.send(Transmit {
        destination: to(Protocol::Ws, sources[1].remote, Some(sources[1].flow)),
        bytes: Bytes::from(request("OPTIONS", "<sip:b@h>", "WS us")),
    });
    let first = said(&mut there).await;
    assert_eq!(first.method().map(|method| method.as_str()), Some("OPTIONS"));
}

#[tokio::test]
async fn a_client_is_written_to_while_there_is_no_room_for_what_it_says() {
    let (transport, address) = listening(Protocol::Ws, |config| config.urgent_max = 1);
    let mut client = client_of(address).await;
    client
        .send(text(&request("REGISTER", "<sip:b@h>", INVALID)))
        .await
        .unwrap();
    let (source, register) = message(&transport).await;
    let answer = ResponseBuilder::for_request(&register, 200, "OK")
        .to_tag("b")
        .build()
        .unwrap();
    let answer = String::from_utf8(answer.bytes().to_vec()).unwrap();
    for _ in 0..3 {
        client.send(text(&answer)).await.unwrap();
    }
    let full = async {
        while transport.view().waiting().0 < 1 {
            tokio::task::yield_now().await;
        }
    };
    within("a full queue", full).await;
    transport.send(Transmit {
        destination: source.into(),
        bytes: Bytes::from(request("OPTIONS", "<sip:b@h>", "WS us")),
    });
    assert!(said(&mut client).await.method().is_some());
    for _ in 0..3 {
        assert_eq!(message(&transport).await.1.status(), Some(200));
    }
}

/// What it has begun to say is not late because nobody reads it.
#[tokio::test]
async fn a_client_is_not_slow_while_there_is_no_room_for_what_it_says() {
    const MESSAGE: Duration = Duration::from_millis(300);
    let (transport, address) = listening(Protocol::Ws, |config| {
        config.urgent_max = 1;
        config.message_timeout = MESSAGE;
    });
    let mut client = client_of(address).await;
    let whole = "SIP/2.0 200 OK\r\nVia: SIP/2.0/WS us;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=a\r\n\
                 To: <sip:b@h>;tag=b\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    let (one, two) = whole.split_at(40);
    // In one segment, so that the last of it is known before there is no room.
    for frame in [text(whole), text(whole), part(one, coding::Data::Text, false)] {
        client.feed(frame).await.unwrap();
    }
    client.flush().await.unwrap();
    let full = async {
        while transport.view().waiting().0 < 1 {
            tokio::task::yield_now().await;
        }
    };
    within("a full queue", full).await;
    tokio::time::sleep(MESSAGE * 2).await;
    for _ in 0..2 {
        message(&transport).await;
    }
    client
        .send(part(two, coding::Data::Continue, true))
        .await
        .unwrap();
    message(&transport).await;
    assert_eq!(dropped(&transport, Drop::ConnectionSlow), 0);
}

/// Nor is it late because we were busy writing to it when the rest came.
#[tokio::test]
async fn a_client_is_not_slow_while_something_is_written_to_it() {
    const MESSAGE: Duration = Duration::from_millis(100);
    // More than the sockets hold, so that writing waits until the client reads.
    const WRITTEN: usize = 12 << 20;
    const PART: usize = 60_000;
    let (transport, address) = listening(Protocol::Ws, |config| config.message_timeout = MESSAGE);
    let mut client = client_of(address).await;
    let whole = request("OPTIONS", "<sip:b@h>", INVALID);
    let (one, two) = whole.split_at(40);
    client.send(text(&whole)).await.unwrap();
    let source = message(&transport).await.0;
    let long = Bytes::from("x".repeat(PART));
    // Which of two things that are ready is looked at first is left to chance.
    for _ in 0..6 {
        client.send(part(one, coding::Data::Text, false)).await.unwrap();
        // Nothing tells that it was read; if it was not the round shows nothing.
        tokio::time::sleep(MESSAGE / 4).await;
        for _ in 0..WRITTEN / PART {
            transport.send(Transmit {
                destination: source.into(),
                bytes: long.clone(),
            });
        }
        tokio::task::yield_now().await;
        client
            .send(part(two, coding::Data::Continue, true))
            .await
            .unwrap();
        tokio::time::sleep(MESSAGE * 2).await;
        for _ in 0..WRITTEN / PART {
            let frame = within("what was written", client.next()).await;
            assert_eq!(frame.unwrap().unwrap().len(), PART);
        }
        message(&transport).await;
    }
    assert_eq!(dropped(&transport, Drop::ConnectionSlow), 0);
}

#[tokio::test]
async fn requests_for_websocket_are_bounded_in_bytes_and_number() {
    let (transport, address) = listening(Protocol::Ws, |config| {
        config.message.head_bytes = 2_048;
        config.websocket.handshakes_per_source_max = 2;
    });
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n", "x".repeat(4_096));
    // It may be closed before it has all of it.
    let _ = stream.write_all(head.as_bytes()).await;
    let refused = async { while let Ok(1..) = stream.read(&mut [0; 512]).await {} };
    within("the end", refused).await;
    until_dropped(&transport, Drop::WebSocketHandshake).await;
    // Two are asking, and never end.
    let asking = [
        TcpStream::connect(address).await.unwrap(),
        TcpStream::connect(address).await.unwrap(),
    ];
    let mut third = TcpStream::connect(address).await.unwrap();
    closed(&mut third).await;
    until_dropped(&transport, Drop::HandshakesPerSource).await;
    drop(asking);
    let gone = async {
        while transport.view().connections() > 0 {
            tokio::task::yield_now().await;
        }
    };
    within("the connections to be gone", gone).await;
    // Whoever has asked counts no longer.
    let _clients = [
        client_of(address).await,
        client_of(address).await,
        client_of(address).await,
    ];
    let (transport, address) = listening(Protocol::Ws, |config| config.websocket.handshakes_max = 1);
    let _asking = TcpStream::connect(address).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    closed(&mut second).await;
    until_dropped(&transport, Drop::HandshakesMax).await;
}

#[tokio::test]
async fn a_silent_client_is_asked_and_then_closed() {
    let (transport, address) = listening(Protocol::Ws, |config| {
        config.idle_timeout = Duration::from_millis(1_500);
        config.websocket.ping_interval = Duration::from_millis(200);
    });
    // One that answers stays: the library does when it is read.
    let mut client = client_of(address).await;
    let begun = tokio::time::Instant::now();
    let mut pings = 0;
    while begun.elapsed() < Duration::from_millis(2_500) {
        if let Frame::Ping(_) = within("a ping", client.next()).await.unwrap().unwrap() {
            pings += 1;
        }
        client.flush().await.unwrap();
    }
    assert!((5..=13).contains(&pings), "{pings}");
    assert_eq!(transport.view().connections(), 1);
    // One that does not, though it takes what is written.
    until_dropped(&transport, Drop::ConnectionIdle).await;
}

#[tokio::test]
async fn connections_of_one_source_and_in_all_have_limits() {
    let (transport, address) = listening(Protocol::Ws, |config| {
        config.connections_per_source_max = 2;
    });
    let _kept = [client_of(address).await, client_of(address).await];
    let mut stream = TcpStream::connect(address).await.unwrap();
    closed(&mut stream).await;
    until_dropped(&transport, Drop::ConnectionsPerSource).await;
}
