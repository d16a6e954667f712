//! The E-model of ITU-T G.107 as far as a node on the path can know its inputs: loss, delay and codec. Everything
//! else has the default value of the recommendation, and echo is taken to be cancelled.

/// The rating with every parameter at its default (G.107 §7.7).
pub const R_DEFAULT: f64 = 93.2;

/// What a codec does to speech, on the narrowband scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairment {
    /// Equipment impairment factor Ie without loss.
    pub equipment: f32,
    /// Packet-loss robustness factor Bpl for random loss.
    pub robustness: f32,
}

impl Impairment {
    /// G.711 whose receiver conceals losses (G.711 Appendix I): G.113 Appendix I.
    pub const G711: Self = Self {
        equipment: 0.0,
        robustness: 25.1,
    };
    /// G.711 whose receiver plays silence for losses: G.113 Appendix I.
    pub const G711_UNCONCEALED: Self = Self {
        equipment: 0.0,
        robustness: 4.3,
    };
    /// G.729 with Annexes A and B: G.113 Appendix I.
    pub const G729: Self = Self {
        equipment: 11.0,
        robustness: 19.0,
    };
    /// GSM EFR, which is AMR at 12.2 kbit/s: G.113 Appendix I.
    pub const GSM_EFR: Self = Self {
        equipment: 5.0,
        robustness: 10.0,
    };
    /// G.723.1 at 6.3 kbit/s with Annex A: G.113 Appendix I.
    pub const G723: Self = Self {
        equipment: 15.0,
        robustness: 16.1,
    };
    /// GSM full rate: G.113 Appendix I, which has no robustness for it: that of its successor.
    pub const GSM_FR: Self = Self {
        equipment: 20.0,
        robustness: 10.0,
    };
    /// G.728 at 16 kbit/s: G.113 Appendix I, with the robustness of GSM EFR, for the same lack.
    pub const G728: Self = Self {
        equipment: 7.0,
        robustness: 10.0,
    };
    /// Codecs that G.113 has no narrowband value for, and that sound no worse than G.711: wideband ones (G.722) and
    /// Opus. Their losses are taken to be concealed as those of G.711 are.
    pub const TRANSPARENT: Self = Self::G711;

    /// G.726 (ADPCM), which conceals no losses, with the equipment impairment of its bit rate: G.113 Appendix I.
    const fn adpcm(equipment: f32) -> Self {
        Self {
            equipment,
            ..Self::G711_UNCONCEALED
        }
    }

    /// By the encoding name of an `a=rtpmap`, without case; `None` for names not known here, whose speech nobody can judge.
    pub fn of(encoding_name: &str) -> Option<Self> {
        const KNOWN: [(&str, Impairment); 14] = [
            ("PCMU", Impairment::G711),
            ("PCMA", Impairment::G711),
            ("G722", Impairment::TRANSPARENT),
            ("opus", Impairment::TRANSPARENT),
            ("G729", Impairment::G729),
            ("G723", Impairment::G723),
            ("GSM", Impairment::GSM_FR),
            ("G728", Impairment::G728),
            ("G726-16", Impairment::adpcm(50.0)),
            ("G726-24", Impairment::adpcm(25.0)),
            ("G726-32", Impairment::adpcm(7.0)),
            ("G726-40", Impairment::adpcm(2.0)),
            ("GSM-EFR", Impairment::GSM_EFR),
            ("AMR", Impairment::GSM_EFR),
        ];
        let known = KNOWN
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(encoding_name));
        known.map(|(_, impairment)| *impairment)
    }

    /// Effective equipment impairment Ie-eff at random loss (G.107 §7.5 with BurstR = 1). `loss_ratio` is 0 to 1.
    pub fn effective(&self, loss_ratio: f64) -> f64 {
        let (equipment, robustness) = (f64::from(self.equipment), f64::from(self.robustness));
        let percent = 100.0 * loss_ratio.clamp(0.0, 1.0);
        equipment + (95.0 - equipment) * percent / (percent + robustness)
    }
}

