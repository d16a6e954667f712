//! What comes out: one row a system and metric.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use crate::median::median;
use crate::sip_load::contender::System;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Metric {
    /// The most calls a second of which none failed in any run, with no media node
    CpsSignalling,
    /// Processor time of all threads and children of the server by call, at that rate
    CpuUsPerCall,
    /// What the server adds to the time from INVITE to 200 at half of that rate, median
    AddedSetupMsP50,
    /// The same for all but one call in a hundred
    AddedSetupMsP99,
    /// Calls that succeed when half as many again are offered, by that rate
    #[serde(rename = "goodput_share_at_150_percent")]
    #[value(name = "goodput_share_at_150_percent")]
    GoodputShareAt150Percent,
    /// The most calls a second with media allocated on a media node on the same core
    CpsWithMedia,
    /// The most registrations a second without a challenge
    RegisterPlainPerS,
    /// The most registrations a second with digest, each of two REGISTERs
    RegisterDigestPerS,
    /// Memory of one contact of one user
    BytesPerRegistration,
    /// Memory of a call that rings
    BytesPerCallInFlight,
    /// Memory of an answered call whose transactions are over
    BytesPerHeldCall,
}

impl Metric {
    /// As in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpsSignalling => "cps_signalling",
            Self::CpuUsPerCall => "cpu_us_per_call",
            Self::AddedSetupMsP50 => "added_setup_ms_p50",
            Self::AddedSetupMsP99 => "added_setup_ms_p99",
            Self::GoodputShareAt150Percent => "goodput_share_at_150_percent",
            Self::CpsWithMedia => "cps_with_media",
            Self::RegisterPlainPerS => "register_plain_per_s",
            Self::RegisterDigestPerS => "register_digest_per_s",
            Self::BytesPerRegistration => "bytes_per_registration",
            Self::BytesPerCallInFlight => "bytes_per_call_in_flight",
            Self::BytesPerHeldCall => "bytes_per_held_call",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::CpsSignalling | Self::CpsWithMedia => "calls/s",
            Self::CpuUsPerCall => "us",
            Self::AddedSetupMsP50 | Self::AddedSetupMsP99 => "ms",
            Self::GoodputShareAt150Percent => "share",
            Self::RegisterPlainPerS | Self::RegisterDigestPerS => "registrations/s",
            Self::BytesPerRegistration | Self::BytesPerCallInFlight | Self::BytesPerHeldCall => "B",
        }
    }

    /// After the point, when printed.
    const fn digits(self) -> usize {
        match self {
            Self::AddedSetupMsP50 | Self::AddedSetupMsP99 => 3,
            Self::GoodputShareAt150Percent => 2,
            _ => 0,
        }
    }
}

/// A line of `sip.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The server.
    pub system: System,
    /// What was measured.
    pub metric: Metric,
    /// The median of the runs; the rate that held, where a rate was looked for.
    pub value: f64,
    /// Of the value and the spread.
    pub unit: &'static str,
    /// How many there were.
    pub runs: usize,
    /// The least and the most of the runs.
    pub spread: [f64; 2],
}

impl Row {
    /// The median of `values`; `None` without any.
    pub fn of(system: System, metric: Metric, mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        Some(Self {
            system,
            metric,
            unit: metric.unit(),
            runs: values.len(),
            spread: [*values.first()?, *values.last()?],
            value: median(values),
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [least, most] = self.spread;
        let digits = self.metric.digits();
        write!(
            f,
            "| {} | {} | {:.digits$} {} | {} | {least:.digits$}–{most:.digits$} |",
            self.system.name(),
            self.metric.name(),
            self.value,
            self.unit,
            self.runs
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_names_that_readers_of_the_file_know() {
        let row = Row::of(System::Kamailio, Metric::CpuUsPerCall, vec![180.0, 160.0, 170.0]).unwrap();
        let json = serde_json::to_value(&row).unwrap();
        let expected = serde_json::json!({
            "system": "kamailio", "metric": "cpu_us_per_call", "value": 170.0, "unit": "us", "runs": 3, "spread": [160.0, 180.0]
        });
        assert_eq!(json, expected);
        for metric in Metric::value_variants() {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
            assert_eq!(metric.to_possible_value().unwrap().get_name(), metric.name());
        }
        assert!(Row::of(System::Ringpath, Metric::CpsSignalling, Vec::new()).is_none());
    }
}
