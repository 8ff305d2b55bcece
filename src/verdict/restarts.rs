//! `tau`: by how much the level wanders from one start of the server to the next, while nothing else changes.
//!
//! Placement of memory and tuning at start leave every start with a level of its own. No number of runs after
//! one restart averages this out, so the interval that is shown has to hold it.

use std::collections::{BTreeMap, VecDeque};

use super::clean::{CleanRun, last, values};
use super::contrast::Contrast;
use super::noise::{MAD_TO_STD, Noise};
use super::shift::median;
use super::{LEAST_AFTER, MOST_AFTER};

/// `tau` until it was measured: 0.3 %.
const DEFAULT_TAU: f64 = 0.003;

/// Restarts from which it is measured.
const LEAST_RESTARTS: usize = 5;

/// Restarts that are remembered.
const MOST_RESTARTS: usize = 48;

/// How many robust standard deviations away a shift is left out: there something else happened.
const CUT: f64 = 4.0;

/// What was seen of restarts with nothing changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Restarts {
    /// The square of each shift, and what of it is the error of single runs.
    shifts: VecDeque<(f64, f64)>,
}

impl Restarts {
    /// Takes in what a restart in the middle of `runs` did to the level. These are the runs of one level up to
    /// now; too few on either side say nothing.
    pub(super) fn observe(&mut self, runs: &[CleanRun], noise: &Noise) {
        let mut by_start = runs.chunk_by(|a, b| a.start == b.start).rev();
        let (Some(after), Some(before)) = (by_start.next(), by_start.next()) else {
            return;
        };
        if after.len().min(before.len()) < LEAST_AFTER {
            return;
        }
        let after = values(&after[..after.len().min(MOST_AFTER)]);
        let before = values(last(before, MOST_AFTER));
        let contrast = Contrast::of((&after, noise), (&before, noise), 0.0);
        if self.shifts.len() == MOST_RESTARTS {
            self.shifts.pop_front();
        }
        self.shifts
            .push_back((contrast.effect * contrast.effect, contrast.variance()));
    }

    /// `tau^2`: half of what the shifts vary beyond the error of single runs, since each is the difference of two
    /// starts.
    pub(super) fn variance(&self) -> f64 {
        if self.shifts.len() < LEAST_RESTARTS {
            return DEFAULT_TAU * DEFAULT_TAU;
        }
        let mut squares: Vec<f64> = self.shifts.iter().map(|(square, _)| *square).collect();
        let limit = (CUT * MAD_TO_STD).powi(2) * median(&mut squares);
        let kept: Vec<_> = self
            .shifts
            .iter()
            .filter(|(square, _)| *square <= limit)
            .collect();
        let excess: f64 = kept.iter().map(|(square, error)| square - error).sum();
        (excess / kept.len() as f64 / 2.0).max(0.0)
    }
}

/// How many `tau^2` lie in the difference of two samples of one series: `sum (a - b)^2` over the starts of the
/// server, where `a` and `b` are a start's shares of either sample.
///
/// That is `1 / r_A + 1 / r_B` for `r_A` and `r_B` starts of equal shares, and nothing for samples of one start.
pub(super) fn weight_between(after: &[CleanRun], before: &[CleanRun]) -> f64 {
    let mut shares = BTreeMap::new();
    for (runs, sign) in [(after, 1.0), (before, -1.0)] {
        for run in runs {
            *shares.entry(run.start).or_insert(0.0) += sign / runs.len() as f64;
        }
    }
    shares.values().map(|share: &f64| share * share).sum()
}

/// The same for a sample by itself, to be compared with another server: `1 / r` for `r` starts of equal shares.
pub(super) fn weight_of(runs: &[CleanRun]) -> f64 {
    weight_between(runs, &[])
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    const NOISE: Noise = Noise {
        scale: 0.0025,
        autocorrelation: 0.0,
        freedom: 100,
    };

    /// Two starts of 20 runs, `shift` apart.
    fn restart(shift: f64) -> Vec<CleanRun> {
        let run = |start: u64| CleanRun {
            value: shift * start as f64,
            at: Timestamp::UNIX_EPOCH,
            observed: true,
            level: 0,
            start,
        };
        (0..40).map(|k| run(k / 20)).collect()
    }

    #[test]
    fn starts_that_samples_share_cancel() {
        let of = |starts: &[u64]| {
            let run = restart(0.0)[0];
            let runs = starts.iter().map(|start| CleanRun {
                start: *start,
                ..run
            });
            runs.collect::<Vec<_>>()
        };
        let weight = |after: &[u64], before: &[u64]| weight_between(&of(after), &of(before));
        assert_eq!(weight(&[1, 1, 1], &[0, 0]), 2.0);
        assert_eq!(weight(&[2, 2], &[0, 1]), 1.5);
        assert_eq!(weight(&[2, 3], &[0, 1]), 1.0);
        assert!(weight(&[0, 0], &[0, 0, 0]) < 1e-20);
        assert_eq!(weight(&[1, 1], &[0, 1]), 0.5);
        assert_eq!(weight_of(&of(&[4, 4, 5, 5])), 0.5);
    }

    #[test]
    fn it_is_assumed_until_five_restarts_were_seen() {
        let mut restarts = Restarts::default();
        for _ in 0..4 {
            restarts.observe(&restart(0.02), &NOISE);
        }
        assert!((restarts.variance() - 9e-6).abs() < 1e-12);
        restarts.observe(&restart(-0.02), &NOISE);
        let error = 0.0025_f64.powi(2) * 2.0 / 20.0;
        assert!((restarts.variance() - (4e-4 - error) / 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_restart_with_which_something_else_happened_is_left_out() {
        let mut restarts = Restarts::default();
        for shift in [0.004, -0.004, 0.005, -0.005, 0.004, -0.3] {
            restarts.observe(&restart(shift), &NOISE);
        }
        assert!(restarts.variance().sqrt() < 0.005);
    }

    #[test]
    fn restarts_that_do_nothing_leave_nothing() {
        let mut restarts = Restarts::default();
        for _ in 0..6 {
            restarts.observe(&restart(0.0), &NOISE);
        }
        assert_eq!(restarts.variance(), 0.0);
        let few: Vec<CleanRun> = restart(0.1)[16..].to_vec();
        restarts.observe(&few, &NOISE);
        assert_eq!(
            restarts.shifts.len(),
            6,
            "four runs before a restart say nothing"
        );
    }
}
