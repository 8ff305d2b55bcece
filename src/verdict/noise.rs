//! How much runs differ while nothing changes: their scale, and how far each resembles the one before.
//!
//! Neighbouring runs share the hour, the temperature and the neighbours' load, so that ten of them tell less than
//! ten independent ones would. A test that overlooks this raises false alarms by the dozen.

use super::shift::median;

/// Runs of a level from which its residuals say something.
const LEAST_RUNS: usize = 4;

/// The least scale that is believed: 0.25 %. A server looks quieter than this only by chance, or because its
/// figures are rounded.
const LEAST_SCALE: f64 = 0.0025;

/// How many robust standard deviations away a residual is left out.
const CUT: f64 = 4.0;

/// What makes the median absolute deviation of normal readings their standard deviation: `1 / 0.6745`.
///
/// F. R. Hampel, "The influence curve and its role in robust estimation", JASA 69 (1974).
pub(super) const MAD_TO_STD: f64 = 1.4826;

/// The autocorrelation is held within these bounds: a negative one would promise more than there is, and beyond
/// the upper one it is a drift that shows, not noise.
const AUTOCORRELATION: (f64, f64) = (0.0, 0.6);

/// The noise of a series of logarithms, which makes its scale a share of the value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Noise {
    /// Standard deviation of single runs about their level.
    pub(super) scale: f64,
    /// Correlation of each run with the one before.
    pub(super) autocorrelation: f64,
    /// Degrees of freedom of the scale, at least 1.
    pub(super) freedom: u32,
}

impl Noise {
    /// The noise that all levels share, each a stretch of runs in order between two changes. `None` when no level
    /// is long enough to tell.
    pub(super) fn of(levels: &[Vec<f64>]) -> Option<Self> {
        let residuals: Vec<Vec<f64>> = levels
            .iter()
            .filter(|level| level.len() >= LEAST_RUNS)
            .map(|level| residuals(level))
            .collect();
        if residuals.is_empty() {
            return None;
        }
        let mut sizes: Vec<f64> = residuals.iter().flatten().map(|r| r.abs()).collect();
        let limit = CUT * (MAD_TO_STD * median(&mut sizes)).max(LEAST_SCALE);
        let kept = |residual: f64| residual.abs() <= limit;

        let (mut count, mut squares) = (0_usize, 0.0);
        let (mut pairs, mut products) = (0_usize, 0.0);
        for level in &residuals {
            for &residual in level.iter().filter(|r| kept(**r)) {
                count += 1;
                squares += residual * residual;
            }
            for pair in level.windows(2) {
                if kept(pair[0]) && kept(pair[1]) {
                    pairs += 1;
                    products += pair[0] * pair[1];
                }
            }
        }
        let freedom = count.saturating_sub(residuals.len()).max(1);
        let variance = squares / freedom as f64;
        let raw = if pairs > 0 && variance > 0.0 {
            products / pairs as f64 / variance
        } else {
            0.0
        };
        Some(Self {
            scale: variance.sqrt().max(LEAST_SCALE),
            autocorrelation: unbiased(raw, count).clamp(AUTOCORRELATION.0, AUTOCORRELATION.1),
            freedom: u32::try_from(freedom).unwrap_or(u32::MAX),
        })
    }

    /// The variance of the mean of `runs` consecutive runs: `s^2 f(n, r) / n`.
    pub(super) fn variance_of_mean(&self, runs: usize) -> f64 {
        self.scale * self.scale * inflation(runs, self.autocorrelation) / runs as f64
    }
}

fn residuals(level: &[f64]) -> Vec<f64> {
    let middle = median(&mut level.to_vec());
    level.iter().map(|value| value - middle).collect()
}

/// The lag-1 autocorrelation `r` of `n` readings about a level that was estimated from them, less its bias of
/// `-(1 + 3r) / n`: F. H. C. Marriott and J. A. Pope, "Bias in the estimation of autocorrelations", Biometrika
/// 41 (1954), and M. G. Kendall's note beside it.
fn unbiased(r: f64, n: usize) -> f64 {
    r + (1.0 + 3.0 * r) / n.max(1) as f64
}

