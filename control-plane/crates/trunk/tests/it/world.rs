use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sans_io::network::{Conditions, Network};
use sans_io::{Random, Timestamp};
use sip::digest::{Algorithm, Authenticator, Front, Ha1, Login, Users};
use sip::message::{ResponseBuilder, reason_phrase};
use sip::transaction::{ClientKey, Config, Event, Layer, Listener, response_destination};
use sip::{Destination, FlowId, HeaderName, Message, Method, Source, Transmit, Transport};
use trunk::{NoAnswer, Output, RegistrationTerms, Server, Status, TrunkTerms, Trunks};

pub const US: &str = "198.51.100.1:5060";
pub const FIRST: &str = "192.0.2.1:5060";
pub const SECOND: &str = "192.0.2.2:5060";

/// Ten in a hundred lost, five doubled, and much reordered.
pub const BAD: Conditions = Conditions {
    loss_permille: 100,
    duplication_permille: 50,
    delay_min: Duration::from_millis(1),
    delay_max: Duration::from_millis(400),
};

struct OneUser;

impl Users for OneUser {
    fn ha1(&self, username: &str, algorithm: Algorithm) -> Option<Ha1> {
        (username == "us").then(|| Ha1::new(algorithm, "us", "carrier", "secret"))
    }
}

/// A server of a carrier: a registrar with one user, that answers OPTIONS.
pub struct Carrier {
    pub address: SocketAddr,
    layer: Layer,
    pub authenticator: Option<Authenticator>,
    /// Nothing reaches it, or it is not there.
    pub is_deaf: bool,
    /// Answers every REGISTER, and every OPTIONS, so.
    pub refuses: Option<(u16, Option<&'static str>)>,
    pub options_status: u16,
    pub min_expires_s: u32,
    /// Cuts the time that is granted.
    pub expires_max_s: u32,
    /// Names the contact in its 200, or `Expires` alone.
    pub names_contact: bool,
    /// What becomes of our contact in its 200, and contacts of others there.
    pub rewrites: Option<(&'static str, &'static str)>,
    pub others: Vec<&'static str>,
    pub service_route: Vec<&'static str>,
    /// Contact and its end.
    pub bindings: Vec<(String, Timestamp)>,
    /// When there was no binding: pairs of end and begin.
    pub gaps: u32,
    pub registers: Vec<(Timestamp, Message)>,
    pub probes: Vec<Timestamp>,
    odd: Vec<Transmit>,
}

impl Carrier {
    fn new(address: &str, mut random: Random) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let config = Config::new(vec![Listener::new(Transport::Udp, address)]);
        let digest = sip::digest::Config::new("carrier");
        Self {
            address,
            layer: Layer::new(config, random.fork()),
            authenticator: Some(Authenticator::new(digest, random.fork())),
            is_deaf: false,
            refuses: None,
            options_status: 200,
            min_expires_s: 60,
            expires_max_s: 7_200,
            names_contact: true,
            rewrites: None,
            others: Vec::new(),
            service_route: Vec::new(),
            bindings: Vec::new(),
            gaps: 0,
            registers: Vec::new(),
            probes: Vec::new(),
            odd: Vec::new(),
        }
    }

    /// Who asks for calls now.
    pub fn bound(&self, now: Timestamp) -> Vec<&str> {
        let bindings = self.bindings.iter().filter(|(_, end)| *end > now);
        bindings.map(|(contact, _)| &**contact).collect()
    }

    fn handle_events(&mut self, now: Timestamp) {
        while let Some(event) = self.layer.poll_event() {
            if let Event::Request { key, source, message } = event {
                let response = match message.method() {
                    Some(Method::Register) => self.register(now, &source, &message),
                    _ => {
                        self.probes.push(now);
                        self.answer(&message, self.options_status, &[])
                    }
                };
                if self.layer.respond(now, key, response.clone()).is_err() {
                    // A 408 that no server of ours would give (RFC 4320 §4.2).
                    self.odd.push(Transmit {
                        destination: response_destination(&source, &message).unwrap(),
                        bytes: response.bytes().clone(),
                    });
                }
            }
        }
    }

