//! Listening quality of a stream by the E-model (ITU-T G.107), from what the receiver measured.
//!
//! Delay is from mouth to ear, with [`crate::reception::PLAYOUT_BUFFER_MS`]; packets that came after their playout time
//! count as lost; lost packets are taken not to be concealed, the hardest assumption.

use rtp::emodel::{Impairment, mean_opinion_score, rating};

use crate::reception::Account;

/// Mean opinion score of G.711, either law: 1 to 4.5.
pub fn mos(account: &Account) -> f64 {
    mean_opinion_score(rating(
        &Impairment::G711_UNCONCEALED,
        account.unheard(),
        account.mouth_to_ear_ms(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(lost: u64, delay_ms: f64) -> Account {
        Account {
            sent: 1_000,
            received: 1_000 - lost,
            lost,
            delay_ms_p50: delay_ms,
            ..Account::default()
        }
    }

    #[test]
    fn a_clean_call_scores_as_the_recommendation_says() {
        let score = mos(&account(0, 1.0));
        assert!((4.40..4.42).contains(&score), "{score}");
    }

    #[test]
    fn loss_and_delay_cost_quality() {
        let clean = mos(&account(0, 1.0));
        let lossy = mos(&account(20, 1.0));
        let slow = mos(&account(0, 350.0));
        assert!(lossy < clean - 0.8, "2 % without concealment: {lossy}");
        assert!(slow < clean - 0.5, "{slow}");
        assert_eq!(mos(&Account::default()), 1.0, "silence");
    }
}
