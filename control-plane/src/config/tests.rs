//! Every kind of mistake is found, with its line and its reason.

use std::fs;

use tempfile::TempDir;

use super::*;

const GOOD: &str = r#"[sip]
listen = ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]
[ops]
listen = "127.0.0.1:7280"
[store]
path = "FOLDER/ringpath.sqlite"
[[media_node]]
name = "media-1"
address = "http://127.0.0.1:7100"
[[route]]
prefix = ""
next_hop = "sip:127.0.0.1:5070;transport=udp"
"#;

fn load(text: &str) -> Result<Config, String> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("control.toml");
    fs::write(&path, text.replace("FOLDER", folder.path().to_str().unwrap())).unwrap();
    // A prefix that no variable of the machine has.
    let loaded = ops::config::load(&path, "RINGPATH_TEST_OF_CONFIG");
    loaded.map_err(|error| error.to_string().replace(path.to_str().unwrap(), "control.toml"))
}

#[test]
fn a_short_file_is_enough() {
    let config = load(GOOD).unwrap();
    assert_eq!(config.limits.calls_max, 5_000);
    assert_eq!(config.limits.emergency_calls_reserved(), 50);
    let hop = config.routes[0].next_hop.as_ref().unwrap();
    assert_eq!(
        (hop.transport, hop.port, hop.uri_host.as_str()),
        (::sip::Transport::Udp, 5070, "127.0.0.1:5070")
    );
}

#[test]
fn media_nodes_are_there_when_they_are_used_and_only_then() {
    let nodes = "[[media_node]]\nname = \"media-1\"\naddress = \"http://127.0.0.1:7100\"\n";
    let direct = GOOD.replace(nodes, "[media]\nanchored = false\n");
    assert!(!load(&direct).unwrap().media.anchored);
    let error = load(&(direct + nodes)).unwrap_err();
    assert!(
        error.contains("is of no use with media.anchored = false"),
        "{error}"
    );
    let error = load(&GOOD.replace(nodes, "")).unwrap_err();
    assert!(error.contains("at least one is needed"), "{error}");
}

#[test]
fn srtp_that_cannot_be_had_is_told() {
    let with = |srtp: &str| load(&GOOD.replace("prefix = ", &format!("srtp = {{ {srtp} }}\nprefix = ")));
    let config = with("policy = \"require\", keys_over = \"any\"").unwrap();
    let srtp = call::Srtp::from(config.routes[0].srtp);
    assert_eq!(
        (srtp.policy, srtp.over),
        (call::SrtpPolicy::Require, call::KeysOver::Any)
    );
    let error = with("policy = \"require\"").unwrap_err();
    assert!(
        error.contains("may not go over the transport of next_hop"),
        "{error}"
    );
    assert!(with("policy = \"always\"").is_err() && with("keys = \"any\"").is_err());
    // A handshake has no keys in its signalling.
    let config = with("policy = \"require\", dtls = \"offer\"").unwrap();
    assert_eq!(call::Srtp::from(config.routes[0].srtp).dtls, call::Dtls::Offer);
    let error = with("policy = \"forbid\", dtls = \"offer\"").unwrap_err();
    assert!(error.contains("offers DTLS, and forbids SRTP"), "{error}");
    let suites = |names: &str| {
        load(&format!("{GOOD}\n[media]\nsrtp_suites = {names}\n")).map(|config| config.media.suites().len())
    };
    assert_eq!(suites("[\"aead_aes_256_gcm\"]").unwrap(), 1);
    assert!(
        suites("[\"F8_128_HMAC_SHA1_80\"]")
            .unwrap_err()
            .contains("has no suite")
    );
    let twice = suites("[\"AEAD_AES_128_GCM\", \"aead_aes_128_gcm\"]").unwrap_err();
    assert!(twice.contains("twice"), "{twice}");
    let text = GOOD.replace("prefix = ", "srtp = { policy = \"prefer\" }\nprefix = ");
    let error = load(&format!(
        "{GOOD}\n[media]\nheader_extensions = [\"audio level\"]\n"
    ))
    .unwrap_err();
    assert!(error.contains("header_extensions"), "{error}");
    let error = load(&format!("{text}\n[media]\nsrtp_suites = []\n")).unwrap_err();
    assert!(error.contains("needs media.srtp_suites"), "{error}");
}

