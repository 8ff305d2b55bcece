//! The judge, case by case: what it compares with what, and when a verdict begins.

use jiff::SignedDuration;

use super::*;
use crate::verdict::{Decision, Judgement};

mod properties;
mod standing;

/// A run every quarter of an hour.
fn time(run: usize) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(15) * run as i32
}

/// What a run of the tests is, unless they say otherwise.
fn run_of(value: f64, number: usize) -> JudgedRun<'static> {
    JudgedRun {
        ended_at: time(number),
        value: Some(value),
        contaminated: false,
        contention_observable: true,
        fingerprint: "a",
        restarted: false,
    }
}

/// Noise of about 0.5 %, the same in every test: the fractional parts of multiples of the golden ratio, which fill
/// their interval evenly.
fn noise(number: usize) -> f64 {
    let part = (number as f64 * 0.618_033_988_749_895).fract() - 0.5;
    (0.017 * part).exp()
}

/// A series under judgement.
struct Series {
    judge: Judge,
    runs: usize,
    edges: Vec<(usize, Edge)>,
    fingerprint: &'static str,
}

impl Series {
    fn new(good: Good) -> Self {
        Self {
            judge: Judge::new(good, 0.03),
            runs: 0,
            edges: Vec::new(),
            fingerprint: "a",
        }
    }

    /// Feeds `count` runs about the level `level`.
    fn at(mut self, level: f64, count: usize) -> Self {
        for _ in 0..count {
            self.one(|run| run.value = Some(level * run.value.unwrap_or_default()));
        }
        self
    }

    /// The next run belongs to another environment.
    fn environment(mut self, fingerprint: &'static str) -> Self {
        self.fingerprint = fingerprint;
        self
    }

    /// Feeds one run about the level 1, changed.
    fn one(&mut self, change: impl FnOnce(&mut JudgedRun<'static>)) -> Option<Edge> {
        let mut run = JudgedRun {
            fingerprint: self.fingerprint,
            ..run_of(noise(self.runs), self.runs)
        };
        change(&mut run);
        let edge = self.judge.feed(&run);
        self.edges.extend(edge.map(|edge| (self.runs, edge)));
        self.runs += 1;
        edge
    }

    fn shown(&self) -> Judgement {
        self.judge.judgement()
    }

    fn verdicts(&self) -> Vec<(usize, Verdict, Compared)> {
        let edges = self.edges.iter();
        edges
            .map(|(run, edge)| (*run, edge.verdict, edge.compared))
            .collect()
    }

    fn standing(&self) -> Option<Verdict> {
        self.judge
            .standing
            .as_ref()
            .map(|standing| standing.verdict)
    }
}

const REGRESSED: Verdict = Verdict::Regressed;
const IMPROVED: Verdict = Verdict::Improved;

#[test]
fn a_steady_series_is_unchanged_and_nothing_is_said_of_it() {
    let series = Series::new(Good::High).at(600.0, 300);
    assert_eq!(series.verdicts(), []);
    let shown = series.shown();
    let baseline = shown.baseline.unwrap();
    assert_eq!(baseline.decision, Decision::Unchanged);
    assert!(baseline.is_conclusive() && baseline.verdict.is_none());
    assert_eq!((baseline.runs_after, baseline.runs_before), (40, 96));
    assert!(baseline.lower < 1.0 && 1.0 < baseline.upper && baseline.upper < 1.005);
    assert!((shown.baseline_median.unwrap() - 600.0).abs() < 1.0);
    assert_eq!(
        (shown.baseline_runs, shown.baseline_at),
        (96, Some(time(95)))
    );
    assert!((0.004..0.006).contains(&shown.noise_ratio.unwrap()));
    assert!((0.012..0.018).contains(&shown.minimum_detectable_change.unwrap()));
    assert_eq!(shown.previous, None, "no environment came before");
    assert_eq!(shown.standing, None);
}

#[test]
fn before_there_is_enough_nothing_is_shown() {
    let shown = Series::new(Good::High).shown();
    assert_eq!((shown.baseline, shown.baseline_median), (None, None));
    assert_eq!(
        (shown.noise_ratio, shown.minimum_detectable_change),
        (None, None)
    );
    let shown = Series::new(Good::High).at(600.0, 14).shown();
    assert_eq!((shown.baseline, shown.baseline_runs), (None, 14));
    let shown = Series::new(Good::High).at(600.0, 15).shown();
    let baseline = shown.baseline.unwrap();
    assert_eq!((baseline.runs_after, baseline.runs_before), (5, 10));
}

#[test]
fn an_environment_that_becomes_known_has_not_changed() {
    let series = Series::new(Good::High)
        .environment("")
        .at(600.0, 30)
        .environment("a")
        .at(600.0, 10)
        .environment("")
        .at(600.0, 10)
        .environment("a")
        .at(600.0, 30);
    let shown = series.shown();
    assert_eq!((shown.previous, shown.baseline_runs), (None, 80));
}

#[test]
fn a_known_change_is_judged_from_its_fifth_clean_run() {
    let series = Series::new(Good::High)
        .at(600.0, 50)
        .environment("b")
        .at(570.0, 30);
    // Run 50 is cold; 51 to 55 are five clean ones.
    assert_eq!(series.verdicts(), [(55, REGRESSED, Compared::Previous)]);
    let shown = series.shown();
    let previous = shown.previous.unwrap();
    assert_eq!(previous.verdict, Some(REGRESSED));
    assert_eq!((previous.runs_after, previous.runs_before), (29, 50));
    assert!(previous.lower < 0.95 && 0.95 < previous.upper && previous.upper < 0.97);
    let baseline = shown.baseline.unwrap();
    assert_eq!(baseline.verdict, Some(REGRESSED));
    assert!((baseline.ratio - 0.95).abs() < 0.003);
    assert_eq!(shown.baseline_runs, 50, "slower runs are no baseline");
    assert_eq!(shown.standing.unwrap().since, time(55));
}

#[test]
fn a_latency_regresses_when_it_grows() {
    let series = Series::new(Good::Low)
        .at(6.76, 50)
        .environment("b")
        .at(6.76 * 1.05, 30);
    assert_eq!(series.verdicts(), [(55, REGRESSED, Compared::Previous)]);
    let previous = series.shown().previous.unwrap();
    assert!(previous.lower < 1.05 && 1.05 < previous.upper && previous.lower > 1.03);
}

#[test]
fn a_change_that_nobody_announced_is_found_against_the_baseline() {
    let series = Series::new(Good::High).at(600.0, 120).at(570.0, 40);
    assert_eq!(series.verdicts(), [(123, REGRESSED, Compared::Baseline)]);
    assert!((series.shown().baseline.unwrap().ratio - 0.95).abs() < 0.003);
}

#[test]
fn where_traffic_cannot_be_seen_five_runs_are_not_enough() {
    let mut series = Series::new(Good::High);
    for run in 0..160 {
        let level = if run < 120 { 600.0 } else { 570.0 };
        series.one(|run| {
            run.value = Some(level * run.value.unwrap_or_default());
            run.contention_observable = false;
        });
    }
    assert_eq!(series.verdicts(), [(126, REGRESSED, Compared::Baseline)]);
}

#[test]
fn four_upgrades_of_one_percent_add_up() {
    let mut series = Series::new(Good::High).at(600.0, 96);
    for (k, name) in ["b", "c", "d", "e"].into_iter().enumerate() {
        series = series
            .environment(name)
            .at(600.0 * 0.99_f64.powi(k as i32 + 1), 60);
    }
    let verdicts = series.verdicts();
    assert!(!verdicts.is_empty());
    for (_, verdict, compared) in verdicts {
        assert_eq!((verdict, compared), (REGRESSED, Compared::Baseline));
    }
    assert!((series.shown().baseline.unwrap().ratio - 0.96).abs() < 0.004);
}

#[test]
fn what_is_not_clean_is_never_tested() {
    let mut series = Series::new(Good::High).at(600.0, 60);
    for k in 0..60 {
        let edge = series.one(|run| {
            run.value = if k % 2 == 0 { None } else { Some(300.0) };
            run.contaminated = k % 2 == 1;
        });
        assert_eq!(edge, None);
    }
    for k in 0..60 {
        // Each of these is the first after a restart.
        let edge = series.one(|run| {
            run.value = Some(300.0);
            run.restarted = k < 60;
        });
        assert_eq!(edge, None);
    }
    for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(series.one(|run| run.value = Some(value)), None);
    }
    assert_eq!(series.shown().baseline_runs, 60);
}

