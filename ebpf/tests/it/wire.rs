//! The relay on a real interface: packets are counted where they arrive.

use std::net::UdpSocket;
use std::time::Duration;

use ebpf::{
    Action, Attachment, FlowSpec, Media, Mode, Neighbour, NextHop, PinDirectory, Program, Range, Reason,
    ReasonSet, Relay, RelayConfig,
};

use crate::bench::{self, address};
use crate::frame;
use crate::namespace::{PARTY_MAC, RELAY_MAC, Wire, receive};

const PACKETS: u16 = 300;

/// Party A's address, party B's, and the flow from A to B.
struct Call {
    from: &'static str,
    to: &'static str,
    spec: FlowSpec,
}

fn call(ingress_v6: bool, egress_v6: bool, next_hop: NextHop) -> Call {
    let (from, local) = if ingress_v6 {
        ("[2001:db8::2]:4000", "[2001:db8::1]:20000")
    } else {
        ("192.0.2.2:4000", "192.0.2.1:20000")
    };
    let (to, egress) = if egress_v6 {
        ("[2001:db8::3]:5000", "[2001:db8::1]:20002")
    } else {
        ("192.0.2.3:5000", "192.0.2.1:20002")
    };
    let media = Media::Mux(bench::TYPES.to_vec());
    let spec = FlowSpec::new(address(local), address(from), address(egress), address(to), media);
    Call {
        from,
        to,
        spec: FlowSpec { next_hop, ..spec },
    }
}

/// A wire with the relay attached in `mode` and the passing program on the other end.
struct Bed {
    wire: Wire,
    relay: Relay,
    attachment: Attachment,
    _peer: Attachment,
}

impl Bed {
    fn new(name: &str, modes: &[Mode]) -> Option<Self> {
        let relay = bench::relay(name)?;
        let wire = Wire::new(name)?;
        let pass = Program::load_pass().unwrap();
        let attachment = wire.relay.inside(|| relay.attach("r0", modes)).unwrap();
        let peer = wire
            .parties
            .inside(|| Attachment::new(&pass, "p0", &[Mode::Native]))
            .unwrap();
        println!("{name}: {}: {}", attachment.mode().name(), attachment.reason());
        Some(Self {
            wire,
            relay,
            attachment,
            _peer: peer,
        })
    }

    fn neighbour(&self) -> Neighbour {
        Neighbour {
            ifindex: self.wire.relay.ifindex("r0"),
            own: RELAY_MAC,
            address: PARTY_MAC,
        }
    }

    fn sockets(&self, call: &Call) -> (UdpSocket, UdpSocket) {
        let parties = &self.wire.parties;
        (parties.socket(call.from), parties.socket(call.to))
    }
}

/// Sends packet by packet and takes each at the other end: source, content and (by its socket) checksum.
fn assert_relayed(call: &Call, sockets: &(UdpSocket, UdpSocket), first: u16) {
    let (sender, receiver) = sockets;
    for seq in first..first + PACKETS {
        let sent = frame::rtp(0, seq, u32::from(seq) * 160, 7, &seq.to_be_bytes().repeat(80));
        sender.send_to(&sent, call.spec.local).unwrap();
        let (received, source) =
            receive(receiver).unwrap_or_else(|error| panic!("packet {seq} did not arrive: {error}"));
        assert_eq!((received, source), (sent, call.spec.egress_local));
    }
}

#[test]
fn packets_arrive_in_all_modes_and_across_ip_versions() {
    for mode in Mode::ALL {
        for (ingress_v6, egress_v6) in [(false, false), (true, true), (false, true), (true, false)] {
            let Some(bed) = Bed::new("wire", &[*mode]) else {
                return;
            };
            assert_eq!(bed.attachment.mode(), *mode);
            let call = call(ingress_v6, egress_v6, NextHop::Neighbour(bed.neighbour()));
            bed.relay.table().install(&call.spec, &[]).unwrap();
            let sockets = bed.sockets(&call);
            assert_relayed(&call, &sockets, 1);
            let reading = bench::reading(&bed.relay, &call.spec);
            assert_eq!(reading.rtp_packets(), u64::from(PACKETS));
            assert_eq!(reading.refused_total(), 0);
            let stream = reading.streams().next().unwrap();
            assert_eq!((stream.packets(), stream.lost()), (u64::from(PACKETS), 0));
        }
    }
}

