//! Visitors: who lets whom go first.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn name(text: &str) -> DeploymentName {
    DeploymentName::new(text)
}

fn visit(day: &mut Day, deployment: &str, lane: &str) -> VisitKey {
    day.agenda.visit(name(deployment), Lane::new(lane))
}

#[test]
fn a_visit_waits_for_the_lane_and_for_the_deployment_and_holds_them() {
    let mut day = Day::new(
        "11:59:00",
        2,
        &[
            ("a/burst", "gpu0", "0 * * * *"),
            ("b/canary", "gpu0", "1 * * * *"),
        ],
    );
    assert_eq!(day.poll("12:00:00"), "start a/burst of 12:00:00");
    let at_b = visit(&mut day, "b", "gpu0");
    let elsewhere = visit(&mut day, "http://x", "http://x");
    let again = visit(&mut day, "http://x", "http://x");
    assert_eq!(day.agenda.next_wake(), Some(at("12:00:00")));
    assert_eq!(day.poll("12:00:01"), "admit 1");
    assert_eq!(day.poll("12:00:02"), "");
    day.agenda.left(elsewhere, None, at("12:00:03"));
    assert_eq!(day.poll("12:00:03"), "admit 2");
    let burst = day.key("a/burst");
    day.agenda.finished(burst, None, at("12:00:04"));
    assert_eq!(day.poll("12:00:04"), "admit 0");
    // It holds the lane while it goes on, and the slot of another waits.
    assert_eq!(day.poll("12:01:00"), "");
    day.agenda.left(at_b, None, at("12:01:01"));
    assert_eq!(day.agenda.next_wake(), Some(at("12:01:00")));
    assert_eq!(day.poll("12:01:01"), "start b/canary of 12:01:00");
    day.agenda.left(again, None, at("12:01:02"));
}

#[test]
fn the_schedule_goes_first_however_many_visitors_wait() {
    let mut day = Day::new("11:59:00", 1, &[("a/burst", "gpu0", "0 * * * *")]);
    let visits: Vec<_> = (0..50).map(|_| visit(&mut day, "a", "gpu0")).collect();
    assert_eq!(day.poll("11:59:59"), "admit 0");
    assert_eq!(day.poll("12:00:00"), "");
    day.agenda.left(visits[0], None, at("12:00:01"));
    assert_eq!(day.poll("12:00:01"), "start a/burst of 12:00:00");
    // Who gives up does not wait any more.
    for visit in &visits[1..49] {
        day.agenda.left(*visit, None, at("12:00:02"));
    }
    let burst = day.key("a/burst");
    day.agenda.finished(burst, None, at("12:00:30"));
    assert_eq!(day.poll("12:00:30"), "admit 49");
    day.agenda.left(visits[49], None, at("12:00:31"));
    assert_eq!(day.poll("12:00:31"), "");
}

#[test]
fn what_a_visit_costs_is_on_the_account_of_its_deployment_and_on_that_of_all() {
    let budget = |tokens| Budget {
        tokens_per_day: Some(tokens),
        duty_cycle: None,
    };
    let mut entry = probe("a/burst", "gpu0", "0 * * * *");
    (entry.budget, entry.tokens) = (budget(100), 50);
    let spent = |tokens| {
        let wall = Duration::from_secs(1);
        Some(Spent { tokens, wall })
    };
    for (deployment, own, outcome) in [
        ("a", 51, "skip a/burst by budget"),
        ("a", 50, "start a/burst of 12:00:00"),
        // Of another deployment only the account of all takes notice.
        ("http://x", 51, "start a/burst of 12:00:00"),
        ("http://x", 951, "skip a/burst by budget"),
    ] {
        let mut day = Day {
            names: vec!["a/burst"],
            agenda: Agenda::new(vec![entry.clone()], 1, budget(1_000), at("11:00:00")),
        };
        let visit = visit(&mut day, deployment, "elsewhere");
        assert_eq!(day.poll("11:00:01"), "admit 0");
        day.agenda.left(visit, spent(own), at("11:00:02"));
        assert_eq!(day.poll("12:00:00"), outcome, "{deployment} {own}");
    }
}

