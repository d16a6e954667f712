use std::collections::VecDeque;

use media_types::Event;

/// Events that wait to be polled. Its memory is reserved at the start, so that adding does not allocate.
#[derive(Debug)]
pub(crate) struct EventQueue {
    events: VecDeque<Event>,
    count_max: usize,
}

impl EventQueue {
    pub(crate) fn new(count_max: usize) -> Self {
        Self {
            events: VecDeque::with_capacity(count_max),
            count_max,
        }
    }

    /// Adds an event; false when the queue is full.
    pub(crate) fn push(&mut self, event: Event) -> bool {
        if self.events.len() >= self.count_max {
            return false;
        }
        self.events.push_back(event);
        true
    }

    /// Lets `count` more events in than the limit: for the shutdown, which says farewell once.
    pub(crate) fn extend_for(&mut self, count: usize) {
        self.count_max = self.events.len() + count;
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}