#[test]
fn the_routing_table_finds_the_next_hop_and_follows_its_address() {
    for v6 in [false, true] {
        let Some(bed) = Bed::new("routing", Mode::ALL) else {
            return;
        };
        let party = if v6 { "2001:db8::3" } else { "192.0.2.3" };
        let neighbour = |verb: &str, mac: &str| format!("ip neigh {verb} {party} lladdr {mac} dev r0");
        bed.wire
            .relay
            .run(&[
                "sysctl -q -w net.ipv4.conf.r0.forwarding=1",
                "sysctl -q -w net.ipv6.conf.all.forwarding=1",
                &neighbour("add", "02:00:00:00:01:02"),
            ])
            .unwrap();
        let call = call(v6, v6, NextHop::Routing);
        bed.relay.table().install(&call.spec, &[]).unwrap();
        let sockets = bed.sockets(&call);
        assert_relayed(&call, &sockets, 1);
        // The next hop is replaced by another machine.
        bed.wire
            .parties
            .run(&["ip link set p0 address 02:00:00:00:01:77"])
            .unwrap();
        bed.wire
            .relay
            .run(&[&neighbour("replace", "02:00:00:00:01:77")])
            .unwrap();
        // The old answer is good for a little longer. The packets that it sends nowhere are the price.
        let mut seq = PACKETS;
        let until = Some(Duration::from_millis(20));
        sockets.1.set_read_timeout(until).unwrap();
        let found = (0..100).any(|_| {
            seq += 1;
            let sent = frame::rtp(0, seq, 0, 7, &[]);
            sockets.0.send_to(&sent, call.spec.local).unwrap();
            receive(&sockets.1).is_ok()
        });
        assert!(found, "the new address is not found");
        sockets.1.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        assert_relayed(&call, &sockets, 1 + seq);
        let reading = bench::reading(&bed.relay, &call.spec);
        assert_eq!(
            (reading.rtp_packets(), reading.refused_total()),
            (u64::from(seq + PACKETS), 0)
        );
        // A change of the flow asks anew at once: there is no neighbour at the new destination.
        let mut elsewhere = call.spec.clone();
        let nobody = if v6 {
            "[2001:db8::99]:5000"
        } else {
            "192.0.2.99:5000"
        };
        elsewhere.destination = address(nobody);
        elsewhere.pass_up = ReasonSet::EMPTY;
        bed.relay.table().replace(&elsewhere, &[]).unwrap();
        sockets
            .0
            .send_to(&frame::rtp(0, 1, 0, 7, &[]), call.spec.local)
            .unwrap();
        // The packet may wait in the link's receive queue; meanwhile nothing may arrive.
        sockets.1.set_read_timeout(until).unwrap();
        let refused = || bench::reading(&bed.relay, &call.spec).refused(Reason::NoNeighbour);
        let counted = (0..100).any(|_| {
            let counted = refused() == 1;
            assert!(counted || receive(&sockets.1).is_err());
            counted
        });
        assert!(counted);
    }
}

#[test]
fn what_the_relay_passes_up_reaches_sockets() {
    let Some(bed) = Bed::new("pass up", Mode::ALL) else {
        return;
    };
    let call = call(false, false, NextHop::Neighbour(bed.neighbour()));
    let (sender, _) = bed.sockets(&call);
    let receiver = bed.wire.relay.socket("192.0.2.1:20000");
    let sent = frame::rtp(0, 1, 1, 1, &[1, 2, 3]);
    // No flow, then a port of user space.
    for _ in 0..2 {
        sender.send_to(&sent, call.spec.local).unwrap();
        assert_eq!(receive(&receiver).unwrap(), (sent.clone(), address(call.from)));
        bed.relay.table().leave_to_user_space(call.spec.key()).unwrap();
    }
}

/// A directory in a BPF file system of the test's own.
struct BpfFs {
    directory: tempfile::TempDir,
}

