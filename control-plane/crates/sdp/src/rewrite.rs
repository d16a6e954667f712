use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use media_types::LocalLine;

use crate::handshake::{dress, dress_session};
use crate::line::{direction_name, direction_named};
use crate::sdes::{Offer, Profile};
use crate::topology::{host_names, may_pass, text_may_pass};
use crate::{MediaLine, Origin, OurHandshake, Session};

/// What we offer or answer on one media line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OurLine {
    /// Our addresses towards the party that will read the description.
    pub local: LocalLine,
    /// Print `a=rtcp-mux`: in an offer, when the other party offered it; in an answer, when it was offered to us.
    pub rtcp_mux: bool,
    /// The transport is one with early feedback.
    pub has_feedback: bool,
    /// Its keys come from a handshake.
    pub handshake: Option<OurHandshake>,
}

/// Prints `session`, which one party sent, for the other party: with our `o=` line, and our addresses and ports in
/// the place of the sender's.
///
/// `lines` has one entry for each media line; `None` (also for entries that are missing) prints the line with port 0
/// in its place and without attributes. Directions are kept; a hold by unspecified address (RFC 3264 §8.4) becomes the
/// direction attribute that it means. What is left out: ICE, keys, `k=`, and every text that names an address or the
/// sender's host, so that no address of the sender can reach the other side.
///
/// Each line that we offer or answer has the transport that it and `keys` want, and its `a=crypto` or what belongs to its
/// handshake: in clear where there is neither. The sender's own keys never pass. What is returned then holds keys, and
/// is for the party alone.
pub fn rewrite(session: &Session, lines: &[Option<OurLine>], keys: &[Offer], origin: &mut Origin) -> String {
    let names = host_names(&session.inner);
    let line_at = |index: usize| lines.get(index).and_then(Option::as_ref);
    let session_ip = (0..session.line_count()).find_map(|index| Some(line_at(index)?.local.rtp.ip()));

    let mut out = session.inner.clone();
    out.key = None;
    out.emails.retain(|text| text_may_pass(text, &names));
    out.phones.retain(|text| text_may_pass(text, &names));
    out.uri = out.uri.filter(|text| text_may_pass(text, &names));
    out.session_description = out.session_description.filter(|text| text_may_pass(text, &names));
    if out.session_name.is_empty() || !text_may_pass(&out.session_name, &names) {
        "-".clone_into(&mut out.session_name);
    }
    out.attributes.retain(|attribute| may_pass(attribute, &names));
    out.connection = Some(sdp_types::Connection::from_ip_addr(
        session_ip.unwrap_or(UNSPECIFIED),
    ));
    for (index, (media, line)) in out.medias.iter_mut().zip(session.lines()).enumerate() {
        rewrite_line(media, &line, line_at(index), session_ip, &names);
        if media.port != 0 {
            secure_line(media, line_at(index), keys.get(index));
        }
    }
    let handshakes: Vec<&OurHandshake> = (0..out.medias.len())
        .filter_map(|index| line_at(index)?.handshake.as_ref())
        .collect();
    dress_session(&mut out, &handshakes);

    // The origin is made from the text of all else, so its line is put in last.
    out.origin = sdp_types::Origin::with_ip_addr(0, 0, UNSPECIFIED);
    let rest = printed(&out);
    out.origin = origin.next(&rest, session_ip);
    with_origin(&rest, &out.origin).unwrap_or_else(|| printed(&out))
}

fn printed(session: &sdp_types::Session) -> String {
    let mut text = String::with_capacity(DESCRIPTION_CAPACITY);
    // Writing to a String does not fail.
    let _ = write!(text, "{session}");
    text
}

/// Room for a description of ordinary length, so that most are printed with one allocation.
const DESCRIPTION_CAPACITY: usize = 640;

