use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use webpki::EndEntityCert;

/// Whether `certificate` proves that its holder is `name` (RFC 5922 §7.1, §7.2). Says nothing about who signed it.
///
/// For a domain: by a `sip:` URI in subjectAltName that has a host and no user; when there is no such URI, by a DNS name.
/// Compared as a whole and without case: a wildcard is only a strange name. The subject's common name is not looked at
/// (RFC 9525 §6.4.4 forbids it, RFC 5922 has it as a last resort). For an IP address: by an iPAddress.
pub(crate) fn proves(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else {
        return false;
    };
    match name {
        ServerName::DnsName(domain) => {
            let domain = domain.as_ref().trim_end_matches('.');
            let is_it = |candidate: &str| candidate.trim_end_matches('.').eq_ignore_ascii_case(domain);
            let mut domains = certificate.valid_uri_names().filter_map(sip_domain).peekable();
            match domains.peek() {
                Some(_) => domains.any(is_it),
                None => certificate.valid_dns_names().any(is_it),
            }
        }
        address => certificate.verify_is_valid_for_subject_name(address).is_ok(),
    }
}

/// The host of a `sip:` URI that has neither a user nor a port, nor anything else behind.
fn sip_domain(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    let is_domain = !rest.is_empty() && !rest.contains(['@', ':', ';', '?']);
    (scheme.eq_ignore_ascii_case("sip") && is_domain).then_some(rest)
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(names: &[SanType]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    fn text(text: &str) -> Ia5String {
        text.try_into().unwrap()
    }

    #[test]
    fn a_sip_uri_counts_before_dns_names_and_wildcards_do_not_count() {
        let dns = |name| SanType::DnsName(text(name));
        let uri = |name| SanType::URI(text(name));
        let cases: [(&[SanType], &str, bool); 13] = [
            (&[dns("example.com")], "example.com", true),
            (&[dns("EXAMPLE.com")], "example.COM", true),
            (&[dns("example.com")], "sip.example.com", false),
            (&[dns("*.example.com")], "sip.example.com", false),
            (&[uri("sip:example.com")], "example.com", true),
            (&[uri("sip:a.com"), dns("b.com")], "b.com", false),
            (&[uri("sip:a.com"), uri("sip:b.com")], "b.com", true),
            (&[uri("https://a.com"), dns("b.com")], "b.com", true),
            (&[uri("sip:bob@b.com"), dns("b.com")], "b.com", true),
            (&[uri("sip:bob@b.com")], "b.com", false),
            (&[], "b.com", false),
            (&[SanType::IpAddress([192, 0, 2, 1].into())], "192.0.2.1", true),
            (&[SanType::IpAddress([192, 0, 2, 1].into())], "192.0.2.2", false),
        ];
        for (names, name, expected) in cases {
            let found = proves(&certificate(names), &ServerName::try_from(name).unwrap());
            assert_eq!(found, expected, "{names:?} for {name}");
        }
        assert!(!proves(
            &CertificateDer::from(vec![1, 2, 3]),
            &ServerName::try_from("a.com").unwrap()
        ));
    }
}
