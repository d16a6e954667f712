use std::net::SocketAddr;
use std::path::PathBuf;

use crate::certificate::Certificate;

/// How the control plane shall be configured.
#[derive(Clone, Debug)]
pub struct ControlOptions {
    /// Where SIP listens, UDP and TCP.
    pub sip: SocketAddr,
    /// Where SIP listens over TLS, if it does, and with which certificate and key.
    pub tls: Option<(SocketAddr, Certificate)>,
    /// Where it listens over secure WebSocket, if it does; needs `tls`.
    pub wss: Option<SocketAddr>,
    /// Where metrics and health listen.
    pub ops: SocketAddr,
    /// The CDR database.
    pub store: PathBuf,
    /// Names and gRPC addresses of the media nodes.
    pub nodes: Vec<(String, SocketAddr)>,
    /// Prefix of the dialled number and the URI of the next hop.
    pub routes: Vec<(String, String)>,
    /// Further lines of its `[sip]` section.
    pub sip_extra: String,
    /// Further lines of the file, by section.
    pub extra: String,
}

impl ControlOptions {
    pub(super) fn file(&self) -> String {
        let (listener, section) = match &self.tls {
            None => (String::new(), String::new()),
            Some((at, Certificate { chain, key, .. })) => (
                format!(", \"tls:{at}\""),
                format!(
                    "[sip.tls]\ncertificate = \"{}\"\nkey = \"{}\"\n",
                    chain.display(),
                    key.display()
                ),
            ),
        };
        let wss = self.wss.map_or(String::new(), |at| format!(", \"wss:{at}\""));
        let mut text = format!(
            r#"[sip]
listen = ["udp:{sip}", "tcp:{sip}"{listener}{wss}]
{}
{section}

[ops]
listen = "{}"

[log]
filter = "info"

[store]
path = "{}"
"#,
            self.sip_extra,
            self.ops,
            self.store.display(),
            sip = self.sip,
        );
        for (name, grpc) in &self.nodes {
            text += &format!("\n[[media_node]]\nname = \"{name}\"\naddress = \"http://{grpc}\"\n");
        }
        for (prefix, next_hop) in &self.routes {
            text += &format!("\n[[route]]\nprefix = \"{prefix}\"\nnext_hop = \"{next_hop}\"\n");
        }
        text + "\n" + &self.extra
    }
}