#[test]
fn visitors_outlast_a_change_of_the_plan() {
    let mut day = Day::new("11:59:00", 1, &[("a/burst", "gpu0", "0 * * * *")]);
    let (first, second) = (visit(&mut day, "a", "gpu0"), visit(&mut day, "a", "gpu0"));
    assert_eq!(day.poll("11:59:01"), "admit 0");
    let entries = vec![(probe("b/burst", "gpu0", "0 * * * *"), None)];
    let (agenda, _) = day
        .agenda
        .replan(entries, 1, Budget::default(), at("11:59:02"));
    let mut day = Day {
        names: vec!["b/burst"],
        agenda,
    };
    assert_eq!(day.poll("12:00:00"), "");
    day.agenda.left(first, None, at("12:00:01"));
    assert_eq!(day.poll("12:00:01"), "start b/burst of 12:00:00");
    let burst = day.key("b/burst");
    day.agenda.finished(burst, None, at("12:00:02"));
    assert_eq!(day.poll("12:00:02"), "admit 1");
    day.agenda.left(second, None, at("12:00:03"));
}

/// What happens next: so many seconds pass, and then someone comes to a lane, or who came first of those that are
/// still there leaves, or the run of a probe ends.
#[derive(Clone, Copy, Debug)]
enum Step {
    Comes(usize),
    Leaves(usize),
    Ends(usize),
}

fn any_step() -> impl Strategy<Value = (i64, Step)> {
    let step = prop_oneof![
        (0_usize..3).prop_map(Step::Comes),
        (0_usize..4).prop_map(Step::Leaves),
        (0_usize..2).prop_map(Step::Ends),
    ];
    (0_i64..40, step)
}

proptest! {
    #[test]
    fn a_lane_holds_one_at_a_time_and_nobody_waits_for_one_that_is_free(
        steps in prop::collection::vec(any_step(), 1..200),
    ) {
        const LANES: [&str; 3] = ["gpu0", "gpu1", "gpu2"];
        let entries = vec![
            probe("a/burst", LANES[0], "* * * * *"),
            probe("b/canary", LANES[1], "* * * * *"),
        ];
        let mut now = at("12:00:00");
        let mut agenda = Agenda::new(entries, 1, Budget::default(), now);
        // Who is there, in the order of coming, with the lane; and who of them was let in.
        let mut there: Vec<(VisitKey, usize)> = Vec::new();
        let mut inside: BTreeSet<VisitKey> = BTreeSet::new();
        for (seconds, step) in steps {
            now += jiff::SignedDuration::from_secs(seconds);
            match step {
                Step::Comes(lane) => {
                    let key = agenda.visit(name(&format!("v{lane}")), Lane::new(LANES[lane]));
                    there.push((key, lane));
                }
                Step::Leaves(place) if place < there.len() => {
                    let (key, _) = there.remove(place);
                    inside.remove(&key);
                    agenda.left(key, None, now);
                }
                Step::Ends(probe) => agenda.finished(ProbeKey(probe), None, now),
                Step::Leaves(_) => {}
            }
            for event in agenda.poll(now) {
                if let Event::Admitted { visit } = event {
                    prop_assert!(there.iter().any(|(key, _)| *key == visit), "it had left");
                    prop_assert!(inside.insert(visit), "it was let in twice");
                }
            }
            for (lane, _) in LANES.iter().enumerate() {
                let runs = lane < 2 && agenda.is_running(ProbeKey(lane));
                let visits = there.iter().filter(|(key, of)| *of == lane && inside.contains(key));
                let taken = usize::from(runs) + visits.count();
                prop_assert!(taken <= 1, "{taken} in {lane}");
                let mut of_lane = there.iter().filter(|(_, of)| *of == lane);
                let waits = of_lane.clone().any(|(key, _)| !inside.contains(key));
                prop_assert!(!waits || taken == 1, "someone waits for a free lane");
                // Of the same lane whoever came first is let in first.
                let first = of_lane.next();
                let any_in = there.iter().any(|(key, of)| *of == lane && inside.contains(key));
                prop_assert!(!any_in || first.is_some_and(|(key, _)| inside.contains(key)));
            }
        }
    }
}
