use media_types::{Direction, LineSpec};

use crate::sdes::Profile;
use crate::{MediaLine, Session};

/// The media of both legs, line by line, for the media plane. Latching is left at its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Towards the party that offered.
    pub offerer: Vec<LineSpec>,
    /// Towards the party that answers.
    pub answerer: Vec<LineSpec>,
}

/// Why an answer doesn't fit its offer. The answerer is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AnswerError {
    /// Lines were added or taken away (RFC 3264 §6).
    #[error("the answer has {answered} media lines for {offered} offered")]
    LineCount {
        /// Lines in the offer.
        offered: usize,
        /// Lines in the answer.
        answered: usize,
    },
    /// A line changed its media type, so the order is broken too.
    #[error("media line {line} of the answer has another media type than the offer")]
    MediaType {
        /// The line, from 0.
        line: usize,
    },
    /// An accepted line changed its transport protocol; whether it is secured is a matter of each leg.
    #[error("media line {line} of the answer has another transport than the offer")]
    Transport {
        /// The line, from 0.
        line: usize,
    },
}

/// What to reserve while `offer` waits for its answer: the answerer's lines mirror the offer and have no address.
pub fn propose(offer: &Session) -> Agreement {
    let offerer = offer.line_specs();
    let answerer = offerer.iter().map(mirrored).collect();
    Agreement { offerer, answerer }
}

/// Checks `answer` against `offer` (RFC 3264 §6) and tells the media of both legs.
///
/// A line is enabled when both sides enabled it; an answer that gives a port to a line that was offered with port 0
/// is read as if it had kept the 0. RTP and RTCP are multiplexed with the offerer whenever it offered that, since the
/// relay can serve both ways, and with the answerer when it accepted.
pub fn agree(offer: &Session, answer: &Session) -> Result<Agreement, AnswerError> {
    let (offered, answered) = (offer.line_count(), answer.line_count());
    if offered != answered {
        return Err(AnswerError::LineCount { offered, answered });
    }
    let mut agreement = Agreement {
        offerer: Vec::with_capacity(offered),
        answerer: Vec::with_capacity(offered),
    };
    for (line, (offered, answered)) in offer.lines().zip(answer.lines()).enumerate() {
        check_line(line, &offered, &answered)?;
        let (mut ours, mut theirs) = (offered.spec(), answered.spec());
        if ours.enabled && theirs.enabled {
            theirs.rtcp_mux &= ours.rtcp_mux;
            // The formats of the answer are those that flow in both directions.
            ours.codecs.clone_from(&theirs.codecs);
        } else {
            disable(&mut ours);
            disable(&mut theirs);
        }
        agreement.offerer.push(ours);
        agreement.answerer.push(theirs);
    }
    Ok(agreement)
}

fn check_line(line: usize, offered: &MediaLine<'_>, answered: &MediaLine<'_>) -> Result<(), AnswerError> {
    if !offered.media().eq_ignore_ascii_case(answered.media()) {
        Err(AnswerError::MediaType { line })
    } else if answered.port() != 0 && !is_same_transport(offered.protocol(), answered.protocol()) {
        Err(AnswerError::Transport { line })
    } else {
        Ok(())
    }
}

/// Whether the transport of an answer is that of the offer, but for SRTP: a leg may have it where the other has not.
fn is_same_transport(offered: &str, answered: &str) -> bool {
    match (Profile::named(offered), Profile::named(answered)) {
        // A handshake is offered by us, whatever the other party has; what that party has of it does not pass.
        (Some(_), Some(b)) if b.is_dtls => true,
        (Some(a), Some(b)) => b.has_feedback == (a.has_feedback && !a.is_dtls),
        _ => offered.eq_ignore_ascii_case(answered),
    }
}

fn disable(spec: &mut LineSpec) {
    spec.enabled = false;
    spec.remote = None;
    spec.remote_rtcp = None;
    spec.rtcp_mux = false;
    spec.codecs.clear();
}

