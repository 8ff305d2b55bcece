//! All runs of a deployment judged again, to learn what there is to tell of them: the level that it has now, what
//! each change of its environment did, and which verdicts began.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::judges::{Intervention, JudgedFigures, Judges};
use crate::measure::Tolerances;
use crate::measurement::RunId;
use crate::verdict::{Boundaries, Boundary, Compared, Comparison, Measure, PresentLevel, Verdict};

/// Runs that a row stands for at most: as many as a level is told from.
const MOST_SHOWN: usize = 48;

/// A stored run.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesRun {
    /// Which.
    pub id: RunId,
    /// What is judged of it.
    pub figures: JudgedFigures,
}

impl SeriesRun {
    /// Whether it counts.
    pub fn is_valid(&self) -> bool {
        !self.figures.values.is_empty()
    }
}

/// A change of the environment.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The end of the first run after it.
    pub at: Timestamp,
    /// The last run before it.
    pub last_before: RunId,
    /// The first run after it.
    pub first_after: RunId,
    /// Clean runs before it, in the environment that was left.
    pub clean_before: usize,
    /// Clean runs after it, in the environment that it led to.
    pub clean_after: usize,
    /// After against before, as the judges saw it last; empty while there are too few clean runs.
    pub compared: BTreeMap<Measure, Comparison>,
}

/// A verdict that began.
#[derive(Clone, Debug, PartialEq)]
pub struct VerdictBegun {
    /// The end of the run after which it was known.
    pub at: Timestamp,
    /// Of what.
    pub measure: Measure,
    /// Which.
    pub verdict: Verdict,
    /// Against what.
    pub against: Compared,
    /// By how much, as far as it was known then.
    pub comparison: Option<Comparison>,
}

/// What came of judging all runs of a series.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// The present level; absent while it has too few runs.
    pub level: Option<PresentLevel>,
    /// The runs that the deployment is told by, the latest last: those of the level, or else the clean ones of the
    /// latest environment. Without any, the last run, which does not count.
    pub shown: Vec<RunId>,
    /// Clean runs that are later than these: of an environment that has too few of them.
    pub later: usize,
    /// Runs since the first of these that do not count.
    pub left_out: usize,
    /// In order.
    pub changes: Vec<Change>,
    /// In order.
    pub verdicts: Vec<VerdictBegun>,
    /// The median of the baseline of decode tokens per second.
    pub baseline: Option<f64>,
}

impl Replay {
    /// Judges `runs`, which are in order, with what was `said` after how many of them.
    pub fn of(runs: &[SeriesRun], said: &[(usize, Intervention)], tolerances: &Tolerances) -> Self {
        let mut replay = Self::default();
        let mut judges = Judges::new(tolerances);
        let mut said = said.iter().peekable();
        let mut boundaries = Boundaries::default();
        let mut clean: Vec<&SeriesRun> = Vec::new();
        let mut of_environment = 0;
        for (place, run) in runs.iter().enumerate() {
            let boundary = boundaries.cross(&run.figures.fingerprint, run.figures.restarted);
            if boundary == Some(Boundary::Change) {
                let before = &runs[place.saturating_sub(1)];
                replay.end_change(&judges, of_environment);
                replay.changes.push(Change {
                    at: run.figures.ended_at,
                    last_before: before.id.clone(),
                    first_after: run.id.clone(),
                    clean_before: of_environment,
                    clean_after: 0,
                    compared: BTreeMap::new(),
                });
                of_environment = 0;
            }
            if boundaries.is_clean(run.is_valid(), run.figures.contaminated) {
                clean.push(run);
                of_environment += 1;
            }
            let edges = judges.feed(&run.figures);
            if !edges.is_empty() {
                let at = run.figures.ended_at;
                let judgements = judges.opinion().judgements;
                replay
                    .verdicts
                    .extend(edges.into_iter().map(|(measure, edge)| {
                        VerdictBegun {
                            at,
                            measure,
                            verdict: edge.verdict,
                            against: edge.compared,
                            comparison: judgements
                                .get(&measure)
                                .and_then(|judgement| judgement.comparison(edge.compared))
                                .copied(),
                        }
                    }));
            }
            while let Some((_, said)) = said.next_if(|(after, _)| *after <= place + 1) {
                // With another tolerance there may be no verdict where one was acknowledged.
                let _ = judges.intervene(said);
            }
        }
        if runs.is_empty() {
            return replay;
        }
        replay.end_change(&judges, of_environment);
        let opinion = judges.opinion();
        replay.level = opinion.level.map(|(level, _)| level);
        replay.baseline = opinion
            .judgements
            .get(&Measure::DecodeTokensRate)
            .and_then(|judgement| judgement.baseline_median);
        replay.show(runs, &clean, of_environment);
        replay
    }

    /// Tells the latest change what came of it, by what is known now.
    fn end_change(&mut self, judges: &Judges, clean_after: usize) {
        let Some(change) = self.changes.last_mut() else {
            return;
        };
        change.clean_after = clean_after;
        change.compared = judges
            .opinion()
            .judgements
            .into_iter()
            .filter_map(|(measure, judgement)| Some((measure, judgement.previous?)))
            .collect();
    }

