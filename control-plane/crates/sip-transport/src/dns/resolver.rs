use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{RData, RecordType};
use sans_io::Timestamp;

use super::{Answer, Cache, Goal, Question, Resolution, Step, Target};

/// Questions that one name may need: a cut of all that [`Resolution`] could ask.
const QUESTIONS_MAX: usize = 100;

/// How often a question is asked.
const ATTEMPTS: u32 = 2;

/// Questions about one name that may all be answered late.
const SLOW_QUESTIONS: u32 = 4;

/// Asks the DNS, or what is remembered of it.
#[derive(Debug)]
pub struct Resolver {
    resolver: TokioResolver,
    /// Held for a look into it alone, never while a question is under way.
    cache: Mutex<Cache>,
    timeout: Duration,
}

/// Why a name has no targets for now. That it leads nowhere is no error.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The resolver cannot be made.
    #[error("name servers: {0}")]
    Setup(NetError),
    /// A question has no answer: servers that are silent, refuse, or are broken.
    #[error("{0:?}: {1}")]
    NoAnswer(Question, NetError),
    /// The name needs more questions than are asked.
    #[error("the name needs too many questions")]
    TooMany,
}

impl Resolver {
    /// One that asks `servers`, or those of the system (`/etc/resolv.conf`) when there are none; `/etc/hosts` counts in both
    /// cases. A question is asked twice, for `timeout` each time.
    ///
    /// # Errors
    /// [`ResolveError::Setup`] if the system's configuration cannot be read.
    pub fn new(servers: &[SocketAddr], timeout: Duration, cache: Cache) -> Result<Self, ResolveError> {
        let mut builder = match servers {
            [] => TokioResolver::builder_tokio().map_err(ResolveError::Setup)?,
            servers => {
                let servers = servers.iter().map(server).collect();
                let config = ResolverConfig::from_parts(None, Vec::new(), servers);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let options: &mut ResolverOpts = builder.options_mut();
        options.timeout = timeout;
        options.attempts = ATTEMPTS as usize;
        // What is remembered is in the one cache that has limits.
        options.cache_size = 0;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let resolver = builder.build().map_err(ResolveError::Setup)?;
        Ok(Self {
            resolver,
            cache: Mutex::new(cache),
            timeout,
        })
    }

    /// How long a name takes at the most whose answers come as late as they may: what it needs beside those is rarely
    /// asked for.
    pub fn patience(&self) -> Duration {
        self.timeout * ATTEMPTS * SLOW_QUESTIONS
    }

    /// The targets of `goal`, and until when they hold at the least; `None` for not at all, since a question went
    /// unanswered. One about services (NAPTR) or addresses of one family is done without: what comes of the others counts.
    ///
    /// # Errors
    /// When a question has no answer, and nothing is found without it. That what is asked for is not there is an answer.
    pub async fn resolve(
        &self,
        now: Timestamp,
        goal: Goal,
    ) -> Result<(Vec<Target>, Option<Timestamp>), ResolveError> {
        let mut resolution = Resolution::new(goal);
        let mut holds: Option<Timestamp> = None;
        let mut unanswered = None;
        for _ in 0..QUESTIONS_MAX {
            let question = match resolution.poll() {
                Step::Ask(question) => question,
                Step::Done(targets) => {
                    return match unanswered {
                        None => Ok((targets, holds)),
                        Some(error) if targets.is_empty() => Err(error),
                        Some(_) => Ok((targets, None)),
                    };
                }
            };
            let known = self
                .cache()
                .find(now, &question)
                .map(|(answer, until)| (answer.clone(), until));
            let (answer, until) = match known {
                Some(known) => known,
                None => match (self.ask(&question).await, &question) {
                    (Ok((answer, ttl)), _) => {
                        let until = self.cache().keep(now, question, answer.clone(), ttl);
                        (answer, until)
                    }
                    // That a service is at certain servers cannot be guessed: the host itself may be another machine.
                    (Err(error), Question::Srv(_)) => return Err(error),
                    (Err(error), _) => {
                        tracing::debug!(%error, "done without");
                        unanswered.get_or_insert(error);
                        resolution.answer(question.nothing());
                        continue;
                    }
                },
            };
            holds = Some(holds.map_or(until, |before| before.min(until)));
            resolution.answer(answer);
        }
        Err(ResolveError::TooMany)
    }

    /// Answers that are remembered.
    pub fn remembered(&self) -> usize {
        self.cache().len()
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // Nothing panics with it held; what it has is whole in any case.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, question: &Question) -> Result<(Answer, Option<Duration>), ResolveError> {
        // Services are of the domain as it is written; a host may be one of our own search domains.
        let (name, kind) = match question {
            Question::Naptr(name) => (complete(name), RecordType::NAPTR),
            Question::Srv(name) => (complete(name), RecordType::SRV),
            Question::A(name) => (name.clone(), RecordType::A),
            Question::Aaaa(name) => (name.clone(), RecordType::AAAA),
        };
        let (records, ttl) = match self.resolver.lookup(name, kind).await {
            Ok(lookup) => {
                let ttl = lookup.answers().iter().map(|record| record.ttl).min();
                let records: Vec<RData> = lookup
                    .answers()
                    .iter()
                    .map(|record| record.data.clone())
                    .collect();
                (records, ttl)
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => (Vec::new(), none.negative_ttl),
            Err(error) => return Err(ResolveError::NoAnswer(question.clone(), error)),
        };
        let ttl = ttl.map(|seconds| Duration::from_secs(seconds.into()));
        Ok((answer(question, records), ttl))
    }
}

fn complete(name: &str) -> String {
    match name.ends_with('.') {
        true => name.to_owned(),
        false => format!("{name}."),
    }
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

fn answer(question: &Question, records: Vec<RData>) -> Answer {
    let records = records.into_iter();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match question {
        Question::Naptr(_) => Answer::Naptr(
            records
                .filter_map(|record| match record {
                    RData::NAPTR(naptr) => Some(super::Naptr {
                        order: naptr.order,
                        preference: naptr.preference,
                        flags: text(&naptr.flags),
                        services: text(&naptr.services),
                        replacement: naptr.replacement.to_ascii(),
                    }),
                    _ => None,
                })
                .collect(),
        ),
        Question::Srv(_) => Answer::Srv(
            records
                .filter_map(|record| match record {
                    RData::SRV(srv) => Some(super::Srv {
                        priority: srv.priority,
                        weight: srv.weight,
                        port: srv.port,
                        target: srv.target.to_ascii(),
                    }),
                    _ => None,
                })
                .collect(),
        ),
        Question::A(_) => Answer::A(
            records
                .filter_map(|record| match record {
                    RData::A(address) => Some(address.0),
                    _ => None,
                })
                .collect(),
        ),
        Question::Aaaa(_) => Answer::Aaaa(
            records
                .filter_map(|record| match record {
                    RData::AAAA(address) => Some(address.0),
                    _ => None,
                })
                .collect(),
        ),
    }
}
