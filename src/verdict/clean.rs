//! The latest clean runs of a series, and between which of them something changed.
//!
//! Every comparison looks at a window, and none at the whole history: a million runs are judged as quickly as a
//! hundred.

use jiff::Timestamp;

use super::NOISE_RUNS;

/// A run that may be compared: valid, its traffic its own, and its caches warm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CleanRun {
    /// The logarithm of the value, with the sign that makes more better.
    pub(super) value: f64,
    /// When it ended.
    pub(super) at: Timestamp,
    /// Whether others' traffic would have been seen.
    pub(super) observed: bool,
    /// Numbers the levels: a new one begins with an environment, and where a verdict says so.
    pub(super) level: u64,
    /// Numbers the starts of the server, as far as they are known.
    pub(super) start: u64,
}

/// The latest clean runs, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CleanRuns {
    runs: Vec<CleanRun>,
}

impl CleanRuns {
    /// Appends a run, and forgets the one that nothing will ask for any more.
    pub(super) fn push(&mut self, run: CleanRun) {
        // In blocks, so that an append costs the same on average however many are kept.
        if self.runs.len() == 2 * NOISE_RUNS {
            self.runs.drain(..NOISE_RUNS);
        }
        self.runs.push(run);
    }

    /// The runs that are looked at, the latest last.
    pub(super) fn kept(&self) -> &[CleanRun] {
        last(&self.runs, NOISE_RUNS)
    }

    /// The runs of the level `level`, if it is the latest that has any.
    pub(super) fn of_level(&self, level: u64) -> &[CleanRun] {
        self.kept()
            .chunk_by(|a, b| a.level == b.level)
            .next_back()
            .filter(|runs| runs[0].level == level)
            .unwrap_or_default()
    }

    /// The runs of the latest level that has at least `least` of them.
    pub(super) fn latest_level_of(&self, least: usize) -> Option<&[CleanRun]> {
        self.kept()
            .chunk_by(|a, b| a.level == b.level)
            .rev()
            .find(|level| level.len() >= least)
    }

    /// How many runs came after these, which are kept ones.
    pub(super) fn runs_after(&self, runs: &[CleanRun]) -> usize {
        let is_later = |run: &&CleanRun| runs.last().is_some_and(|last| run.level > last.level);
        self.kept().iter().rev().take_while(is_later).count()
    }

    /// Says that the last `count` runs are the beginning of the level `level`.
    pub(super) fn begin_level(&mut self, level: u64, count: usize) {
        let from = self.runs.len().saturating_sub(count);
        for run in &mut self.runs[from..] {
            run.level = level;
        }
    }

    /// The values of the runs that are looked at, apart for each level and each start of the server. The last
    /// `tested` of them are apart too: under test is whether they are a level of their own.
    pub(super) fn stretches(&self, tested: usize) -> Vec<Vec<f64>> {
        let kept = self.kept();
        let (earlier, tested) = kept.split_at(kept.len().saturating_sub(tested));
        [earlier, tested]
            .into_iter()
            .flat_map(|part| part.chunk_by(|a, b| (a.level, a.start) == (b.level, b.start)))
            .map(values)
            .collect()
    }
}

/// The last `count` of `runs`, or all.
pub(super) fn last(runs: &[CleanRun], count: usize) -> &[CleanRun] {
    &runs[runs.len().saturating_sub(count)..]
}

/// The values of runs.
pub(super) fn values(runs: &[CleanRun]) -> Vec<f64> {
    runs.iter().map(|run| run.value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(value: f64, level: u64, start: u64) -> CleanRun {
        CleanRun {
            value,
            at: Timestamp::UNIX_EPOCH,
            observed: true,
            level,
            start,
        }
    }

    #[test]
    fn levels_and_starts_keep_runs_apart() {
        let mut runs = CleanRuns::default();
        for (value, level, start) in [(1.0, 0, 0), (2.0, 0, 1), (3.0, 0, 1), (4.0, 1, 2)] {
            runs.push(run(value, level, start));
        }
        assert_eq!(runs.stretches(0), [vec![1.0], vec![2.0, 3.0], vec![4.0]]);
        assert_eq!(
            runs.stretches(2),
            [vec![1.0], vec![2.0], vec![3.0], vec![4.0]]
        );
        assert_eq!(values(runs.of_level(1)), [4.0]);
        assert!(runs.of_level(2).is_empty(), "it has no run yet");
        assert_eq!(values(runs.latest_level_of(2).unwrap()), [1.0, 2.0, 3.0]);
        runs.begin_level(2, 3);
        assert_eq!(values(runs.of_level(2)), [2.0, 3.0, 4.0]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_latest() {
        let mut runs = CleanRuns::default();
        for k in 0..1000 {
            runs.push(run(f64::from(k), 0, 0));
            let expected = (k + 1).min(192);
            assert_eq!(runs.kept().len(), expected as usize);
            assert_eq!(runs.kept().last().unwrap().value, f64::from(k));
        }
        assert!(runs.runs.len() <= 2 * NOISE_RUNS);
    }
}
