use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use sip::Transport;

use super::{Answer, Naptr, Question, Srv};

/// Records of one answer that are used; more are left out, the least preferred first.
const RECORDS_MAX: usize = 16;

/// Places that one name leads to at most.
const TARGETS_MAX: usize = 32;

/// What a URI says, and what we can do.
#[derive(Clone, Debug)]
pub struct Goal {
    /// The host of the URI; a name.
    pub host: String,
    /// Its port, if one is written.
    pub port: Option<u16>,
    /// Its `transport` parameter, if there is one.
    pub transport: Option<Transport>,
    /// What we speak, in the order that we prefer where the domain does not say.
    pub transports: Vec<Transport>,
    /// Whether we have IPv4, and IPv6.
    pub families: (bool, bool),
}

/// A place that the name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The protocol.
    pub transport: Transport,
    /// The address.
    pub address: SocketAddr,
    /// Lower ones first; targets come in this order.
    pub rank: u32,
    /// Which SRV record this is an address of, counted from 0 through all.
    pub server: u32,
    /// The share of that record among those of its rank (RFC 2782).
    pub weight: u16,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask this and give the answer to [`Resolution::answer`].
    Ask(Question),
    /// That is all. None, if the name leads nowhere.
    Done(Vec<Target>),
}

/// Finds the targets of a [`Goal`] (RFC 3263 §4), question by question.
#[derive(Debug)]
pub struct Resolution {
    goal: Goal,
    phase: Phase,
    /// Services whose SRV records are still to be asked for, with the protocol of each.
    services: VecDeque<(Transport, String)>,
    /// Hosts whose addresses are still to be asked for.
    servers: VecDeque<Server>,
    targets: Vec<Target>,
    /// The first rank of the next service.
    rank: u32,
    server: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Naptr,
    /// SRV records of [`Resolution::services`]. Of services that the domain names all are used; of those that we guess the
    /// first that is there.
    Srv {
        is_guess: bool,
    },
    Aaaa,
    A,
}

#[derive(Clone, Debug)]
struct Server {
    transport: Transport,
    host: String,
    port: u16,
    rank: u32,
    weight: u16,
}

impl Resolution {
    /// Begins.
    pub fn new(goal: Goal) -> Self {
        let mut resolution = Self {
            phase: Phase::Naptr,
            services: VecDeque::new(),
            servers: VecDeque::new(),
            targets: Vec::new(),
            rank: 0,
            server: 0,
            goal,
        };
        match (resolution.goal.transport, resolution.goal.port) {
            // §4.1, §4.2: a port means that there is no SRV record to look for.
            (transport, Some(port)) => resolution.one_server(transport.unwrap_or(Transport::Udp), port),
            (Some(transport), None) => {
                let service = (transport, service(transport, &resolution.goal.host));
                resolution.services.push_back(service);
                resolution.phase = Phase::Srv { is_guess: true };
            }
            (None, None) => {}
        }
        resolution
    }

    /// What to do next. The same again until the answer is there.
    pub fn poll(&self) -> Step {
        match self.phase {
            Phase::Naptr => Step::Ask(Question::Naptr(self.goal.host.clone())),
            Phase::Srv { .. } => match self.services.front() {
                Some((_, name)) => Step::Ask(Question::Srv(name.clone())),
                None => Step::Done(self.targets.clone()),
            },
            Phase::Aaaa | Phase::A => match self.servers.front() {
                Some(server) if self.targets.len() < TARGETS_MAX => Step::Ask(match self.phase {
                    Phase::Aaaa => Question::Aaaa(server.host.clone()),
                    _ => Question::A(server.host.clone()),
                }),
                _ => Step::Done(self.targets.clone()),
            },
        }
    }

