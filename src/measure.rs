//! What is judged of a run: the measures, which way each is good, and how much of a change its users bear.

use std::collections::BTreeMap;

use crate::closed_set::closed_set;

closed_set! {
    /// A figure of a run that is compared from run to run.
    ///
    /// The 99th percentile of 64 requests is nearly their maximum: no tail is ever judged.
    Measure:
    DecodeTokensRate "decode_tokens_rate" "Completion tokens per second: the headline.",
    RequestsRate "requests_rate" "Completed requests per second.",
    PromptTokensRate "prompt_tokens_rate" "Accepted prompt tokens per second.",
    TtftP50 "ttft_p50" "Median time to first token.",
    TpotP50 "tpot_p50" "Median time per output token.",
    E2eP50 "e2e_p50" "Median end-to-end latency.",
}

/// Which way a measure is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Good {
    /// More is better: a rate.
    High,
    /// Less is better: a latency.
    Low,
}

impl Good {
    /// 1 where more is better, -1 where less is: what turns a logarithm into a goodness, and back.
    pub fn sign(self) -> f64 {
        match self {
            Self::High => 1.0,
            Self::Low => -1.0,
        }
    }
}

impl Measure {
    /// The measure of that name.
    pub fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|measure| measure.label() == name)
    }

    /// Which way it is good.
    pub fn good(self) -> Good {
        match self {
            Self::DecodeTokensRate | Self::RequestsRate | Self::PromptTokensRate => Good::High,
            Self::TtftP50 | Self::TpotP50 | Self::E2eP50 => Good::Low,
        }
    }

    /// The change that is borne unless the user says otherwise, as a share: 3 %, and 10 % for the time to first
    /// token, which is short and hangs on the queue of the moment.
    pub fn default_tolerance(self) -> f64 {
        match self {
            Self::TtftP50 => 0.10,
            _ => 0.03,
        }
    }
}

/// The change of each measure that is borne: the one knob of the verdict that is its user's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tolerances(BTreeMap<Measure, f64>);

impl Tolerances {
    /// These shares, each between 0 and 1; a measure that has none keeps the default.
    pub fn new(shares: impl IntoIterator<Item = (Measure, f64)>) -> Self {
        Self(shares.into_iter().collect())
    }

    /// The share of `measure`.
    pub fn of(&self, measure: Measure) -> f64 {
        let own = self.0.get(&measure).copied();
        own.unwrap_or_else(|| measure.default_tolerance())
    }

    /// These, where `other` says nothing else.
    #[must_use]
    pub fn overridden_by(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tolerance_is_that_of_the_nearest_place_that_names_it() {
        let global = Tolerances::new([(Measure::TtftP50, 0.2), (Measure::E2eP50, 0.05)]);
        let own = Tolerances::new([(Measure::TtftP50, 0.3)]);
        let both = global.overridden_by(own);
        let shares = [Measure::TtftP50, Measure::E2eP50, Measure::TpotP50].map(|m| both.of(m));
        assert_eq!(shares, [0.3, 0.05, 0.03]);
        assert!(
            Measure::ALL
                .iter()
                .all(|measure| Measure::named(measure.label()) == Some(*measure))
        );
    }
}
