use std::collections::VecDeque;
use std::net::SocketAddr;

/// Checks that may wait for an answer at once. At one check in 50 ms (RFC 8445 §14.2) it is 25 seconds of them; an answer to
/// an older one is no longer taken.
const TRANSACTIONS_MAX: usize = 512;

/// The checks that we sent and that nobody has answered: each is answered once, from where it went to (RFC 8445 §7.2.5.2.1).
#[derive(Default)]
pub(crate) struct Transactions {
    /// Oldest first.
    waiting: VecDeque<(Id, SocketAddr)>,
}

/// A transaction identifier (RFC 8489 §5).
pub(crate) type Id = [u8; 12];

impl Transactions {
    /// Notes a datagram that goes to `remote`, if it is a request. The oldest makes room.
    pub(crate) fn sent(&mut self, remote: SocketAddr, datagram: &[u8]) {
        let Some(id) = id(datagram).filter(|_| datagram.starts_with(&[0x00, 0x01])) else {
            return;
        };
        if self.waiting.len() == TRANSACTIONS_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back((id, remote));
    }

    /// Whether the check of this identifier went to `remote` and waits.
    pub(crate) fn waits(&self, id: Id, remote: SocketAddr) -> bool {
        self.waiting.contains(&(id, remote))
    }

    /// It is answered. Call it once the answer's integrity is proven, else a forged one would take the place of the true one.
    pub(crate) fn answered(&mut self, id: Id) {
        self.waiting.retain(|(waiting, _)| *waiting != id);
    }

    /// Nobody waits for an answer any longer.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}

/// The transaction identifier of a STUN message; `None` if it is too short to have one.
pub(crate) fn id(datagram: &[u8]) -> Option<Id> {
    datagram.get(8..20)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(number: u32) -> Vec<u8> {
        let mut datagram = vec![0; 20];
        datagram[..2].copy_from_slice(&[0x00, 0x01]);
        datagram[16..].copy_from_slice(&number.to_be_bytes());
        datagram
    }

    #[test]
    fn only_requests_wait_and_the_oldest_makes_room() {
        let remote: SocketAddr = ([192, 0, 2, 1], 1_000).into();
        let mut transactions = Transactions::default();
        let mut answer = check(0);
        answer[0] = 0x01;
        transactions.sent(remote, &answer);
        transactions.sent(remote, &check(0)[..19]);
        assert!(transactions.waiting.is_empty());

        let last = TRANSACTIONS_MAX as u32;
        (0..=last).for_each(|number| transactions.sent(remote, &check(number)));
        assert_eq!(transactions.waiting.len(), TRANSACTIONS_MAX);
        let waits = |transactions: &Transactions, number| {
            id(&check(number)).is_some_and(|id| transactions.waits(id, remote))
        };
        assert!(!waits(&transactions, 0));
        assert!(waits(&transactions, 1) && waits(&transactions, last));
        transactions.answered(id(&check(1)).expect("long enough"));
        assert!(!waits(&transactions, 1) && waits(&transactions, 2));
    }
}
