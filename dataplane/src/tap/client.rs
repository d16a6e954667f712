use std::fs::{OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use ops::clock::wall_clock;
use proto::media_v1::media_node_client::MediaNodeClient;
use proto::media_v1::tap_call_response::Part;
use proto::media_v1::{self as wire};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::pcapng::{Packet, Statistics, Way, Writer};

const CONNECT: Duration = Duration::from_secs(5);

/// Writes the packets of one call to a pcapng file: what the node received and what it sent, on every path. Ends by itself
/// after the time or the number of packets, with the call, or at Ctrl-C. Exit status: 0, or 1 when the node refuses or goes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The node's gRPC address: http://host:port, https://host:port, unix:/path, or host:port for http.
    #[arg(long, value_name = "ADDRESS", default_value = "http://127.0.0.1:7100")]
    node: String,

    /// The call's id, as in the logs of both planes.
    #[arg(long, value_name = "ID")]
    call: String,

    /// The file; made readable for its owner only. "-" is standard output.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// How long. The node has a limit; without this it takes 10 s.
    #[arg(long, default_value_t = 0)]
    seconds: u32,

    /// How many packets at most, those received and those sent together. The node has a limit, which it takes without this.
    #[arg(long, default_value_t = 0)]
    packets: u64,

    /// Bytes of each packet's UDP payload to keep; 12 is an RTP header, 0 is all.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    snap: u32,

    /// The authority that signed the node's certificate (PEM), for https.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,

    /// Our certificate (PEM), for a node that asks for one.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,

    /// Its key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,

    /// The name in the node's certificate, when it is not the host of the address.
    #[arg(long, value_name = "NAME")]
    tls_name: Option<String>,
}

/// Runs the subcommand.
///
/// # Errors
/// When the node cannot be reached or refuses, or the file cannot be written.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(capture(arguments))
}

