//! Two samples of runs against each other: the effect, how sure it is, and what follows from it.

use super::noise::Noise;
use super::shift::{median, shift};
use super::student::t_quantile;
use super::{Decision, Verdict};

/// Share of the runs after a change that must lie beyond the margin each by itself: a step moves every run, a
/// burst of foreign traffic moves some.
const QUORUM: f64 = 0.7;

/// The share of the effect that such a run must show.
const QUORUM_SHARE: f64 = 0.5;

/// `alpha` of the interval that is shown: 95 % of such intervals hold the true ratio.
const SHOWN_ALPHA: f64 = 0.025;

/// How much of a change matters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tolerance(f64);

impl Tolerance {
    /// A share of the value, above 0.
    pub(super) fn new(share: f64) -> Self {
        Self(share)
    }

    /// `m`, beyond which the whole interval must lie. A third of the tolerance, so that a change as large as the
    /// tolerance is found, and the wobble of restarts is not.
    pub(super) fn margin(self) -> f64 {
        self.0 / 3.0
    }
}

/// How far `after` lies from `before`. Both are samples of logarithms whose sign makes more better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Contrast {
    /// `d`: the logarithm of the ratio, above 0 when `after` is better.
    pub(super) effect: f64,
    variance: f64,
    freedom: u32,
    restart_variance: f64,
}

impl Contrast {
    /// Compares two samples, each with its noise. `restart_variance` is what the starts of the server that they
    /// come from add to the variance of the effect.
    pub(super) fn of(
        (after, noise_after): (&[f64], &Noise),
        (before, noise_before): (&[f64], &Noise),
        restart_variance: f64,
    ) -> Self {
        Self {
            effect: shift(after, before),
            variance: noise_after.variance_of_mean(after.len())
                + noise_before.variance_of_mean(before.len()),
            freedom: noise_after.freedom.min(noise_before.freedom),
            restart_variance,
        }
    }

    /// `SE^2`, the part of the uncertainty that more runs would lessen.
    pub(super) fn variance(&self) -> f64 {
        self.variance
    }

    /// `h = t_{1 - alpha} SE`.
    pub(super) fn half_width(&self, alpha: f64) -> f64 {
        t_quantile(alpha, self.freedom) * self.variance.sqrt()
    }

    /// The 95 % interval of the effect, restarts included.
    pub(super) fn interval(&self) -> (f64, f64) {
        let half = self.half_width_with_restarts(SHOWN_ALPHA);
        (self.effect - half, self.effect + half)
    }

    fn half_width_with_restarts(&self, alpha: f64) -> f64 {
        t_quantile(alpha, self.freedom) * (self.variance + self.restart_variance).sqrt()
    }
}

/// Whether enough of `after` lies beyond `least` of the middle of `before`, on the side of `sign`.
fn has_quorum(after: &[f64], middle: f64, sign: f64, least: f64) -> bool {
    let beyond = after
        .iter()
        .filter(|value| sign * (*value - middle) > least);
    beyond.count() as f64 >= QUORUM * after.len() as f64
}

/// The side on which a verdict could lie, at a glance: most of `after` must lie beyond the margin, whatever the
/// interval says. Spares nearly every run the full comparison.
pub(super) fn possible(after: &[f64], middle: f64, tolerance: Tolerance) -> Option<Verdict> {
    Verdict::ALL
        .iter()
        .copied()
        .find(|verdict| has_quorum(after, middle, verdict.sign(), tolerance.margin()))
}

/// What the comparison says with the error probability `alpha` on each side.
pub(super) fn decide(
    contrast: &Contrast,
    after: &[f64],
    before: &[f64],
    alpha: f64,
    tolerance: Tolerance,
) -> Decision {
    let (size, half) = (contrast.effect.abs(), contrast.half_width(alpha));
    let margin = tolerance.margin();
    // Beyond the margin by what these runs show, and beyond no change at all by what restarts may do.
    if size - half > margin && size > contrast.half_width_with_restarts(alpha) {
        let middle = median(&mut before.to_vec());
        let least = margin.max(QUORUM_SHARE * size);
        if has_quorum(after, middle, contrast.effect.signum(), least) {
            return if contrast.effect < 0.0 {
                Decision::Regressed
            } else {
                Decision::Improved
            };
        }
    }
    if size + half <= tolerance.0 {
        Decision::Unchanged
    } else {
        Decision::Inconclusive
    }
}

