//! Two deployments of one family against each other: what a precision gains in speed.

use jiff::Timestamp;

use super::clean::{CleanRun, last, values};
use super::contrast::Contrast;
use super::noise::Noise;
use super::restarts::weight_of;
use crate::measure::Good;

/// Clean runs of each side that are compared at most: half a day of them, at one each quarter of an hour.
const MOST_RUNS: usize = 48;

/// Share by which completion tokens may differ. Beyond it the answers differ in length, and figures of unlike
/// answers say nothing of speed.
const TOKENS_AGREE: f64 = 0.01;

/// The present level of one deployment: its last clean runs, and what is known of its noise.
#[derive(Clone, Debug, PartialEq)]
pub struct PresentLevel {
    runs: Vec<CleanRun>,
    noise: Noise,
    restart_variance: f64,
    good: Good,
}

impl PresentLevel {
    /// The last of these runs, all of one level.
    pub(super) fn of(runs: &[CleanRun], noise: Noise, restart_variance: f64, good: Good) -> Self {
        Self {
            runs: last(runs, MOST_RUNS).to_vec(),
            noise,
            restart_variance,
            good,
        }
    }

    /// How many runs it is told from, from 10 to 48.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// When each of these runs ended, in order.
    pub fn ends(&self) -> impl Iterator<Item = Timestamp> + '_ {
        self.runs.iter().map(|run| run.at)
    }
}

/// How many times as fast one deployment is as another, with the 95 % interval of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speedup {
    /// Above 1 when the first is faster: the ratio of two rates, the inverse ratio of two latencies.
    pub ratio: f64,
    /// Lower end of its 95 % interval.
    pub lower: f64,
    /// Upper end of it.
    pub upper: f64,
}

impl Speedup {
    /// Whether the first is slower, and not by chance: an order of precisions is upside down when this is said of
    /// the narrower one.
    pub fn is_inverted(&self) -> bool {
        self.upper < 1.0
    }
}

impl std::fmt::Display for Speedup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            ratio,
            lower,
            upper,
        } = self;
        write!(f, "{ratio:.3}x [{lower:.3}, {upper:.3}]")
    }
}

/// Whether answers of so many completion tokens are alike enough for their figures to be compared.
pub fn tokens_agree(one: f64, other: f64) -> bool {
    (one - other).abs() <= TOKENS_AGREE * one.min(other)
}

/// How many times as fast `one` is as `reference`, by the same measure of the same workload. Each comes with the
/// mean of its completion tokens per request; `None` when these differ by more than 1 %.
pub fn speedup(one: (&PresentLevel, f64), reference: (&PresentLevel, f64)) -> Option<Speedup> {
    let ((one, tokens), (reference, reference_tokens)) = (one, reference);
    if !tokens_agree(tokens, reference_tokens) || one.good != reference.good {
        return None;
    }
    let (a, b) = (values(&one.runs), values(&reference.runs));
    // One `tau` for both: the larger, lest a few quiet restarts of one side narrow the interval.
    let restart_variance = one.restart_variance.max(reference.restart_variance);
    let weight = weight_of(&one.runs) + weight_of(&reference.runs);
    let contrast = Contrast::of(
        (&a, &one.noise),
        (&b, &reference.noise),
        restart_variance * weight,
    );
    let (lower, upper) = contrast.interval();
    Some(Speedup {
        ratio: contrast.effect.exp(),
        lower: lower.exp(),
        upper: upper.exp(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(value: f64, good: Good) -> PresentLevel {
        let run = CleanRun {
            value: good.sign() * value.ln(),
            at: Timestamp::UNIX_EPOCH,
            observed: true,
            level: 0,
            start: 0,
        };
        let noise = Noise {
            scale: 0.005,
            autocorrelation: 0.0,
            freedom: 100,
        };
        PresentLevel::of(&[run; 60], noise, 9e-6, good)
    }

    #[test]
    fn the_references_own_figures() {
        let (nvfp4, fp8) = (level(606.47, Good::High), level(381.87, Good::High));
        let found = speedup((&nvfp4, 256.0), (&fp8, 256.0)).unwrap();
        // The root of 2 x 0.005^2 / 48 + 2 x 0.003^2, times t_{0.975, 100}.
        let half = 1.983_972 * (2.0_f64 * 0.005 * 0.005 / 48.0 + 2.0 * 9e-6).sqrt();
        assert!((found.ratio - 606.47 / 381.87).abs() < 1e-9);
        assert!((found.upper - found.ratio * half.exp()).abs() < 1e-6);
        assert_eq!(found.to_string(), "1.588x [1.574, 1.602]");
        assert!(!found.is_inverted());
        let turned = speedup((&fp8, 256.0), (&nvfp4, 256.0)).unwrap();
        assert!((turned.ratio * found.ratio - 1.0).abs() < 1e-9);
        assert!((turned.lower * found.upper - 1.0).abs() < 1e-9);
        assert!(turned.is_inverted());
    }

    #[test]
    fn the_shorter_latency_is_the_faster_one() {
        let (quick, slow) = (level(6.76, Good::Low), level(10.69, Good::Low));
        let found = speedup((&quick, 256.0), (&slow, 256.0)).unwrap();
        assert!((found.ratio - 10.69 / 6.76).abs() < 1e-9);
    }

    #[test]
    fn answers_of_unlike_length_are_not_compared() {
        let (a, b) = (level(600.0, Good::High), level(400.0, Good::High));
        assert!(speedup((&a, 256.0), (&b, 254.0)).is_some());
        assert_eq!(speedup((&a, 256.0), (&b, 253.0)), None);
        assert_eq!(speedup((&a, 253.0), (&b, 256.0)), None);
    }
}
