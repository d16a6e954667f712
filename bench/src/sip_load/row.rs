//! What comes out: one row a system and metric.

use std::fmt;

use serde::Serialize;

use crate::median::median;
use crate::sip_load::contender::System;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The most calls a second of which none failed in three runs of three, with no media node.
    CpsSignalling,
    /// The same with media allocated on a media node on the same core.
    CpsWithMedia,
    /// Processor time of all threads and children of the server by call, at the ceiling.
    CpuUsPerCall,
}

impl Metric {
    /// As in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpsSignalling => "cps_signalling",
            Self::CpsWithMedia => "cps_with_media",
            Self::CpuUsPerCall => "cpu_us_per_call",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::CpsSignalling | Self::CpsWithMedia => "calls/s",
            Self::CpuUsPerCall => "us",
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
    /// The median of the runs.
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
            value: median(values.clone()),
            unit: metric.unit(),
            runs: values.len(),
            spread: [*values.first()?, *values.last()?],
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [least, most] = self.spread;
        write!(
            f,
            "| {} | {} | {:.0} {} | {} | {least:.0}–{most:.0} |",
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
        for metric in [Metric::CpsSignalling, Metric::CpsWithMedia, Metric::CpuUsPerCall] {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
        }
        assert!(Row::of(System::Ringpath, Metric::CpsSignalling, Vec::new()).is_none());
    }
}
