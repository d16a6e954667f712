use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sans_io::Timestamp;
use sip::{Destination, Message, Source};
use tokio::sync::Notify;

use crate::class::Class;

/// What the transport hands over.
#[derive(Clone, Debug)]
pub enum Inbound {
    /// A well-formed message.
    Message {
        /// Where it came from.
        source: Source,
        /// The message.
        message: Message,
    },
    /// Something could not be sent there (RFC 3261 §18.4).
    Failed(Destination),
}

/// Two bounded queues between the sockets and the owner: what concerns work that exists, and what would begin new
/// work. The first is always served first.
#[derive(Debug)]
pub(crate) struct Inbox {
    queues: Mutex<Queues>,
    new_max: usize,
    urgent_max: usize,
    arrived: Notify,
    /// Told when the urgent queue has room again.
    room: Notify,
}

#[derive(Debug, Default)]
struct Queues {
    urgent: VecDeque<Inbound>,
    /// With the time at which each came.
    new: VecDeque<(Timestamp, Inbound)>,
}

impl Inbox {
    pub(crate) fn new(new_max: usize, urgent_max: usize) -> Self {
        Self {
            queues: Mutex::default(),
            new_max,
            urgent_max,
            arrived: Notify::new(),
            room: Notify::new(),
        }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `inbound`, or gives it back when its queue is full.
    #[expect(
        clippy::result_large_err,
        reason = "the message itself is given back, to one caller, by move"
    )]
    pub(crate) fn push(&self, now: Timestamp, class: Class, inbound: Inbound) -> Result<(), Inbound> {
        let mut queues = self.queues();
        let (length, limit) = match class {
            Class::Urgent => (queues.urgent.len(), self.urgent_max),
            Class::New => (queues.new.len(), self.new_max),
            // A CANCEL belongs to an INVITE that is, or was, in the queue.
            Class::Cancel | Class::Emergency => (queues.new.len(), self.new_max.saturating_mul(2)),
        };
        if length >= limit {
            return Err(inbound);
        }
        match class {
            Class::Urgent => queues.urgent.push_back(inbound),
            Class::New | Class::Cancel | Class::Emergency => queues.new.push_back((now, inbound)),
        }
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits until the urgent queue has room.
    pub(crate) async fn room(&self) {
        loop {
            let told = self.room.notified();
            if self.queues().urgent.len() < self.urgent_max {
                return;
            }
            told.await;
        }
    }

    /// The next one, if there is one, and since when it has waited if it is a new request.
    pub(crate) fn try_receive(&self) -> Option<(Option<Timestamp>, Inbound)> {
        let mut queues = self.queues();
        if let Some(inbound) = queues.urgent.pop_front() {
            if queues.urgent.len() + 1 == self.urgent_max {
                self.room.notify_waiters();
            }
            return Some((None, inbound));
        }
        let (since, inbound) = queues.new.pop_front()?;
        Some((Some(since), inbound))
    }

    /// Waits for the next one. For one owner.
    pub(crate) async fn receive(&self) -> (Option<Timestamp>, Inbound) {
        loop {
            if let Some(received) = self.try_receive() {
                return received;
            }
            self.arrived.notified().await;
        }
    }

    /// When the first of the new requests came that wait.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.queues().new.front().map(|(since, _)| *since)
    }

    /// How many wait: urgent, new.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let queues = self.queues();
        (queues.urgent.len(), queues.new.len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sip::Transport;

    use super::*;

    const NOW: Timestamp = Timestamp::ZERO;

    fn next(inbox: &Inbox) -> Option<Inbound> {
        inbox.try_receive().map(|(_, inbound)| inbound)
    }

    fn item(port: u16) -> Inbound {
        let remote = ([127, 0, 0, 1], port).into();
        Inbound::Failed(Destination {
            transport: Transport::Udp,
            remote,
            flow: None,
        })
    }

    fn port(inbound: Option<Inbound>) -> Option<u16> {
        match inbound? {
            Inbound::Failed(destination) => Some(destination.remote.port()),
            Inbound::Message { .. } => None,
        }
    }

    #[test]
    fn urgent_goes_first_and_each_queue_keeps_its_order() {
        let inbox = Inbox::new(10, 10);
        for (class, number) in [
            (Class::New, 1),
            (Class::Urgent, 2),
            (Class::Cancel, 3),
            (Class::Urgent, 4),
            (Class::New, 5),
        ] {
            inbox.push(NOW, class, item(number)).unwrap();
        }
        let order: Vec<_> = std::iter::from_fn(|| port(next(&inbox))).collect();
        assert_eq!(order, [2, 4, 1, 3, 5]);
    }

    #[test]
    fn a_full_queue_gives_back_and_leaves_the_other_alone() {
        let inbox = Inbox::new(1, 1);
        inbox.push(NOW, Class::New, item(1)).unwrap();
        assert_eq!(port(inbox.push(NOW, Class::New, item(2)).err()), Some(2));
        inbox.push(NOW, Class::Cancel, item(3)).unwrap();
        assert!(inbox.push(NOW, Class::Cancel, item(4)).is_err());
        inbox.push(NOW, Class::Urgent, item(5)).unwrap();
        assert!(inbox.push(NOW, Class::Emergency, item(7)).is_err());
        assert!(inbox.push(NOW, Class::Urgent, item(6)).is_err());
        assert_eq!(inbox.waiting(), (1, 2));
    }

    #[tokio::test]
    async fn who_waits_for_room_is_told() {
        let inbox = std::sync::Arc::new(Inbox::new(1, 1));
        inbox.push(NOW, Class::Urgent, item(1)).unwrap();
        let waiting = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert_eq!(port(Some(inbox.receive().await.1)), Some(1));
        tokio::time::timeout(Duration::from_secs(10), waiting)
            .await
            .unwrap()
            .unwrap();
    }
}
