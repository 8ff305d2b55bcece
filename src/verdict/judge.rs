//! The judge of one series: fed its runs in order, it decides after each what to compare with what, and remembers
//! what was decided.
//!
//! It never looks ahead and reads no clock, so that the same runs, replayed from the history, give the same
//! verdicts. A run costs the same however long the history is.

mod view;

use std::mem;

use jiff::Timestamp;

use super::acknowledgement::{Acknowledgement, NothingToAcknowledge, Settlement};
use super::boundary::{Boundaries, Boundary};
use super::clean::{CleanRun, CleanRuns, last, values};
use super::contrast::{Contrast, Tolerance, decide, possible};
use super::judgement::{Compared, Effect};
use super::known_change::KnownChange;
use super::level::Level;
use super::noise::Noise;
use super::restarts::{Restarts, weight_between};
use super::shift::{median, shift};
use super::{
    DRIFT_ALPHA, KNOWN_CHANGE_ALPHA, LEAST_BEFORE, LEAST_UNOBSERVED_WINDOW, RATCHET,
    RECOVERY_WINDOW, Verdict, WINDOWS,
};
use crate::measure::Good;

/// A level this many margins from the baseline, or nearer, has come back to it.
const BACK_AT_BASELINE: f64 = 1.5;

/// Changes whose effects are kept, apart from the last one's.
const MOST_EFFECTS: usize = 32;

/// What the judge is told of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JudgedRun<'a> {
    /// When it ended.
    pub ended_at: Timestamp,
    /// The measure's value, above 0; `None` when the run is invalid or does not have it.
    pub value: Option<f64>,
    /// Whether others used the server during the run, beyond the threshold.
    pub contaminated: bool,
    /// Whether that could be seen at all.
    pub contention_observable: bool,
    /// Names the environment. Whoever composes it takes a field that becomes known for no change.
    pub fingerprint: &'a str,
    /// Whether the server was started anew since the run before.
    pub restarted: bool,
}

/// A verdict begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Which.
    pub verdict: Verdict,
    /// The comparison that found it.
    pub compared: Compared,
}

/// The state of one series: one deployment, one workload, one measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Judge {
    good: Good,
    tolerance: Tolerance,
    boundaries: Boundaries,
    level: u64,
    start: u64,
    clean: CleanRuns,
    baseline: Level,
    known: Option<KnownChange>,
    /// What changes did that are not the last one any more.
    effects: Vec<Effect>,
    standing: Option<Standing>,
    restarts: Restarts,
}

/// The verdict that stands.
#[derive(Clone, Debug, PartialEq)]
struct Standing {
    verdict: Verdict,
    since: Timestamp,
    /// The level that it found: a further step is a step away from this.
    level: Level,
    acknowledgement: Option<Acknowledgement>,
}

/// What a comparison found.
#[derive(Clone, Copy)]
struct Found {
    edge: Edge,
    /// How many of the last clean runs it is about.
    runs: usize,
}

impl Judge {
    /// A judge of a series without runs. `tolerance` is the change that is borne, a share between 0 and 1.
    pub fn new(good: Good, tolerance: f64) -> Self {
        Self {
            good,
            tolerance: Tolerance::new(tolerance),
            boundaries: Boundaries::default(),
            level: 0,
            start: 0,
            clean: CleanRuns::default(),
            baseline: Level::default(),
            known: None,
            effects: Vec::new(),
            standing: None,
            restarts: Restarts::default(),
        }
    }

    /// Takes in the next run, and tells the verdict that begins with it.
    pub fn feed(&mut self, run: &JudgedRun<'_>) -> Option<Edge> {
        self.notice_boundary(run);
        let value = run.value.filter(|value| value.is_finite() && *value > 0.0);
        if !self.boundaries.is_clean(value.is_some(), run.contaminated) {
            return None;
        }
        self.take_in(CleanRun {
            value: self.good.sign() * value?.ln(),
            at: run.ended_at,
            observed: run.contention_observable,
            level: self.level,
            start: self.start,
        });
        if let Some(found) = self.find() {
            return self.settle(found, run.ended_at);
        }
        self.end_what_has_passed();
        None
    }

