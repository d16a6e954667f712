use std::path::Path;
use std::time::Duration;

use proto::admin_v1::control_plane_client::ControlPlaneClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use crate::arguments::Server;
use crate::error::Error;

/// How long a control plane has to take the connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Adds the token to each request.
#[derive(Clone, Debug)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// The control plane.
pub type Client = ControlPlaneClient<InterceptedService<Channel, Bearer>>;

/// Connects.
///
/// # Errors
/// When what is given cannot be used, or nobody answers there.
pub async fn connect(server: &Server) -> Result<Client, Error> {
    let address = &server.server;
    let usage =
        |error: tonic::transport::Error| Error::Usage(format!("--server {address}: {}", innermost(&error)));
    let mut endpoint = Endpoint::from_shared(address.clone())
        .map_err(usage)?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true);
    if address.starts_with("https:") {
        endpoint = endpoint.tls_config(tls(server)?).map_err(usage)?;
    } else if server.ca.is_some() || server.certificate.is_some() {
        return Err(Error::Usage(format!(
            "--server {address}: certificates are for https"
        )));
    }
    let channel = endpoint.connect().await.map_err(|error| Error::NotReached {
        address: address.clone(),
        reason: innermost(&error),
    })?;
    let token = server.token_file.as_deref().map(token).transpose()?;
    Ok(ControlPlaneClient::with_interceptor(channel, Bearer(token)))
}

fn token(path: &Path) -> Result<MetadataValue<Ascii>, Error> {
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    let mut value: MetadataValue<Ascii> = format!("Bearer {}", text.trim_end_matches(['\r', '\n']))
        .parse()
        .map_err(|_| Error::Usage(format!("--token-file {}: is no token", path.display())))?;
    value.set_sensitive(true);
    Ok(value)
}

fn tls(server: &Server) -> Result<ClientTlsConfig, Error> {
    let Some(ca) = &server.ca else {
        return Err(Error::Usage("https needs --ca".into()));
    };
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
    if let (Some(certificate), Some(key)) = (&server.certificate, &server.key) {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(match &server.domain {
        Some(domain) => tls.domain_name(domain),
        None => tls,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Usage(format!("{}: {error}", path.display())))
}

/// The last cause says what a person can do something about.
fn innermost(error: &tonic::transport::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
