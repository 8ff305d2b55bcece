//! `tau`: by how much the level wanders from one start of the server to the next, while nothing else changes.
//!
//! Placement of memory and tuning at start leave every start with a level of its own. No number of runs after
//! one restart averages this out, so the interval that is shown has to hold it.

use std::collections::VecDeque;

use super::clean::{CleanRun, last, values};
use super::contrast::{Contrast, Side};
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
        let side = |values| Side { values, starts: 1 };
        let contrast = Contrast::of(side(&after), side(&before), noise);
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
