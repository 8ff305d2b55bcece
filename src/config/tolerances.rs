//! The `tolerance` of a deployment, and that of all in `global`: how much of a change is borne before it is a verdict.

use super::field::Field;
use super::section::Section;
use crate::measure::{Measure, Tolerances};

/// The measures.
pub(super) const FIELDS: &[&str] = &[
    "decode_tokens_rate",
    "requests_rate",
    "prompt_tokens_rate",
    "ttft_p50",
    "tpot_p50",
    "e2e_p50",
];

/// Runs of one deployment differ by more than the least of it; the most would hide nearly everything.
const SHARES: std::ops::RangeInclusive<f64> = 0.001..=0.9;

/// The tolerances that `field` sets; those that it leaves out are as in `defaults`.
pub(super) fn read_tolerances(field: &Field<'_>, defaults: &Tolerances) -> Tolerances {
    let section = Section::of(field, FIELDS);
    let shares = Measure::ALL.iter().filter_map(|measure| {
        let share = section.get(measure.label())?.number(SHARES)?;
        Some((*measure, share))
    });
    defaults.clone().overridden_by(Tolerances::new(shares))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_has_a_tolerance_of_its_own() {
        let measures: Vec<_> = Measure::ALL.iter().map(|measure| measure.label()).collect();
        assert_eq!(measures, FIELDS);
    }
}