fn mirrored(offered: &LineSpec) -> LineSpec {
    let direction = match offered.direction {
        Direction::SendOnly => Direction::RecvOnly,
        Direction::RecvOnly => Direction::SendOnly,
        both_or_none => both_or_none,
    };
    LineSpec {
        direction,
        remote: None,
        remote_rtcp: None,
        rtcp_mux: false,
        // The offerer's keys are its own.
        srtp: None,
        dtls: None,
        ice: None,
        ..offered.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(tail: &str) -> Session {
        let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
        Session::parse(format!("{head}{tail}").as_bytes()).unwrap()
    }

    const TWO: &str = "m=audio 4000 RTP/AVP 0 8\r\na=rtcp-mux\r\nm=video 4002 RTP/AVP 31\r\n";

    #[test]
    fn an_answer_keeps_count_order_and_transport() {
        let offer = parse(TWO);
        let fault = |tail: &str| agree(&offer, &parse(tail)).unwrap_err();
        assert_eq!(
            fault("m=audio 5000 RTP/AVP 0\r\n"),
            AnswerError::LineCount {
                offered: 2,
                answered: 1
            }
        );
        assert_eq!(
            fault("m=video 5002 RTP/AVP 31\r\nm=audio 5000 RTP/AVP 0\r\n"),
            AnswerError::MediaType { line: 0 }
        );
        assert_eq!(
            fault("m=audio 5000 RTP/AVP 0\r\nm=video 5002 RTP/AVPF 31\r\n"),
            AnswerError::Transport { line: 1 }
        );
        assert!(
            agree(
                &offer,
                &parse("m=audio 5000 RTP/AVP 0\r\nm=video 0 RTP/AVPF 31\r\n")
            )
            .is_ok()
        );
        let secured = parse("m=audio 5000 RTP/SAVP 0\r\nm=video 5002 rtp/savp 31\r\n");
        assert!(agree(&offer, &secured).is_ok(), "security is a leg's matter");
    }

    #[test]
    fn a_rejected_line_is_disabled_on_both_legs() {
        let both = agree(
            &parse(TWO),
            &parse("m=audio 5000 RTP/AVP 8\r\nm=video 0 RTP/AVP 31\r\n"),
        )
        .unwrap();
        for leg in [&both.offerer, &both.answerer] {
            assert!(leg[0].enabled && !leg[1].enabled);
            assert_eq!(
                (leg[1].remote, leg[1].rtcp_mux, leg[1].codecs.len()),
                (None, false, 0)
            );
            assert_eq!(leg[0].codecs[0].name, "PCMA", "the answer's formats flow");
        }
        assert!(
            both.offerer[0].rtcp_mux && !both.answerer[0].rtcp_mux,
            "multiplexing is decided a leg"
        );
    }

    #[test]
    fn a_line_offered_with_port_0_stays_so() {
        let both = agree(
            &parse("m=audio 0 RTP/AVP 0\r\n"),
            &parse("m=audio 5000 RTP/AVP 0\r\n"),
        )
        .unwrap();
        assert!(!both.offerer[0].enabled && !both.answerer[0].enabled);
    }

    #[test]
    fn a_proposal_mirrors_the_offer() {
        let both = propose(&parse(
            "m=audio 4000 RTP/AVP 0\r\na=sendonly\r\na=rtcp-mux\r\nm=image 4002 udptl t38\r\n",
        ));
        assert_eq!(both.offerer[0].direction, Direction::SendOnly);
        assert_eq!(both.answerer[0].direction, Direction::RecvOnly);
        assert_eq!(
            (both.answerer[0].remote, both.answerer[0].rtcp_mux),
            (None, false)
        );
        assert_eq!(both.answerer[0].codecs, both.offerer[0].codecs);
        assert!(!both.offerer[1].enabled && !both.answerer[1].enabled);
    }
}
