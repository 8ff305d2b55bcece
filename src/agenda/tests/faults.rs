//! Runs that panic, one after another, and the rest that their probe takes.

use super::*;

impl Day {
    /// Ends a run in a panic, and tells how many have in a row and until when slots are left out.
    fn panic(&mut self, name: &str, time: &str) -> String {
        let probe = self.key(name);
        self.agenda.panicked(probe, at(time));
        let backoff = self.agenda.backoff(probe).unwrap();
        format!(
            "{} until {}",
            backoff.in_a_row,
            backoff.until.strftime("%H:%M:%S")
        )
    }

    fn next_run(&self, name: &str) -> String {
        let next = self.agenda.next_run(self.key(name)).unwrap();
        next.strftime("%H:%M:%S").to_string()
    }
}

const A: &str = "a/canary";

#[test]
fn after_each_panic_in_a_row_more_slots_are_left_out() {
    let mut day = Day::new("11:59:30", 1, &[(A, "one", MINUTELY)]);
    assert_eq!(day.poll("12:00:00"), "start a/canary of 12:00:00");
    assert_eq!(day.panic(A, "12:00:10"), "1 until 12:00:40");
    assert_eq!(day.next_run(A), "12:01:00", "which is after that anyway");
    assert_eq!(day.poll("12:01:00"), "start a/canary of 12:01:00");
    assert_eq!(day.panic(A, "12:01:10"), "2 until 12:02:10");
    assert_eq!(day.next_run(A), "12:03:00");
    assert_eq!(day.poll("12:02:00"), "skip a/canary by fault");
    assert_eq!(day.poll("12:03:00"), "start a/canary of 12:03:00");
    assert_eq!(day.panic(A, "12:03:10"), "3 until 12:05:10");
    assert_eq!(day.poll("12:04:00"), "skip a/canary by fault");
    assert_eq!(day.poll("12:05:00"), "skip a/canary by fault");
    // A run that ends as runs do ends the rest, and the next panic is a first one again.
    assert_eq!(day.poll("12:06:00"), "start a/canary of 12:06:00");
    assert_eq!(day.finish(A, "12:06:10"), "");
    assert_eq!(day.agenda.backoff(day.key(A)), None);
    assert_eq!(day.poll("12:07:00"), "start a/canary of 12:07:00");
    assert_eq!(day.panic(A, "12:07:10"), "1 until 12:07:40");
}

#[test]
fn a_slot_that_came_before_the_panic_is_left_out_and_others_are_not() {
    let mut day = Day::new(
        "11:59:30",
        1,
        &[(A, "one", MINUTELY), ("b/burst", "one", "1 12 * * *")],
    );
    assert_eq!(day.poll("12:00:00"), "start a/canary of 12:00:00");
    assert_eq!(day.poll("12:01:00"), "", "both wait for it");
    assert_eq!(day.panic(A, "12:01:30"), "1 until 12:02:00");
    assert_eq!(day.next_run(A), "12:02:00", "at that very time");
    assert_eq!(
        day.poll("12:01:30"),
        "skip a/canary by fault, start b/burst of 12:01:00"
    );
    assert_eq!(day.agenda.backoff(day.key("b/burst")), None);
    assert_eq!(day.finish("b/burst", "12:01:50"), "");
    assert_eq!(day.poll("12:02:00"), "start a/canary of 12:02:00");
}

