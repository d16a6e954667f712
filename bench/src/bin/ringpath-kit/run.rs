use std::path::PathBuf;

use anyhow::{Context as _, bail};
use ringpath_bench::binary;
use tokio::process::{Child, Command};

/// Overrides `store.path` of the control plane's configuration.
const STORE: &str = "RINGPATH_CONTROL__STORE__PATH";
/// Where call records go, unless the environment says otherwise: not into the source tree.
const STORE_HERE: &str = "target/run/ringpath.sqlite";

/// Both planes in the foreground with the example configuration; Ctrl-C stops both
#[derive(clap::Args)]
pub struct Arguments {
    /// Configuration of the data plane
    #[arg(long, default_value = "dataplane/dataplane.example.toml")]
    dataplane: PathBuf,
    /// Configuration of the control plane
    #[arg(long, default_value = "control-plane/control.example.toml")]
    control: PathBuf,
}

/// Runs until Ctrl-C, or until a plane ends.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(hold(arguments))
}

async fn hold(arguments: &Arguments) -> anyhow::Result<()> {
    println!(
        "Each plane says where it listens, for sip, grpc and ops: /metrics, /healthz and /readyz are on ops."
    );
    std::fs::create_dir_all("target/run")?;
    let stop = ops::signal::terminated()?;
    let mut node = start("ringpath-dataplane", &arguments.dataplane)?;
    let mut control = start("ringpath-control", &arguments.control)?;
    tokio::select! {
        signal = stop => println!("{signal}: stopping both planes"),
        status = node.wait() => bail!("the data plane ended: {}", status?),
        status = control.wait() => bail!("the control plane ended: {}", status?),
    }
    // The control plane first: it ends its calls while the data plane still answers.
    for (name, child) in [("control plane", &mut control), ("data plane", &mut node)] {
        if let Some(pid) = child
            .id()
            .and_then(|id| rustix::process::Pid::from_raw(id as i32))
        {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        let status = child.wait().await?;
        println!("{name}: {status}");
        if !status.success() {
            bail!("the {name} did not stop well");
        }
    }
    Ok(())
}

fn start(program: &str, config: &std::path::Path) -> anyhow::Result<Child> {
    let path = binary::find(program)?;
    println!("{} --config {}", path.display(), config.display());
    // In a process group of its own, so that a terminal's Ctrl-C comes here alone and the order below holds; with a
    // parent-death signal, so that it does not outlive this program whatever ends it.
    let mut command = Command::new("setpriv");
    if std::env::var_os(STORE).is_none() {
        command.env(STORE, STORE_HERE);
    }
    command
        .args(["--pdeathsig", "TERM", "--"])
        .arg(&path)
        .arg("--config")
        .arg(config)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", path.display()))
}