#[test]
fn the_example_is_good() {
    let text = include_str!("../../control.example.toml");
    load(&text.replace("\"ringpath.sqlite\"", "\"FOLDER/ringpath.sqlite\"")).unwrap();
}

#[test]
fn the_example_has_every_default() {
    let example = load(
        &include_str!("../../control.example.toml")
            .replace("\"ringpath.sqlite\"", "\"FOLDER/ringpath.sqlite\""),
    )
    .unwrap();
    let short = load(GOOD).unwrap();
    let registrar = load(&format!("{GOOD}[registrar]\ndomains = [\"example.com\"]\n")).unwrap();
    for (of_example, default) in [
        (
            format!("{:?}", example.registrar),
            format!("{:?}", registrar.registrar),
        ),
        (format!("{:?}", example.limits), format!("{:?}", short.limits)),
        (format!("{:?}", example.media), format!("{:?}", short.media)),
        (format!("{:?}", example.dns), format!("{:?}", short.dns)),
        (format!("{:?}", example.shutdown), format!("{:?}", short.shutdown)),
        (format!("{:?}", example.sip), format!("{:?}", short.sip)),
        (
            format!("{:?}", example.store.journal_bytes_max),
            format!("{:?}", short.store.journal_bytes_max),
        ),
    ] {
        assert_eq!(of_example, default);
    }
}