#[test]
fn an_order_is_obeyed_and_ends_the_rest_only_if_its_run_is_good() {
    let mut day = Day::new("11:30:00", 1, &[(A, "one", MINUTELY)]);
    let a = day.key(A);
    for time in ["12:00:00", "12:01:00"] {
        day.poll(time);
        day.panic(A, time);
    }
    assert_eq!(day.poll("12:01:10"), "");
    assert!(day.agenda.request(a, at("12:01:20")));
    assert_eq!(day.next_run(A), "12:01:20");
    assert_eq!(day.poll("12:01:20"), "start a/canary of 12:01:20");
    // A guard takes it back: nothing is known that was not before, and it is still wanted.
    assert_eq!(
        day.defer(A, "12:01:21"),
        "defer a/canary to 12:01:26 by busy"
    );
    assert_eq!(day.next_run(A), "12:01:26");
    assert_eq!(day.poll("12:01:26"), "start a/canary of 12:01:20");
    assert_eq!(day.panic(A, "12:01:30"), "3 until 12:03:30");
    assert_eq!(day.poll("12:02:00"), "skip a/canary by fault");
    assert!(day.agenda.request(a, at("12:02:20")));
    assert_eq!(day.poll("12:02:20"), "start a/canary of 12:02:20");
    assert_eq!(day.finish(A, "12:02:30"), "");
    assert_eq!(day.poll("12:03:00"), "start a/canary of 12:03:00");
}

#[test]
fn an_order_that_waits_for_its_lane_outlives_the_slots_that_are_left_out() {
    let mut day = Day::new(
        "11:59:30",
        1,
        &[(A, "one", MINUTELY), ("b/burst", "one", "1 12 * * *")],
    );
    let a = day.key(A);
    day.poll("12:00:00");
    day.panic(A, "12:00:50");
    assert_eq!(
        day.poll("12:01:00"),
        "skip a/canary by fault, start b/burst of 12:01:00"
    );
    assert!(day.agenda.request(a, at("12:01:01")));
    day.agenda.poll(at("12:01:01"));
    day.panic("b/burst", "12:01:10");
    assert_eq!(day.poll("12:01:10"), "start a/canary of 12:01:01");
    day.panic(A, "12:01:20");
    day.agenda.request(day.key("b/burst"), at("12:01:30"));
    day.poll("12:01:30");
    assert!(day.agenda.request(a, at("12:01:40")));
    assert_eq!(day.poll("12:01:40"), "");
    assert_eq!(
        day.poll("12:02:00"),
        "miss 1 a/canary by lane",
        "its slot takes the place of the order"
    );
    assert_eq!(
        day.finish("b/burst", "12:02:10"),
        "start a/canary of 12:02:00",
        "and is not left out, though it lies in the rest"
    );
}

#[test]
fn a_clock_set_back_leaves_the_rest_as_long_as_it_was() {
    let mut day = Day::new("11:59:30", 1, &[(A, "one", MINUTELY)]);
    day.poll("12:00:00");
    day.panic(A, "12:00:00");
    day.poll("12:01:00");
    assert_eq!(day.panic(A, "12:01:00"), "2 until 12:02:00");
    assert_eq!(day.poll("03:00:30"), "");
    assert_eq!(
        day.agenda.backoff(day.key(A)).unwrap().until,
        at("03:01:30")
    );
    assert_eq!(day.next_run(A), "03:02:00");
    assert_eq!(day.poll("03:02:00"), "start a/canary of 03:02:00");
}

#[test]
fn the_same_probe_rests_on_under_another_plan_until_it_is_forgiven() {
    let mut day = Day::new("11:59:30", 1, &[(A, "one", MINUTELY)]);
    for time in ["12:00:00", "12:01:00"] {
        day.poll(time);
        day.panic(A, time);
    }
    let entries = vec![
        (probe("b/canary", "two", MINUTELY), None),
        (probe(A, "one", MINUTELY), Some(ProbeKey(0))),
    ];
    let (mut agenda, _) = day
        .agenda
        .replan(entries, 1, Budget::default(), at("12:01:10"));
    assert_eq!(agenda.backoff(ProbeKey(0)), None);
    assert_eq!(agenda.backoff(ProbeKey(1)).unwrap().until, at("12:02:00"));
    agenda.panicked(ProbeKey(1), at("12:01:20"));
    let after = agenda.backoff(ProbeKey(1)).unwrap();
    assert_eq!(after.in_a_row, 2, "no run of it was going");
    agenda.forgive(ProbeKey(1));
    let next = agenda.next_run(ProbeKey(1));
    assert_eq!(next, Some(at("12:02:00")));
    assert_eq!(agenda.backoff(ProbeKey(1)), None);
}