async fn capture(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let stop = ops::signal::terminated()?;
    tokio::pin!(stop);
    let channel = channel(arguments).await?;
    let request = wire::TapCallRequest {
        call_id: arguments.call.clone(),
        seconds: arguments.seconds,
        packets_max: arguments.packets,
        snap_bytes: arguments.snap,
    };
    let answer = MediaNodeClient::new(channel).tap_call(request).await;
    let mut stream = answer.map_err(refused)?.into_inner();
    // The file is made when the node has agreed: a refusal does not cost the capture of yesterday.
    let out = open(&arguments.output).with_context(|| arguments.output.display().to_string())?;
    let mut file = File::new(out, &arguments.call)?;
    let ended = loop {
        let message = tokio::select! {
            message = stream.message() => message,
            _ = &mut stop => break "stopped here".to_owned(),
        };
        match message {
            Ok(Some(wire::TapCallResponse { part: Some(part) })) => {
                if let Some(cause) = file.take(part)? {
                    break cause.to_owned();
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => break "the node went".to_owned(),
            Err(status) => break format!("the node went: {}", status.message()),
        }
    };
    let whole = !ended.starts_with("the node went");
    let (captured, left_out) = file.finish(&ended)?;
    eprintln!("{captured} packets captured, {left_out} left out for want of room: {ended}");
    Ok(ExitCode::from(u8::from(!whole)))
}

fn refused(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("the node refuses ({:?}): {}", status.code(), status.message())
}

async fn channel(arguments: &Arguments) -> anyhow::Result<Channel> {
    let node = &arguments.node;
    let address = match node.contains("://") || node.starts_with("unix:") {
        true => node.clone(),
        false => format!("http://{node}"),
    };
    let mut endpoint = Endpoint::from_shared(address.clone())
        .with_context(|| format!("--node {node}"))?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(CONNECT)
        .keep_alive_timeout(CONNECT);
    if address.starts_with("https://") {
        let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
        let ca = arguments.tls_ca.as_ref().context("https needs --tls-ca")?;
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
        if let (Some(certificate), Some(key)) = (&arguments.tls_certificate, &arguments.tls_key) {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        if let Some(name) = &arguments.tls_name {
            tls = tls.domain_name(name);
        }
        endpoint = endpoint.tls_config(tls).context("TLS")?;
    }
    endpoint
        .connect()
        .await
        .with_context(|| format!("{node} does not answer"))
}

fn open(path: &Path) -> io::Result<Box<dyn Write>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    // Also of a file that was there: it will have people's words in it. A pipe or a terminal stays what it is.
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(Box::new(file))
}

/// The file and what is in it.
struct File {
    writer: Writer<BufWriter<Box<dyn Write>>>,
    call: String,
    from_unix_ns: u64,
    /// By the node's numbers.
    points: Vec<Point>,
}

struct Point {
    interface: u32,
    way: Way,
    path: &'static str,
    captured: u64,
    left_out: u64,
}

impl File {
    fn new(out: Box<dyn Write>, call: &str) -> io::Result<Self> {
        let application = concat!("ringpath-dataplane ", env!("CARGO_PKG_VERSION"), " tap");
        Ok(Self {
            writer: Writer::new(BufWriter::new(out), application)?,
            call: call.to_owned(),
            from_unix_ns: unix_ns(),
            points: Vec::new(),
        })
    }

    /// Writes what a message has; the words for the end when it is the last one.
    fn take(&mut self, part: Part) -> anyhow::Result<Option<&'static str>> {
        match part {
            Part::Point(point) => self.describe(&point)?,
            Part::Packets(packets) => {
                for packet in &packets.packets {
                    self.write(packet)?;
                }
                // Somebody may look at the file while it grows.
                self.writer.flush()?;
            }
            Part::End(end) => {
                for count in &end.counts {
                    if let Some(point) = self.points.get_mut(count.point_id as usize) {
                        point.left_out = count.left_out;
                    }
                }
                return Ok(Some(match end.cause() {
                    wire::TapEndCause::Time => "the time is over",
                    wire::TapEndCause::Packets => "as many packets as asked for",
                    wire::TapEndCause::CallEnded => "the call has ended",
                    wire::TapEndCause::NodeStopping => "the node stops",
                    wire::TapEndCause::Unspecified => "ended by the node",
                }));
            }
        }
        Ok(None)
    }

    fn describe(&mut self, point: &wire::TapPoint) -> anyhow::Result<()> {
        anyhow::ensure!(
            point.point_id as usize == self.points.len(),
            "the node tells of point {} too early",
            point.point_id
        );
        let path = match point.path() {
            wire::Path::Kernel => "kernel",
            wire::Path::Xsk => "xsk",
            wire::Path::Uring => "uring",
            wire::Path::Socket => "socket",
            wire::Path::Simulated => "simulated",
            wire::Path::Unspecified => "unknown",
        };
        let (way, direction, words) = match point.direction() {
            wire::TapDirection::Sent => (Way::Outbound, "sent", "sent to the party"),
            _ => (Way::Inbound, "received", "received from the party"),
        };
        let (leg, line) = (&point.leg_id, point.line);
        let name = format!("{leg}.{line}.{direction}.{path}");
        let description = format!(
            "call {}: leg {leg}, media line {line}, {words}, path {path}",
            self.call
        );
        let interface = self.writer.interface(&name, &description)?;
        self.points.push(Point {
            interface,
            way,
            path,
            captured: 0,
            left_out: 0,
        });
        Ok(())
    }

    fn write(&mut self, packet: &wire::TapPacket) -> anyhow::Result<()> {
        let point = self
            .points
            .get_mut(packet.point_id as usize)
            .with_context(|| format!("the node told nothing of point {}", packet.point_id))?;
        point.captured += 1;
        let comment = match packet.dropped.is_empty() {
            true => String::new(),
            false => format!("dropped: {} (path {})", packet.dropped, point.path),
        };
        self.writer.packet(&Packet {
            interface: point.interface,
            unix_ns: packet.unix_ns,
            bytes: &packet.packet,
            length: packet.length,
            way: point.way,
            comment: &comment,
        })?;
        Ok(())
    }

    /// Ends the file; the packets in it, and those left out.
    fn finish(mut self, ended: &str) -> io::Result<(u64, u64)> {
        let until_unix_ns = unix_ns();
        let (mut captured, mut left_out) = (0, 0);
        for point in &self.points {
            captured += point.captured;
            left_out += point.left_out;
            let statistics = Statistics {
                interface: point.interface,
                from_unix_ns: self.from_unix_ns,
                until_unix_ns,
                captured: point.captured,
                left_out: point.left_out,
            };
            self.writer.statistics(&statistics, ended)?;
        }
        self.writer.flush()?;
        Ok((captured, left_out))
    }
}

fn unix_ns() -> u64 {
    let since = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_is_its_owners_alone_in_a_file_that_was_there_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("call.pcapng");
        std::fs::write(&path, "yesterday's").expect("written");
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("changed");
        for _ in 0..2 {
            open(&path).expect("opens").write_all(b"words").expect("written");
            let mode = std::fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert_eq!(std::fs::read(&path).expect("readable"), b"words");
            std::fs::remove_file(&path).expect("removed");
        }
        open(Path::new("/dev/null")).expect("opens");
    }
}
