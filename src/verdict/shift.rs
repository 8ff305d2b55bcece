//! By how much one sample lies above another: the Hodges-Lehmann estimator.
//!
//! J. L. Hodges and E. L. Lehmann, "Estimates of location based on rank tests", The Annals of Mathematical
//! Statistics 34 (1963), section 4: the median of all pairwise differences. It keeps 95 % of the mean's
//! precision under normal noise, and up to 29 % of either sample may be wild without moving it far.

/// The middle reading, or the mean of the two middle ones. It reorders the readings.
///
/// # Panics
/// When there are none: no sample here is empty.
pub(super) fn median(readings: &mut [f64]) -> f64 {
    let middle = readings.len() / 2;
    let odd = readings.len() % 2 == 1;
    let (below, &mut upper, _) = readings.select_nth_unstable_by(middle, f64::total_cmp);
    if odd {
        return upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    lower + (upper - lower) / 2.0
}

/// `median{a - b}` over all pairs: by how much `after` lies above `before`.
///
/// Samples here have at most 96 runs. For their 9,216 differences a selection in linear time costs less than a
/// tenth of a millisecond, so that nothing cleverer is needed.
pub(super) fn shift(after: &[f64], before: &[f64]) -> f64 {
    let pairs = after.iter().flat_map(|a| before.iter().map(move |b| a - b));
    median(&mut pairs.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, by a full sort.
    fn naive(after: &[f64], before: &[f64]) -> f64 {
        let mut differences = Vec::new();
        for a in after {
            for b in before {
                differences.push(a - b);
            }
        }
        differences.sort_by(f64::total_cmp);
        let n = differences.len();
        f64::midpoint(differences[(n - 1) / 2], differences[n / 2])
    }

    #[test]
    fn small_cases_by_hand() {
        assert_eq!(median(&mut [3.0]), 3.0);
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&mut [9.0, 1.0, 5.0]), 5.0);
        // 5 - 1, 5 - 2, 9 - 1, 9 - 2 = 3, 4, 7, 8.
        assert_eq!(shift(&[5.0, 9.0], &[1.0, 2.0]), 5.5);
    }

    #[test]
    fn a_quarter_of_wild_readings_does_not_move_it_far() {
        let before = [0.0; 12];
        let mut after = [1.0; 12];
        after[..3].fill(-1000.0);
        assert_eq!(shift(&after, &before), 1.0);
    }

    fn sample() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(prop_oneof![-1.0..1.0, Just(0.25)], 1..40)
    }

    proptest! {
        #[test]
        fn it_is_what_its_definition_says(after in sample(), before in sample()) {
            prop_assert!((shift(&after, &before) - naive(&after, &before)).abs() < 1e-12);
        }

        #[test]
        fn it_is_the_opposite_when_the_samples_change_places(after in sample(), before in sample()) {
            prop_assert!((shift(&after, &before) + shift(&before, &after)).abs() < 1e-12);
        }

        #[test]
        fn the_order_of_the_readings_is_nothing_to_it(mut after in sample(), before in sample(), by in 0usize..40) {
            let found = shift(&after, &before);
            let by = by % after.len();
            after.rotate_left(by);
            prop_assert_eq!(shift(&after, &before), found);
        }
    }
}
