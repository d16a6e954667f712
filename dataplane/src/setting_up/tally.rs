use media_engine::SetupNews;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What the thread that sets lines up counts.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    handshakes: Family<Labels, Counter>,
    searches: Family<Labels, Counter>,
    unsent: Counter,
    unclaimed: Counter,
    untold: Counter,
    lines: Gauge,
    under_way: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

impl Tally {
    /// Shows it.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "dtls_handshakes",
            "Handshakes of lines that are over, by their result",
            self.handshakes.clone(),
        );
        registry.register(
            "ice_searches",
            "Pairs that ICE has selected, and lines without one, by result",
            self.searches.clone(),
        );
        registry.register(
            "setup_datagrams_unsent",
            "Datagrams of ICE and DTLS that were not sent since their worker had no place",
            self.unsent.clone(),
        );
        registry.register(
            "setup_datagrams_unclaimed",
            "Datagrams of ICE and DTLS of a line that was gone, or not yet known, when their turn came",
            self.unclaimed.clone(),
        );
        registry.register(
            "setup_refusals_untold",
            "Refused datagrams of ICE and DTLS that are in no line's drops since their worker had no place",
            self.untold.clone(),
        );
        registry.register("lines_set_up", "Lines with ICE or DTLS", self.lines.clone());
        registry.register(
            "dtls_handshakes_under_way",
            "Handshakes under way",
            self.under_way.clone(),
        );
    }

    pub(super) fn count(&self, news: &SetupNews) {
        let (family, result) = match news {
            SetupNews::Secured { .. } => (&self.handshakes, "secured"),
            SetupNews::Failed(reason) => (&self.handshakes, *reason),
            SetupNews::Selected(_) => (&self.searches, "selected"),
            SetupNews::Unreachable(reason) | SetupNews::Silent(reason) => (&self.searches, *reason),
            SetupNews::Handshaking | SetupNews::Refused(_) => return,
        };
        family.get_or_create(&Labels { result }).inc();
    }

    pub(super) fn count_unsent(&self) {
        self.unsent.inc();
    }

    pub(super) fn count_unclaimed(&self) {
        self.unclaimed.inc();
    }

    pub(super) fn count_untold(&self) {
        self.untold.inc();
    }

    pub(super) fn show(&self, lines: usize, under_way: usize) {
        self.lines.set(lines as i64);
        self.under_way.set(under_way as i64);
    }
}
