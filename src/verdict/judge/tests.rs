//! The judge, case by case: what it compares with what, when a verdict begins, and when it ends.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::verdict::{Acknowledgement, Decision, Judgement, Settlement};

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
fn a_verdict_stands_until_the_level_is_back() {
    let series = Series::new(Good::High).at(600.0, 120).at(570.0, 200);
    assert_eq!(series.edges.len(), 1, "it is said once");
    assert_eq!(series.standing(), Some(REGRESSED));
    let series = series.at(600.0, 30);
    assert_eq!(series.edges.len(), 1, "to be back is no improvement");
    assert_eq!(series.standing(), None);
    assert_eq!(series.shown().baseline.unwrap().verdict, None);
    let series = series.at(570.0, 20);
    assert_eq!(series.edges.len(), 2, "and it may begin again");
}

#[test]
fn a_rollback_ends_the_verdict_of_the_change() {
    let series = Series::new(Good::High)
        .at(600.0, 60)
        .environment("b")
        .at(570.0, 40)
        .environment("a")
        .at(600.0, 10);
    assert_eq!(series.verdicts(), [(65, REGRESSED, Compared::Previous)]);
    assert_eq!(series.standing(), None);
    assert_eq!(series.shown().previous.unwrap().verdict, None);
}

#[test]
fn an_improvement_that_lasts_is_what_is_expected() {
    let series = Series::new(Good::High).at(600.0, 120).at(660.0, 20);
    assert_eq!(series.standing(), Some(IMPROVED));
    let series = series.at(660.0, 30);
    assert_eq!(series.standing(), None);
    let shown = series.shown();
    assert!((shown.baseline_median.unwrap() - 660.0).abs() < 2.0);
    // What was good enough before is a regression now.
    let series = series.at(600.0, 20);
    let verdicts: Vec<_> = series.verdicts().iter().map(|(_, v, _)| *v).collect();
    assert_eq!(verdicts, [IMPROVED, REGRESSED]);
}

#[test]
fn an_improvement_that_is_half_lost_is_a_regression_from_it() {
    let series = Series::new(Good::High)
        .at(600.0, 120)
        .at(690.0, 20)
        .at(640.0, 20);
    let verdicts: Vec<_> = series.verdicts().iter().map(|(_, v, _)| *v).collect();
    assert_eq!(verdicts, [IMPROVED, REGRESSED]);
    let baseline = series.shown().baseline.unwrap();
    assert!(
        (baseline.ratio - 640.0 / 690.0).abs() < 0.005,
        "{baseline:?}"
    );
    assert_eq!(baseline.verdict, Some(REGRESSED));
}

#[test]
fn half_a_recovery_leaves_the_verdict_standing() {
    let series = Series::new(Good::High)
        .at(600.0, 120)
        .at(540.0, 60)
        .at(570.0, 60);
    assert_eq!(series.edges.len(), 1);
    assert_eq!(series.standing(), Some(REGRESSED));
    assert!((series.shown().baseline.unwrap().ratio - 0.95).abs() < 0.003);
}

fn acknowledgement(settlement: Settlement, run: usize) -> Acknowledgement {
    Acknowledgement {
        by: "the operator on duty".to_owned(),
        at: time(run),
        why: "the new driver is needed".to_owned(),
        settlement,
    }
}

#[test]
fn acknowledging_silences_until_its_end_and_never_blinds() {
    let mut series = Series::new(Good::High).at(600.0, 120);
    let until = |end| acknowledgement(Settlement::Until(time(end)), 130);
    assert_eq!(
        series.judge.acknowledge(until(200)),
        Err(NothingToAcknowledge)
    );
    series = series.at(570.0, 10);
    let is_acknowledged = |series: &Series, at| {
        let standing = series.shown().standing.unwrap();
        standing.is_acknowledged(time(at))
    };
    assert!(!is_acknowledged(&series, 130));
    series.judge.acknowledge(until(200)).unwrap();
    series = series.at(570.0, 50);
    assert_eq!(series.standing(), Some(REGRESSED), "it is silent, not gone");
    assert!(is_acknowledged(&series, 199));
    assert!(!is_acknowledged(&series, 200));
    series = series.at(540.0, 8);
    assert_eq!(series.edges.len(), 2, "a further step is a new verdict");
    assert!(!is_acknowledged(&series, 188), "that nobody has seen");
}

#[test]
fn what_is_acknowledged_as_the_new_level_is_the_baseline() {
    let mut series = Series::new(Good::High).at(600.0, 120).at(570.0, 20);
    let settled = acknowledgement(Settlement::Rebaseline, 140);
    series.judge.acknowledge(settled).unwrap();
    assert_eq!(series.standing(), None);
    series = series.at(570.0, 50);
    assert_eq!(series.edges.len(), 1);
    assert!((series.shown().baseline_median.unwrap() - 570.0).abs() < 2.0);
    series = series.at(540.0, 10);
    assert_eq!(series.edges.len(), 2);
}

