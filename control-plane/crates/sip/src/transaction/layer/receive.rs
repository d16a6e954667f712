use sans_io::Timestamp;

use super::super::event::{Event, ServerKey};
use super::super::fingerprint::{Fingerprint, Secret, ServerMatch};
use super::super::machine::{Input, Machine};
use super::super::record::{Cancel, Record};
use super::super::slots::SlotKey;
use super::super::timers::Timer;
use super::super::{generated, server_invite, server_non_invite, via};
use super::Layer;
use crate::message::{HeaderName, Message, Method, Overload};
use crate::{Source, Transmit};

impl Layer {
    /// Takes a message from a transport.
    pub fn handle_message(&mut self, now: Timestamp, source: Source, message: Message) {
        let handled = match message.method() {
            None => self.handle_response(now, source, message),
            Some(Method::Ack) => self.handle_ack(now, source, message),
            Some(Method::Cancel) => self.handle_cancel(now, source, message),
            Some(_) => self.handle_request(now, source, message),
        };
        if handled.is_none() {
            self.counters.unusable_messages += 1;
        }
    }

    /// `None`, here and below: the message lacks what it is matched by.
    fn handle_response(&mut self, now: Timestamp, source: Source, response: Message) -> Option<()> {
        let input = Input::of_status(response.status()?);
        let branch = response.via().ok()?.branch();
        let method = response.cseq().ok()?.method;
        // A second Via says that it was meant for somebody before us (§8.1.3.3).
        let ours = response.vias().nth(1).is_none();
        let fingerprint = branch
            .filter(|_| ours)
            .map(|branch| self.secret.client(branch, method.as_str()));
        match fingerprint.and_then(|fingerprint| self.clients.get(&fingerprint)) {
            Some(&key) => {
                self.hear_overload(key, &response);
                self.run(now, key, input, Some((source, response)));
            }
            None => self.counters.stray_responses += 1,
        }
        Some(())
    }

    /// Notes what a server that we obey says about its overload. Only who has seen the request of `key` can say it.
    fn hear_overload(&mut self, key: SlotKey, response: &Message) {
        let record = self.records.find(key).map(|record| record.destination);
        if let Some(destination) = record.filter(|destination| self.obeys(destination))
            && let Some(overload) = response.via().ok().and_then(|via| Overload::of(&via))
        {
            self.overloads.push_back((destination, overload));
        }
    }

    fn handle_ack(&mut self, now: Timestamp, source: Source, ack: Message) -> Option<()> {
        let invite = fingerprint(&self.secret, &ack, "INVITE")?;
        let key = self.servers.get(&invite).copied();
        let to_tag = self.secret.tag(ack.to().ok()?.tag());
        if key.is_none() && ack.to().ok()?.tag() == Some(&self.secret.own_tag(invite)) {
            // It is for an answer that we gave without state, and ends there (§8.2.7).
            return Some(());
        }
        // With a branch of its own making the client has said enough; one of RFC 2543 repeats our To tag (§17.2.3).
        let by_branch = ack.via().ok()?.unique_branch().is_some();
        let key = key.filter(|&key| {
            by_branch
                || self
                    .records
                    .find(key)
                    .is_some_and(|record| record.to_tag == to_tag)
        });
        match key {
            Some(key) => self.run(now, key, Input::Ack, Some((source, ack))),
            None => self.events.push_back(Event::Ack { source, message: ack }),
        }
        Some(())
    }

    fn handle_cancel(&mut self, now: Timestamp, source: Source, cancel: Message) -> Option<()> {
        let fingerprint = fingerprint(&self.secret, &cancel, "CANCEL")?;
        if let Some(&key) = self.servers.get(&fingerprint) {
            self.counters.retransmissions_absorbed += 1;
            self.run(now, key, Input::Request, None);
            return Some(());
        }
        let cancel = complete_via(cancel, &source)?;
        let Some(invite) = self.find_invite(&cancel)? else {
            self.counters.stray_cancels += 1;
            return self.answer(
                &source,
                &cancel,
                fingerprint,
                481,
                "Call/Transaction Does Not Exist",
                None,
            );
        };
        // The To tag is that of the responses to the INVITE, where we know it (§9.2).
        let record = self.records.find_mut(invite)?;
        let latest = Message::parse_datagram(record.held.clone()).ok();
        let latest_tag = latest.as_ref().and_then(|latest| latest.to().ok()?.tag());
        let own_tag = latest_tag.map_or_else(|| self.secret.own_tag(record.fingerprint), str::to_owned);
        let first = record.machine.is_pending() && record.cancel == Cancel::No;
        if first {
            record.cancel = Cancel::Done;
        }
        let answer = generated::response(&cancel, 200, "OK", &own_tag, None)?;
        if self.records.len() < self.config.limit() {
            let machine = Machine::ServerNonInvite(server_non_invite::START.0);
            let key = self.begin_server(&source, &cancel, machine, fingerprint, None)?;
            if let Some(record) = self.records.find_mut(key) {
                record.is_internal = true;
                record.held = answer;
            }
            self.run(now, key, Input::Success, None);
        } else {
            let destination = via::response_destination(&source, &cancel)?;
            self.transmits.push_back(Transmit {
                destination,
                bytes: answer,
            });
        }
        if first {
            self.events.push_back(Event::Cancelled {
                invite: ServerKey(invite),
                source,
                message: cancel,
            });
        }
        Some(())
    }

