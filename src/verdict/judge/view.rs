//! What the judge shows: computed when it is asked for, so that judging a long history costs no more than it must.

use super::Judge;
use crate::verdict::clean::{CleanRun, last, values};
use crate::verdict::contrast::{Contrast, decide, minimum_detectable};
use crate::verdict::judgement::{Comparison, Effect, Judgement, StandingVerdict};
use crate::verdict::noise::Noise;
use crate::verdict::precision::PresentLevel;
use crate::verdict::restarts::weight_between;
use crate::verdict::shift::median;
use crate::verdict::{
    DRIFT_ALPHA, KNOWN_CHANGE_ALPHA, LEAST_AFTER, LEAST_BEFORE, MOST_AFTER, Verdict,
};

impl Judge {
    /// What is to be shown.
    pub fn judgement(&self) -> Judgement {
        let noise = self.noise(0);
        let standing = self.standing.as_ref();
        let baseline = self.baseline.runs();
        let latest = noise.and_then(|noise| self.effect_of_change(&noise));
        Judgement {
            previous: latest.map(|effect| effect.comparison),
            effects: self.effects.iter().copied().chain(latest).collect(),
            baseline: noise.and_then(|noise| self.against_baseline(&noise)),
            baseline_median: (!baseline.is_empty())
                .then(|| self.in_units(median(&mut values(baseline)))),
            baseline_runs: baseline.len(),
            baseline_at: self.baseline.until(),
            noise_ratio: noise.map(|noise| noise.scale),
            minimum_detectable_change: noise.filter(|_| baseline.len() >= LEAST_BEFORE).map(
                |noise| {
                    let before = baseline.len();
                    let worse = -minimum_detectable(&noise, before, DRIFT_ALPHA, self.tolerance);
                    (self.in_units(worse) - 1.0).abs()
                },
            ),
            standing: standing.map(|standing| StandingVerdict {
                verdict: standing.verdict,
                since: standing.since,
                acknowledgement: standing.acknowledgement.clone(),
            }),
        }
    }

    /// The present level, for a comparison with another deployment; absent while it has fewer than 10 runs.
    pub fn present_level(&self) -> Option<PresentLevel> {
        let runs = self.clean.latest_level_of(LEAST_BEFORE)?;
        let noise = self.noise(0)?;
        Some(PresentLevel::of(
            runs,
            noise,
            self.restarts.variance(),
            self.good,
        ))
    }

    /// What the last known change has done so far; absent while there are too few runs.
    pub(super) fn effect_of_change(&self, noise: &Noise) -> Option<Effect> {
        let known = self.known.as_ref()?;
        let (after, before) = known.sides()?;
        Some(Effect {
            at: known.at,
            comparison: self.compare(after, before, noise, KNOWN_CHANGE_ALPHA, known.verdict),
        })
    }

    /// After a change of the environment the level before it is shown until there are 5 runs of the new one: an
    /// alert does not end because someone restarted the server.
    fn against_baseline(&self, noise: &Noise) -> Option<Comparison> {
        let level = self.clean.latest_level_of(LEAST_AFTER)?;
        let (after, before) = match &self.standing {
            Some(_) => (last(level, MOST_AFTER), self.baseline.runs()),
            None => {
                let later = self.clean.runs_after(level);
                let spare = self.baseline.count().saturating_sub(LEAST_BEFORE + later);
                let after = last(level, MOST_AFTER.min(spare));
                (after, self.baseline.before(after.len() + later))
            }
        };
        let enough = after.len() >= LEAST_AFTER && before.len() >= LEAST_BEFORE;
        let verdict = self.standing.as_ref().map(|standing| standing.verdict);
        enough.then(|| self.compare(after, before, noise, DRIFT_ALPHA, verdict))
    }

    fn compare(
        &self,
        after: &[CleanRun],
        before: &[CleanRun],
        noise: &Noise,
        alpha: f64,
        verdict: Option<Verdict>,
    ) -> Comparison {
        let (a, b) = (values(after), values(before));
        let restarts = self.restarts.variance() * weight_between(after, before);
        let contrast = Contrast::of((&a, noise), (&b, noise), restarts);
        let (worst, best) = contrast.interval();
        let (one, other) = (self.in_units(worst), self.in_units(best));
        Comparison {
            ratio: self.in_units(contrast.effect),
            lower: one.min(other),
            upper: one.max(other),
            verdict,
            decision: decide(&contrast, &a, &b, alpha, self.tolerance),
            runs_after: a.len(),
            runs_before: b.len(),
        }
    }

    /// From a goodness back to the measure itself, or to a ratio of it.
    fn in_units(&self, goodness: f64) -> f64 {
        (self.good.sign() * goodness).exp()
    }
}