    fn answer(&self, request: &Message, status: u16, fields: &[(HeaderName, String)]) -> Message {
        let response = ResponseBuilder::for_request(request, status, reason_phrase(status)).to_tag("carrier");
        let fields = fields.iter();
        let response = fields.fold(response, |response, (name, value)| response.header(*name, value));
        response.build().unwrap()
    }

    fn register(&mut self, now: Timestamp, source: &Source, request: &Message) -> Message {
        self.registers.push((now, request.clone()));
        if let Some((status, wait)) = self.refuses {
            let wait = wait.map(|wait| (HeaderName::RetryAfter, wait.to_owned()));
            return self.answer(request, status, wait.as_slice());
        }
        if let Some(authenticator) = &mut self.authenticator {
            let ip = source.remote.ip();
            if let Err(refusal) = authenticator.check(now, ip, request, Front::Server, &OneUser) {
                let challenges = authenticator.challenges(now, ip, refusal).into_iter();
                let fields: Vec<_> = challenges
                    .map(|text| (HeaderName::WwwAuthenticate, text))
                    .collect();
                return self.answer(request, 401, &fields);
            }
        }
        let contact = request.contact().unwrap().unwrap();
        let asked: u32 = contact.param("expires").unwrap().parse().unwrap();
        if asked > 0 && asked < self.min_expires_s {
            let fields = [(HeaderName::MinExpires, self.min_expires_s.to_string())];
            return self.answer(request, 423, &fields);
        }
        let granted = asked.min(self.expires_max_s);
        let uri = contact.uri.to_owned();
        let had = self.bindings.iter().position(|(known, _)| *known == uri);
        if let Some(place) = had {
            let (_, end) = self.bindings.swap_remove(place);
            self.gaps += u32::from(end <= now);
        }
        let mut fields = vec![];
        if granted > 0 {
            self.bindings
                .push((uri.clone(), now + Duration::from_secs(granted.into())));
            match self.names_contact {
                true => {
                    let told = self
                        .rewrites
                        .map_or(uri.clone(), |(from, to)| uri.replace(from, to));
                    fields.push((HeaderName::Contact, format!("<{told}>;expires={granted}")));
                    let others = self.others.iter();
                    fields.extend(others.map(|other| (HeaderName::Contact, (*other).to_owned())));
                }
                false => fields.push((HeaderName::Expires, granted.to_string())),
            }
        }
        let routes = self.service_route.iter();
        fields.extend(routes.map(|route| (HeaderName::ServiceRoute, (*route).to_owned())));
        self.answer(request, 200, &fields)
    }
}

pub struct World {
    pub now: Timestamp,
    pub trunks: Trunks,
    layer: Layer,
    requests: Vec<(ClientKey, u64)>,
    pub carriers: [Carrier; 2],
    network: Network<SocketAddr, Bytes>,
    /// What calls are told: `up …`, `down …`, `route …`.
    pub told: Vec<String>,
}

pub fn server(address: &str) -> Server {
    Server {
        destination: Destination {
            transport: Transport::Udp,
            remote: address.parse().unwrap(),
            flow: None,
        },
        own_host: US.into(),
    }
}

/// Registers for half an hour at both carriers.
pub fn terms(number: u32) -> TrunkTerms {
    TrunkTerms {
        number,
        name: format!("trunk-{number}"),
        host: "carrier.example".into(),
        logins: Arc::new([login("secret")]),
        servers: vec![server(FIRST), server(SECOND)],
        registration: Some(RegistrationTerms {
            user: "us".into(),
            domain: "carrier.example".into(),
            contact_user: format!("line{number}"),
            expires_s: 1_800,
            retry_base: Duration::from_secs(30),
            retry_max: Duration::from_secs(600),
            retries_max: 5,
        }),
        probe: None,
    }
}

pub fn login(password: &str) -> Login {
    Login {
        username: "us".into(),
        password: password.into(),
        realms: vec!["carrier".into()],
    }
}