/// `text` with another `o=` line, which is the second (RFC 8866 §5). `None` if it is not.
fn with_origin(text: &str, origin: &sdp_types::Origin) -> Option<String> {
    let start = text.find("\r\no=")? + 2;
    let end = start + text[start..].find("\r\n")?;
    let is_second = !text[..start - 2].contains('\n');
    let mut out = String::with_capacity(text.len() + 64);
    out.push_str(&text[..start]);
    let name = origin.username.as_deref().unwrap_or("-");
    let _ = write!(
        out,
        "o={name} {} {} {} {} {}",
        origin.sess_id, origin.sess_version, origin.nettype, origin.addrtype, origin.unicast_address
    );
    out.push_str(&text[end..]);
    is_second.then_some(out)
}

const UNSPECIFIED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

fn rewrite_line(
    media: &mut sdp_types::Media,
    line: &MediaLine<'_>,
    ours: Option<&OurLine>,
    session_ip: Option<IpAddr>,
    names: &[&str],
) {
    media.key = None;
    media.num_ports = None;
    media.connections.clear();
    media.media_title = media.media_title.take().filter(|text| text_may_pass(text, names));
    let Some(OurLine {
        local,
        rtcp_mux,
        has_feedback,
        handshake,
    }) = ours
    else {
        media.port = 0;
        media.bandwidths.clear();
        // The identification stays: a=group of the session may refer to it (RFC 5888 §9.2).
        media
            .attributes
            .retain(|attribute| attribute.attribute == "mid" && may_pass(attribute, names));
        return;
    };
    media.port = local.rtp.port();
    if session_ip != Some(local.rtp.ip()) {
        media
            .connections
            .push(sdp_types::Connection::from_ip_addr(local.rtp.ip()));
    }
    media.attributes.retain(|attribute| may_pass(attribute, names));
    if line.is_held_by_address() {
        media
            .attributes
            .retain(|attribute| direction_named(&attribute.attribute).is_none());
        media
            .attributes
            .push(sdp_types::Attribute::new(direction_name(line.direction())));
    }
    if !has_feedback {
        // Without early feedback nobody may be asked for it (RFC 4585 §4.2, RFC 5506 §5).
        let is_feedback = |name: &str| {
            ["rtcp-fb", "rtcp-rsize"]
                .iter()
                .any(|it| it.eq_ignore_ascii_case(name))
        };
        media
            .attributes
            .retain(|attribute| !is_feedback(&attribute.attribute));
    }
    if handshake.as_ref().is_some_and(|ours| ours.mid.is_some()) {
        media.attributes.retain(|attribute| attribute.attribute != "mid");
    }
    if *rtcp_mux {
        media.attributes.push(sdp_types::Attribute::new("rtcp-mux"));
    } else if let Some(value) = rtcp_value(*local) {
        media
            .attributes
            .push(sdp_types::Attribute::with_value("rtcp", value));
    }
}

fn secure_line(media: &mut sdp_types::Media, ours: Option<&OurLine>, offer: Option<&Offer>) {
    let (Some(ours), Some(_)) = (ours, Profile::named(&media.proto)) else {
        return;
    };
    let profile = Profile {
        is_secure: offer.is_some_and(|offer| offer.is_insistent),
        has_feedback: ours.has_feedback,
        is_dtls: ours.handshake.is_some(),
    };
    profile.name().clone_into(&mut media.proto);
    if let Some(handshake) = &ours.handshake {
        return dress(media, handshake, ours.local.rtp);
    }
    for crypto in offer.iter().flat_map(|offer| &offer.crypto) {
        media.attributes.push(sdp_types::Attribute::with_value(
            "crypto",
            crypto.value().as_str(),
        ));
    }
}

/// The value of `a=rtcp` (RFC 3605 §2.1) when RTCP's address is not what the RTP address implies.
fn rtcp_value(LocalLine { rtp, rtcp }: LocalLine) -> Option<String> {
    let implied = rtp
        .port()
        .checked_add(1)
        .map(|port| SocketAddr::new(rtp.ip(), port));
    if implied == Some(rtcp) {
        return None;
    }
    let family = if rtcp.is_ipv6() { "IP6" } else { "IP4" };
    Some(format!("{} IN {family} {}", rtcp.port(), rtcp.ip()))
}