#[test]
fn an_invalid_run_warms_nothing() {
    let mut series = Series::new(Good::High).at(600.0, 60).environment("b");
    series.one(|run| run.value = None);
    series.one(|run| run.value = Some(300.0));
    assert_eq!(
        series.judge.clean.of_level(1),
        [],
        "the second run was the cold one"
    );
    series.one(|run| run.value = Some(600.0));
    assert_eq!(series.judge.clean.of_level(1).len(), 1);
}

#[test]
fn two_changes_at_once_are_judged_together() {
    let series = Series::new(Good::High)
        .at(600.0, 60)
        .environment("b")
        .at(570.0, 3)
        .environment("c")
        .at(570.0, 7);
    assert_eq!(series.verdicts(), [(68, REGRESSED, Compared::Previous)]);
}

#[test]
fn restarts_that_scatter_widen_the_interval_and_are_no_verdicts() {
    let scattered = |scatter: f64| {
        let mut series = Series::new(Good::High);
        for start in 0..12 {
            let level = 1.0 + scatter * [0.0, 1.0, -1.0, 0.5][start % 4];
            for run in 0..20 {
                series.one(|judged| {
                    judged.value = judged.value.map(|value| value * level);
                    judged.restarted = run == 0;
                });
            }
        }
        series
    };
    let (calm, wild) = (scattered(0.0), scattered(0.007));
    let width = |series: &Series| {
        let shown = series.shown().baseline.unwrap();
        shown.upper - shown.lower
    };
    assert!(width(&wild) > 1.5 * width(&calm));
    assert_eq!((calm.edges, wild.edges), (vec![], vec![]));
}

#[test]
fn a_long_history_costs_no_more_than_a_short_one() {
    let series = Series::new(Good::High).at(600.0, 20_000);
    assert!(series.judge.clean.kept().len() <= 192);
    assert_eq!(series.judge.baseline.runs().len(), 96);
    assert_eq!(series.verdicts(), []);
}
