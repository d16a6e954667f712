use sip::message::{Host, Uri};

/// The hosts that are ours.
#[derive(Debug)]
pub(crate) struct Domains {
    domains: Vec<String>,
    own_hosts: Vec<String>,
}

impl Domains {
    pub(crate) fn new(domains: &[String], own_hosts: &[String]) -> Self {
        Self {
            domains: domains.to_vec(),
            own_hosts: own_hosts.to_vec(),
        }
    }

    /// The domain that we print.
    pub(crate) fn first(&self) -> &str {
        self.domains.first().map_or("invalid", String::as_str)
    }

    /// Whether the host of `uri` is one of our domains.
    pub(crate) fn is_domain(&self, uri: &Uri<'_>) -> bool {
        uri.host().is_some_and(|host| is_among(&host, &self.domains))
    }

    /// Whether the host of `uri` is one of our domains or addresses.
    pub(crate) fn is_ours(&self, uri: &Uri<'_>) -> bool {
        let is_own = |host: Host<'_>| is_among(&host, &self.own_hosts);
        self.is_domain(uri) || uri.host().is_some_and(is_own)
    }
}

fn is_among(host: &Host<'_>, known: &[String]) -> bool {
    known
        .iter()
        .any(|known| Host::parse(known).is_ok_and(|known| known.is_same(host)))
}