impl BpfFs {
    fn new(name: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = nix::mount::mount(
            Some("bpf"),
            directory.path(),
            Some("bpf"),
            nix::mount::MsFlags::empty(),
            None::<&str>,
        );
        match mounted {
            Ok(()) => Some(Self { directory }),
            Err(error) => {
                bench::skip(name, &format!("a BPF file system: {error}"));
                None
            }
        }
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        let unmounted = nix::mount::umount(self.directory.path());
        assert!(unmounted.is_ok() || std::thread::panicking(), "{unmounted:?}");
    }
}

#[test]
fn a_pinned_relay_outlives_its_owner_and_is_adopted_and_upgraded_without_a_lost_packet() {
    let Some(bed) = Bed::new("pins", Mode::ALL) else {
        return;
    };
    let Some(file_system) = BpfFs::new("pins") else {
        return;
    };
    let call = call(false, true, NextHop::Neighbour(bed.neighbour()));
    bed.relay.table().install(&call.spec, &[]).unwrap();
    let left = ebpf::FlowKey::new(address("192.0.2.1:20010"));
    bed.relay.table().leave_to_user_space(left).unwrap();
    let pins = PinDirectory::new(file_system.directory.path()).unwrap();
    assert!(!pins.has_relay());
    assert!(Relay::adopt(&pins).unwrap().is_none());
    bed.relay.pin(&pins).unwrap();
    pins.pin_attachment(&bed.attachment).unwrap();
    let sockets = bed.sockets(&call);
    assert_relayed(&call, &sockets, 1);
    bed.relay.table().set_tap(call.spec.key(), true);

    // The owner ends without a word.
    let Bed {
        wire,
        relay,
        attachment,
        _peer,
    } = bed;
    drop((relay, attachment));
    assert_relayed(&call, &sockets, 1 + PACKETS);

    let adopted = Relay::adopt(&pins).unwrap().expect("it was pinned");
    let mut keys: Vec<_> = adopted.table().keys();
    keys.sort_unstable();
    assert_eq!(keys, [(call.spec.key(), true), (left, false)]);
    let reading = bench::reading(&adopted, &call.spec);
    assert_eq!(
        reading.rtp_packets(),
        u64::from(2 * PACKETS),
        "counted in between"
    );
    // The owner could still be there, to go on: its taps are not ended by a look.
    let mut taps = adopted.taps().unwrap();
    let mut tapped = || std::iter::from_fn(|| taps.next_record().unwrap()).count();
    assert!(tapped() > 0);
    adopted.table().end_taps();
    assert_relayed(&call, &sockets, 1 + 2 * PACKETS);
    assert_eq!(tapped(), 0);
    drop(adopted);

    let upgraded = Relay::upgrade(&pins).unwrap().expect("it was pinned");
    assert_relayed(&call, &sockets, 1 + 3 * PACKETS);
    let reading = bench::reading(&upgraded, &call.spec);
    assert_eq!(reading.rtp_packets(), u64::from(4 * PACKETS));
    assert_eq!(reading.streams().next().unwrap().lost(), 0);
    // The flow's place is taken and the others are free.
    let mut other = call.spec.clone();
    other.local.set_port(20_100);
    upgraded.table().install(&other, &[]).unwrap();
    assert_eq!(
        bench::reading(&upgraded, &call.spec).rtp_packets(),
        u64::from(4 * PACKETS)
    );

    let attachments = pins.attachments().unwrap();
    assert_eq!(attachments.len(), 1);
    assert_eq!(attachments[0].ifindex(), wire.relay.ifindex("r0"));
    drop(attachments);
    drop(upgraded);
    pins.remove().unwrap();
    let receiver = wire.relay.socket("192.0.2.1:20000");
    receiver
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    // The kernel lets go of what nothing holds a little later.
    let arrived = (0..250).any(|_| {
        sockets.0.send_to(b"to a socket", call.spec.local).unwrap();
        receive(&receiver).is_ok()
    });
    assert!(arrived, "nothing is attached any more");
}