    /// Takes the answer to what [`poll`](Self::poll) asked. An answer to something else is left alone.
    pub fn answer(&mut self, answer: Answer) {
        match (self.phase, answer) {
            (Phase::Naptr, Answer::Naptr(records)) => self.choose_services(records),
            (Phase::Srv { is_guess }, Answer::Srv(records)) => self.choose_servers(records, is_guess),
            (Phase::Aaaa, Answer::Aaaa(addresses)) => {
                self.add(addresses.into_iter().map(IpAddr::from));
                self.next_server(Phase::A, self.goal.families.0);
            }
            (Phase::A, Answer::A(addresses)) => {
                self.add(addresses.into_iter().map(IpAddr::from));
                self.next_server(Phase::Aaaa, self.goal.families.1);
            }
            _ => {}
        }
    }

    /// §4.1: the services of the domain that we speak, in its order; without any, those that we guess.
    fn choose_services(&mut self, mut records: Vec<Naptr>) {
        records.sort_by_key(|record| (record.order, record.preference));
        let usable = records.into_iter().filter_map(|record| {
            let transport = match &*record.services.to_ascii_uppercase() {
                "SIP+D2U" => Transport::Udp,
                "SIP+D2T" => Transport::Tcp,
                "SIPS+D2T" => Transport::Tls,
                _ => return None,
            };
            let is_usable =
                record.flags.eq_ignore_ascii_case("s") && self.goal.transports.contains(&transport);
            is_usable.then_some((transport, record.replacement))
        });
        self.services = usable.take(RECORDS_MAX).collect();
        let is_guess = self.services.is_empty();
        if is_guess {
            let host = &self.goal.host;
            let guess = |&transport: &Transport| (transport, service(transport, host));
            self.services = self.goal.transports.iter().map(guess).collect();
        }
        self.phase = Phase::Srv { is_guess };
        if self.services.is_empty() {
            self.give_up_services();
        }
    }

    fn choose_servers(&mut self, mut records: Vec<Srv>, is_guess: bool) {
        let Some((transport, _)) = self.services.pop_front() else {
            return;
        };
        let was_there = !records.is_empty();
        records.sort_by_key(|record| record.priority);
        records.truncate(RECORDS_MAX);
        let mut priority = None;
        // RFC 2782: a target of "." says that the service is decidedly not available.
        for record in records.into_iter().filter(|record| record.target != ".") {
            if priority
                .replace(record.priority)
                .is_some_and(|last| last != record.priority)
            {
                self.rank += 1;
            }
            self.servers.push_back(Server {
                transport,
                host: record.target,
                port: record.port,
                rank: self.rank,
                weight: record.weight,
            });
        }
        // The next service comes after all of this one.
        self.rank += u32::from(was_there);
        if is_guess && was_there {
            self.services.clear();
        }
        if !self.services.is_empty() {
            return;
        }
        match (self.servers.is_empty(), was_there) {
            (true, true) => {}
            (true, false) => self.give_up_services(),
            (false, _) => self.begin_addresses(),
        }
    }

    /// §4.2: no SRV record, so the host itself.
    fn give_up_services(&mut self) {
        let transport = self.goal.transport.unwrap_or(Transport::Udp);
        self.one_server(transport, transport.default_port());
    }

    fn one_server(&mut self, transport: Transport, port: u16) {
        self.servers.push_back(Server {
            transport,
            host: self.goal.host.clone(),
            port,
            rank: 0,
            weight: 0,
        });
        self.begin_addresses();
    }

    fn begin_addresses(&mut self) {
        match self.goal.families {
            (_, true) => self.phase = Phase::Aaaa,
            (true, false) => self.phase = Phase::A,
            (false, false) => self.servers.clear(),
        }
    }

    /// RFC 7984 §4, RFC 6724 §2.1: both families of a host, IPv6 first.
    fn add(&mut self, addresses: impl Iterator<Item = IpAddr>) {
        let Some(server) = self.servers.front() else {
            return;
        };
        let number = self.server;
        let room = TARGETS_MAX.saturating_sub(self.targets.len()).min(RECORDS_MAX);
        let target = |ip| Target {
            transport: server.transport,
            address: SocketAddr::new(ip, server.port),
            rank: server.rank,
            server: number,
            weight: server.weight,
        };
        self.targets.extend(addresses.take(room).map(target));
    }

