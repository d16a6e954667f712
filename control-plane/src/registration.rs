//! Bindings and users between the registrar and the store: monotonic times become wall-clock times, and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ops::clock::{MonotonicClock, wall_clock};
use registrar::{Binding, Change, Secrets, Users};
use sans_io::Timestamp;
use sip::digest::{Algorithm, Ha1};
use sip::{Destination, Transport};
use store::{BindingChange, BindingRecord, UserRecord};

/// A change as the store keeps it.
pub fn stored(change: Change, clock: &MonotonicClock) -> BindingChange {
    match change {
        // Ids are 64 random bits; the database has signed numbers.
        Change::Remove { id } => BindingChange::Remove(id.cast_signed()),
        Change::Put { user, binding } => BindingChange::Put(BindingRecord {
            id: binding.id.cast_signed(),
            username: user.into(),
            contact: binding.contact.into(),
            call_id: binding.call_id.into(),
            cseq: binding.cseq,
            q_permille: binding.q_permille,
            reg_id: binding.reg_id,
            instance: binding.instance.into(),
            path: binding.path.into(),
            transport: binding.received.transport.via_name().to_owned(),
            remote: binding.received.remote.to_string(),
            expires_at_ms: milliseconds(clock.wall_time(binding.expires)),
        }),
    }
}

/// A binding from the store, and whose it is; `None` when a field cannot be read. Its flow is gone with the process
/// that had it.
pub fn restored(record: BindingRecord, clock: &MonotonicClock) -> Option<(Box<str>, Binding)> {
    let transports = [
        Transport::Udp,
        Transport::Tcp,
        Transport::Tls,
        Transport::Ws,
        Transport::Wss,
    ];
    let transport = transports
        .into_iter()
        .find(|transport| transport.via_name() == record.transport)?;
    let left = record.expires_at_ms.saturating_sub(milliseconds(wall_clock()));
    let expires = clock.now() + Duration::from_millis(u64::try_from(left).unwrap_or(0));
    let binding = Binding {
        id: record.id.cast_unsigned(),
        contact: record.contact.into(),
        call_id: record.call_id.into(),
        cseq: record.cseq,
        q_permille: record.q_permille,
        reg_id: record.reg_id,
        instance: record.instance.into(),
        path: record.path.into(),
        received: Destination {
            transport,
            remote: record.remote.parse().ok()?,
            flow: None,
        },
        expires: expires.max(Timestamp::from_nanos(1)),
    };
    Some((record.username.into(), binding))
}

/// The users as the registrar wants them. A hash that is none is as none.
pub fn users(records: &[UserRecord]) -> Users {
    let mut users = Users::default();
    for record in records {
        let hash = |algorithm, digits: &Option<String>| Ha1::from_hex(algorithm, digits.as_deref()?);
        let secrets = Secrets {
            md5: hash(Algorithm::Md5, &record.md5),
            sha256: hash(Algorithm::Sha256, &record.sha256),
            sha512_256: hash(Algorithm::Sha512_256, &record.sha512_256),
        };
        users.add(&record.username, secrets);
    }
    users
}

/// Milliseconds since the Unix epoch; a clock before 1970 counts as 1970.
fn milliseconds(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_comes_back_from_the_store_as_it_went() {
        let clock = MonotonicClock::start();
        let binding = Binding {
            id: u64::MAX - 6,
            contact: "sip:a@192.0.2.1".into(),
            call_id: "c".into(),
            cseq: u32::MAX,
            q_permille: 500,
            reg_id: 1,
            instance: "urn:uuid:1".into(),
            path: "<sip:p;lr>".into(),
            received: Destination {
                transport: Transport::Tcp,
                remote: "[2001:db8::1]:5060".parse().unwrap(),
                flow: None,
            },
            expires: clock.now() + Duration::from_secs(100),
        };
        let change = Change::Put {
            user: "alice".into(),
            binding: binding.clone(),
        };
        let BindingChange::Put(record) = stored(change, &clock) else {
            panic!("a binding stays one")
        };
        let (user, back) = restored(record.clone(), &clock).unwrap();
        let shift = back
            .expires
            .saturating_since(binding.expires)
            .max(binding.expires.saturating_since(back.expires));
        assert!(shift < Duration::from_secs(1), "{shift:?}");
        let back = Binding {
            expires: binding.expires,
            ..back
        };
        assert_eq!((&*user, &back), ("alice", &binding));
        assert_eq!(
            stored(Change::Remove { id: binding.id }, &clock),
            BindingChange::Remove(record.id)
        );
        for broken in [
            BindingRecord {
                remote: "x".into(),
                ..record.clone()
            },
            BindingRecord {
                transport: "X".into(),
                ..record
            },
        ] {
            assert!(restored(broken, &clock).is_none());
        }
    }
}