impl World {
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        let mut random = Random::from_number(seed);
        let listener = Listener::new(Transport::Udp, US.parse().unwrap());
        Self {
            now: Timestamp::from_millis(1_000),
            trunks: Trunks::new(random.fork()),
            layer: Layer::new(Config::new(vec![listener]), random.fork()),
            requests: Vec::new(),
            carriers: [FIRST, SECOND].map(|address| Carrier::new(address, random.fork())),
            network: Network::new(conditions, random.fork()),
            told: Vec::new(),
        }
    }

    pub fn set(&mut self, terms: Vec<TrunkTerms>) {
        self.trunks.set(self.now, terms);
        self.settle();
    }

    /// The one trunk's state.
    pub fn status(&mut self) -> Status {
        self.trunks.handle_timeout(self.now);
        let statuses = self.trunks.poll_statuses().unwrap();
        assert_eq!(statuses.len(), 1);
        statuses[0].clone()
    }

    pub fn is_registered(&mut self) -> bool {
        self.status().registration.unwrap().until.is_some()
    }

    pub fn settle(&mut self) {
        loop {
            let mut moved = false;
            while let Some(output) = self.trunks.poll_output() {
                moved = true;
                self.carry_out(output);
            }
            while let Some(event) = self.layer.poll_event() {
                moved = true;
                self.take(event);
            }
            while let Some(transmit) = self.layer.poll_transmit() {
                moved = true;
                let to = transmit.destination.remote;
                self.network
                    .send(self.now, US.parse().unwrap(), to, transmit.bytes);
            }
            for carrier in &mut self.carriers {
                carrier.handle_events(self.now);
                while let Some(transmit) = carrier.layer.poll_transmit().or_else(|| carrier.odd.pop()) {
                    moved = true;
                    let to = transmit.destination.remote;
                    if !carrier.is_deaf {
                        self.network.send(self.now, carrier.address, to, transmit.bytes);
                    }
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send {
                request,
                message,
                destination,
            } => {
                let key = self.layer.send_request(self.now, message, destination).unwrap();
                self.requests.push((key, request));
            }
            Output::Server {
                trunk,
                destination,
                up,
            } => {
                let how = if up { "up" } else { "down" };
                self.told.push(format!("{how} {trunk} {}", destination.remote));
            }
            Output::ServiceRoute { trunk, route } => {
                self.told.push(format!("route {trunk} {}", route.join(",")));
            }
        }
    }

    fn take(&mut self, event: Event) {
        let (key, answer) = match &event {
            Event::Response { key, message, .. } if message.status().is_some_and(|status| status >= 200) => {
                (*key, Ok(message))
            }
            Event::TimedOut { key } => (*key, Err(NoAnswer::TimedOut)),
            Event::TransportFailed { key } => (*key, Err(NoAnswer::NotSent)),
            _ => return,
        };
        let place = self.requests.iter().position(|(known, _)| *known == key).unwrap();
        let (_, request) = self.requests.swap_remove(place);
        self.trunks.handle_answer(self.now, request, answer);
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let next = [
                self.trunks.poll_timeout(),
                self.layer.poll_timeout(),
                self.carriers[0].layer.poll_timeout(),
                self.carriers[1].layer.poll_timeout(),
                self.network.poll_timeout(),
            ];
            let next = next.into_iter().flatten().min();
            let Some(next) = next.filter(|&next| next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            while let Some((from, to, bytes)) = self.network.receive(self.now) {
                self.deliver(from, to, bytes);
            }
            self.trunks.handle_timeout(self.now);
            self.layer.handle_timeout(self.now);
            for carrier in &mut self.carriers {
                carrier.layer.handle_timeout(self.now);
            }
        }
    }

    pub fn run_s(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    fn deliver(&mut self, remote: SocketAddr, local: SocketAddr, bytes: Bytes) {
        let source = Source {
            transport: Transport::Udp,
            flow: FlowId(0),
            remote,
            local,
        };
        let message = Message::parse_datagram(bytes).unwrap();
        match self.carriers.iter_mut().find(|carrier| carrier.address == local) {
            Some(carrier) if carrier.is_deaf => {}
            Some(carrier) => carrier.layer.handle_message(self.now, source, message),
            None => self.layer.handle_message(self.now, source, message),
        }
        self.settle();
    }
}

/// Runs `simulation` for each seed below `count`, or for that of the environment's `SEED` alone. A seed that fails is
/// printed.
pub fn for_seeds(count: u64, mut simulation: impl FnMut(u64)) {
    let given = std::env::var("SEED")
        .ok()
        .map(|text| text.parse::<u64>().expect("SEED is a number"));
    for seed in given.map_or(0..count, |seed| seed..seed + 1) {
        println!("SEED={seed}");
        simulation(seed);
    }
}
