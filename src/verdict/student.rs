//! Quantiles of Student's t distribution, from its exact distribution function.
//!
//! For a whole number of degrees of freedom the distribution function is a finite sum: M. Abramowitz and I. A.
//! Stegun, "Handbook of Mathematical Functions" (1964), 26.7.3 and 26.7.4. Nothing is approximated, and there is
//! nothing to tune.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2};

/// Degrees of freedom beyond which the quantile is that of so many: from here on it moves by less than 0.1 %.
const MOST: u32 = 1000;

/// The `t` that a variable with `freedom` degrees of freedom exceeds with the probability `alpha`.
///
/// `alpha` lies above 0 and up to one half; no degree of freedom counts as one.
pub(super) fn t_quantile(alpha: f64, freedom: u32) -> f64 {
    let freedom = freedom.clamp(1, MOST);
    let within = 1.0 - 2.0 * alpha;
    // The angle of 26.7.2, `tan(angle) = t / sqrt(freedom)`, has a bounded range, so that halving it ends; 60
    // halvings leave nothing of a double's 53 bits.
    let (mut low, mut high) = (0.0, FRAC_PI_2);
    for _ in 0..60 {
        let angle = f64::midpoint(low, high);
        if probability_within(angle, freedom) < within {
            low = angle;
        } else {
            high = angle;
        }
    }
    f64::from(freedom).sqrt() * f64::midpoint(low, high).tan()
}

/// `A(t | freedom)`: the probability of `[-t, t]`, where `tan(angle) = t / sqrt(freedom)`.
fn probability_within(angle: f64, freedom: u32) -> f64 {
    let (sine, cosine) = angle.sin_cos();
    let square = cosine * cosine;
    // Each term is the one before, times cos^2 and a ratio of neighbouring whole numbers.
    let series = |first: u32| {
        let (mut term, mut sum, mut k) = (1.0, 1.0, first);
        while k + 1 < freedom {
            term *= square * f64::from(k) / f64::from(k + 1);
            sum += term;
            k += 2;
        }
        sum
    };
    match freedom {
        1 => FRAC_2_PI * angle,
        odd if odd % 2 == 1 => FRAC_2_PI * (angle + sine * cosine * series(2)),
        _ => sine * series(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantiles_are_those_of_the_tables() {
        // Printed tables, such as 26.10 of the handbook, to more digits by scipy.stats.t.ppf.
        for (freedom, alpha, expected) in [
            (1, 0.025, 12.706_204_736),
            (1, 2e-4, 1_591.549_221_8),
            (2, 0.025, 4.302_652_730),
            (2, 1e-3, 22.327_124_770),
            (3, 0.025, 3.182_446_305),
            (3, 1e-3, 10.214_531_852),
            (4, 1e-3, 7.173_182_220),
            (5, 0.05, 2.015_048_373),
            (5, 2e-4, 8.363_417_985),
            (9, 0.025, 2.262_157_163),
            (10, 0.10, 1.372_183_641),
            (10, 1e-3, 4.143_700_494),
            (30, 0.025, 2.042_272_456),
            (30, 1e-3, 3.385_184_867),
            (60, 0.005, 2.660_283_029),
            (120, 1e-3, 3.159_538_743),
            (190, 2e-4, 3.604_139_192),
        ] {
            let found = t_quantile(alpha, freedom);
            assert!(
                (found / expected - 1.0).abs() < 1e-8,
                "t({alpha}, {freedom}): {found} is not {expected}"
            );
        }
    }

    #[test]
    fn it_falls_with_the_degrees_of_freedom_towards_the_normal_quantile() {
        for alpha in [0.2, 0.025, 1e-3, 2e-4] {
            let quantiles: Vec<f64> = (1..400).map(|freedom| t_quantile(alpha, freedom)).collect();
            assert!(quantiles.windows(2).all(|pair| pair[1] < pair[0]));
        }
        assert!((t_quantile(0.025, 1000) - 1.959_964).abs() < 3e-3);
        assert_eq!(t_quantile(1e-3, 0), t_quantile(1e-3, 1));
        assert!(t_quantile(0.5, 7).abs() < 1e-9);
    }
}
