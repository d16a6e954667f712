//! Both planes on a loopback address of their own, ready for SIPp: what every end-to-end run starts with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::cdr::{self, Cdr};
use crate::certificate::Certificate;
use crate::host::Host;
use crate::metrics::Metrics;
use crate::node_client::{Held, NodeClient};
use crate::plane::{ControlOptions, NodeOptions, Plane};
use crate::sipp::{Script, Side, Sipp, Transport};
use crate::wait;

/// What a [`Stand`] consists of.
#[derive(Clone, Debug)]
pub struct StandOptions {
    /// Media nodes, by the most calls that each takes.
    pub nodes: Vec<u32>,
    /// `auto`, `uring` or `socket`.
    pub backend: String,
    /// A call without a renewed lease ends after this; the node's default, for calls that ask for none.
    pub lease: Duration,
    /// What carries SIP to the callee.
    pub callee_transport: Transport,
    /// The prefix of the only route.
    pub prefix: String,
    /// Whether calls are for a trunk that is tried before the callee, which is a second one.
    pub first_trunk: bool,
    /// Whether the control plane takes SIP over TLS, too.
    pub tls: bool,
    /// Whether it takes SIP over secure WebSocket with the same certificate; needs `tls`.
    pub wss: bool,
    /// Further lines of the `[sip]` section of the control plane's configuration.
    pub sip_extra: String,
    /// Further lines of the control plane's configuration.
    pub control_extra: String,
}

impl Default for StandOptions {
    fn default() -> Self {
        Self {
            nodes: vec![1_000],
            backend: "auto".to_owned(),
            lease: Duration::from_secs(60),
            callee_transport: Transport::Udp,
            prefix: String::new(),
            first_trunk: false,
            tls: false,
            wss: false,
            sip_extra: String::new(),
            control_extra: String::new(),
        }
    }
}

/// One or more media nodes and a control plane that routes everything to one callee.
#[derive(Debug)]
pub struct Stand {
    folder: PathBuf,
    host: Host,
    /// The media nodes, in the order of the options.
    pub nodes: Vec<Plane>,
    /// The control plane.
    pub control: Plane,
    grpc: Vec<SocketAddr>,
    node_ops: Vec<SocketAddr>,
    control_ops: SocketAddr,
    sip: SocketAddr,
    tls: Option<(SocketAddr, Certificate)>,
    wss: Option<SocketAddr>,
    caller: SocketAddr,
    callee: SocketAddr,
    first_trunk: SocketAddr,
    callee_transport: Transport,
    store: PathBuf,
    scripts: u32,
}

