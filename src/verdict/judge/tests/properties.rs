//! What holds of every history, whatever happened in it.

use proptest::prelude::*;

use super::*;

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
