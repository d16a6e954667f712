use std::io::Write as _;

use super::interface::PortRange;
use super::*;

fn load(text: &str) -> Result<Config, String> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("written");
    let name = file.path().display().to_string();
    // A prefix of the test's own: variables of whoever runs it do not matter.
    ops::config::load(file.path(), "RINGPATH_NOT_SET")
        .map_err(|error| error.to_string().replace(&name, "x.toml"))
}

const SMALL: &str = "node_id = \"m\"\n[grpc]\nlisten = \"127.0.0.1:0\"\n[ops]\nlisten = \"127.0.0.1:0\"\n";
const INTERFACE: &str =
    "[[interface]]\nname = \"public\"\nports = \"20000-20009\"\naddresses = [{ local = \"127.0.0.1\" }]\n";

#[test]
fn the_example_is_valid_and_spells_out_the_defaults() {
    let example = load(include_str!("../../dataplane.example.toml")).expect("valid");
    let small = load(&format!("{SMALL}{INTERFACE}")).expect("valid");
    assert_eq!(format!("{:?}", example.limits), format!("{:?}", small.limits));
    assert_eq!(format!("{:?}", example.learning), format!("{:?}", small.learning));
    let engine = media_engine::EngineConfig::new(Vec::new(), media_types::Path::Socket, "");
    let mut configured = engine.clone();
    configured.learning = example.learning.into();
    example.limits.apply(&mut configured);
    configured.limits.events_max = engine.limits.events_max;
    assert_eq!(
        format!("{configured:?}"),
        format!("{engine:?}"),
        "one set of defaults"
    );
    assert_eq!(format!("{:?}", example.shutdown), format!("{:?}", small.shutdown));
    assert_eq!(format!("{:?}", example.io), format!("{:?}", small.io));
    assert_eq!(format!("{:?}", example.kernel), format!("{:?}", small.kernel));
    assert_eq!(example.io.config(16_384), net_io::IoConfig::default());
    assert_eq!(example.grpc.connections_max, small.grpc.connections_max);
    assert_eq!(example.grpc.streams_max, small.grpc.streams_max);
    assert_eq!(
        example.grpc.exchange_requests_max,
        small.grpc.exchange_requests_max
    );
    assert_eq!(
        example.grpc.statistics_watchers_max,
        small.grpc.statistics_watchers_max
    );
    assert_eq!(example.grpc.message_bytes_max, small.grpc.message_bytes_max);
    assert_eq!(example.grpc.request_timeout_ms, small.grpc.request_timeout_ms);
    assert_eq!(example.interfaces[0].ports.pairs().len(), 5_000);
}

