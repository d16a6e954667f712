//! A caller that insists on SRTP and a callee that has none, by SIP: SIPp at both ends, and real packets through the node.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use ringpath_bench::sipp::Script;
use ringpath_bench::stand::{Stand, StandOptions};
use ringpath_bench::wait;
use sdp::sdes::Crypto;
use srtp::{MasterKey, Receiver, Sender, Suite};

use crate::bench::{WITHIN, sipp_is_here, stand};

const SCENARIO: &str = "srtp/secured-caller";
const NUMBER: &str = "1000";
const PACKETS: u16 = 100;
/// The caller's key, as its scenario offers it.
const KEY: &str = "AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

/// A packet of G.711 with its number for payload.
fn packet(ssrc: u32, number: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 8];
    packet.extend(number.to_be_bytes());
    packet.extend((u32::from(number) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend([number as u8; 160]);
    packet
}

fn key_of(crypto: &str) -> MasterKey {
    let crypto = Crypto::parse(crypto).unwrap();
    let key = &crypto.keys()[0];
    let material = [key.master_key(), key.master_salt()].concat();
    MasterKey::new(Suite::AesCm128HmacSha1_80, &material).unwrap()
}

/// What the parties' logs say of where to send to, and the key that the caller was answered with.
struct Told {
    caller_sends_to: SocketAddr,
    callee_sends_to: SocketAddr,
    our_key: String,
}

fn told(logs: [&std::path::Path; 2]) -> anyhow::Result<Option<Told>> {
    let talk = |log: &std::path::Path| {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("talk "));
        line.map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    let (Some(caller), Some(callee)) = (talk(logs[0]), talk(logs[1])) else {
        return Ok(None);
    };
    let address = |words: &[String]| format!("{}:{}", words[2], words[3]).parse::<SocketAddr>();
    Ok(Some(Told {
        caller_sends_to: address(&caller)?,
        callee_sends_to: address(&callee)?,
        our_key: caller.get(4).cloned().unwrap_or_default(),
    }))
}

fn socket(stand: &mut Stand) -> UdpSocket {
    let socket = UdpSocket::bind(stand.host().address().unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket
}

fn heard(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2_048];
    let (length, _) = socket.recv_from(&mut buffer).expect("a packet");
    buffer[..length].to_vec()
}

#[test]
fn a_caller_with_srtp_and_a_callee_without_hear_each_other() {
    let test = "srtp-secured-caller";
    if !sipp_is_here(test) {
        return;
    }
    let options = StandOptions {
        sip_extra: "caller_srtp = { policy = \"require\", keys_over = \"any\" }".to_owned(),
        ..StandOptions::default()
    };
    let mut stand = stand(test, &options);
    let (secured, plain) = (socket(&mut stand), socket(&mut stand));
    let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
    let write = |name: &str, line: String| {
        std::fs::write(stand.folder().join(name), format!("SEQUENTIAL\n{line}\n")).unwrap();
    };
    write(
        "caller.csv",
        format!("0;{};{NUMBER};8;PCMA;{KEY}", port(&secured)),
    );
    write("callee.csv", format!("{NUMBER};{};8;PCMA", port(&plain)));
    let callee = Script {
        fields: Some("callee.csv"),
        ..stand.callee(SCENARIO, 1)
    };
    let caller = Script {
        fields: Some("caller.csv"),
        talk: Duration::from_secs(3),
        ..stand.caller(SCENARIO, 1)
    };
    let mut callee = stand.run(&callee).unwrap();
    let mut caller = stand.run(&caller).unwrap();
    let logs = [caller.call_log().to_owned(), callee.call_log().to_owned()];
    let told = wait::until("both to be told where to send to", WITHIN, || {
        told([&logs[0], &logs[1]])
    });
    let told = told.unwrap_or_else(|error| panic!("{error:#}\n{}", stand.control.log_tail()));

    let ours = format!("5 AES_CM_128_HMAC_SHA1_80 inline:{}", told.our_key);
    assert!(!KEY.ends_with(&told.our_key), "its own key came back");
    let mut sender = Sender::new(&key_of(&format!("5 {KEY}")), 1).unwrap();
    let mut receiver = Receiver::new(&key_of(&ours), 1).unwrap();
    for number in 1..=PACKETS {
        let sent = packet(0xa, number);
        let mut wire = [&sent[..], &[0; 16]].concat();
        let length = sender.protect_rtp(&mut wire, sent.len()).unwrap();
        secured.send_to(&wire[..length], told.caller_sends_to).unwrap();
        assert_eq!(heard(&plain), sent, "{number}");

        let answer = packet(0xb, number);
        plain.send_to(&answer, told.callee_sends_to).unwrap();
        let mut wire = heard(&secured);
        assert_ne!(wire[12..172], answer[12..], "it is encrypted");
        let length = receiver.unprotect_rtp(&mut wire).unwrap();
        assert_eq!(wire[..length], answer, "{number}");
    }
    // In clear from the caller's own address: nobody hears it.
    secured
        .send_to(&packet(0xa, PACKETS + 1), told.caller_sends_to)
        .unwrap();
    plain.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(
        plain.recv_from(&mut [0; 2_048]).is_err(),
        "media in clear got through"
    );

    caller.finish(WITHIN).unwrap();
    callee.finish(WITHIN).unwrap();
    let folder = stand.folder().to_owned();
    let cdrs = stand.finish().unwrap();
    for file in ["control.log", "media-1.log", "cdr.sqlite"] {
        let written = std::fs::read(folder.join(file)).unwrap();
        let written = String::from_utf8_lossy(&written);
        assert!(
            !written.contains("inline:") && !written.contains(&told.our_key),
            "{file}"
        );
    }
    assert_eq!(cdrs[0].status, Some(200), "{cdrs:#?}");
}

/// By default keys go over TLS alone: the same caller over UDP is refused before anybody is called.
#[test]
fn keys_over_signalling_in_clear_are_refused() {
    let test = "srtp-keys-in-clear";
    if !sipp_is_here(test) {
        return;
    }
    let mut stand = stand(test, &StandOptions::default());
    let line = format!("SEQUENTIAL\n0;40000;{NUMBER};8;PCMA;{KEY}\n");
    std::fs::write(stand.folder().join("caller.csv"), line).unwrap();
    let caller = Script {
        fields: Some("caller.csv"),
        ..stand.caller(SCENARIO, 1)
    };
    let mut caller = stand.run(&caller).unwrap();
    assert!(caller.finish(WITHIN).is_err(), "the scenario waits for a 200");
    let metrics = stand.control_metrics().unwrap();
    let refused = metrics.value("ringpath_control_srtp_refusals_total", "srtp_signalling");
    assert_eq!(refused, Some(1.0));
    let cdrs = stand.wait_for_cdrs(1, WITHIN).unwrap();
    assert_eq!(cdrs[0].status, Some(488), "{cdrs:#?}");
    stand.finish().unwrap();
}
