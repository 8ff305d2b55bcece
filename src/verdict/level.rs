//! A level that others are compared with: its first clean runs, which then stay as they are.
//!
//! A baseline that followed the series would follow a slow decline too, and never find it.

use jiff::Timestamp;

use super::MOST_BEFORE;
use super::clean::{CleanRun, last};

/// The first runs of a level, at most 96.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Level {
    runs: Vec<CleanRun>,
    /// Runs that belong to it, whether they are kept or not.
    count: usize,
}

impl Level {
    /// The level of these runs; the latest of them, when they are too many.
    pub(super) fn of(runs: &[CleanRun]) -> Self {
        let runs = last(runs, MOST_BEFORE).to_vec();
        let count = runs.len();
        Self { runs, count }
    }

    /// A further run of this level.
    pub(super) fn push(&mut self, run: CleanRun) {
        self.count += 1;
        if self.runs.len() < MOST_BEFORE {
            self.runs.push(run);
        }
    }

    /// Its runs.
    pub(super) fn runs(&self) -> &[CleanRun] {
        &self.runs
    }

    /// Runs that belong to it, kept or not.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Its runs, without those that are among the last `tested`: no sample is compared with itself.
    pub(super) fn before(&self, tested: usize) -> &[CleanRun] {
        &self.runs[..self.runs.len().min(self.count.saturating_sub(tested))]
    }

    /// Takes its last `tested` runs out again: they turned out to belong to another level.
    pub(super) fn take_back(&mut self, tested: usize) {
        self.runs.truncate(self.before(tested).len());
        self.count = self.count.saturating_sub(tested).max(self.runs.len());
    }

    /// When its last run ended.
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.runs.last().map(|run| run.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(value: f64) -> CleanRun {
        CleanRun {
            value,
            at: Timestamp::from_second(value as i64).unwrap(),
            observed: true,
            level: 0,
            start: 0,
        }
    }

    fn level(runs: usize) -> Level {
        let mut level = Level::default();
        (0..runs).for_each(|k| level.push(run(k as f64)));
        level
    }

    #[test]
    fn it_freezes_with_its_96th_run() {
        let level = level(500);
        assert_eq!((level.runs().len(), level.count()), (96, 500));
        assert_eq!(level.until(), Some(Timestamp::from_second(95).unwrap()));
        assert_eq!(level.before(40).len(), 96);
    }

    #[test]
    fn what_is_under_test_is_not_what_it_is_tested_against() {
        assert_eq!(level(30).before(10).len(), 20);
        assert_eq!(level(100).before(10).len(), 90);
        assert_eq!(level(3).before(10).len(), 0);
        let mut level = level(100);
        level.take_back(10);
        assert_eq!((level.runs().len(), level.count()), (90, 90));
    }
}