#[test]
fn every_mistake_has_its_line_and_reason() {
    let with = |text: &str| format!("{SMALL}{INTERFACE}{text}");
    let interface = |ports: &str, addresses: &str| {
        format!("{SMALL}[[interface]]\nname = \"a\"\nports = \"{ports}\"\naddresses = [{addresses}]\n")
    };
    let cases = [
        (SMALL.to_owned(), "x.toml: interface is missing"),
        (
            with("[limits]\ncalls_max = 0\n"),
            "x.toml:11: limits.calls_max must be 1 to 1000000, not 0",
        ),
        (
            with("[limits]\nlease_max_ms = 1000\n"),
            "x.toml:10: limits.lease_default_ms must be 100 to 1000, not 60000",
        ),
        (
            with("[limits]\ntakeover_ms = 15001\n"),
            "x.toml:11: limits.takeover_ms must be 10 to 15000, not 15001",
        ),
        (
            with("[limits]\ncall_max = 5\n"),
            "x.toml:11: unknown field `call_max`",
        ),
        (
            with("[workers]\ncount = 2\ncores = [1]\n"),
            "x.toml:12: workers.cores must name as many",
        ),
        (
            with("[workers]\ncores = [1, 1]\n"),
            "x.toml:11: workers.cores.1 is named twice",
        ),
        (
            with("[workers]\nbackend = \"dpdk\"\n"),
            "x.toml:11: unknown variant `dpdk`",
        ),
        (
            with("[log]\nfilter = \"a=b=c\"\n"),
            "x.toml:11: log.filter is not a log filter",
        ),
        (
            with("[io]\nframes = 1000\n"),
            "x.toml:11: io.frames must be a power of two from 64 to 32768, not 1000",
        ),
        (
            with("[io]\ndscp = 64\n"),
            "x.toml:11: io.dscp must be 0 to 63, not 64",
        ),
        (
            with("[kernel]\nmode = \"on\"\n"),
            "x.toml:11: unknown variant `on`",
        ),
        (
            with("[kernel]\nattach = []\n"),
            "x.toml:11: kernel.attach must name one way at least",
        ),
        (
            with("[kernel]\nattach = [\"tc\", \"tc\"]\n"),
            "x.toml:11: kernel.attach names tc twice",
        ),
        (
            with("[kernel]\npin_directory = \"pins\"\n"),
            "x.toml:11: kernel.pin_directory must be an absolute path, or empty",
        ),
        (
            with("[kernel]\ndscp = 64\n"),
            "x.toml:11: kernel.dscp must be 0 to 63, not 64",
        ),
        (
            with("[kernel]\nbytes_per_s_max = 1\n"),
            "x.toml:11: kernel.bytes_per_s_max must be 0 (no limit) or 1000 to 1000000000, not 1",
        ),
        (with("[shutdown]\ngrace_ms = -1\n"), "x.toml:11: invalid value"),
        (
            with(INTERFACE),
            "x.toml:11: interface.1.name is the name of interface 0, too\nx.toml:12: interface.1.ports overlap",
        ),
        (
            interface("20000", "{ local = \"127.0.0.1\" }"),
            "x.toml:8: \"20000\" is not a range of ports",
        ),
        (
            interface("80-90", "{ local = \"127.0.0.1\" }"),
            "x.toml:8: \"80-90\" is not a range of ports",
        ),
        (
            interface("20001-20002", "{ local = \"127.0.0.1\" }"),
            "x.toml:8: \"20001-20002\" has no even port",
        ),
        (
            interface("20000-70000", "{ local = \"127.0.0.1\" }"),
            "x.toml:8: \"20000-70000\" is not a range",
        ),
        (
            interface("20000-20009", ""),
            "x.toml:9: interface.0.addresses must have one",
        ),
        (
            interface("20000-20009", "{ local = \"0.0.0.0\" }"),
            "x.toml:9: interface.0.addresses.0.local must be",
        ),
        (
            interface("20000-20009", "{ local = \"::1\", advertised = \"192.0.2.1\" }"),
            "x.toml:9: interface.0.addresses.0.advertised must be of the family",
        ),
        (
            interface("20000-20009", "{ local = \"localhost\" }"),
            "x.toml:9: invalid IP address syntax",
        ),
        (
            with("").replace("127.0.0.1:0\"\n[ops]", "example.org:1\"\n[ops]"),
            "x.toml:3: \"example.org:1\" is neither",
        ),
        (
            with("").replace("node_id = \"m\"", "node_id = \"\""),
            "x.toml:1: node_id is empty",
        ),
        (
            with("").replace(
                "[ops]",
                "tls = { certificate = \"/nonexistent/a\", key = \"/nonexistent/b\" }\n[ops]",
            ),
            "x.toml:4: grpc.tls.certificate /nonexistent/a cannot be read",
        ),
        (
            with("").replace(
                "127.0.0.1:0\"\n[ops]",
                &format!("unix:/{}\"\n[ops]", "x".repeat(200)),
            ),
            "x.toml:3: the path behind \"unix:\" must have 1 to 107 bytes",
        ),
    ];
    let failures: Vec<String> = cases
        .into_iter()
        .filter_map(|(text, expected)| match load(&text) {
            Err(error) if error.starts_with(expected) => None,
            Err(error) => Some(format!("got {error:?}, not {expected:?}")),
            Ok(_) => Some(format!("taken, instead of {expected:?}")),
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_port_range_gives_whole_pairs_up_to_the_last_port() {
    let pairs = |text: &str| {
        PortRange::try_from(text.to_owned())
            .unwrap()
            .pairs()
            .collect::<Vec<_>>()
    };
    assert_eq!(pairs("20000-20003"), [20000, 20002]);
    assert_eq!(pairs("20001-20004"), [20002]);
    assert_eq!(pairs("65532-65535"), [65532, 65534]);
    assert_eq!(
        PortRange::try_from("1024-65535".to_owned())
            .unwrap()
            .pairs()
            .len(),
        32_256
    );
}
