//! How long a verdict stands: until the level is back, or is what is expected by now, whatever else changes; and what
//! people may say of it.

use super::*;
use crate::verdict::{Acknowledgement, Settlement};

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
