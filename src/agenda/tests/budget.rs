//! Stories of bursts that a budget has no room for.

use super::*;

/// A day from 12:59:30 with a lane for each probe, on which bursts are expected to take 100 tokens and light
/// runs 10; each deployment has the budget `own`.
fn day(own: Budget, total: Budget, probes: &[(&'static str, &str)]) -> Day {
    let entries = probes.iter().map(|(name, pattern)| {
        let entry = probe(name, name, pattern);
        Entry {
            budget: own,
            tokens: if entry.light { 10 } else { 100 },
            ..entry
        }
    });
    Day {
        names: probes.iter().map(|(name, _)| *name).collect(),
        agenda: Agenda::new(entries.collect(), 2, total, at("12:59:30")),
    }
}

fn tokens(tokens_per_day: u64) -> Budget {
    Budget {
        tokens_per_day: Some(tokens_per_day),
        ..Budget::default()
    }
}

fn share(duty_cycle: f64) -> Budget {
    Budget {
        duty_cycle: Some(duty_cycle),
        ..Budget::default()
    }
}

const NONE: Budget = Budget {
    tokens_per_day: None,
    duty_cycle: None,
};

#[test]
fn a_burst_that_may_take_more_than_what_is_left_is_skipped_and_a_light_run_goes_on() {
    let probes = [
        ("a/reference", "*/10 * * * *"),
        ("a/canary", "5-59/10 * * * *"),
        ("b/reference", "2-59/10 * * * *"),
    ];
    let mut day = day(tokens(250), NONE, &probes);
    assert_eq!(day.poll("13:00:00"), "start a/reference of 13:00:00");
    assert_eq!(day.spend("a/reference", 120, 30, "13:00:30"), "");
    assert_eq!(day.poll("13:02:00"), "start b/reference of 13:02:00");
    assert_eq!(day.spend("b/reference", 9_000, 30, "13:02:30"), "");
    assert_eq!(day.poll("13:05:00"), "start a/canary of 13:05:00");
    assert_eq!(day.spend("a/canary", 11, 1, "13:05:01"), "");
    // 131 are spent, and what is left would do for 100. But the last burst took 120.
    assert_eq!(day.poll("13:10:00"), "skip a/reference by budget");
    assert_eq!(day.poll("13:12:00"), "skip b/reference by budget");
    assert_eq!(day.poll("13:15:00"), "start a/canary of 13:15:00");
}

#[test]
fn a_run_that_cost_little_says_nothing_of_the_next_one() {
    let mut day = day(tokens(150), NONE, &[("a/reference", MINUTELY)]);
    assert_eq!(day.poll("13:00:00"), "start a/reference of 13:00:00");
    assert_eq!(day.spend("a/reference", 51, 1, "13:00:01"), "");
    assert_eq!(day.poll("13:01:00"), "skip a/reference by budget");
}

#[test]
fn what_was_put_off_or_came_to_nothing_costs_nothing() {
    let mut day = day(tokens(100), share(0.001), &[("a/reference", MINUTELY)]);
    assert_eq!(day.poll("13:00:00"), "start a/reference of 13:00:00");
    day.defer("a/reference", "13:00:01");
    assert_eq!(day.poll("13:00:06"), "start a/reference of 13:00:00");
    assert_eq!(day.finish("a/reference", "13:00:07"), "");
    assert_eq!(day.poll("13:01:00"), "start a/reference of 13:01:00");
    assert_eq!(day.spend("a/reference", 1, 1, "13:01:01"), "");
    assert_eq!(day.poll("13:02:00"), "skip a/reference by budget");
}

#[test]
fn the_total_counts_what_the_runs_in_flight_may_still_take() {
    let probes = [("a/reference", HOURLY), ("b/reference", "*/2 * * * *")];
    let mut day = day(NONE, tokens(199), &probes);
    assert_eq!(
        day.poll("13:00:00"),
        "start a/reference of 13:00:00, skip b/reference by budget"
    );
    assert_eq!(day.spend("a/reference", 99, 60, "13:01:00"), "");
    assert_eq!(day.poll("13:02:00"), "start b/reference of 13:02:00");
    assert_eq!(day.spend("b/reference", 99, 60, "13:03:00"), "");
    assert_eq!(day.poll("13:04:00"), "skip b/reference by budget");
}

#[test]
fn a_burst_waits_until_the_one_before_is_paid_for_and_is_skipped_if_its_next_slot_comes_first() {
    let mut day = day(share(0.1), NONE, &[("a/reference", MINUTELY)]);
    let a = day.key("a/reference");
    assert_eq!(day.poll("13:00:00"), "start a/reference of 13:00:00");
    assert_eq!(day.spend("a/reference", 100, 9, "13:00:20"), "");
    assert_eq!(day.poll("13:01:00"), "");
    assert_eq!(day.agenda.next_wake(), Some(at("13:01:30")));
    assert_eq!(day.agenda.next_run(a), Some(at("13:01:30")));
    assert_eq!(day.poll("13:01:30"), "start a/reference of 13:01:00");
    assert_eq!(day.spend("a/reference", 100, 12, "13:01:42"), "");
    assert_eq!(day.poll("13:02:00"), "");
    assert_eq!(day.poll("13:03:00"), "skip a/reference by duty_cycle");
    assert_eq!(day.poll("13:03:30"), "start a/reference of 13:03:00");
}

#[test]
fn a_probe_that_is_always_due_shortly_after_another_has_its_turn_too() {
    let probes = [
        ("a/reference", "*/10 * * * *"),
        ("a/other", "1-59/10 * * * *"),
    ];
    let mut day = day(share(0.1), NONE, &probes);
    assert_eq!(day.poll("13:00:00"), "start a/reference of 13:00:00");
    assert_eq!(day.spend("a/reference", 100, 60, "13:01:00"), "");
    // There is time for one of them in ten minutes, and they take turns.
    assert_eq!(day.poll("13:10:00"), "start a/other of 13:01:00");
    assert_eq!(day.spend("a/other", 100, 60, "13:11:00"), "");
    assert_eq!(
        day.poll("13:20:00"),
        "skip a/reference by duty_cycle, start a/reference of 13:20:00"
    );
    assert_eq!(
        day.spend("a/reference", 100, 60, "13:21:00"),
        "skip a/other by duty_cycle"
    );
    assert_eq!(day.poll("13:30:00"), "start a/other of 13:21:00");
}

#[test]
fn a_light_run_is_paid_for_by_idle_time_before_it_and_else_by_what_follows() {
    let probes = [("a/reference", "*/2 * * * *"), ("a/canary", MINUTELY)];
    let mut day = day(share(0.5), NONE, &probes);
    assert_eq!(day.poll("13:00:00"), "start a/canary of 13:00:00");
    assert_eq!(
        day.spend("a/canary", 10, 9, "13:00:09"),
        "start a/reference of 13:00:00"
    );
    // Paid for at 13:01:59, and with the canary at 13:02:17.
    assert_eq!(
        day.spend("a/reference", 100, 55, "13:01:04"),
        "start a/canary of 13:01:00"
    );
    assert_eq!(day.spend("a/canary", 10, 9, "13:01:13"), "");
    assert_eq!(day.poll("13:02:00"), "start a/canary of 13:02:00");
    assert_eq!(day.spend("a/canary", 10, 1, "13:02:01"), "");
    assert_eq!(day.agenda.next_wake(), Some(at("13:02:19")));
    assert_eq!(day.poll("13:02:19"), "start a/reference of 13:02:00");
}

#[test]
fn with_a_share_of_the_time_for_all_together_bursts_go_one_by_one() {
    let probes = [("a/reference", HOURLY), ("b/reference", "*/2 * * * *")];
    let mut day = day(NONE, share(1.0), &probes);
    assert_eq!(day.poll("13:00:00"), "start a/reference of 13:00:00");
    assert_eq!(
        day.spend("a/reference", 100, 100, "13:01:40"),
        "start b/reference of 13:00:00"
    );
    assert_eq!(
        day.spend("b/reference", 100, 20, "13:02:00"),
        "start b/reference of 13:02:00"
    );
}

#[test]
fn a_clock_set_back_leaves_the_wait_for_the_duty_cycle_as_long_as_it_was() {
    let mut day = day(share(0.5), NONE, &[("a/reference", MINUTELY)]);
    assert_eq!(day.poll("13:00:00"), "start a/reference of 13:00:00");
    assert_eq!(day.spend("a/reference", 100, 40, "13:00:40"), "");
    assert_eq!(day.poll("13:01:00"), "");
    assert_eq!(day.poll("11:31:00"), "");
    assert_eq!(day.agenda.next_wake(), Some(at("11:31:20")));
    assert!(day.poll("11:31:20").starts_with("start a/reference"));
}