#[test]
fn what_a_killed_process_has_half_pinned_makes_room_for_the_next() {
    let Some(relay) = bench::relay("half pinned") else {
        return;
    };
    let Some(file_system) = BpfFs::new("half pinned") else {
        return;
    };
    let pins = PinDirectory::new(file_system.directory.path()).unwrap();
    relay.pin(&pins).unwrap();
    // It came no further than to its maps.
    std::fs::remove_file(pins.path().join("program")).unwrap();
    assert!(Relay::upgrade(&pins).unwrap().is_none());
    let next = bench::relay("half pinned").expect("the first was loaded");
    next.pin(&pins).unwrap();
    next.table().install(&bench::spec(false, false), &[]).unwrap();
    let upgraded = Relay::upgrade(&pins).unwrap().expect("it was pinned");
    assert_eq!(upgraded.table().len(), 1);
    let names = std::fs::read_dir(pins.path()).unwrap();
    assert_eq!(names.count(), 10, "nine maps and the program");
    drop(upgraded);
    pins.remove().unwrap();
}

#[test]
fn an_address_that_is_not_the_next_process_s_loses_no_packet_to_it() {
    let Some(relay) = bench::relay("left address") else {
        return;
    };
    let Some(file_system) = BpfFs::new("left address") else {
        return;
    };
    let pins = PinDirectory::new(file_system.directory.path()).unwrap();
    let spec = bench::spec(false, false);
    let range = Range {
        address: spec.local.ip(),
        ports: 20_000..=20_009,
        drop_unowned: true,
    };
    relay.set_range(&range).unwrap();
    relay.pin(&pins).unwrap();
    let frame = bench::datagram(&spec, &[0; 30]).build();
    let run = |relay: &Relay| bench::run(relay, &frame).action;
    assert_eq!(run(&relay), Action::Drop);
    drop(relay);
    let upgraded = Relay::upgrade(&pins).unwrap().expect("it was pinned");
    assert_eq!(
        run(&upgraded),
        Action::Drop,
        "as long as the next process says nothing"
    );
    upgraded.lift_ranges().unwrap();
    assert_eq!(run(&upgraded), Action::Pass);
    assert_eq!(upgraded.unowned(range.address).unwrap(), None);
    upgraded.set_range(&range).unwrap();
    assert_eq!(run(&upgraded), Action::Drop);
    assert_eq!(upgraded.unowned(range.address).unwrap(), Some((3, 90)));
    drop(upgraded);
    pins.remove().unwrap();
}

#[test]
fn pins_need_a_bpf_file_system() {
    let directory = tempfile::tempdir().unwrap();
    let error = PinDirectory::new(directory.path()).unwrap_err();
    assert!(
        error.to_string().contains("is not in a BPF file system"),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// An interface that has another's XDP program takes none of ours, in neither mode.
#[test]
fn where_xdp_runs_in_neither_mode_tc_does_and_says_why() {
    let Some(bed) = Bed::new("taken interface", &[Mode::Generic]) else {
        return;
    };
    let other = bench::relay("taken interface").expect("the first was loaded");
    let attachment = bed.wire.relay.inside(|| other.attach("r0", Mode::ALL)).unwrap();
    assert_eq!(attachment.mode(), Mode::Tc);
    for refused in ["native: ", "generic: "] {
        assert!(attachment.reason().contains(refused), "{}", attachment.reason());
    }
    let call = call(false, true, NextHop::Neighbour(bed.neighbour()));
    other.table().install(&call.spec, &[]).unwrap();
    let sockets = bed.sockets(&call);
    assert_relayed(&call, &sockets, 1);
    assert_eq!(
        bench::reading(&other, &call.spec).rtp_packets(),
        u64::from(PACKETS)
    );
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    let Some(relay) = bench::relay("no interface") else {
        return;
    };
    let error = Attachment::new(relay.program(), "nowhere0", Mode::ALL).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no program on nowhere0: there is no such interface"
    );
}

#[test]
fn the_default_sizes_can_be_had() {
    if bench::relay("sizes").is_some() {
        let relay = Relay::load(&RelayConfig::default()).unwrap();
        assert_eq!(relay.table().flows_max(), 4_096);
    }
}