    /// Goes on with the other family of this host if we have it and it comes next, else with the next host.
    fn next_server(&mut self, other: Phase, has_other: bool) {
        if self.phase == Phase::Aaaa && has_other {
            self.phase = other;
            return;
        }
        self.servers.pop_front();
        self.server += 1;
        if self.phase == Phase::A && has_other {
            self.phase = other;
        }
    }
}

/// The name of a service's SRV records (RFC 3263 §4.1).
fn service(transport: Transport, host: &str) -> String {
    match transport {
        Transport::Tls => format!("_sips._tcp.{host}"),
        other => format!("_sip._{}.{host}", other.via_name().to_ascii_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Records by question as zone files have them, a line each; what is asked is noted.
    struct Zone {
        answers: HashMap<Question, Answer>,
        asked: Vec<Question>,
    }

    impl Zone {
        fn new(lines: &[&str]) -> Self {
            let mut answers = HashMap::new();
            for line in lines {
                let words: Vec<&str> = line.split_ascii_whitespace().collect();
                let name = words[0].to_owned();
                let number = |place: usize| words[place].parse::<u16>().unwrap();
                let (question, empty) = match words[1] {
                    "NAPTR" => (Question::Naptr(name), Answer::Naptr(vec![])),
                    "SRV" => (Question::Srv(name), Answer::Srv(vec![])),
                    "A" => (Question::A(name), Answer::A(vec![])),
                    _ => (Question::Aaaa(name), Answer::Aaaa(vec![])),
                };
                match answers.entry(question).or_insert(empty) {
                    Answer::Naptr(records) => records.push(Naptr {
                        order: number(2),
                        preference: number(3),
                        flags: words[4].into(),
                        services: words[5].into(),
                        replacement: words[6].into(),
                    }),
                    Answer::Srv(records) => records.push(Srv {
                        priority: number(2),
                        weight: number(3),
                        port: number(4),
                        target: words[5].into(),
                    }),
                    Answer::A(addresses) => addresses.push(words[2].parse().unwrap()),
                    Answer::Aaaa(addresses) => addresses.push(words[2].parse().unwrap()),
                }
            }
            Self {
                answers,
                asked: Vec::new(),
            }
        }

        /// Runs to the end: `transport address rank.server*weight` of each target.
        fn resolve(&mut self, uri: (&str, Option<u16>, Option<Transport>)) -> Vec<String> {
            use Transport::{Tcp, Tls, Udp};
            let mut resolution = Resolution::new(Goal {
                host: uri.0.into(),
                port: uri.1,
                transport: uri.2,
                transports: vec![Udp, Tcp, Tls],
                families: (true, true),
            });
            for _ in 0..200 {
                let question = match resolution.poll() {
                    Step::Ask(question) => question,
                    Step::Done(targets) => {
                        let print = |target: Target| {
                            let Target {
                                transport,
                                address,
                                rank,
                                server,
                                weight,
                            } = target;
                            format!("{} {address} {rank}.{server}*{weight}", transport.via_name())
                        };
                        return targets.into_iter().map(print).collect();
                    }
                };
                self.asked.push(question.clone());
                let nothing = match &question {
                    Question::Naptr(_) => Answer::Naptr(vec![]),
                    Question::Srv(_) => Answer::Srv(vec![]),
                    Question::A(_) => Answer::A(vec![]),
                    Question::Aaaa(_) => Answer::Aaaa(vec![]),
                };
                resolution.answer(self.answers.get(&question).cloned().unwrap_or(nothing));
            }
            panic!("no end");
        }
    }

    /// The example of RFC 3263 §4.1 and §4.2, with addresses.
    const EXAMPLE: [&str; 9] = [
        "example.com NAPTR 90 50 s SIP+D2T _sip._tcp.example.com",
        "example.com NAPTR 50 50 s SIPS+D2T _sips._tcp.example.com",
        "example.com NAPTR 100 50 s SIP+D2U _sip._udp.example.com",
        "_sips._tcp.example.com SRV 1 0 5061 server1.example.com",
        "_sips._tcp.example.com SRV 2 0 5061 server2.example.com",
        "_sip._tcp.example.com SRV 0 1 5060 server1.example.com",
        "server1.example.com A 192.0.2.1",
        "server1.example.com AAAA 2001:db8::1",
        "server2.example.com A 192.0.2.2",
    ];

    #[test]
    fn the_domain_says_which_services_and_servers() {
        assert_eq!(
            Zone::new(&EXAMPLE).resolve(("example.com", None, None)),
            [
                "TLS [2001:db8::1]:5061 0.0*0",
                "TLS 192.0.2.1:5061 0.0*0",
                "TLS 192.0.2.2:5061 1.1*0",
                "TCP [2001:db8::1]:5060 2.2*1",
                "TCP 192.0.2.1:5060 2.2*1",
            ]
        );
    }

    #[test]
    fn a_transport_asks_for_its_service_and_a_port_for_addresses_alone() {
        let mut zone = Zone::new(&EXAMPLE);
        let tcp = zone.resolve(("example.com", None, Some(Transport::Tcp)));
        assert_eq!(tcp, ["TCP [2001:db8::1]:5060 0.0*1", "TCP 192.0.2.1:5060 0.0*1"]);
        zone.asked.clear();
        let port = zone.resolve(("server2.example.com", Some(5070), None));
        assert_eq!(port, ["UDP 192.0.2.2:5070 0.0*0"]);
        let host = || "server2.example.com".to_owned();
        assert_eq!(zone.asked, [Question::Aaaa(host()), Question::A(host())]);
    }

    #[test]
    fn without_naptr_services_are_guessed_and_without_srv_it_is_the_host() {
        let mut zone = Zone::new(&[
            "_sip._tcp.a SRV 0 0 5062 host",
            "_sips._tcp.a SRV 0 0 5063 host",
            "host A 192.0.2.1",
            "a A 192.0.2.9",
            "b A 192.0.2.2",
        ]);
        assert_eq!(zone.resolve(("a", None, None)), ["TCP 192.0.2.1:5062 0.0*0"]);
        assert_eq!(zone.resolve(("b", None, None)), ["UDP 192.0.2.2:5060 0.0*0"]);
        let tls = zone.resolve(("b", None, Some(Transport::Tls)));
        assert_eq!(tls, ["TLS 192.0.2.2:5061 0.0*0"]);
        assert!(zone.resolve(("c", None, None)).is_empty());
    }

    /// RFC 2782.
    #[test]
    fn a_service_that_is_decidedly_not_there_leads_nowhere() {
        let mut zone = Zone::new(&["_sip._udp.a SRV 0 0 0 .", "a A 192.0.2.1"]);
        assert!(zone.resolve(("a", None, Some(Transport::Udp))).is_empty());
    }

    #[test]
    fn records_that_are_not_ours_are_left_out_and_many_are_cut() {
        let mut zone = Zone::new(&[
            "a NAPTR 1 1 u E2U+sip !^.*$!sip:b@c!",
            "a NAPTR 2 1 s SIP+D2S _sip._sctp.a",
            "_sip._udp.a SRV 0 0 5060 host",
            "host A 192.0.2.1",
        ]);
        assert_eq!(zone.resolve(("a", None, None)), ["UDP 192.0.2.1:5060 0.0*0"]);
        let mut lines: Vec<String> = (0..100)
            .map(|n| format!("_sip._udp.m SRV {n} 0 5060 h{n}"))
            .collect();
        lines.extend((0..100).flat_map(|n| (0..40).map(move |m| format!("h{n} A 192.0.2.{m}"))));
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let targets = Zone::new(&lines).resolve(("m", None, Some(Transport::Udp)));
        assert_eq!(targets.len(), TARGETS_MAX);
    }
}
