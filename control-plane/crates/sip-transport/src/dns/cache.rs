use std::collections::HashMap;
use std::time::Duration;

use sans_io::Timestamp;

use super::{Answer, Question};

/// How long answers are kept, whatever they say themselves.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// At least; bounds the rate of questions.
    pub min: Duration,
    /// At most; bounds how long a change is not seen.
    pub max: Duration,
    /// That there is nothing, when the answer does not say how long (RFC 2308 §5).
    pub negative: Duration,
}

/// Answers until they are too old. Holds a number of them; beyond it the one that would go first goes.
#[derive(Debug)]
pub struct Cache {
    entries: HashMap<Question, Entry>,
    lifetimes: Lifetimes,
    entries_max: usize,
}

#[derive(Debug)]
struct Entry {
    answer: Answer,
    until: Timestamp,
}

impl Cache {
    /// An empty one for `entries_max` answers, 1 at least.
    pub fn new(lifetimes: Lifetimes, entries_max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            lifetimes,
            entries_max: entries_max.max(1),
        }
    }

    /// The answer, if it is known and not too old, and until when it holds.
    pub fn find(&self, now: Timestamp, question: &Question) -> Option<(&Answer, Timestamp)> {
        let entry = self.entries.get(question).filter(|entry| now < entry.until)?;
        Some((&entry.answer, entry.until))
    }

    /// Keeps an answer for its time to live, which negative ones may not have. Gives until when it holds.
    pub fn keep(
        &mut self,
        now: Timestamp,
        question: Question,
        answer: Answer,
        ttl: Option<Duration>,
    ) -> Timestamp {
        let ttl = ttl.unwrap_or(self.lifetimes.negative);
        let until = now + ttl.min(self.lifetimes.max).max(self.lifetimes.min);
        self.entries.retain(|_, entry| now < entry.until);
        if self.entries.len() >= self.entries_max && !self.entries.contains_key(&question) {
            let first = self.entries.iter().min_by_key(|(_, entry)| entry.until);
            if let Some(question) = first.map(|(question, _)| question.clone()) {
                self.entries.remove(&question);
            }
        }
        self.entries.insert(question, Entry { answer, until });
        until
    }

    /// How many answers there are, those included that are too old and were not cleared away yet.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIMES: Lifetimes = Lifetimes {
        min: Duration::from_secs(5),
        max: Duration::from_secs(60),
        negative: Duration::from_secs(10),
    };

    fn question(n: u32) -> Question {
        Question::A(format!("h{n}"))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn an_answer_is_kept_for_its_time_within_bounds() {
        let mut cache = Cache::new(LIFETIMES, 10);
        let seconds = Duration::from_secs;
        for (n, ttl, holds) in [
            (0, Some(seconds(0)), 5),
            (1, Some(seconds(30)), 30),
            (2, Some(seconds(600)), 60),
            (3, None, 10),
        ] {
            let until = cache.keep(at(100), question(n), Answer::A(vec![]), ttl);
            assert_eq!(until, at(100 + holds));
            assert!(cache.find(at(99 + holds), &question(n)).is_some());
            assert!(cache.find(at(100 + holds), &question(n)).is_none());
        }
    }

    #[test]
    fn a_full_cache_gives_up_what_would_go_first() {
        let mut cache = Cache::new(LIFETIMES, 3);
        for (n, ttl) in [(0, 30), (1, 20), (2, 40), (3, 50)] {
            cache.keep(
                at(0),
                question(n),
                Answer::A(vec![]),
                Some(Duration::from_secs(ttl)),
            );
        }
        let kept: Vec<bool> = (0..4)
            .map(|n| cache.find(at(1), &question(n)).is_some())
            .collect();
        assert_eq!(kept, [true, false, true, true]);
        cache.keep(at(45), question(9), Answer::A(vec![]), None);
        assert_eq!(cache.len(), 2, "what is too old is cleared away");
    }
}
