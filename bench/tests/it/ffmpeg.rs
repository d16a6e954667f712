//! SRTP by FFmpeg, which we did not write, with a party in clear: each hears the other's tone, in every suite that FFmpeg has.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use proto::media_v1 as pb;
use ringpath_bench::call_request;
use ringpath_bench::host::Host;
use ringpath_bench::node_client::NodeClient;
use ringpath_bench::plane::{NodeOptions, Plane};
use ringpath_bench::process::Process;
use ringpath_bench::relay::contender::faces_of;
use ringpath_bench::tone;
use sdp::sdes::Crypto;

use crate::bench::{WITHIN, folder, skip};
use crate::plain_phone::PlainPhone;

const SUITES: [(&str, pb::SrtpSuite); 2] = [
    ("AES_CM_128_HMAC_SHA1_80", pb::SrtpSuite::AesCm128HmacSha180),
    ("AES_CM_128_HMAC_SHA1_32", pb::SrtpSuite::AesCm128HmacSha132),
];
const FFMPEG_HZ: f64 = 1_000.0;
const PHONE_HZ: f64 = 440.0;
const SHARE_MIN: f64 = 0.9;
const SECONDS: &str = "3";

/// Forty characters of Base64 are a key of 16 bytes and a salt of 14.
fn key(side: &str) -> String {
    format!("{side:x<40}")
}

fn wire(suite: (&str, pb::SrtpSuite), key: &str) -> pb::SrtpKey {
    let crypto = Crypto::parse(&format!("1 {} inline:{key}", suite.0)).unwrap();
    let key = &crypto.keys()[0];
    pb::SrtpKey {
        suite: suite.1.into(),
        master_key: key.master_key().to_vec(),
        master_salt: key.master_salt().to_vec(),
        ..pb::SrtpKey::default()
    }
}

/// An even port at the address of `host` with the next one: FFmpeg takes both at all addresses, so nobody may have them at any.
fn free(host: &Host) -> SocketAddr {
    loop {
        let rtp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = rtp.local_addr().unwrap().port();
        let rtcp = port.checked_add(1).filter(|_| port.is_multiple_of(2));
        if rtcp.is_some_and(|rtcp| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, rtcp)).is_ok()) {
            return SocketAddr::new(host.ip().into(), port);
        }
    }
}

#[test]
fn ffmpeg_with_srtp_and_a_phone_without_hear_each_other() {
    let test = "ffmpeg-srtp";
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|folder| folder.join("ffmpeg").exists()) {
        return skip(test, "ffmpeg is not installed; run `make bench-bootstrap`");
    }
    let folder = folder(test);
    let mut host = Host::reserve().unwrap();
    let listeners = [host.address().unwrap(), host.address().unwrap()];
    let options = NodeOptions::new("media-1", host.ip(), 20_000..=20_199, listeners);
    let mut node = Plane::start_node(&options, &folder).unwrap();
    let mut client = NodeClient::connect(options.grpc).unwrap();
    for suite in SUITES {
        for sends in [true, false] {
            let name = format!("{}-{}", suite.0, if sends { "sends" } else { "hears" });
            let ffmpeg_at = free(&host);
            let mut phone = PlainPhone::new(free(&host), PHONE_HZ);
            let (its_key, our_key) = (key("ffmpeg"), key("node"));
            let mut request = call_request::plain(
                &name,
                [ffmpeg_at, SocketAddr::new(host.ip().into(), phone.port())],
            );
            let srtp = pb::Srtp {
                receive: vec![wire(suite, &its_key)],
                send: Some(wire(suite, &our_key)),
            };
            call_request::secure_caller(&mut request, srtp);
            // It sends from whatever address the system chooses.
            request.legs[0].lines[0].latching = pb::Latching::AnyAddress.into();
            let faces = faces_of(&client.create(request).unwrap()).unwrap();
            let heard_file = folder.join(format!("{name}.alaw"));
            let arguments = match sends {
                true => [
                    "-re -f lavfi -i sine=frequency=1000:sample_rate=8000 -t"
                        .split(' ')
                        .map(str::to_owned)
                        .collect(),
                    vec![SECONDS.to_owned()],
                    "-c:a pcm_alaw -ac 1 -f rtp -payload_type 8 -srtp_out_suite"
                        .split(' ')
                        .map(str::to_owned)
                        .collect(),
                    vec![suite.0.to_owned(), "-srtp_out_params".to_owned(), its_key],
                    vec![format!(
                        "srtp://{}?localrtpport={}&pkt_size=172",
                        faces[0],
                        ffmpeg_at.port()
                    )],
                ]
                .concat(),
                false => {
                    let description = folder.join(format!("{name}.sdp"));
                    let ip = host.ip();
                    std::fs::write(
                        &description,
                        format!(
                            "v=0\no=- 1 1 IN IP4 {ip}\ns=-\nc=IN IP4 {ip}\nt=0 0\nm=audio {} RTP/SAVP 8\n\
                             a=crypto:1 {} inline:{our_key}\n",
                            ffmpeg_at.port(),
                            suite.0
                        ),
                    )
                    .unwrap();
                    [
                        "-protocol_whitelist file,udp,rtp,srtp,crypto -i"
                            .split(' ')
                            .map(str::to_owned)
                            .collect(),
                        vec![
                            description.display().to_string(),
                            "-t".to_owned(),
                            SECONDS.to_owned(),
                        ],
                        vec![
                            "-f".to_owned(),
                            "alaw".to_owned(),
                            heard_file.display().to_string(),
                        ],
                    ]
                    .concat()
                }
            };
            let common = ["-nostdin", "-hide_banner", "-y"].map(str::to_owned);
            let arguments = common.into_iter().chain(arguments);
            let mut ffmpeg = Process::start(&name, "ffmpeg", arguments, &[], &folder).unwrap();
            phone.talk_to(faces[1]);
            let status = ffmpeg.wait(WITHIN).unwrap();
            assert!(status.success(), "{name}: {status}\n{}", ffmpeg.tail());
            let heard = phone.hang_up();
            let share = match sends {
                true => heard.share(FFMPEG_HZ),
                false => tone::share(&std::fs::read(&heard_file).unwrap()[8_000..16_000], PHONE_HZ),
            };
            assert!(share > SHARE_MIN, "{name}: {share}\n{}", ffmpeg.tail());
            client.delete(&name).unwrap();
        }
    }
    drop(client);
    node.stop().unwrap();
}
