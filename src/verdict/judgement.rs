//! What is shown of a series: both comparisons, the baseline, and how much could be seen at all.

use jiff::Timestamp;

use super::{Acknowledgement, Decision, Verdict};
use crate::closed_set::closed_set;

closed_set! {
    /// What the present level is compared with.
    Compared:
    Previous "previous" "The environment before the last change of it.",
    Baseline "baseline" "The pinned baseline.",
}

/// One measure of one series, as it stands. What cannot be told is absent.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Against the environment before the last change; absent until there are 5 clean runs since it and 10
    /// before it.
    pub previous: Option<Comparison>,
    /// What each of the last changes of the environment did, the oldest first; `previous` belongs to the latest of
    /// them while it is there. Those that had too few runs have none.
    pub effects: Vec<Effect>,
    /// Against the pinned baseline; absent until there are 5 clean runs beside the 10 of the baseline.
    pub baseline: Option<Comparison>,
    /// The median of the baseline, in the measure's own unit; absent before its first run.
    pub baseline_median: Option<f64>,
    /// Clean runs in the baseline, at most 96. It is used from 10.
    pub baseline_runs: usize,
    /// End of the latest run in it.
    pub baseline_at: Option<Timestamp>,
    /// How much single runs differ from their level, as a share: their standard deviation.
    pub noise_ratio: Option<f64>,
    /// The least worsening that would be found in nine cases of ten within 24 runs, as a share. Absent until the
    /// baseline can be used.
    pub minimum_detectable_change: Option<f64>,
    /// The verdict that stands; absent when none does.
    pub standing: Option<StandingVerdict>,
}

/// A verdict that has begun, and has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingVerdict {
    /// Which.
    pub verdict: Verdict,
    /// The end of the run with which it began.
    pub since: Timestamp,
    /// Who has seen it; it may have held for a while only.
    pub acknowledgement: Option<Acknowledgement>,
}

impl StandingVerdict {
    /// Whether it is to be silent at the time `now`.
    pub fn is_acknowledged(&self, now: Timestamp) -> bool {
        let acknowledgement = self.acknowledgement.as_ref();
        acknowledgement.is_some_and(|acknowledgement| acknowledgement.holds(now))
    }
}

impl Judgement {
    /// The comparison with this.
    pub fn comparison(&self, compared: Compared) -> Option<&Comparison> {
        match compared {
            Compared::Previous => self.previous.as_ref(),
            Compared::Baseline => self.baseline.as_ref(),
        }
    }
}

/// The present level against another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// After divided by before, of the measure itself: below 1 is slower for a rate, and faster for a latency.
    pub ratio: f64,
    /// Lower end of its 95 % interval.
    pub lower: f64,
    /// Upper end of it.
    pub upper: f64,
    /// The verdict that stands, if there is one. It was found by a stricter test than the interval.
    pub verdict: Option<Verdict>,
    /// What that test says of these very runs.
    pub decision: Decision,
    /// Clean runs after.
    pub runs_after: usize,
    /// Clean runs before.
    pub runs_before: usize,
}

/// What one change of the environment did, as far as there were runs to tell, before the next one came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    /// The end of the first run after the change.
    pub at: Timestamp,
    /// The runs since against those before it.
    pub comparison: Comparison,
}

impl Comparison {
    /// Whether it says anything: a difference, or that there is none beyond the tolerance.
    pub fn is_conclusive(&self) -> bool {
        self.verdict.is_some() || self.decision != Decision::Inconclusive
    }
}
