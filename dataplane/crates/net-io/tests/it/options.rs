//! What the options of a port's socket do.

use std::mem::MaybeUninit;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use net_io::{IoConfig, PacketIo, SocketOptions};
use socket2::{MaybeUninitSlice, MsgHdrMut, SockRef};

use crate::back_end::*;

conformance! {
    everywhere {}
    kernel {
        media_is_marked_as_expedited_forwarding: IoConfig::default();
        media_is_marked_as_configured: IoConfig {
            socket: SocketOptions { dscp: 34, ..SocketOptions::default() },
            ..IoConfig::default()
        };
    }
}

fn media_is_marked_as_expedited_forwarding(mut io: impl PacketIo, _world: &World) {
    // RFC 3246 section 2.7: 101110.
    expect_class(&mut io, 0b101110);
}

fn media_is_marked_as_configured(mut io: impl PacketIo, _world: &World) {
    expect_class(&mut io, 34);
}

fn expect_class(io: &mut impl PacketIo, dscp: u8) {
    for ip in [LOOPBACK_V4, LOOPBACK_V6] {
        let outside = peer(ip);
        ask_for_class(&outside, ip);
        let (port, local) = open(io, ip);
        outside.send_to(b"x", local).unwrap();
        let frame = expect(io, port, outside.local_addr().unwrap(), b"x");
        io.send(frame, port, outside.local_addr().unwrap());
        io.poll(Some(Duration::ZERO)).unwrap();
        assert_eq!(received_class(&outside), dscp << 2, "{ip}");
    }
}

fn ask_for_class(peer: &UdpSocket, ip: IpAddr) {
    let socket = SockRef::from(peer);
    match ip {
        IpAddr::V4(_) => socket.set_recv_tos_v4(true).unwrap(),
        IpAddr::V6(_) => socket.set_recv_tclass_v6(true).unwrap(),
    }
}

/// The type of service or traffic class of the next datagram, from its one control message.
fn received_class(peer: &UdpSocket) -> u8 {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let mut payload = [MaybeUninit::uninit(); 16];
    let mut control = [MaybeUninit::new(0u8); 64];
    let mut buffers = [MaybeUninitSlice::new(&mut payload)];
    let mut message = MsgHdrMut::new()
        .with_buffers(&mut buffers)
        .with_control(&mut control);
    SockRef::from(peer)
        .recvmsg(&mut message, 0)
        .expect("a datagram in time");
    assert!(message.control_len() > HEADER, "no class came with the datagram");
    // SAFETY: initialised above, and the kernel only writes initialised bytes over it.
    unsafe { control[HEADER].assume_init() }
}
