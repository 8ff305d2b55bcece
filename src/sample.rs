//! Order statistics and moments of readings, defined as the field's tools define them, so that figures agree.

/// A finite, sorted, non-empty set of readings: what every statistic here may take for granted.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Sorts the readings. `None` when there are none, or when one of them is not finite.
    pub fn new(mut readings: Vec<f64>) -> Option<Self> {
        if readings.is_empty() || readings.iter().any(|reading| !reading.is_finite()) {
            return None;
        }
        readings.sort_unstable_by(f64::total_cmp);
        Some(Self(readings))
    }

    /// How many readings there are, at least 1.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// The quantile `q` in `[0, 1]`, linear between neighbours: with `h = (n - 1) q`, the reading of rank `h`.
    ///
    /// Type 7 of Hyndman and Fan, "Sample Quantiles in Statistical Packages", The American Statistician 50
    /// (1996): what `numpy.percentile` and R's `quantile` give by default. A `q` outside the range is
    /// taken as its nearer end.
    pub fn quantile(&self, q: f64) -> f64 {
        let rank = (self.0.len() - 1) as f64 * q.clamp(0.0, 1.0);
        let below = self.0[rank.floor() as usize];
        let above = self.0[rank.ceil() as usize];
        let weight = rank.fract();
        // Measured from the nearer end, so that equal neighbours give exactly themselves, and the quantile
        // never decreases by rounding where it should not.
        if weight < 0.5 {
            below + (above - below) * weight
        } else {
            above - (above - below) * (1.0 - weight)
        }
    }

    /// The quantile 0.5.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The least reading.
    pub fn min(&self) -> f64 {
        self.0[0]
    }

    /// The greatest reading.
    pub fn max(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    /// The sum of all readings.
    pub fn sum(&self) -> f64 {
        exact_sum(self.0.iter().copied())
    }

    /// The arithmetic mean.
    pub fn mean(&self) -> f64 {
        // By rounding alone the mean of equal readings could fall outside them.
        (self.sum() / self.0.len() as f64).clamp(self.min(), self.max())
    }

    /// The standard deviation of these readings themselves (division by `n`), as `numpy.std` by default.
    ///
    /// In two passes, since the difference of two large sums of squares would lose the small spread of
    /// readings that lie close together.
    pub fn std(&self) -> f64 {
        let mean = self.mean();
        let squares = exact_sum(self.0.iter().map(|reading| (reading - mean).powi(2)));
        (squares / self.0.len() as f64).sqrt()
    }
}

/// Neumaier's compensated sum: as if the intermediate sums had twice the digits.
///
/// A. Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen", ZAMM 54 (1974).
fn exact_sum(terms: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0_f64);
    for term in terms {
        let total = sum + term;
        lost += if sum.abs() >= term.abs() {
            (sum - total) + term
        } else {
            (term - total) + sum
        };
        sum = total;
    }
    sum + lost
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(readings: &[f64]) -> Sample {
        Sample::new(readings.to_vec()).unwrap()
    }

    #[test]
    fn only_finite_readings_make_a_sample() {
        assert_eq!(Sample::new(vec![]), None);
        assert_eq!(Sample::new(vec![1.0, f64::NAN]), None);
        assert_eq!(Sample::new(vec![f64::INFINITY]), None);
        assert_eq!(sample(&[2.0, 1.0]), sample(&[1.0, 2.0]));
    }

    #[test]
    fn quantiles_are_those_of_numpy() {
        // numpy.percentile([1, 2, 4, 8], [0, 25, 50, 90, 95, 99, 100]), and of a single reading.
        let four = sample(&[8.0, 1.0, 4.0, 2.0]);
        for (q, expected) in [
            (0.0, 1.0),
            (0.25, 1.75),
            (0.5, 3.0),
            (0.9, 6.8),
            (0.95, 7.4),
            (0.99, 7.88),
            (1.0, 8.0),
        ] {
            let found = four.quantile(q);
            assert!((found - expected).abs() < 1e-12, "{q}: {found}");
        }
        assert_eq!(sample(&[7.0]).quantile(0.99), 7.0);
    }

    #[test]
    fn a_small_spread_survives_a_large_offset() {
        // The population deviation of 4, 7, 13, 16 is the root of 22.5, wherever they are moved to.
        let moved = sample(&[1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0]);
        assert!((moved.std() - 22.5_f64.sqrt()).abs() < 1e-9);
        assert_eq!(sample(&[1e16, 1.0, -1e16]).sum(), 1.0);
        assert_eq!(sample(&[0.1; 10]).mean(), 0.1);
        assert_eq!(sample(&[0.1; 10]).std(), 0.0);
    }

    /// Type 7 from its other definition: the piecewise linear function through the points
    /// `((k - 1) / (n - 1), x_k)`, found by search instead of by rank.
    fn naive_quantile(readings: &[f64], q: f64) -> f64 {
        let mut sorted = readings.to_vec();
        sorted.sort_by(|a, b| a.partial_cmp(b).unwrap());
        let last = (sorted.len() - 1) as f64;
        for k in 1..sorted.len() {
            let (left, right) = ((k - 1) as f64 / last, k as f64 / last);
            if left <= q && q <= right {
                let share = (q - left) / (right - left);
                return sorted[k - 1] * (1.0 - share) + sorted[k] * share;
            }
        }
        sorted[0]
    }

    fn readings() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(prop_oneof![0.0..100.0, Just(1.0), Just(2.0)], 1..80)
    }

    proptest! {
        #[test]
        fn quantiles_agree_with_a_naive_reading_of_the_definition(readings in readings(), q in 0.0..=1.0) {
            let found = sample(&readings).quantile(q);
            prop_assert!((found - naive_quantile(&readings, q)).abs() < 1e-9, "{}", found);
        }

        #[test]
        fn quantiles_rise_with_q_and_stay_within_the_readings(readings in readings(), a in 0.0..=1.0, b in 0.0..=1.0) {
            let sample = sample(&readings);
            let (low, high) = (sample.quantile(f64::min(a, b)), sample.quantile(f64::max(a, b)));
            prop_assert!(sample.min() <= low && low <= high + 1e-12 && high <= sample.max());
            prop_assert!(sample.min() <= sample.mean() && sample.mean() <= sample.max());
        }

        #[test]
        fn the_deviation_is_what_its_definition_says(readings in readings()) {
            let n = readings.len() as f64;
            let mean = readings.iter().sum::<f64>() / n;
            let variance = readings.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            prop_assert!((sample(&readings).std() - variance.sqrt()).abs() < 1e-7);
        }
    }
}
