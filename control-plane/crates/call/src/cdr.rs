use std::net::SocketAddr;

use media_types::{CallId, CallReport, LegReport, NodeName};
use sans_io::Timestamp;

use crate::Cause;

/// What a record is written for. A call that was attempted has `Ended` exactly once, and so may an INVITE that was
/// refused before it began one; a call that was answered has `Answered` before it; `Quality` follows last, when media
/// had been asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// The called party answered.
    Answered,
    /// The call is over. Durable before the party that hung up is told so.
    Ended,
    /// The media node's last statistics came, or are known never to come.
    Quality,
}

/// When things happened, on the clock that drives the `B2bua`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The INVITE arrived.
    pub setup: Timestamp,
    /// The first 18x was passed to the caller.
    pub ringing: Option<Timestamp>,
    /// The 2xx was sent to the caller.
    pub answered: Option<Timestamp>,
    /// The call was over.
    pub ended: Option<Timestamp>,
}

/// One party's media as the node received it, all lines and streams together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LegQuality {
    /// RTP packets received, duplicates included.
    pub packets: u64,
    /// RTP bytes received, headers included.
    pub bytes: u64,
    /// Packets that never came (RFC 3550 §A.3).
    pub lost: u64,
    /// The highest interarrival jitter of any stream, in microseconds.
    pub jitter_us_max: u32,
    /// The lowest estimated mean opinion score of any stream × 100; 0 when not known.
    pub mos_x100: u16,
}

/// Both parties' media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Quality {
    /// What the caller sent.
    pub caller: LegQuality,
    /// What the callee sent.
    pub callee: LegQuality,
}

impl Quality {
    /// Sums a node's report; its legs are the caller's, then the callee's.
    pub fn of_report(report: &CallReport) -> Self {
        let leg = |index: usize| report.legs.get(index).map(LegQuality::of_leg).unwrap_or_default();
        Self {
            caller: leg(0),
            callee: leg(1),
        }
    }
}

impl LegQuality {
    fn of_leg(leg: &LegReport) -> Self {
        let mut quality = Self::default();
        for stream in leg.lines.iter().flat_map(|line| &line.streams) {
            quality.packets += stream.packets;
            quality.bytes += stream.bytes;
            quality.lost += stream.lost;
            quality.jitter_us_max = quality.jitter_us_max.max(stream.jitter_us_max);
            quality.mos_x100 = match (quality.mos_x100, stream.mos_x100) {
                (0, known) | (known, 0) => known,
                (one, other) => one.min(other),
            };
        }
        quality
    }
}

/// A call detail record. Each stage carries everything that is known by then, so that a later one replaces an earlier
/// one. Strings are at most 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cdr {
    /// Why the record is written now.
    pub stage: Stage,
    /// The call.
    pub call: CallId,
    /// When.
    pub times: Times,
    /// User part of the caller's `From`; empty if it had none.
    pub caller: String,
    /// User part of the caller's `To`.
    pub callee: String,
    /// The request URI that the caller asked for.
    pub request_uri: String,
    /// `Call-ID` of the dialog with the caller.
    pub caller_call_id: String,
    /// `Call-ID` of the dialog with the callee; `None` if no next hop was tried.
    pub callee_call_id: Option<String>,
    /// Where the INVITE came from.
    pub source: SocketAddr,
    /// The next hop tried last.
    pub next_hop: Option<SocketAddr>,
    /// Why the call ended; `None` until then.
    pub cause: Option<Cause>,
    /// The first codec agreed, such as `PCMU/8000`; `None` without an answer.
    pub codec: Option<Box<str>>,
    /// The media node; `None` if none was reached.
    pub node: Option<NodeName>,
    /// The latest transfer; `None` if both parties stayed to the end.
    pub transferred: Option<Box<Transferred>>,
    /// The media statistics; `None` before stage `Quality`, and there when they are not known.
    pub quality: Option<Quality>,
}

/// A transfer that came to its end: somebody else has a party's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// Whose place: the caller's or the callee's.
    pub by: crate::Released,
    /// User part of who has it; empty if there is none.
    pub to: String,
}

/// Cuts text from the wire to what a record keeps, at a character's end.
pub(crate) fn bounded(text: &str) -> String {
    let mut end = text.len().min(256);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use media_types::{LegId, LineReport, Path, StreamReport};
    use std::time::Duration;

    fn leg(streams: Vec<StreamReport>) -> LegReport {
        let line = LineReport {
            local: None,
            learned: None,
            path: Path::Simulated,
            path_reason: "",
            rtcp_path: None,
            drops: Vec::new(),
            rtcp_forwarded: 0,
            srtp: None,
            dtls: None,
            ice: None,
            streams,
        };
        LegReport {
            id: LegId::new("a").unwrap(),
            lines: vec![line],
        }
    }

    #[test]
    fn streams_are_summed_and_the_worst_is_kept() {
        let stream = |packets, lost, jitter_us_max, mos_x100| StreamReport {
            packets,
            bytes: packets * 172,
            lost,
            jitter_us_max,
            mos_x100,
            ..StreamReport::default()
        };
        let report = CallReport {
            id: CallId::new("c").unwrap(),
            age: Duration::ZERO,
            lease_left: Duration::ZERO,
            legs: vec![
                leg(vec![
                    stream(10, 1, 50, 440),
                    stream(5, 0, 90, 0),
                    stream(1, 2, 0, 410),
                ]),
                leg(vec![]),
            ],
        };
        let quality = Quality::of_report(&report);
        let caller = LegQuality {
            packets: 16,
            bytes: 16 * 172,
            lost: 3,
            jitter_us_max: 90,
            mos_x100: 410,
        };
        assert_eq!(
            quality,
            Quality {
                caller,
                callee: LegQuality::default()
            }
        );
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = "é".repeat(200);
        assert_eq!(bounded(&text).len(), 256);
        assert_eq!(bounded(&format!("x{text}")).len(), 255);
        assert_eq!(bounded("short"), "short");
    }
}
