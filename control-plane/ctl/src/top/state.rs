use proto::admin_v1::{Call, DescribeResponse};

use crate::calls;
use crate::roster::Roster;

/// Rows that a page key moves by.
const PAGE: usize = 20;

/// A key that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Quit,
    Up,
    Down,
    PageUp,
    PageDown,
    /// The next order.
    Sort,
    /// The terminal has another size.
    Redraw,
}

/// By what calls are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// The oldest first.
    #[default]
    Oldest,
    /// The youngest first.
    Youngest,
    /// By how far they are.
    State,
}

impl Order {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oldest => "oldest first",
            Self::Youngest => "youngest first",
            Self::State => "by state",
        }
    }
}

/// What the view shows.
#[derive(Debug, Default)]
pub struct State {
    pub roster: Roster,
    pub standing: DescribeResponse,
    /// Attempted and answered calls a second, between the last two answers.
    pub attempted_per_s: u64,
    pub answered_per_s: u64,
    pub selected: usize,
    pub order: Order,
}

impl State {
    /// Takes the figures of another second in.
    pub fn stand(&mut self, told: DescribeResponse) {
        let before = &self.standing;
        let seconds = told.uptime_s.saturating_sub(before.uptime_s);
        if !before.version.is_empty() && seconds > 0 {
            let rate = |now: u64, before: u64| now.saturating_sub(before) / seconds;
            self.attempted_per_s = rate(told.calls_attempted, before.calls_attempted);
            self.answered_per_s = rate(told.calls_answered, before.calls_answered);
        }
        self.standing = told;
    }

    /// Takes a key in; gives whether it ends the view.
    pub fn press(&mut self, key: Key) -> bool {
        match key {
            Key::Quit => return true,
            Key::Up => self.selected = self.selected.saturating_sub(1),
            Key::Down => self.selected += 1,
            Key::PageUp => self.selected = self.selected.saturating_sub(PAGE),
            Key::PageDown => self.selected += PAGE,
            Key::Sort => {
                self.order = match self.order {
                    Order::Oldest => Order::Youngest,
                    Order::Youngest => Order::State,
                    Order::State => Order::Oldest,
                }
            }
            Key::Redraw => {}
        }
        false
    }

    /// The calls in their order. Keeps what is selected among them.
    pub fn calls(&mut self) -> Vec<Call> {
        let mut calls: Vec<Call> = self.roster.calls().into_iter().cloned().collect();
        match self.order {
            Order::Oldest => {}
            Order::Youngest => calls.reverse(),
            Order::State => calls.sort_by_key(calls::state),
        }
        self.selected = self.selected.min(calls.len().saturating_sub(1));
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_between_two_answers_and_survive_a_restart_of_the_control_plane() {
        let told = |uptime_s, calls_attempted| DescribeResponse {
            version: "1".into(),
            uptime_s,
            calls_attempted,
            ..DescribeResponse::default()
        };
        let mut state = State::default();
        state.stand(told(100, 5_000));
        assert_eq!(state.attempted_per_s, 0, "there is nothing to compare with");
        state.stand(told(102, 5_300));
        assert_eq!(state.attempted_per_s, 150);
        state.stand(told(1, 10));
        state.stand(told(2, 30));
        assert_eq!(state.attempted_per_s, 20);
    }

    #[test]
    fn keys_move_within_the_list_and_change_the_order() {
        let mut state = State::default();
        assert!(!state.press(Key::PageDown));
        assert!(state.calls().is_empty() && state.selected == 0);
        for order in [Order::Youngest, Order::State, Order::Oldest] {
            assert!(!state.press(Key::Sort));
            assert_eq!(state.order, order);
        }
        assert!(state.press(Key::Quit));
    }
}