/// `f(n, r) = 1 + 2 sum_{j=1}^{n-1} (1 - j/n) r^j`: by how much a first-order autocorrelation `r` raises the
/// variance of the mean of `n` readings.
///
/// G. V. Bayley and J. M. Hammersley, "The 'effective' number of independent observations in an autocorrelated
/// time series", Supplement to the JRSS 8 (1946). The sum is geometric; this is its closed form.
fn inflation(n: usize, r: f64) -> f64 {
    let (n, rest) = (n as f64, 1.0 - r);
    1.0 + 2.0 * (r / rest - r * (1.0 - r.powf(n)) / (n * rest * rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_small_case_by_hand() {
        // Residuals from the medians 10 and 20, in percent: -1, -1, 1, 1 and 2, 0, 2, -2, -2.
        let levels = [
            vec![9.99, 9.99, 10.01, 10.01],
            vec![20.02, 20.0, 20.02, 19.98, 19.98],
        ];
        let noise = Noise::of(&levels).unwrap();
        assert_eq!(noise.freedom, 9 - 2);
        assert!((noise.scale - (20e-4_f64 / 7.0).sqrt()).abs() < 1e-9);
        // Products of neighbours: 1 - 1 + 1 and 0 + 0 - 4 + 4, over 7 pairs. Then the bias of 9 runs.
        let raw = (1e-4 / 7.0) / (20e-4 / 7.0);
        let expected = raw + (1.0 + 3.0 * raw) / 9.0;
        assert!((noise.autocorrelation - expected).abs() < 1e-6);
    }

    #[test]
    fn what_is_too_short_or_too_quiet_is_not_believed() {
        assert_eq!(Noise::of(&[vec![1.0, 2.0, 3.0]]), None);
        assert_eq!(Noise::of(&[]), None);
        let quiet = Noise::of(&[vec![1.0; 20]]).unwrap();
        assert_eq!((quiet.scale, quiet.freedom), (LEAST_SCALE, 19));
    }

    #[test]
    fn a_wild_run_does_not_widen_the_scale() {
        let steady: Vec<f64> = (0..40).map(|k| 0.01 * f64::from(k % 5)).collect();
        let mut wild = steady.clone();
        wild[7] -= 3.0;
        let (steady, wild) = (Noise::of(&[steady]).unwrap(), Noise::of(&[wild]).unwrap());
        assert!((wild.scale / steady.scale - 1.0).abs() < 0.05);
        assert_eq!(wild.freedom, steady.freedom - 1);
    }

    /// An autoregression of the first order with noise from a small congruential generator.
    fn autoregression(rho: f64, runs: usize) -> Vec<f64> {
        let mut state = 12_345_u64;
        let mut value = 0.0;
        let mut next = || {
            let mut sum = 0.0;
            for _ in 0..12 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                sum += (state >> 11) as f64 / (1_u64 << 53) as f64;
            }
            sum - 6.0
        };
        let mut values = Vec::new();
        for _ in 0..runs {
            value = rho * value + (1.0 - rho * rho).sqrt() * next();
            values.push(0.01 * value);
        }
        values
    }

    #[test]
    fn the_scale_and_the_correlation_of_a_known_series_are_found() {
        for rho in [0.0, 0.25, 0.5] {
            let noise = Noise::of(&[autoregression(rho, 20_000)]).unwrap();
            assert!((noise.scale - 0.01).abs() < 4e-4, "{noise:?}");
            assert!((noise.autocorrelation - rho).abs() < 0.03, "{noise:?}");
        }
        let alternating: Vec<f64> = (0..50).map(|k| f64::from(k % 2) * 0.01).collect();
        assert_eq!(Noise::of(&[alternating]).unwrap().autocorrelation, 0.0);
        let trend: Vec<f64> = (0..50).map(|k| f64::from(k) * 0.01).collect();
        assert_eq!(Noise::of(&[trend]).unwrap().autocorrelation, 0.6);
    }

    proptest! {
        #[test]
        fn the_inflation_is_the_plain_sum(n in 1usize..200, r in 0.0..0.6_f64) {
            let sum: f64 = (1..n).map(|j| (1.0 - j as f64 / n as f64) * r.powi(j as i32)).sum();
            prop_assert!((inflation(n, r) - (1.0 + 2.0 * sum)).abs() < 1e-9);
        }

        #[test]
        fn moving_a_level_changes_nothing(by in -5.0..5.0, values in prop::collection::vec(-0.1..0.1, 8..60)) {
            let moved: Vec<f64> = values.iter().map(|value| value + by).collect();
            let (here, there) = (Noise::of(&[values]).unwrap(), Noise::of(&[moved]).unwrap());
            prop_assert!((here.scale - there.scale).abs() < 1e-9);
            prop_assert!((here.autocorrelation - there.autocorrelation).abs() < 1e-6);
        }
    }
}