    /// Notes that the verdict that stands was seen.
    ///
    /// # Errors
    /// When none stands.
    pub fn acknowledge(
        &mut self,
        acknowledgement: Acknowledgement,
    ) -> Result<(), NothingToAcknowledge> {
        let standing = self.standing.as_mut().ok_or(NothingToAcknowledge)?;
        match acknowledgement.settlement {
            Settlement::Until(_) => standing.acknowledgement = Some(acknowledgement),
            Settlement::Rebaseline => {
                self.baseline = mem::take(&mut standing.level);
                self.end_verdict();
            }
        }
        Ok(())
    }

    /// Makes the present level the baseline, whatever stands. With fewer than 10 runs it grows before it is used.
    pub fn pin(&mut self) {
        self.baseline = Level::of(self.clean.of_level(self.level));
        self.end_change();
        self.standing = None;
    }

    /// Forgets the baseline, and what stands: the next clean runs become one.
    pub fn unpin(&mut self) {
        self.baseline = Level::default();
        self.end_change();
        self.standing = None;
    }

    /// A new environment begins a new level; a restart with nothing else changed does not.
    fn notice_boundary(&mut self, run: &JudgedRun<'_>) {
        let Some(boundary) = self.boundaries.cross(run.fingerprint, run.restarted) else {
            return;
        };
        let level = self.clean.of_level(self.level);
        let is_first_since = level.last().is_some_and(|last| last.start == self.start);
        if let Some(noise) = self.noise(0).filter(|_| is_first_since) {
            self.restarts.observe(level, &noise);
        }
        self.start += 1;
        if boundary == Boundary::Change {
            let at = run.ended_at;
            let next = KnownChange::after(level, at);
            let last = self.end_change();
            self.known = next.or_else(|| last?.again(at));
            self.level += 1;
        }
    }

    /// What is seen from now on is not the doing of the last known change: what it did is kept.
    fn end_change(&mut self) -> Option<KnownChange> {
        let noise = self.noise(0);
        if let Some(effect) = noise.and_then(|noise| self.effect_of_change(&noise)) {
            if self.effects.len() == MOST_EFFECTS {
                self.effects.remove(0);
            }
            self.effects.push(effect);
        }
        self.known.take()
    }

    fn take_in(&mut self, run: CleanRun) {
        self.clean.push(run);
        if let Some(known) = &mut self.known {
            known.push(run);
        }
        match &mut self.standing {
            Some(standing) => standing.level.push(run),
            None => self.baseline.push(run),
        }
    }

    /// The first comparison that finds a difference.
    fn find(&self) -> Option<Found> {
        let known = self.known.as_ref().and_then(KnownChange::under_test);
        if let Some((after, before)) = known {
            let verdict = self.test(after, before, KNOWN_CHANGE_ALPHA, 0);
            if let Some(verdict) = verdict {
                return Some(Found {
                    edge: Edge {
                        verdict,
                        compared: Compared::Previous,
                    },
                    runs: after.len(),
                });
            }
        }
        let expected = match &self.standing {
            Some(standing) => &standing.level,
            None => &self.baseline,
        };
        let present = self.clean.of_level(self.level);
        WINDOWS
            .into_iter()
            .take_while(|window| *window <= present.len())
            .map(|window| last(present, window))
            .filter(|after| is_wide_enough(after))
            .find_map(|after| {
                let before = expected.before(after.len());
                let enough = before.len() >= LEAST_BEFORE;
                let verdict =
                    enough.then(|| self.test(after, before, DRIFT_ALPHA, after.len()))??;
                Some(Found {
                    edge: Edge {
                        verdict,
                        compared: Compared::Baseline,
                    },
                    runs: after.len(),
                })
            })
    }

    fn test(
        &self,
        after: &[CleanRun],
        before: &[CleanRun],
        alpha: f64,
        tested: usize,
    ) -> Option<Verdict> {
        let (a, b) = (values(after), values(before));
        let middle = median(&mut b.clone());
        possible(&a, middle, self.tolerance)?;
        let noise = self.noise(tested)?;
        let restarts = self.restarts.variance() * weight_between(after, before);
        let contrast = Contrast::of((&a, &noise), (&b, &noise), restarts);
        decide(&contrast, &a, &b, alpha, self.tolerance).verdict()
    }

