use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use media_types::LocalLine;
use sdp::sdes::Profile;
use sdp::{Origin, OurLine, Session, agree, propose, rewrite};

/// A body of type `application/sdp`.
///
/// Asserts: no input panics; offer and answer made of it keep the number of lines; what we print for the other side can
/// be read, keeps the lines in place, names our address and no other, and is the same when nothing changed.
///
/// # Panics
/// When one of these does not hold.
pub fn session_description(data: &[u8]) {
    let session = match Session::parse(data) {
        Ok(session) => session,
        Err(error) => return assert!(!error.reason().is_empty()),
    };
    let count = session.line_count();
    assert_eq!(session.lines().len(), count);
    let proposal = propose(&session);
    assert_eq!((proposal.offerer.len(), proposal.answerer.len()), (count, count));
    // Every description fits itself as an answer, or is refused for a reason.
    if let Ok(agreement) = agree(&session, &session) {
        assert_eq!(
            (agreement.offerer.len(), agreement.answerer.len()),
            (count, count)
        );
    }

    let ours: Vec<Option<OurLine>> = session
        .lines()
        .enumerate()
        .map(|(index, line)| our_line(index, line.is_usable()))
        .collect();
    let mut origin = Origin::new(0x1234_5678_9abc);
    let printed = rewrite(&session, &ours, &[], &mut origin);
    let version = origin.version();
    assert_eq!(
        rewrite(&session, &ours, &[], &mut origin),
        printed,
        "the same again is the same"
    );
    assert_eq!(origin.version(), version);

    let again = Session::parse(printed.as_bytes())
        .unwrap_or_else(|error| panic!("{error} in what we print: {printed:?}"));
    assert_eq!(again.line_count(), count);
    for ((before, after), ours) in session.lines().zip(again.lines()).zip(&ours) {
        assert_eq!(before.media(), after.media());
        match ours {
            None => assert_eq!((after.port(), after.protocol()), (0, before.protocol())),
            Some(ours) => {
                // Without keys and handshake it is in clear, with the feedback that we say.
                let profile = Profile {
                    is_secure: false,
                    has_feedback: ours.has_feedback,
                    is_dtls: false,
                };
                assert_eq!(after.protocol(), profile.name());
                assert_eq!(after.port(), ours.local.rtp.port());
                assert_eq!(after.address(), Some(ours.local.rtp.ip()));
                assert_eq!(before.direction(), after.direction());
            }
        }
    }
}

fn our_line(index: usize, usable: bool) -> Option<OurLine> {
    let ip = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
    let port = 20_000 + 2 * u16::try_from(index).ok()?;
    let local = LocalLine {
        rtp: SocketAddr::new(ip, port),
        rtcp: SocketAddr::new(ip, port + 1),
    };
    usable.then_some(OurLine {
        local,
        rtcp_mux: index % 2 == 1,
        has_feedback: index % 3 == 1,
        handshake: None,
    })
}
