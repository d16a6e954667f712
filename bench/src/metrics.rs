//! A plane's `/metrics`, read once.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};

const WITHIN: Duration = Duration::from_secs(5);

/// What a plane answered, in the text format of Prometheus.
#[derive(Clone, Debug)]
pub struct Metrics(String);

impl Metrics {
    /// Reads them from where the plane's operator port listens.
    pub fn fetch(ops: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&ops, WITHIN).with_context(|| format!("http://{ops}"))?;
        stream.set_read_timeout(Some(WITHIN))?;
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nHost: {ops}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(
            answer.starts_with("HTTP/1.1 200 "),
            "http://{ops}/metrics: {answer}"
        );
        Ok(Self(answer))
    }

    /// The whole answer.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The value of the first sample whose name ends with `name` and whose labels contain `label`.
    pub fn value(&self, name: &str, label: &str) -> Option<f64> {
        self.0
            .lines()
            .filter(|line| !line.starts_with('#'))
            .find_map(|line| {
                let (sample, value) = line.rsplit_once(' ')?;
                let (sample_name, labels) = sample.split_once('{').unwrap_or((sample, ""));
                (sample_name.ends_with(name) && labels.contains(label)).then(|| value.parse().ok())?
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_label() {
        let text =
            "# TYPE x_node_up gauge\nx_node_up{node=\"a\"} 1\nx_node_up{node=\"b\"} 0\nx_calls_active 3\n";
        let metrics = Metrics(text.to_owned());
        assert_eq!(metrics.value("node_up", "node=\"b\""), Some(0.0));
        assert_eq!(metrics.value("calls_active", ""), Some(3.0));
        assert_eq!(metrics.value("node_up", "node=\"c\""), None);
    }
}