impl Stand {
    /// Starts the planes; what they write goes to `folder`, which must be absolute.
    pub fn start(options: &StandOptions, folder: &Path) -> anyhow::Result<Self> {
        let mut host = Host::reserve()?;
        let mut nodes = Vec::new();
        let mut grpc = Vec::new();
        let mut node_ops = Vec::new();
        let mut named = Vec::new();
        let mut first_port = 20_000u16;
        for (place, &calls_max) in options.nodes.iter().enumerate() {
            // Two pairs of ports a call.
            let ports =
                u16::try_from(calls_max * 4).context("too many calls for the ports of one address")?;
            let node = NodeOptions {
                backend: options.backend.clone(),
                steering: "off",
                kernel: "off",
                calls_max,
                lease: options.lease,
                ..NodeOptions::new(
                    format!("media-{}", place + 1),
                    host.ip(),
                    first_port..=first_port.checked_add(ports - 1).context("too many ports")?,
                    [host.address()?, host.address()?],
                )
            };
            first_port += ports;
            grpc.push(node.grpc);
            node_ops.push(node.ops);
            named.push((node.name.clone(), node.grpc));
            nodes.push(Plane::start_node(&node, folder)?);
        }
        let (sip, caller, callee) = (host.address()?, host.address()?, host.address()?);
        let store = folder.join("cdr.sqlite");
        let transport = match options.callee_transport {
            Transport::Udp => "udp",
            Transport::Tcp | Transport::TcpEach => "tcp",
        };
        let control_ops = host.address()?;
        let first_trunk = host.address()?;
        let next_hop = format!("sip:{callee};transport={transport}");
        let (routes, trunks) = match options.first_trunk {
            false => (vec![(options.prefix.clone(), next_hop)], String::new()),
            true => (
                Vec::new(),
                trunks(&options.prefix, &[format!("sip:{first_trunk}"), next_hop]),
            ),
        };
        let tls = match options.tls {
            false => None,
            true => Some((
                host.address()?,
                Certificate::issue(folder, "control", &host.ip().to_string())?,
            )),
        };
        let wss = match options.wss {
            false => None,
            true => Some(host.address()?),
        };
        let control = ControlOptions {
            sip,
            tls: tls.clone(),
            wss,
            ops: control_ops,
            store: store.clone(),
            nodes: named,
            routes,
            sip_extra: options.sip_extra.clone(),
            extra: trunks + &options.control_extra,
        };
        let control = Plane::start_control(&control, folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            host,
            nodes,
            control,
            grpc,
            node_ops,
            control_ops,
            sip,
            tls,
            wss,
            caller,
            callee,
            first_trunk,
            callee_transport: options.callee_transport,
            store,
            scripts: 0,
        })
    }

    /// Where logs and tables are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The address that everything here is on.
    pub fn host(&mut self) -> &mut Host {
        &mut self.host
    }

    /// Where the control plane takes SIP.
    pub fn sip(&self) -> SocketAddr {
        self.sip
    }

    /// Where the control plane takes SIP over TLS, and what proves it, with [`StandOptions::tls`].
    pub fn tls(&self) -> Option<&(SocketAddr, Certificate)> {
        self.tls.as_ref()
    }

    /// Where the control plane takes SIP over secure WebSocket, with [`StandOptions::wss`].
    pub fn wss(&self) -> Option<SocketAddr> {
        self.wss
    }

    /// A callee's script for this stand; start it before the caller.
    pub fn callee<'a>(&self, scenario: &'a str, calls: u32) -> Script<'a> {
        self.script(scenario, Side::Callee, self.callee, None, calls)
    }

    /// Where the trunk is that calls are for first, with [`StandOptions::first_trunk`].
    pub fn first_trunk(&self) -> SocketAddr {
        self.first_trunk
    }

    /// A caller's script for this stand.
    pub fn caller<'a>(&self, scenario: &'a str, calls: u32) -> Script<'a> {
        self.script(scenario, Side::Caller, self.caller, Some(self.sip), calls)
    }

    fn script<'a>(
        &self,
        scenario: &'a str,
        side: Side,
        local: SocketAddr,
        remote: Option<SocketAddr>,
        calls: u32,
    ) -> Script<'a> {
        Script {
            scenario,
            side,
            local,
            media: self.host.ip(),
            remote,
            transport: match side {
                Side::Caller => Transport::Udp,
                Side::Callee => self.callee_transport,
            },
            calls,
            rate: 10,
            talk: Duration::from_millis(300),
            number: "1000",
            fields: None,
        }
    }

    /// Starts a script under a name that is unique here.
    pub fn run(&mut self, script: &Script<'_>) -> anyhow::Result<Sipp> {
        self.scripts += 1;
        let side = match script.side {
            Side::Caller => "caller",
            Side::Callee => "callee",
        };
        script.start(&format!("{side}-{}", self.scripts), &self.folder)
    }

    /// Puts users into the control plane's database, `name;password` a line, and waits until it knows `count` of them.
    ///
    /// # Errors
    /// What the program said, or that it took too long.
    pub fn import_users(&self, users: &str, count: u64) -> anyhow::Result<()> {
        let file = self.folder.join("import.csv");
        std::fs::write(&file, users)?;
        self.control.import_users(&file)?;
        wait::until_true("the users to be known", Duration::from_secs(10), || {
            let known = self.control_metrics()?.value("ringpath_control_users", "");
            Ok(known.is_some_and(|known| known >= count as f64))
        })
    }

    /// gRPC of a node.
    pub fn node_client(&self, node: usize) -> anyhow::Result<NodeClient> {
        NodeClient::connect(self.grpc[node])
    }

    /// Metrics of the control plane.
    pub fn control_metrics(&self) -> anyhow::Result<Metrics> {
        Metrics::fetch(self.control_ops)
    }

    /// Metrics of a node.
    pub fn node_metrics(&self, node: usize) -> anyhow::Result<Metrics> {
        Metrics::fetch(self.node_ops[node])
    }

    /// Calls and port pairs of all nodes together.
    pub fn held(&self) -> anyhow::Result<Held> {
        let mut sum = Held::default();
        for node in 0..self.nodes.len() {
            let held = self.node_client(node)?.held()?;
            sum.calls += held.calls;
            sum.port_pairs += held.port_pairs;
        }
        Ok(sum)
    }

    /// Waits until no node has a call and every port is free or resting.
    pub fn wait_until_quiet(&self, within: Duration) -> anyhow::Result<()> {
        let mut clients = (0..self.nodes.len())
            .map(|node| self.node_client(node))
            .collect::<anyhow::Result<Vec<_>>>()?;
        wait::until_true("no call and no port held", within, || {
            for client in &mut clients {
                if client.held()? != Held::default() {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Waits until `count` calls have ended in the database, and gives all records.
    pub fn wait_for_cdrs(&self, count: usize, within: Duration) -> anyhow::Result<Vec<Cdr>> {
        let mut last = Vec::new();
        let found = wait::until(&format!("{count} call records"), within, || {
            last = cdr::read(&self.store)?;
            Ok((last.iter().filter(|cdr| cdr.ended).count() >= count).then(|| last.clone()))
        });
        found.with_context(|| format!("{last:#?}"))
    }

    /// All records, as they are in the database now.
    pub fn cdrs(&self) -> anyhow::Result<Vec<Cdr>> {
        cdr::read(&self.store)
    }

    /// Checks that nothing is held, stops the planes, and checks that both end well. Gives the call records.
    pub fn finish(mut self) -> anyhow::Result<Vec<Cdr>> {
        self.wait_until_quiet(Duration::from_secs(10))?;
        self.control.stop().context("stopping the control plane")?;
        for node in &mut self.nodes {
            node.stop().context("stopping a media node")?;
        }
        let cdrs = self.cdrs()?;
        ensure!(
            cdrs.iter().all(|cdr| cdr.ended),
            "a stopped control plane leaves no open record: {cdrs:#?}"
        );
        Ok(cdrs)
    }
}

/// The sections of trunks that are tried in this order.
fn trunks(prefix: &str, next_hops: &[String]) -> String {
    let section = |(n, next_hop): (usize, &String)| {
        format!(
            "[[trunk]]\nname = \"trunk-{n}\"\nnext_hop = \"{next_hop}\"\n\
             [[route]]\nprefix = \"{prefix}\"\ntrunk = \"trunk-{n}\"\n"
        )
    };
    next_hops.iter().enumerate().map(section).collect()
}