    /// What is needed to answer `request` without a transaction (§8.2.7): itself with its Via completed, and the To tag
    /// of the answer, the same whenever it comes again; an ACK with that tag is absorbed. `None` if it is a
    /// retransmission that belongs to a transaction, or lacks what a response is made from.
    pub fn stateless(&self, source: &Source, request: &Message) -> Option<(Message, String)> {
        let fingerprint = fingerprint(&self.secret, request, request.method()?.as_str())?;
        if self.servers.contains_key(&fingerprint) {
            return None;
        }
        let request = complete_via(request.clone(), source)?;
        Some((request, self.secret.own_tag(fingerprint)))
    }

    fn handle_request(&mut self, now: Timestamp, source: Source, request: Message) -> Option<()> {
        let method = request.method()?;
        let fingerprint = fingerprint(&self.secret, &request, method.as_str())?;
        if let Some(&key) = self.servers.get(&fingerprint) {
            self.counters.retransmissions_absorbed += 1;
            self.run(now, key, Input::Request, None);
            return Some(());
        }
        let is_invite = method == Method::Invite;
        let in_dialog = request.to().ok()?.tag().is_some();
        let merged = if in_dialog {
            None
        } else {
            merged(&self.secret, &request)
        };
        let request = complete_via(request, &source)?;
        if merged.is_some_and(|merged| self.merged.contains_key(&merged)) {
            self.counters.merged_requests += 1;
            return self.answer(&source, &request, fingerprint, 482, "Loop Detected", None);
        }
        let max = match in_dialog {
            true => self.config.limit(),
            false => self.config.limit_out_of_dialog(),
        };
        if self.records.len() >= max {
            self.counters.refused_requests += 1;
            let retry_after_s = Some(self.config.retry_after_s);
            return self.answer(
                &source,
                &request,
                fingerprint,
                503,
                "Service Unavailable",
                retry_after_s,
            );
        }
        let (machine, actions) = if is_invite {
            (
                Machine::ServerInvite(server_invite::START.0),
                server_invite::START.1,
            )
        } else {
            (
                Machine::ServerNonInvite(server_non_invite::START.0),
                server_non_invite::START.1,
            )
        };
        let key = self.begin_server(&source, &request, machine, fingerprint, merged)?;
        self.act(now, key, actions, Some((source, request)));
        Some(())
    }

    fn begin_server(
        &mut self,
        source: &Source,
        request: &Message,
        machine: Machine,
        fingerprint: Fingerprint,
        merged: Option<Fingerprint>,
    ) -> Option<SlotKey> {
        let destination = via::response_destination(source, request)?;
        let key = self.records.insert(Box::new(Record {
            machine,
            repeat: Timer::Trying,
            limit: Timer::Abandon,
            step: 0,
            cancel: Cancel::No,
            is_internal: false,
            destination,
            fingerprint,
            merged,
            to_tag: self.secret.tag(None),
            held: bytes::Bytes::new(),
            request: Some(Box::new(request.clone())),
        }));
        self.servers.insert(fingerprint, key);
        if let Some(merged) = merged {
            self.merged.insert(merged, key);
        }
        self.peers.add(key.slot, &destination);
        self.counters.server_transactions += 1;
        Some(key)
    }

    /// Answers without state (§8.2.7): a retransmission gets the same answer again.
    fn answer(
        &mut self,
        source: &Source,
        request: &Message,
        fingerprint: Fingerprint,
        status: u16,
        phrase: &str,
        retry_after_s: Option<u32>,
    ) -> Option<()> {
        let own_tag = self.secret.own_tag(fingerprint);
        let bytes = generated::response(request, status, phrase, &own_tag, retry_after_s)?;
        let destination = via::response_destination(source, request)?;
        self.transmits.push_back(Transmit { destination, bytes });
        Some(())
    }

    /// The INVITE that an ACK or a CANCEL is for, if there is one.
    fn find_invite(&self, message: &Message) -> Option<Option<SlotKey>> {
        Some(
            self.servers
                .get(&fingerprint(&self.secret, message, "INVITE")?)
                .copied(),
        )
    }
}

/// What `request` is matched by, as of a transaction of `method` (§17.2.3).
fn fingerprint(secret: &Secret, request: &Message, method: &str) -> Option<Fingerprint> {
    let via = request.via().ok()?;
    let by = match via.unique_branch() {
        Some(branch) => ServerMatch::Branch {
            branch,
            host: via.host,
            port: via.port,
        },
        None => ServerMatch::Fields {
            uri: request.request_uri()?,
            from_tag: request.from().ok()?.tag(),
            call_id: request.call_id().ok()?,
            cseq: request.cseq().ok()?.seq,
            via: request.values(HeaderName::Via).next()?,
        },
    };
    Some(secret.server(method, by))
}

/// What a request outside a dialog shares with copies of itself that took another path (§8.2.2.2). `None` without
/// a From tag, when there is too little to tell.
fn merged(secret: &Secret, request: &Message) -> Option<Fingerprint> {
    let from = request.from().ok()?;
    let cseq = request.cseq().ok()?;
    Some(secret.merged(
        from.tag()?,
        request.call_id().ok()?,
        cseq.seq,
        cseq.method.as_str(),
    ))
}

/// `request` with `received` and `rport` where they belong.
fn complete_via(request: Message, source: &Source) -> Option<Message> {
    let (received, rport) = via::source_params(&request.via().ok()?, source);
    if received.is_none() && rport.is_none() {
        return Some(request);
    }
    request.with_top_via_params(received, rport).ok()
}