/// Impairment Idd by too long a delay, with perfect echo cancelling (G.107 §7.4, sT = 1, mT = 100 ms).
pub fn delay_impairment(one_way_delay_ms: f64) -> f64 {
    if one_way_delay_ms <= 100.0 {
        return 0.0;
    }
    let x = (one_way_delay_ms / 100.0).log2();
    let root = |x: f64| (1.0 + x.powi(6)).powf(1.0 / 6.0);
    25.0 * (root(x) - 3.0 * root(x / 3.0) + 2.0)
}

/// The transmission rating R, 0 to 93.2. `one_way_delay_ms` is from mouth to ear.
pub fn rating(impairment: &Impairment, loss_ratio: f64, one_way_delay_ms: f64) -> f64 {
    let rating = R_DEFAULT - delay_impairment(one_way_delay_ms) - impairment.effective(loss_ratio);
    rating.clamp(0.0, R_DEFAULT)
}

/// The mean opinion score that a rating stands for, 1 to 4.5 (G.107 Annex B).
pub fn mean_opinion_score(rating: f64) -> f64 {
    if rating <= 0.0 {
        1.0
    } else if rating >= 100.0 {
        4.5
    } else {
        // The cubic dips below 1 for ratings under 6.5.
        (1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64, tolerance: f64) -> bool {
        (value - expected).abs() <= tolerance
    }

    /// G.107 Annex B, table B.1 (which rounds up), and the default rating of §7.7.
    #[test]
    fn ratings_become_the_published_scores() {
        for (rating, score) in [
            (90.0, 4.34),
            (80.0, 4.03),
            (70.0, 3.60),
            (60.0, 3.10),
            (50.0, 2.58),
            (93.2, 4.41),
        ] {
            assert!(
                near(mean_opinion_score(rating), score, 0.007),
                "R {rating}: {}",
                mean_opinion_score(rating)
            );
        }
        assert_eq!((mean_opinion_score(-3.0), mean_opinion_score(3.0)), (1.0, 1.0));
        assert_eq!(mean_opinion_score(100.0), 4.5);
    }

    /// G.113 (02/2001) Appendix I, table I.2: G.729A with VAD under random loss, rounded there to whole numbers.
    #[test]
    fn losses_of_g729_cost_what_the_published_table_says() {
        for (percent, impairment) in [
            (0.0, 11.0),
            (0.5, 13.0),
            (1.0, 15.0),
            (1.5, 17.0),
            (2.0, 19.0),
            (3.0, 23.0),
            (4.0, 26.0),
            (8.0, 36.0),
            (16.0, 49.0),
        ] {
            let effective = Impairment::G729.effective(percent / 100.0);
            assert!(near(effective, impairment, 0.6), "{percent} %: {effective}");
        }
    }

    /// Values of the formula of G.107 §7.4 worked out by hand at powers of two.
    #[test]
    fn delay_costs_nothing_up_to_100_ms_and_much_at_400() {
        for (delay_ms, impairment) in [
            (0.0, 0.0),
            (100.0, 0.0),
            (150.0, 0.16),
            (200.0, 3.04),
            (400.0, 24.07),
        ] {
            assert!(
                near(delay_impairment(delay_ms), impairment, 0.01),
                "{delay_ms} ms"
            );
        }
    }

    #[test]
    fn a_clean_call_scores_4_41_and_everything_only_lowers_it() {
        let clean = rating(&Impairment::of("pcma").expect("known"), 0.0, 30.0);
        assert!(near(mean_opinion_score(clean), 4.41, 0.005));
        let mut before = clean;
        for percent in 1..=100 {
            let worse = rating(&Impairment::G711, f64::from(percent) / 100.0, 30.0);
            assert!(worse < before, "{percent} %");
            before = worse;
        }
        assert!(rating(&Impairment::of("G729").expect("known"), 0.0, 30.0) < clean);
        assert!(rating(&Impairment::G711_UNCONCEALED, 0.01, 30.0) < rating(&Impairment::G711, 0.01, 30.0));
        assert!(rating(&Impairment::of("gsm").expect("known"), 0.0, 30.0) < clean - 19.0);
        assert_eq!(Impairment::of("unheard-of"), None);
    }
}
