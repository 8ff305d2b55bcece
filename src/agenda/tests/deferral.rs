//! Stories of runs that are put off because the deployment is left to its users.

use super::*;

/// A probe that is due at 13:00:00 and has been started.
fn started(probes: &[(&'static str, &str, &str)]) -> Day {
    let mut day = Day::new("12:59:30", 1, probes);
    assert!(
        day.poll("13:00:00")
            .contains("start a/reference of 13:00:00")
    );
    day
}

#[test]
fn the_pauses_double_up_to_a_minute_and_the_last_try_is_before_the_next_slot() {
    let mut day = started(&[("a/reference", "gpu0", "*/5 * * * *")]);
    let a = day.key("a/reference");
    for (now, next) in [
        ("13:00:01", "13:00:06"),
        ("13:00:06", "13:00:16"),
        ("13:00:16", "13:00:36"),
        ("13:00:36", "13:01:16"),
        ("13:01:16", "13:02:16"),
        ("13:02:16", "13:03:16"),
        ("13:03:16", "13:04:16"),
    ] {
        let put_off = format!("defer a/reference to {next} by busy");
        assert_eq!(day.defer("a/reference", now), put_off);
        assert!(!day.agenda.is_running(a));
        assert_eq!(day.poll(now), "");
        assert_eq!(day.agenda.next_wake(), Some(at(next)));
        assert_eq!(day.agenda.next_run(a), Some(at(next)));
        assert_eq!(day.poll(next), "start a/reference of 13:00:00");
    }
    // The next try would be at 13:05:16, and the next slot is at 13:05:00.
    assert_eq!(
        day.defer("a/reference", "13:04:16"),
        "skip a/reference by busy"
    );
    assert_eq!(day.agenda.next_run(a), Some(at("13:05:00")));
    assert_eq!(day.poll("13:05:00"), "start a/reference of 13:05:00");
    // Each slot has a history of its own.
    assert_eq!(
        day.defer("a/reference", "13:05:00"),
        "defer a/reference to 13:05:05 by busy"
    );
}

#[test]
fn a_run_that_goes_at_last_is_a_run_like_any_other() {
    let mut day = started(&[("a/reference", "gpu0", MINUTELY)]);
    day.defer("a/reference", "13:00:00");
    assert_eq!(day.poll("13:00:04"), "");
    assert_eq!(day.poll("13:00:05"), "start a/reference of 13:00:00");
    assert_eq!(day.poll("13:01:00"), "");
    assert_eq!(day.poll("13:02:00"), "miss 1 a/reference by running");
    assert_eq!(
        day.finish("a/reference", "13:02:10"),
        "start a/reference of 13:02:00"
    );
}

#[test]
fn who_was_put_off_holds_neither_lane_nor_cap_and_comes_first_when_its_time_is_there() {
    let mut day = started(&[
        ("a/reference", "gpu0", HOURLY),
        ("b/reference", "gpu0", HOURLY),
        ("c/reference", "gpu1", HOURLY),
    ]);
    day.defer("a/reference", "13:00:01");
    // What it held is to be given away at once.
    assert_eq!(day.agenda.next_wake(), Some(at("13:00:00")));
    assert_eq!(day.poll("13:00:01"), "start b/reference of 13:00:00");
    assert_eq!(day.poll("13:00:06"), "");
    assert_eq!(
        day.finish("b/reference", "13:00:30"),
        "start a/reference of 13:00:00"
    );
    day.defer("a/reference", "13:00:31");
    assert_eq!(day.poll("13:00:31"), "start c/reference of 13:00:00");
    assert_eq!(day.finish("c/reference", "13:00:40"), "");
    assert_eq!(day.poll("13:00:41"), "start a/reference of 13:00:00");
}

#[test]
fn a_burst_that_was_put_off_keeps_no_light_probe_waiting() {
    let mut day = started(&[
        ("a/reference", "gpu0", HOURLY),
        ("b/reference", "gpu0", "0 13 * * *"),
        ("c/canary", "gpu0", "1-59 * * * *"),
    ]);
    day.defer("a/reference", "13:00:01");
    assert_eq!(day.poll("13:00:01"), "start b/reference of 13:00:00");
    assert_eq!(day.poll("13:01:00"), "");
    day.end("b/reference", "13:01:01");
    assert_eq!(day.poll("13:01:01"), "start c/canary of 13:01:00");
    // The burst is ready again and has waited longest, but a canary goes first once.
    assert_eq!(
        day.finish("c/canary", "13:01:02"),
        "start a/reference of 13:00:00"
    );
    day.defer("a/reference", "13:02:01");
    assert_eq!(day.poll("13:02:01"), "start c/canary of 13:02:00");
}

#[test]
fn a_slot_that_was_put_off_and_then_found_no_place_is_skipped_for_what_put_it_off() {
    let mut day = started(&[
        ("a/reference", "gpu0", MINUTELY),
        ("b/reference", "gpu0", HOURLY),
    ]);
    day.defer("a/reference", "13:00:00");
    assert_eq!(day.poll("13:00:00"), "start b/reference of 13:00:00");
    assert_eq!(day.poll("13:00:05"), "");
    assert_eq!(day.poll("13:01:00"), "skip a/reference by busy");
    // The new slot was not put off, and is held by the lane.
    assert_eq!(day.poll("13:02:00"), "miss 1 a/reference by lane");
    assert_eq!(
        day.finish("b/reference", "13:02:30"),
        "start a/reference of 13:02:00"
    );
    assert_eq!(
        day.defer("a/reference", "13:02:30"),
        "defer a/reference to 13:02:35 by busy"
    );
}

#[test]
fn a_slot_that_comes_while_the_deployment_is_looked_at_takes_the_place_of_the_old_one() {
    let mut day = started(&[("a/reference", "gpu0", MINUTELY)]);
    assert_eq!(day.poll("13:01:00"), "");
    assert_eq!(
        day.defer("a/reference", "13:01:02"),
        "skip a/reference by busy"
    );
    assert_eq!(day.poll("13:01:02"), "start a/reference of 13:01:00");
    // It may also have come without anyone having polled since.
    assert_eq!(
        day.defer("a/reference", "13:02:00"),
        "skip a/reference by busy"
    );
    assert_eq!(day.poll("13:02:00"), "start a/reference of 13:02:00");
}

#[test]
fn a_try_that_falls_into_a_blackout_is_skipped() {
    let night = Blackout::parse("", "22:00", "24:00", TimeZone::UTC).unwrap();
    let entries = vec![resting_probe(
        "a/reference",
        "gpu0",
        "59 21 * * *",
        vec![night],
    )];
    let mut day = Day {
        names: vec!["a/reference"],
        agenda: Agenda::new(entries, 1, Budget::default(), at("21:00:00")),
    };
    assert_eq!(day.poll("21:59:00"), "start a/reference of 21:59:00");
    day.defer("a/reference", "21:59:57");
    assert_eq!(day.poll("22:00:02"), "skip a/reference by blackout");
}

#[test]
fn a_server_that_sleeps_costs_the_slot() {
    let mut day = started(&[
        ("a/reference", "gpu0", HOURLY),
        ("b/reference", "gpu0", HOURLY),
    ]);
    let a = day.key("a/reference");
    let event = day.agenda.skip(a, SkippedReason::Asleep, at("13:00:01"));
    assert_eq!(day.told(event.unwrap()), "skip a/reference by asleep");
    assert_eq!(day.poll("13:00:01"), "start b/reference of 13:00:00");
    assert_eq!(day.agenda.next_run(a), Some(at("14:00:00")));
    // What is not running cannot be taken back.
    assert_eq!(
        day.agenda.skip(a, SkippedReason::Asleep, at("13:00:02")),
        None
    );
    assert_eq!(
        day.agenda.defer(a, DeferredReason::KvCache, at("13:00:02")),
        None
    );
}

#[test]
fn a_clock_set_back_leaves_the_pause_as_long_as_it_was() {
    let mut day = started(&[("a/reference", "gpu0", HOURLY)]);
    day.defer("a/reference", "13:00:00");
    assert_eq!(day.poll("13:00:01"), "");
    assert_eq!(day.poll("11:20:01"), "");
    assert_eq!(day.agenda.next_wake(), Some(at("11:20:05")));
    assert_eq!(day.poll("11:20:05"), "start a/reference of 11:20:01");
    // Set back while the deployment is looked at: the pause is counted on the new clock.
    assert_eq!(
        day.defer("a/reference", "09:00:00"),
        "defer a/reference to 09:00:10 by busy"
    );
    assert_eq!(day.poll("09:00:00"), "");
    assert_eq!(day.agenda.next_wake(), Some(at("09:00:10")));
    assert!(day.poll("09:00:10").starts_with("start a/reference"));
}
