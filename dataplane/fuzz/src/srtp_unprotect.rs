use srtp::{MasterKey, Receiver, Suite};

/// Packets for a receiver that has a key: the first byte chooses suite and MKI, then each packet has its length before
/// it. Nobody who lacks the key makes an authentic packet, so each is refused and changes neither packet nor state.
pub fn srtp_unprotect(data: &[u8]) {
    let Some((&setup, mut rest)) = data.split_first() else {
        return;
    };
    let suite = Suite::ALL[usize::from(setup & 0x7f) % Suite::ALL.len()];
    let material = [0x5a; 46];
    let mki: &[u8] = if setup & 0x80 == 0 { b"" } else { b"\x01" };
    let key = MasterKey::new(suite, &material[..suite.key_len() + suite.salt_len()])
        .and_then(|key| key.with_mki(mki))
        .expect("a key");
    let mut receiver = Receiver::new(&key, 2).expect("a receiver");
    while let Some((&len, after)) = rest.split_first() {
        let (packet, next) = after.split_at(usize::from(len).min(after.len()));
        let mut buffer = packet.to_vec();
        assert!(receiver.unprotect_rtp(&mut buffer).is_err());
        assert!(receiver.unprotect_rtcp(&mut buffer).is_err());
        assert_eq!(buffer, packet);
        assert!(receiver.state().streams.is_empty());
        rest = next;
    }
}
