use std::time::Duration;

use media_types::{BurstReport, CallReport, LegReport, LineReport, LocalLine, StreamReport};

use super::call::{LEGS_MAX, LINES_PER_LEG_MAX, call_id_from_wire, leg_id_from_wire, millis};
use super::dtls::{dtls_status_from_wire, dtls_status_to_wire};
use super::field::{FieldError, Problem, counted, ranged};
use super::ice::{ice_status_from_wire, ice_status_to_wire};
use super::label::label;
use super::line::{PAYLOAD_TYPE_MAX, endpoint_from_wire, endpoint_to_wire, path_from_wire, path_to_wire};
use super::srtp::{srtp_status_from_wire, srtp_status_to_wire};
use crate::media_v1 as wire;

/// More streams of a line, or drop reasons, than any node reports: a peer that sends more is broken.
const LIST_MAX: usize = 256;

/// A call as it goes over the wire. Durations are cut off to whole milliseconds.
pub fn report_to_wire(report: &CallReport) -> wire::Call {
    wire::Call {
        call_id: report.id.to_string(),
        age_ms: millis(report.age),
        lease_left_ms: millis(report.lease_left),
        legs: report
            .legs
            .iter()
            .map(|leg| wire::LegStatus {
                leg_id: leg.id.to_string(),
                lines: leg.lines.iter().map(line_to_wire).collect(),
            })
            .collect(),
    }
}

/// A call as a node reported it. Drop reasons come in the order of their labels.
pub fn report_from_wire(call: wire::Call) -> Result<CallReport, FieldError> {
    counted("legs", call.legs.len(), 0, LEGS_MAX)?;
    Ok(CallReport {
        id: call_id_from_wire(&call.call_id)?,
        age: Duration::from_millis(call.age_ms),
        lease_left: Duration::from_millis(call.lease_left_ms),
        legs: call
            .legs
            .into_iter()
            .enumerate()
            .map(|(index, leg)| leg_from_wire(leg).map_err(|e| e.within_item("legs", index)))
            .collect::<Result<_, _>>()?,
    })
}

fn leg_from_wire(leg: wire::LegStatus) -> Result<LegReport, FieldError> {
    counted("lines", leg.lines.len(), 0, LINES_PER_LEG_MAX)?;
    Ok(LegReport {
        id: leg_id_from_wire(&leg.leg_id)?,
        lines: leg
            .lines
            .into_iter()
            .enumerate()
            .map(|(index, line)| line_from_wire(line).map_err(|e| e.within_item("lines", index)))
            .collect::<Result<_, _>>()?,
    })
}

fn line_to_wire(line: &LineReport) -> wire::LineStatus {
    wire::LineStatus {
        local_rtp: line.local.map(|local| endpoint_to_wire(local.rtp)),
        local_rtcp: line.local.map(|local| endpoint_to_wire(local.rtcp)),
        learned: line.learned.map(endpoint_to_wire),
        path: path_to_wire(line.path).into(),
        path_reason: line.path_reason.to_owned(),
        drops: line
            .drops
            .iter()
            .map(|(reason, count)| ((*reason).to_owned(), *count))
            .collect(),
        rtcp_forwarded: line.rtcp_forwarded,
        streams: line.streams.iter().map(stream_to_wire).collect(),
        rtcp_path: line
            .rtcp_path
            .map_or(wire::Path::Unspecified, |(path, _)| path_to_wire(path))
            .into(),
        rtcp_path_reason: line.rtcp_path.map_or("", |(_, reason)| reason).to_owned(),
        srtp: line.srtp.as_ref().map(srtp_status_to_wire),
        dtls: line.dtls.as_ref().map(dtls_status_to_wire),
        ice: line.ice.as_ref().map(ice_status_to_wire),
    }
}