/// The least change that is found in nine cases of ten, from 24 runs against `before` others: `m + (t + 1.28) SE`.
pub(super) fn minimum_detectable(
    noise: &Noise,
    before: usize,
    alpha: f64,
    tolerance: Tolerance,
) -> f64 {
    /// Six hours of runs, at one each quarter of an hour.
    const AFTER: usize = 24;
    /// The 90 % quantile of the normal distribution: the power.
    const POWER: f64 = 1.28;
    let variance = noise.variance_of_mean(AFTER) + noise.variance_of_mean(before);
    tolerance.margin() + (t_quantile(alpha, noise.freedom) + POWER) * variance.sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOISE: Noise = Noise {
        scale: 0.01,
        autocorrelation: 0.0,
        freedom: 100,
    };

    fn contrast(after: &[f64], before: &[f64], restart_variance: f64) -> Contrast {
        Contrast::of((after, &NOISE), (before, &NOISE), restart_variance)
    }

    fn decided(after: &[f64], before: &[f64]) -> Decision {
        decide(
            &contrast(after, before, 0.0),
            after,
            before,
            1e-3,
            Tolerance::new(0.03),
        )
    }

    #[test]
    fn the_error_and_the_intervals_by_hand() {
        let (after, before) = ([0.5; 4], [0.25; 16]);
        let found = contrast(&after, &before, 0.0);
        let error = 0.01 * (1.0_f64 / 4.0 + 1.0 / 16.0).sqrt();
        assert_eq!(found.effect, 0.25);
        assert!((found.half_width(1e-3) - 3.173_739 * error).abs() < 1e-6);
        let (lower, upper) = found.interval();
        assert!((upper - 0.25 - 1.983_972 * error).abs() < 1e-6);
        assert!((lower + upper - 0.5).abs() < 1e-12);
        let restarted = contrast(&after, &before, 2.0 * 9e-6);
        assert_eq!(restarted.half_width(1e-3), found.half_width(1e-3));
        let (_, wider) = restarted.interval();
        let with_restarts = (error * error + 9e-6 * 2.0).sqrt();
        assert!((wider - 0.25 - 1.983_972 * with_restarts).abs() < 1e-6);
    }

    #[test]
    fn what_restarts_may_do_is_no_verdict() {
        let (after, before) = ([-0.03; 10], [0.0; 60]);
        let at = |restart_variance| {
            let found = contrast(&after, &before, restart_variance);
            decide(&found, &after, &before, 1e-3, Tolerance::new(0.03))
        };
        // 3 % lies 3.17 deviations away when one is 0.945 %, of which single runs make 0.342 %.
        assert_eq!(at(0.0085_f64.powi(2)), Decision::Regressed);
        assert_eq!(at(0.0090_f64.powi(2)), Decision::Inconclusive);
    }

    #[test]
    fn each_decision_has_its_case() {
        let before = [0.0; 60];
        // Half-widths at alpha 1e-3: 1.07 % with 10 runs, 0.67 % with 40.
        assert_eq!(decided(&[-0.03; 10], &before), Decision::Regressed);
        assert_eq!(decided(&[0.03; 10], &before), Decision::Improved);
        assert_eq!(decided(&[-0.02; 10], &before), Decision::Inconclusive);
        assert_eq!(decided(&[-0.02; 40], &before), Decision::Regressed);
        assert_eq!(decided(&[-0.005; 40], &before), Decision::Unchanged);
        assert_eq!(decided(&[-0.005; 4], &before), Decision::Unchanged);
        assert_eq!(decided(&[-0.015; 40], &before), Decision::Unchanged);
    }

    #[test]
    fn a_burst_that_moves_some_runs_is_not_a_step() {
        let before = [0.0; 60];
        let mut burst = [0.0; 20];
        burst[..13].fill(-0.2);
        assert_ne!(decided(&burst, &before), Decision::Regressed);
        burst[13] = -0.2;
        assert_eq!(decided(&burst, &before), Decision::Regressed);
    }

    #[test]
    fn the_least_change_that_can_be_seen_falls_with_the_noise() {
        let tolerance = Tolerance::new(0.03);
        let at = |scale| minimum_detectable(&Noise { scale, ..NOISE }, 96, 2e-4, tolerance);
        let error = 0.01 * (1.0_f64 / 24.0 + 1.0 / 96.0).sqrt();
        assert!(
            (at(0.01) - 0.01 - (3.663_578 + 1.28) * error).abs() < 2e-5,
            "{}",
            at(0.01)
        );
        assert!(at(0.003) < at(0.01) && at(0.003) > 0.01);
    }

    fn sample() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(-0.1..0.1, 5..40)
    }

    proptest! {
        #[test]
        fn a_common_factor_changes_nothing(after in sample(), before in sample(), by in -3.0..3.0) {
            let moved = |values: &[f64]| values.iter().map(|v| v + by).collect::<Vec<f64>>();
            let (after_moved, before_moved) = (moved(&after), moved(&before));
            let here = contrast(&after, &before, 0.0);
            let there = contrast(&after_moved, &before_moved, 0.0);
            prop_assert!((here.effect - there.effect).abs() < 1e-9);
            prop_assert_eq!(here.half_width(1e-3), there.half_width(1e-3));
        }

        #[test]
        fn changing_places_turns_the_effect_round(after in sample(), before in sample()) {
            let there = contrast(&after, &before, 0.0);
            let back = contrast(&before, &after, 0.0);
            prop_assert!((there.effect + back.effect).abs() < 1e-12);
            prop_assert!((there.half_width(1e-3) - back.half_width(1e-3)).abs() < 1e-12);
        }

        #[test]
        fn upside_down_a_regression_is_an_improvement(after in sample(), before in sample(), by in -0.1..0.1) {
            let after: Vec<f64> = after.iter().map(|v| v + by).collect();
            let flip = |values: &[f64]| values.iter().map(|v| -v).collect::<Vec<f64>>();
            let mirrored = match decided(&after, &before) {
                Decision::Regressed => Decision::Improved,
                Decision::Improved => Decision::Regressed,
                same => same,
            };
            prop_assert_eq!(decided(&flip(&after), &flip(&before)), mirrored);
        }

        #[test]
        fn the_glance_never_rules_out_a_verdict(after in sample(), before in sample(), by in -0.1..0.1) {
            let after: Vec<f64> = after.iter().map(|v| v + by).collect();
            let middle = median(&mut before.clone());
            let decision = decided(&after, &before);
            if let Some(verdict) = decision.verdict() {
                prop_assert_eq!(possible(&after, middle, Tolerance::new(0.03)), Some(verdict));
            }
        }
    }
}