    fn show(&mut self, runs: &[SeriesRun], clean: &[&SeriesRun], of_environment: usize) {
        let of_level: BTreeSet<Timestamp> =
            self.level.iter().flat_map(PresentLevel::ends).collect();
        let latest = &clean[clean.len() - of_environment..];
        let shown: Vec<&SeriesRun> = match &self.level {
            Some(_) => clean
                .iter()
                .copied()
                .filter(|run| of_level.contains(&run.figures.ended_at))
                .collect(),
            None => latest[latest.len().saturating_sub(MOST_SHOWN)..].to_vec(),
        };
        let since = shown.first().map(|run| run.figures.ended_at);
        let until = shown.last().map(|run| run.figures.ended_at);
        let is_since = |run: &&SeriesRun| since.is_none_or(|since| run.figures.ended_at >= since);
        self.left_out = runs
            .iter()
            .filter(is_since)
            .filter(|run| !run.is_valid())
            .count();
        self.later = clean
            .iter()
            .filter(|run| until.is_some_and(|until| run.figures.ended_at > until))
            .count();
        self.shown = match shown.as_slice() {
            [] => runs.last().map(|run| run.id.clone()).into_iter().collect(),
            shown => shown.iter().map(|run| run.id.clone()).collect(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs of 600 tokens/s in the environments `a`, `b`, ..., as many and at such a share of it as given.
    fn series(environments: &[(usize, f64)]) -> Vec<SeriesRun> {
        let mut runs = Vec::new();
        for (name, (count, share)) in ('a'..).zip(environments) {
            for _ in 0..*count {
                let n = runs.len();
                let wobble = 1.0 + 0.002 * ((n * 7 % 5) as f64 - 2.0);
                runs.push(SeriesRun {
                    id: RunId(n.to_string()),
                    figures: JudgedFigures {
                        ended_at: Timestamp::from_second(900 * n as i64).unwrap(),
                        values: BTreeMap::from([(
                            Measure::DecodeTokensRate,
                            600.0 * share * wobble,
                        )]),
                        completion_tokens_mean: Some(256.0),
                        contaminated: false,
                        contention_observable: true,
                        fingerprint: name.to_string(),
                        restarted: false,
                    },
                });
            }
        }
        runs
    }

    fn invalid(run: &mut SeriesRun) {
        run.figures.values.clear();
        run.figures.completion_tokens_mean = None;
    }

    fn ids(runs: std::ops::Range<usize>) -> Vec<RunId> {
        runs.map(|n| RunId(n.to_string())).collect()
    }

    #[test]
    fn each_change_has_its_own_before_and_after() {
        let runs = series(&[(40, 1.0), (30, 0.9), (30, 0.9), (3, 0.9)]);
        let replay = Replay::of(&runs, &[], &Tolerances::default());
        let told: Vec<_> = replay
            .changes
            .iter()
            .map(|change| {
                let compared = change.compared.get(&Measure::DecodeTokensRate);
                (
                    change.first_after.0.as_str(),
                    (change.clean_before, change.clean_after),
                    compared.map(|found| ((found.ratio * 100.0).round(), found.verdict)),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("40", (40, 29), Some((90.0, Some(Verdict::Regressed)))),
                ("70", (29, 29), Some((100.0, None))),
                ("100", (29, 2), None),
            ]
        );
        // The judges remember the same, though they are asked at the end only.
        let mut judges = Judges::new(&Tolerances::default());
        for run in &runs {
            judges.feed(&run.figures);
        }
        let effects = judges.opinion().judgements[&Measure::DecodeTokensRate]
            .effects
            .iter()
            .map(|effect| (effect.at, effect.comparison))
            .collect::<Vec<_>>();
        let replayed: Vec<_> = replay
            .changes
            .iter()
            .filter_map(|change| {
                let compared = change.compared.get(&Measure::DecodeTokensRate)?;
                Some((change.at, *compared))
            })
            .collect();
        assert_eq!(effects, replayed);
        assert_eq!(replay.verdicts.len(), 1, "{:?}", replay.verdicts);
        assert_eq!(replay.verdicts[0].against, Compared::Previous);
        assert!(replay.verdicts[0].comparison.is_some());
    }

    #[test]
    fn a_row_stands_for_the_runs_of_the_level() {
        let mut runs = series(&[(40, 1.0), (60, 0.9)]);
        invalid(&mut runs[20]);
        invalid(&mut runs[70]);
        let replay = Replay::of(&runs, &[], &Tolerances::default());
        let level = replay.level.unwrap();
        assert_eq!((level.runs(), replay.shown.len()), (48, 48));
        assert_eq!(replay.shown.last(), ids(99..100).last());
        assert!(!replay.shown.contains(&RunId("70".to_owned())));
        assert_eq!((replay.left_out, replay.later), (1, 0));
    }

    #[test]
    fn a_new_environment_with_few_runs_does_not_hide_the_level_before() {
        let replay = Replay::of(&series(&[(40, 1.0), (4, 0.9)]), &[], &Tolerances::default());
        assert_eq!(replay.shown, ids(0..40));
        assert_eq!(replay.later, 3);
    }

    #[test]
    fn too_few_runs_for_a_level_are_shown_without_the_cold_one() {
        let replay = Replay::of(&series(&[(5, 1.0), (4, 0.9)]), &[], &Tolerances::default());
        assert!(replay.level.is_none());
        assert_eq!(replay.shown, ids(6..9));
        let one = Replay::of(&series(&[(1, 1.0)]), &[], &Tolerances::default());
        assert_eq!((one.shown, one.left_out), (ids(0..1), 0));
    }

    #[test]
    fn runs_that_do_not_count_are_counted_and_never_shown_for_others() {
        let mut runs = series(&[(4, 1.0)]);
        runs.iter_mut().for_each(invalid);
        let replay = Replay::of(&runs, &[], &Tolerances::default());
        assert_eq!((replay.shown, replay.left_out), (ids(3..4), 4));
        assert!(
            Replay::of(&[], &[], &Tolerances::default())
                .shown
                .is_empty()
        );
    }
}