fn line_from_wire(line: wire::LineStatus) -> Result<LineReport, FieldError> {
    let local = match (line.local_rtp, line.local_rtcp) {
        (Some(rtp), Some(rtcp)) => Some(LocalLine {
            rtp: endpoint_from_wire("local_rtp", rtp, 1)?,
            rtcp: endpoint_from_wire("local_rtcp", rtcp, 1)?,
        }),
        (None, None) => None,
        (None, Some(_)) => return Err(FieldError::new("local_rtp", Problem::Missing)),
        (Some(_), None) => return Err(FieldError::new("local_rtcp", Problem::Missing)),
    };
    counted("drops", line.drops.len(), 0, LIST_MAX)?;
    counted("streams", line.streams.len(), 0, LIST_MAX)?;
    let mut drops: Vec<_> = line
        .drops
        .iter()
        .map(|(reason, count)| (label(reason, "other"), *count))
        .collect();
    drops.sort_unstable();
    Ok(LineReport {
        local,
        learned: line
            .learned
            .map(|e| endpoint_from_wire("learned", e, 0))
            .transpose()?,
        path: path_from_wire(line.path)?,
        path_reason: label(&line.path_reason, "not kept"),
        rtcp_path: match line.rtcp_path {
            // Also what a node of an earlier version says.
            0 => None,
            path => Some((path_from_wire(path)?, label(&line.rtcp_path_reason, "not kept"))),
        },
        drops,
        rtcp_forwarded: line.rtcp_forwarded,
        srtp: line.srtp.map(srtp_status_from_wire).transpose()?,
        dtls: line.dtls.as_ref().map(dtls_status_from_wire).transpose()?,
        ice: line.ice.map(ice_status_from_wire).transpose()?,
        streams: line
            .streams
            .into_iter()
            .enumerate()
            .map(|(index, stream)| stream_from_wire(&stream).map_err(|e| e.within_item("streams", index)))
            .collect::<Result<_, _>>()?,
    })
}

fn stream_to_wire(stream: &StreamReport) -> wire::StreamStatistics {
    wire::StreamStatistics {
        ssrc: stream.ssrc,
        payload_type: u32::from(stream.payload_type),
        packets: stream.packets,
        bytes: stream.bytes,
        lost: stream.lost,
        reordered: stream.reordered,
        duplicates: stream.duplicates,
        jitter_us: stream.jitter_us,
        jitter_us_max: stream.jitter_us_max,
        idle_ms: millis(stream.idle),
        mos_x100: u32::from(stream.mos_x100),
        mos_x100_second: u32::from(stream.mos_x100_second),
        bursts: Some(wire::BurstStatistics {
            bursts: stream.bursts.bursts,
            burst_loss_permille: u32::from(stream.bursts.burst_loss_permille),
            gap_loss_permille: u32::from(stream.bursts.gap_loss_permille),
            burst_packets: stream.bursts.burst_packets,
            gap_packets: stream.bursts.gap_packets,
        }),
    }
}

/// A node that does not count them leaves them out.
fn bursts_from_wire(bursts: Option<&wire::BurstStatistics>) -> Result<BurstReport, FieldError> {
    let Some(bursts) = bursts else {
        return Ok(BurstReport::default());
    };
    Ok(BurstReport {
        bursts: bursts.bursts,
        burst_loss_permille: ranged("burst_loss_permille", bursts.burst_loss_permille, 0, 1_000)?,
        gap_loss_permille: ranged("gap_loss_permille", bursts.gap_loss_permille, 0, 1_000)?,
        burst_packets: bursts.burst_packets,
        gap_packets: bursts.gap_packets,
    })
}

fn stream_from_wire(stream: &wire::StreamStatistics) -> Result<StreamReport, FieldError> {
    Ok(StreamReport {
        ssrc: stream.ssrc,
        payload_type: ranged("payload_type", stream.payload_type, 0, PAYLOAD_TYPE_MAX)?,
        packets: stream.packets,
        bytes: stream.bytes,
        lost: stream.lost,
        reordered: stream.reordered,
        duplicates: stream.duplicates,
        jitter_us: stream.jitter_us,
        jitter_us_max: stream.jitter_us_max,
        idle: Duration::from_millis(stream.idle_ms),
        // The scale ends at 5 (ITU-T P.800).
        mos_x100: ranged("mos_x100", stream.mos_x100, 0, 500)?,
        mos_x100_second: ranged("mos_x100_second", stream.mos_x100_second, 0, 500)?,
        bursts: bursts_from_wire(stream.bursts.as_ref())?,
    })
}