#[test]
fn a_baseline_that_is_pinned_anew_is_that_of_the_present_level() {
    let mut series = Series::new(Good::High)
        .at(600.0, 120)
        .environment("b")
        .at(606.0, 40);
    series.judge.pin();
    let shown = series.shown();
    assert_eq!((shown.baseline_runs, shown.previous), (39, None));
    assert!((shown.baseline_median.unwrap() - 606.0).abs() < 2.0);
    let series = series.at(606.0, 100);
    assert_eq!((series.shown().baseline_runs, series.edges.len()), (96, 0));
}

#[test]
fn an_alert_does_not_end_because_the_environment_changed() {
    let series = Series::new(Good::High)
        .at(600.0, 120)
        .at(570.0, 20)
        .environment("b")
        .at(570.0, 3);
    let shown = series.shown();
    assert_eq!(shown.previous, None, "two clean runs say nothing yet");
    let baseline = shown.baseline.unwrap();
    assert_eq!(baseline.verdict, Some(REGRESSED));
    assert!((baseline.ratio - 0.95).abs() < 0.003);
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

/// Runs of a series in which much happens: level, environment, and what is wrong with some of them.
fn history() -> impl Strategy<Value = Vec<(f64, bool, bool, u8)>> {
    let piece = (0.85..1.15, 1usize..60, any::<bool>(), any::<bool>());
    let runs = prop::collection::vec(piece, 1..8).prop_flat_map(|pieces| {
        let total = pieces.iter().map(|(_, count, _, _)| count).sum::<usize>();
        (Just(pieces), prop::collection::vec(0u8..20, total))
    });
    runs.prop_map(|(pieces, wrongs)| {
        let mut wrongs = wrongs.into_iter();
        let mut runs = Vec::new();
        for (level, count, changed, restarted) in pieces {
            for k in 0..count {
                let wrong = wrongs.next().unwrap_or_default();
                runs.push((level, changed && k == 0, restarted && k == 0, wrong));
            }
        }
        runs
    })
}

/// Judges a history whose values are multiplied by `factor`, or are one over it where less is better.
fn judged(
    history: &[(f64, bool, bool, u8)],
    good: Good,
    factor: f64,
) -> (Judge, Vec<(usize, Edge)>) {
    let names: Vec<String> = (0..10).map(|k| format!("environment {k}")).collect();
    let mut judge = Judge::new(good, 0.03);
    let mut environment = 0;
    let mut edges = Vec::new();
    for (number, (level, changed, restarted, wrong)) in history.iter().enumerate() {
        environment += usize::from(*changed);
        let value = level * noise(number) * factor;
        let run = JudgedRun {
            value: (*wrong != 0).then(|| value.powf(good.sign())),
            contaminated: *wrong == 1,
            fingerprint: &names[environment],
            restarted: *restarted,
            ..run_of(value, number)
        };
        edges.extend(judge.feed(&run).map(|edge| (number, edge)));
    }
    (judge, edges)
}

proptest! {
    #[test]
    fn it_never_uses_the_future(history in history(), cut in 0usize..400) {
        let (_, edges) = judged(&history, Good::High, 1.0);
        let cut = cut.min(history.len());
        let (_, known) = judged(&history[..cut], Good::High, 1.0);
        let until = edges.into_iter().filter(|(run, _)| *run < cut);
        prop_assert_eq!(known, until.collect::<Vec<_>>());
    }

    #[test]
    fn a_replay_gives_the_same_state(history in history()) {
        let (judge, edges) = judged(&history, Good::High, 1.0);
        prop_assert_eq!((judge, edges), judged(&history, Good::High, 1.0));
    }

    #[test]
    fn the_unit_is_nothing_to_it(history in history(), scale in 0.001..1000.0) {
        let (_, edges) = judged(&history, Good::High, 1.0);
        prop_assert_eq!(edges, judged(&history, Good::High, scale).1);
    }

    #[test]
    fn a_latency_is_judged_as_the_rate_that_is_its_inverse(history in history()) {
        let (rate, edges) = judged(&history, Good::High, 1.0);
        let (latency, same) = judged(&history, Good::Low, 1.0);
        prop_assert_eq!(edges, same);
        let shown = Judge::judgement;
        let (rate, latency) = (shown(&rate), shown(&latency));
        if let (Some(rate), Some(latency)) = (rate.baseline, latency.baseline) {
            prop_assert!((rate.ratio * latency.ratio - 1.0).abs() < 1e-9);
            prop_assert!((rate.lower * latency.upper - 1.0).abs() < 1e-9);
            prop_assert_eq!(rate.decision, latency.decision);
        }
    }

    #[test]
    fn what_is_shown_is_in_order(history in history()) {
        let (judge, _) = judged(&history, Good::High, 1.0);
        let shown = judge.judgement();
        for comparison in [shown.previous, shown.baseline].into_iter().flatten() {
            prop_assert!(comparison.lower <= comparison.ratio && comparison.ratio <= comparison.upper);
            prop_assert!(comparison.runs_after >= 5 && comparison.runs_before >= 10);
        }
        prop_assert!(shown.baseline_runs <= 96);
        prop_assert!(judge.standing.is_none() || judge.baseline.runs().len() >= 10);
    }
}
