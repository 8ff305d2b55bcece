//! What a new configuration changes in the middle of a day, and what it leaves alone.

use super::*;

/// The same day under another configuration.
fn replanned(
    day: Day,
    time: &str,
    probes: &[(&'static str, &str, &str)],
) -> (Day, Vec<Option<ProbeKey>>) {
    let entries = probes.iter().map(|(name, lane, pattern)| {
        let known = day.names.iter().position(|known| known == name);
        (probe(name, lane, pattern), known.map(ProbeKey))
    });
    let (agenda, places) =
        day.agenda
            .clone()
            .replan(entries.collect(), 1, Budget::default(), at(time));
    let mut names: Vec<&str> = probes.iter().map(|(name, ..)| *name).collect();
    for (name, place) in day.names.iter().zip(&places) {
        if place.is_some_and(|ProbeKey(place)| place == names.len()) {
            names.push(name);
        }
    }
    (Day { names, agenda }, places)
}

const EACH_HOUR: &str = "0 * * * *";

#[test]
fn what_goes_on_keeps_its_slots_its_run_and_its_place() {
    let mut day = Day::new(
        "11:30:00",
        1,
        &[("a/burst", "one", EACH_HOUR), ("b/burst", "one", EACH_HOUR)],
    );
    assert_eq!(day.poll("12:00:00"), "start a/burst of 12:00:00");
    // The order of the file changes, and a deployment is added.
    let probes = [
        ("b/burst", "one", EACH_HOUR),
        ("c/burst", "two", "10 * * * *"),
        ("a/burst", "one", EACH_HOUR),
    ];
    let (mut day, places) = replanned(day, "12:00:30", &probes);
    assert_eq!(places, [Some(ProbeKey(2)), Some(ProbeKey(0))]);
    assert!(day.agenda.is_running(day.key("a/burst")));
    assert_eq!(day.poll("12:00:31"), "", "its lane is taken as before");
    day.agenda
        .finished(day.key("a/burst"), None, at("12:01:00"));
    assert_eq!(day.poll("12:01:00"), "start b/burst of 12:00:00");
    day.agenda
        .finished(day.key("b/burst"), None, at("12:02:00"));
    assert_eq!(day.poll("12:10:00"), "start c/burst of 12:10:00");
}

#[test]
fn a_run_whose_probe_is_gone_holds_its_lane_until_it_ends() {
    let mut day = Day::new("11:30:00", 1, &[("a/burst", "one", EACH_HOUR)]);
    assert_eq!(day.poll("12:00:00"), "start a/burst of 12:00:00");
    let (mut day, places) = replanned(day, "12:00:30", &[("b/burst", "one", "1 * * * *")]);
    assert_eq!(places, [Some(ProbeKey(1))], "behind the others");
    assert_eq!(day.poll("12:01:00"), "", "the GPU is still busy with it");
    day.agenda
        .finished(day.key("a/burst"), None, at("12:03:00"));
    assert_eq!(day.poll("12:03:00"), "start b/burst of 12:01:00");
    day.agenda
        .finished(day.key("b/burst"), None, at("12:04:00"));
    assert_eq!(day.poll("12:59:59"), "");
    assert_eq!(
        day.poll("13:01:00"),
        "start b/burst of 13:01:00",
        "it is not due any more"
    );
    // With the next configuration it is forgotten.
    let (_, places) = replanned(day, "13:01:30", &[("b/burst", "one", "1 * * * *")]);
    assert_eq!(places, [Some(ProbeKey(0)), None]);
}

#[test]
fn another_schedule_begins_anew() {
    let day = Day::new("11:30:00", 1, &[("a/burst", "one", EACH_HOUR)]);
    let (mut day, _) = replanned(day, "11:40:00", &[("a/burst", "one", "45 * * * *")]);
    assert_eq!(day.poll("11:45:00"), "start a/burst of 11:45:00");
}

#[test]
fn lanes_that_are_merged_wait_for_both_runs() {
    let mut day = Day::new(
        "11:30:00",
        2,
        &[("a/burst", "one", EACH_HOUR), ("b/burst", "two", EACH_HOUR)],
    );
    assert_eq!(
        day.poll("12:00:00"),
        "start a/burst of 12:00:00, start b/burst of 12:00:00"
    );
    let merged = [
        ("a/burst", "one", EACH_HOUR),
        ("b/burst", "one", EACH_HOUR),
        ("c/canary", "one", "1 * * * *"),
    ];
    let (mut day, _) = replanned(day, "12:00:30", &merged);
    day.agenda
        .finished(day.key("a/burst"), None, at("12:02:00"));
    assert_eq!(day.poll("12:02:00"), "", "one is still there");
    day.agenda
        .finished(day.key("b/burst"), None, at("12:03:00"));
    assert_eq!(day.poll("12:03:00"), "start c/canary of 12:01:00");
}

#[test]
fn what_was_spent_counts_under_the_new_budget() {
    let limited = |tokens_per_day| Entry {
        budget: Budget {
            tokens_per_day: Some(tokens_per_day),
            ..Budget::default()
        },
        tokens: 100,
        ..probe("a/burst", "one", EACH_HOUR)
    };
    let mut agenda = Agenda::new(vec![limited(1_000)], 1, Budget::default(), at("11:30:00"));
    agenda.poll(at("12:00:00"));
    let cost = Spent {
        tokens: 150,
        wall: Duration::from_secs(10),
    };
    agenda.finished(ProbeKey(0), Some(cost), at("12:00:10"));
    let (mut agenda, _) = agenda.replan(
        vec![(limited(200), Some(ProbeKey(0)))],
        1,
        Budget::default(),
        at("12:30:00"),
    );
    let probe = ProbeKey(0);
    let reason = SkippedReason::Budget;
    assert_eq!(
        agenda.poll(at("13:00:00")),
        [Event::Skipped { probe, reason }]
    );
}
