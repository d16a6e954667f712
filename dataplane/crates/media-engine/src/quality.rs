use std::time::Duration;

use rtp::{StreamStatistics, emodel};

use crate::line::Line;

/// Media time in a packet when the description does not say (RFC 3551 §4.2).
const PTIME_DEFAULT_MS: f64 = 20.0;

/// Mean opinion score × 100 of a stream that comes in on `line` and leaves through `peer`; 0 when there is nothing to
/// judge: no audio, no codec or an unknown one, or no valid stream yet.
///
/// `loss_ratio` is what is missing *here*, 0 to 1; delay is half of each round trip that RTCP has shown, a packet's media time, and a
/// jitter buffer of twice the jitter. What the way out loses is in the other party's reports, not in this figure.
pub(crate) fn score_x100(statistics: &StreamStatistics, loss_ratio: f64, line: &Line, peer: &Line) -> u16 {
    let format = line
        .formats
        .find(statistics.payload_type())
        .filter(|format| !format.is_event);
    let format = format.or(line.formats.first());
    let Some(format) = format.filter(|_| line.is_audio && statistics.is_valid()) else {
        return 0;
    };
    let Some(impairment) = format.impairment else {
        return 0;
    };
    let ptime_ms = match format.ptime_ms {
        0 => PTIME_DEFAULT_MS,
        given => f64::from(given),
    };
    let round_trips: Duration = [line.round_trip, peer.round_trip].into_iter().flatten().sum();
    let jitter_ms = statistics.jitter_ns() as f64 / 1e6;
    let delay_ms = ptime_ms + 2.0 * jitter_ms + round_trips.as_secs_f64() * 1e3 / 2.0;
    let rating = emodel::rating(&impairment, loss_ratio, delay_ms);
    (emodel::mean_opinion_score(rating) * 100.0).round() as u16
}
