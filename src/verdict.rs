//! When a deployment is slower: the verdict on a series of runs.
//!
//! One robust test on per-run values, made in the prober; PromQL only reads its verdicts. A single run never
//! decides anything. Values are compared by their logarithms, so that effects are ratios. `docs/verdict.md` tells
//! users what is compared, and what this can and cannot see.
//!
//! From the bottom up: `shift` says by how much one sample lies above another, `noise` how much runs differ
//! while nothing changes, and `contrast` puts both together. [`Boundaries`] tell which runs may be compared, and
//! [`Judge`] decides after each run what to compare with what, and remembers what was decided.

mod acknowledgement;
mod boundary;
mod clean;
mod contrast;
mod judge;
mod judgement;
mod known_change;
mod level;
mod noise;
mod precision;
mod restarts;
mod shift;
mod student;

pub use self::acknowledgement::{Acknowledgement, NothingToAcknowledge, Settlement};
pub use self::boundary::{Boundaries, Boundary};
pub use self::judge::{Edge, Judge, JudgedRun};
pub use self::judgement::{Compared, Comparison, Effect, Judgement, StandingVerdict};
pub use self::precision::{PresentLevel, Speedup, speedup, tokens_agree};
use crate::closed_set::closed_set;
pub use crate::measure::{Good, Measure, Tolerances};

closed_set! {
    /// A verdict that begins at some run and then stands.
    Verdict:
    Regressed "regressed" "Slower than before, beyond the margin and beyond chance.",
    Improved "improved" "Faster than before, beyond the margin and beyond chance.",
}

impl Verdict {
    /// -1 for a regression, 1 for an improvement.
    pub fn sign(self) -> f64 {
        match self {
            Self::Regressed => -1.0,
            Self::Improved => 1.0,
        }
    }
}

closed_set! {
    /// What a comparison says at the moment.
    Decision:
    Regressed "regressed" "Slower beyond the margin and beyond chance.",
    Improved "improved" "Faster beyond the margin and beyond chance.",
    Unchanged "unchanged" "The whole interval lies within the tolerance.",
    Inconclusive "inconclusive" "Too few runs for this noise to say any of the others.",
}

impl Decision {
    /// The verdict that begins with it.
    pub fn verdict(self) -> Option<Verdict> {
        match self {
            Self::Regressed => Some(Verdict::Regressed),
            Self::Improved => Some(Verdict::Improved),
            Self::Unchanged | Self::Inconclusive => None,
        }
    }
}

/// Error probability of a comparison with the environment before, for each side and each look.
const KNOWN_CHANGE_ALPHA: f64 = 5e-4;

/// The same for a comparison with the baseline: it is made after every run, for ever.
const DRIFT_ALPHA: f64 = 1e-5;

/// The last runs that are compared with the baseline. Small windows find large changes soon, large ones find
/// small changes at all.
const WINDOWS: [usize; 4] = [5, 10, 20, 40];

/// The least window when it is not known whether others used the server: a burst of traffic would fill a
/// smaller one.
const LEAST_UNOBSERVED_WINDOW: usize = 10;

/// Clean runs that a sample before needs.
const LEAST_BEFORE: usize = 10;

/// Clean runs that a sample before holds at most: a day of them, at one each quarter of an hour.
const MOST_BEFORE: usize = 96;

/// Clean runs since a known change from which it is judged.
const LEAST_AFTER: usize = 5;

/// Clean runs since a known change up to which it is judged.
const MOST_AFTER: usize = 40;

/// Clean runs for which an improvement has to hold before it is what is expected.
const RATCHET: usize = 24;

/// Clean runs, the last ones, that must lie at the baseline for a verdict to end: enough that chance alone does not
/// end one, to begin it again a few runs later.
const RECOVERY_WINDOW: usize = 20;

/// Runs from which the noise is told.
const NOISE_RUNS: usize = 192;