#[test]
fn every_mistake_has_its_line_and_reason() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "udp:127.0.0.1:5060\"",
            "udp:localhost:5060\"",
            "control.toml:2: \"udp:localhost:5060\" is not udp:",
        ),
        (
            "udp:127.0.0.1:5060\"",
            "sctp:127.0.0.1:5060\"",
            "control.toml:2: \"sctp:127.0.0.1:5060\" is not udp:",
        ),
        (
            "udp:127.0.0.1:5060\"",
            "tls:127.0.0.1:5060\"",
            "control.toml:2: sip.listen.0 is of tls or wss, and there is no [sip.tls]",
        ),
        (
            "udp:127.0.0.1:5060\"",
            "wss:127.0.0.1:5060\"",
            "control.toml:2: sip.listen.0 is of tls or wss, and there is no [sip.tls]",
        ),
        (
            "[ops]",
            "[sip.ws]\norigins = [\"phone.example.com\"]\n[ops]",
            "control.toml:4: sip.ws.origins.0 is no origin",
        ),
        (
            "[ops]",
            "[sip.tls]\ncertificate = \"FOLDER/none.pem\"\nkey = \"FOLDER/none.key\"\n[ops]",
            "control.toml:4: sip.tls.certificate cannot be used: FOLDER/none.pem cannot be read",
        ),
        (
            "udp:127.0.0.1",
            "udp:0.0.0.0",
            "control.toml:2: sip.listen.0 listens at all addresses",
        ),
        (
            "udp:127.0.0.1",
            "tcp:127.0.0.1",
            "control.toml:2: sip.listen.1 is there twice",
        ),
        (
            "[ops]",
            "advertised = \"a b\"\n[ops]",
            "control.toml:3: sip.advertised must be a host name",
        ),
        (
            "\"udp:127.0.0.1:5060\"",
            "{ at = \"udp:0.0.0.0:5060\" }",
            "control.toml:2: sip.listen.0 listens at all addresses",
        ),
        (
            "\"udp:127.0.0.1:5060\"",
            "{ at = \"udp:127.0.0.1:5060\", advertised = \"h:0\" }",
            "control.toml:2: sip.listen.0.advertised has a port that is none",
        ),
        (
            "\"udp:127.0.0.1:5060\"",
            "{ advertised = \"h\" }",
            "control.toml:2: missing field `at`",
        ),
        (
            "\"udp:127.0.0.1:5060\"",
            "{ at = \"udp:127.0.0.1:5060\", name = \"a b\" }",
            "control.toml:2: sip.listen.0.name must have 1 to 64 bytes",
        ),
        (
            "prefix = \"\"",
            "listener = \"x\"\nprefix = \"\"",
            "control.toml:11: route.0.listener is no listener's name",
        ),
        (
            "[ops]",
            "advertised = \"0.0.0.0\"\n[ops]",
            "control.toml:3: sip.advertised is no address",
        ),
        (
            "[ops]",
            "t1_ms = 1\n[ops]",
            "control.toml:3: sip.t1_ms must be 10 to 10000, not 1",
        ),
        ("[ops]", "port = 1\n[ops]", "control.toml:3: unknown field `port`"),
        (
            "[ops]",
            "[sip.tcp]\nwrite_queue = 0\n[ops]",
            "control.toml:4: sip.tcp.write_queue must be 1 to",
        ),
        (
            "127.0.0.1:7280",
            "127.0.0.1",
            "control.toml:4: invalid socket address",
        ),
        (
            "FOLDER/ringpath",
            "FOLDER/no/ringpath",
            "control.toml:6: store.path is in ",
        ),
        (
            "name = \"media-1\"",
            "name = \"media 1\"",
            "control.toml:8: media_node.0.name has a character",
        ),
        (
            "http://127.0.0.1:7100",
            "127.0.0.1:7100",
            "control.toml:9: media_node.0.address must be http://",
        ),
        (
            "http://127.0.0.1:7100",
            "https://127.0.0.1:7100",
            "control.toml:9: media_node.0.address is https://",
        ),
        (
            "[[route]]",
            "tls = { ca = \"FOLDER/none.pem\" }\n[[route]]",
            "control.toml:10: media_node.0.tls.ca FOLDER/none.pem cannot be read",
        ),
        (
            "sip:127.0.0.1:5070",
            "sips:127.0.0.1:5070",
            "control.toml:12: \"sips:127.0.0.1:5070;transport=udp\" is not a",
        ),
        (
            "sip:127.0.0.1:5070",
            "sip:bob@127.0.0.1:5070",
            "control.toml:12: ",
        ),
        (
            "transport=udp",
            "transport=tls",
            "control.toml:12: route.0.next_hop goes over tls, and sip.listen has no address of tls",
        ),
        ("transport=udp", "transport=sctp", "control.toml:12: "),
        ("sip:127.0.0.1:5070", "127.0.0.1:5070", "control.toml:12: "),
        (
            "prefix = \"\"",
            "prefix = \"a b\"",
            "control.toml:11: route.0.prefix must have at most 128 bytes",
        ),
        (
            "prefix = \"\"",
            "prefix = 44",
            "control.toml:11: invalid type: integer `44`",
        ),
        (
            "[[route]]",
            "[limits]\ncalls_max = 0\n[[route]]",
            "control.toml:11: limits.calls_max must be 1 to",
        ),
        (
            "[[route]]",
            "[limits]\ncalls_max = 10\nemergency_calls_reserved = 10\n[[route]]",
            "control.toml:12: limits.emergency_calls_reserved must be 0 to 9",
        ),
        (
            "[[route]]",
            "[media]\ndeadline_ms = 1\n[[route]]",
            "control.toml:11: media.deadline_ms must be 500 to",
        ),
        (
            "[[route]]",
            "[shutdown]\ngrace_ms = -1\n[[route]]",
            "control.toml:11: invalid value: integer `-1`",
        ),
        ("[sip]", "[sip", "control.toml:1: "),
        (
            "\"tcp:127.0.0.1:5060\"]",
            "]\n[[route]]\nprefix = \"1\"\nnext_hop = \"sip:h;transport=tcp\"",
            "control.toml:5: route.0.next_hop goes over tcp, and sip.listen has no address of tcp",
        ),
        (
            "\"sip:127.0.0.1:5070;transport=udp\"",
            "\"sip:[::1]:5070\"",
            "control.toml:12: route.0.next_hop is an IPv6 address, and sip.listen has none of its protocol",
        ),
        (
            "[ops]",
            "body_bytes_max = 65537\n[ops]",
            "control.toml:3: sip.body_bytes_max must be 1024 to 65536",
        ),
    ];
    let mut wrong = Vec::new();
    for (from, to, expected) in cases {
        assert!(GOOD.contains(from), "{from}");
        let error = load(&GOOD.replacen(from, to, 1)).map(|_| ()).unwrap_err();
        let folder_free = error
            .split_whitespace()
            .map(|word| match word.rsplit_once('/') {
                Some((_, file)) if word.starts_with('/') => format!("FOLDER/{file}"),
                _ => word.to_owned(),
            })
            .collect::<Vec<_>>()
            .join(" ");
        if !error.starts_with(expected) && !folder_free.starts_with(expected) {
            wrong.push(format!("{to}: got {error:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_same_node_twice_is_refused() {
    let twice = GOOD.replace(
        "[[route]]",
        "[[media_node]]\nname = \"media-1\"\naddress = \"unix:/x\"\n[[route]]",
    );
    assert_eq!(
        load(&twice).unwrap_err(),
        "control.toml:11: media_node.1.name is the name of media_node 0, too"
    );
}

#[test]
fn a_host_name_keeps_its_form_in_the_request_uri() {
    let hop = |text: &str| NextHop::try_from(text.to_owned()).unwrap();
    assert_eq!(
        (
            hop("sip:example.com").uri_host.as_str(),
            hop("sip:example.com").port
        ),
        ("example.com", 5060)
    );
    let v6 = hop("sip:[::1]:5071;transport=TCP");
    assert_eq!(
        (v6.host.as_str(), v6.uri_host.as_str(), v6.port),
        ("::1", "[::1]:5071", 5071)
    );
    assert_eq!(v6.transport, ::sip::Transport::Tcp);
}

#[test]
fn every_mistake_about_users_is_found() {
    let text = format!(
        "{GOOD}[registrar]\ndomains = [\"a b\"]\nalgorithms = [\"SHA-1\"]\ntrusted = [\"192.0.2.0/33\"]\n\
         service_route = [\"x\"]\nexpires_min_s = 0\nauthentication = false\nchallenge_calls = true\n\
         redirect = \"follow\"\nfrom = \"account\"\n"
    );
    let problems = load(&text).unwrap_err();
    for part in [
        "no host",
        "SHA-1",
        "too great",
        "no <sip:host;lr>",
        "expires_min_s",
        "needs authentication",
        "redirect_to",
        "to know the account",
    ] {
        assert!(problems.contains(part), "{part} in {problems}");
    }
}

const TRUNK: &str = "[[trunk]]\nname = \"carrier\"\nnext_hop = \"sip:127.0.0.1:5071\"\ncalls_max = 10\n\
    accounts = [{ username = \"us\", password = \"secret\", realms = [\"r\"] }]\n";

#[test]
fn a_route_leads_to_a_trunk_or_to_a_next_hop() {
    let by_trunk = GOOD.replace(
        "next_hop = \"sip:127.0.0.1:5070;transport=udp\"",
        "trunk = \"carrier\"\nweight = 5\nfailover_codes = [486]\nattempt_timeout_ms = 500",
    );
    let good = format!("{by_trunk}{TRUNK}");
    let config = load(&good).unwrap();
    assert!(!format!("{config:?}").contains("secret"));
    assert_eq!(config.routes[0].failover().unwrap().codes, [486]);
    for (from, to, reason) in [
        ("trunk = \"carrier\"", "trunk = \"other\"", "is no trunk's name"),
        ("trunk = \"carrier\"", "", "one of the two is needed"),
        (
            "weight = 5",
            "next_hop = \"sip:127.0.0.1\"",
            "one of the two is needed",
        ),
        (
            "weight = 5",
            "listener = \"x\"",
            "has its own listener and accounts",
        ),
        ("weight = 5", "weight = 0", "weight"),
        ("[486]", "[200]", "codes from 300 to 699"),
        ("= 500", "= 5", "attempt_timeout_ms"),
        ("name = \"carrier\"", "name = \"a b\"", "must have 1 to 64"),
        ("calls_max = 10", "calls_max = 0", "calls_max"),
        ("\"us\"", "\"\"", "accounts.0.username"),
        (
            "127.0.0.1:5071",
            "[::1]:5071",
            "trunk.0.next_hop is an IPv6 address",
        ),
    ] {
        let error = load(&good.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(reason), "{to}: {error}");
    }
    let error = load(&format!("{good}{TRUNK}")).unwrap_err();
    assert!(
        error.contains("trunk.1.name is that of an earlier one"),
        "{error}"
    );
}