    /// Draws the conclusions from what was found: where the level begins, what the baseline is, what stands.
    fn settle(&mut self, found: Found, at: Timestamp) -> Option<Edge> {
        let Found { edge, runs } = found;
        if self.standing.is_none() {
            self.baseline.take_back(runs);
        }
        self.level += 1;
        self.clean.begin_level(self.level, runs);
        let level = Level::of(self.clean.of_level(self.level));
        let effect = self.effect_on_baseline(level.runs()).unwrap_or_default();
        let is_back = effect.abs() < BACK_AT_BASELINE * self.tolerance.margin();

        let is_turn = |standing: &Standing| standing.verdict != edge.verdict;
        if let Some(standing) = self.standing.as_mut().filter(|standing| is_turn(standing)) {
            if is_back {
                self.end_verdict();
                return None;
            }
            match edge.verdict {
                Verdict::Improved if effect < 0.0 => {
                    // Better than it was, and still worse than the baseline: the verdict stands.
                    standing.level = level;
                    self.credit(edge);
                    return (edge.compared == Compared::Previous).then_some(edge);
                }
                Verdict::Regressed if effect > 0.0 => {
                    // Still better than the baseline, but an improvement is lost that had been there: it is
                    // what this level has to be measured by.
                    let mut improved = mem::take(&mut standing.level);
                    improved.take_back(runs);
                    self.baseline = improved;
                }
                _ => {}
            }
        }
        self.credit(edge);
        self.standing = Some(Standing {
            verdict: edge.verdict,
            since: at,
            level,
            acknowledgement: None,
        });
        Some(edge)
    }

    /// Tells the last known change whether this was its doing.
    fn credit(&mut self, edge: Edge) {
        match (&mut self.known, edge.compared) {
            (Some(known), Compared::Previous) => known.decide(edge.verdict),
            (Some(known), Compared::Baseline) => known.close(),
            (None, _) => {}
        }
    }

    /// Ends a verdict whose level has come back to the baseline, and one that was an improvement and lasted.
    fn end_what_has_passed(&mut self) {
        let Some(standing) = &mut self.standing else {
            return;
        };
        if standing.verdict == Verdict::Improved && standing.level.count() >= RATCHET {
            self.baseline = mem::take(&mut standing.level);
            self.standing = None;
            return;
        }
        let present = self.clean.of_level(self.level);
        if present.len() < RECOVERY_WINDOW || standing.level.count() <= RECOVERY_WINDOW {
            return;
        }
        let effect = self.effect_on_baseline(last(present, RECOVERY_WINDOW));
        if effect.is_some_and(|effect| effect.abs() < self.tolerance.margin()) {
            self.level += 1;
            self.clean.begin_level(self.level, RECOVERY_WINDOW);
            self.end_verdict();
        }
    }

    fn end_verdict(&mut self) {
        self.standing = None;
        if let Some(known) = &mut self.known {
            known.close();
            known.verdict = None;
        }
    }

    /// How far runs lie above the baseline; absent when there is none that can be used.
    fn effect_on_baseline(&self, runs: &[CleanRun]) -> Option<f64> {
        let baseline = self.baseline.runs();
        let usable = baseline.len() >= LEAST_BEFORE && !runs.is_empty();
        usable.then(|| shift(&values(runs), &values(baseline)))
    }

    /// The noise of the latest runs, of which the last `tested` may be a level of their own.
    fn noise(&self, tested: usize) -> Option<Noise> {
        Noise::of(&self.clean.stretches(tested))
    }
}

/// Whether a burst of others' traffic, if it could go unseen, would be too short to fill this window.
fn is_wide_enough(window: &[CleanRun]) -> bool {
    window.len() >= LEAST_UNOBSERVED_WINDOW || window.iter().all(|run| run.observed)
}

#[cfg(test)]
mod tests;
