//! Both planes as child processes, each in a folder of its own, on ports that the system chose.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Bound of every wait; reached only when something is broken.
pub const LIMIT: Duration = Duration::from_secs(20);

/// How often something outside is looked at again while waiting for it.
const PAUSE: Duration = Duration::from_millis(5);

/// A plane that runs. Dropping it kills it.
pub struct Plane {
    child: Child,
    /// What it said it listens at: role and protocol, and the address.
    listeners: Vec<(String, String)>,
    /// From the start to `ready`.
    pub started_in: Duration,
    stderr: PathBuf,
    /// Its folder, when nobody else keeps it.
    folder: Option<TempDir>,
}

impl Plane {
    /// Starts `binary` with `config` written into `folder`, and waits until it is ready.
    pub fn start(binary: &Path, folder: &Path, config: &str, variables: &[(&str, &str)]) -> Self {
        let file = folder.join("config.toml");
        fs::write(&file, config).unwrap();
        let stderr = folder.join("stderr.log");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(&stderr)
            .unwrap();
        let begun = now();
        let mut child = Command::new(binary)
            .arg("--config")
            .arg(&file)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| tell.send(line))
        });
        let mut plane = Self {
            child,
            listeners: Vec::new(),
            started_in: Duration::ZERO,
            stderr,
            folder: None,
        };
        loop {
            let Ok(line) = lines.recv_timeout(LIMIT) else {
                panic!("not ready: {}", plane.log());
            };
            if line == "ready" {
                plane.started_in = begun.elapsed();
                return plane;
            }
            if let Some((role, address)) = line
                .strip_prefix("listening ")
                .and_then(|line| line.rsplit_once(' '))
            {
                plane.listeners.push((role.to_owned(), address.to_owned()));
            }
        }
    }

    /// The first address of a role and protocol, such as `sip udp`, or `sip udp [` for IPv6.
    pub fn address(&self, role: &str) -> SocketAddr {
        let found = self
            .listeners
            .iter()
            .find(|(listener, address)| format!("{listener} {address}").starts_with(role));
        found
            .unwrap_or_else(|| panic!("no {role} in {:?}", self.listeners))
            .1
            .parse()
            .unwrap()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Status and body of an HTTP answer of the operators' endpoint.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address("ops http")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap();
        (
            status,
            answer
                .split_once("\r\n\r\n")
                .map(|(_, body)| body.to_owned())
                .unwrap_or_default(),
        )
    }

    /// The sum of a metric's lines whose name and labels begin with `name` and contain `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let (_, page) = self.get("/metrics");
        let lines = page
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(label));
        lines
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }

    /// Waits until a metric has at least that value.
    pub fn wait_for_metric(&self, name: &str, label: &str, least: f64) {
        wait(&format!("{name}{{{label}}} >= {least}"), || {
            self.metric(name, label) >= least
        });
    }

    /// Waits until `/readyz` answers so.
    pub fn wait_for_readiness(&self, status: u16) {
        wait(&format!("/readyz {status}"), || self.get("/readyz").0 == status);
    }

    /// Sends SIGTERM.
    pub fn ask_to_stop(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    }

    /// Waits for the end.
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait("the end of the process", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Asks to stop and wants a clean end.
    pub fn stop(mut self) {
        self.ask_to_stop();
        let status = self.ended();
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the process\n{}", self.log());
        }
    }
}

/// Looks again and again until `holds`.
pub fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "never: {what}");
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "tests of processes have no other clock")]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the process that is waited for tells nothing; the wait is bounded"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// The program under test.
pub fn control_binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_ringpath-control"))
}

/// A folder with a control plane's configuration.
pub struct Control {
    pub folder: TempDir,
    /// The lines of `[[media_node]]` below its name.
    pub node: String,
    /// Port of the next hop.
    pub next_hop: SocketAddr,
    /// `sip.listen`.
    pub listen: String,
    /// Lines added to `[sip]`.
    pub sip: String,
    /// Further sections.
    pub extra: String,
}

impl Control {
    /// Whose media node is not there, and neither is its next hop.
    pub fn alone() -> Self {
        let nobody = "127.0.0.1:9".parse().unwrap();
        Self::new("http://127.0.0.1:9", nobody)
    }

    pub fn new(node: &str, next_hop: SocketAddr) -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            node: format!("address = \"{node}\""),
            next_hop,
            listen: "\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"".into(),
            sip: String::new(),
            extra: String::new(),
        }
    }

    pub fn text(&self) -> String {
        format!(
            "[sip]\nlisten = [{}]\n{}\n[ops]\nlisten = \"127.0.0.1:0\"\n\
             [store]\npath = \"{}\"\n[[media_node]]\nname = \"media-1\"\n{}\n\
             [[route]]\nprefix = \"\"\nnext_hop = \"sip:{}\"\n{}",
            self.listen,
            self.sip,
            self.database().display(),
            self.node,
            self.next_hop,
            self.extra
        )
    }

    pub fn database(&self) -> PathBuf {
        self.folder.path().join("cdr.sqlite")
    }

    pub fn start(&self) -> Plane {
        Plane::start(&control_binary(), self.folder.path(), &self.text(), &[])
    }

    /// For a test that looks at the process alone.
    pub fn run(self) -> Plane {
        let mut plane = self.start();
        plane.folder = Some(self.folder);
        plane
    }
}

/// A media node with its folder.
pub struct Node {
    pub plane: Plane,
}

impl Node {
    /// Starts one, or says why it cannot be: then the test is skipped, or fails under `STRICT=1`.
    pub fn start(test: &str) -> Option<Self> {
        Self::start_with(test, "listen = \"127.0.0.1:0\"")
    }

    /// The same with these lines as its `[grpc]` section.
    pub fn start_with(test: &str, grpc: &str) -> Option<Self> {
        let binary = control_binary().with_file_name("ringpath-dataplane");
        if !binary.exists() {
            let reason = format!("SKIP {test}: {} is not built; run `make build`", binary.display());
            assert!(
                std::env::var_os("STRICT").is_none_or(|strict| strict != "1"),
                "{reason}"
            );
            eprintln!("{reason}");
            return None;
        }
        let folder = TempDir::new().unwrap();
        let config = format!(
            "node_id = \"media-1\"\nstate_directory = \"\"\n[grpc]\n{grpc}\n[ops]\nlisten = \"127.0.0.1:0\"\n[[interface]]\nname = \"public\"\n\
             ports = \"24000-25999\"\naddresses = [{{ local = \"127.0.0.1\" }}]\n"
        );
        let mut plane = Plane::start(&binary, folder.path(), &config, &[]);
        plane.folder = Some(folder);
        Some(Self { plane })
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.plane.address("grpc tcp"))
    }
}
