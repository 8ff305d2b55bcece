//! Stories of a day on the agenda: one probe or a few, and what happens to them minute by minute.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::*;
use crate::schedule::{Blackout, Cadence};

mod budget;
mod deferral;
mod faults;
mod replan;
mod visits;

/// A time of day on the one day on which these stories take place.
fn at(time: &str) -> Timestamp {
    format!("2026-03-02T{time}Z").parse().unwrap()
}

/// A probe `deployment/workload` in `lane`; light if its workload is a canary.
fn probe(name: &str, lane: &str, pattern: &str) -> Entry {
    resting_probe(name, lane, pattern, Vec::new())
}

fn resting_probe(name: &str, lane: &str, pattern: &str, rest: Vec<Blackout>) -> Entry {
    let (deployment, workload) = name.split_once('/').unwrap();
    let pattern = Schedule::parse_cron(pattern).unwrap();
    let zone = TimeZone::UTC;
    let cadence = Cadence::Cron { pattern, zone };
    Entry {
        deployment: DeploymentName::new(deployment),
        lane: Lane::new(lane),
        light: workload == "canary",
        schedule: Schedule::new(cadence, Duration::ZERO, rest, deployment),
        budget: Budget::default(),
        tokens: 0,
    }
}

/// An agenda of the day, and what happens on it in words.
struct Day {
    names: Vec<&'static str>,
    agenda: Agenda,
}

impl Day {
    fn new(begin: &str, cap: usize, probes: &[(&'static str, &str, &str)]) -> Self {
        let entries = probes
            .iter()
            .map(|(name, lane, pattern)| probe(name, lane, pattern));
        Self {
            names: probes.iter().map(|(name, _, _)| *name).collect(),
            agenda: Agenda::new(entries.collect(), cap, Budget::default(), at(begin)),
        }
    }

    fn key(&self, name: &str) -> ProbeKey {
        ProbeKey(self.names.iter().position(|n| *n == name).unwrap())
    }

    fn poll(&mut self, time: &str) -> String {
        let events = self.agenda.poll(at(time));
        let told = events.into_iter().map(|event| self.told(event));
        told.collect::<Vec<_>>().join(", ")
    }

    fn told(&self, event: Event) -> String {
        let clock = |time: Timestamp| time.strftime("%H:%M:%S").to_string();
        let name = |probe: ProbeKey| self.names[probe.0];
        match event {
            Event::Start { probe, slot } => format!("start {} of {}", name(probe), clock(slot)),
            Event::Missed {
                probe,
                reason,
                count,
            } => format!("miss {count} {} by {}", name(probe), reason.label()),
            Event::Deferred {
                probe,
                reason,
                until,
            } => format!(
                "defer {} to {} by {}",
                name(probe),
                clock(until),
                reason.label()
            ),
            Event::Admitted { visit } => format!("admit {}", visit.number()),
            Event::Skipped { probe, reason } => {
                format!("skip {} by {}", name(probe), reason.label())
            }
        }
    }

    /// Ends a run of which nothing was measured.
    fn end(&mut self, name: &str, time: &str) {
        self.agenda.finished(self.key(name), None, at(time));
    }

    fn finish(&mut self, name: &str, time: &str) -> String {
        self.end(name, time);
        self.poll(time)
    }

    /// Ends a run that cost something.
    fn spend(&mut self, name: &str, tokens: u64, seconds: u64, time: &str) -> String {
        let wall = Duration::from_secs(seconds);
        let spent = Some(Spent { tokens, wall });
        self.agenda.finished(self.key(name), spent, at(time));
        self.poll(time)
    }

    /// Puts a run off, since the deployment is busy.
    fn defer(&mut self, name: &str, time: &str) -> String {
        let (probe, busy) = (self.key(name), DeferredReason::Busy);
        let event = self.agenda.defer(probe, busy, at(time)).unwrap();
        self.told(event)
    }
}

const HOURLY: &str = "0 * * * *";
const MINUTELY: &str = "* * * * *";

#[test]
fn a_probe_starts_at_its_slot_and_not_before() {
    let mut day = Day::new("12:30:00", 1, &[("a/reference", "gpu0", HOURLY)]);
    let a = day.key("a/reference");
    assert_eq!(day.agenda.next_wake(), Some(at("13:00:00")));
    assert_eq!(day.poll("12:59:59"), "");
    assert_eq!(day.poll("13:00:00"), "start a/reference of 13:00:00");
    assert!(day.agenda.is_running(a));
    assert_eq!(day.poll("13:00:00"), "");
    assert_eq!(day.finish("a/reference", "13:02:00"), "");
    assert!(!day.agenda.is_running(a));
    assert_eq!(day.agenda.next_run(a), Some(at("14:00:00")));
}

#[test]
fn a_run_longer_than_its_interval_misses_slots_that_do_not_pile_up() {
    let mut day = Day::new("12:00:00", 1, &[("a/reference", "gpu0", MINUTELY)]);
    assert_eq!(day.poll("12:01:00"), "start a/reference of 12:01:00");
    assert_eq!(day.poll("12:02:00"), "");
    assert_eq!(day.poll("12:03:00"), "miss 1 a/reference by running");
    assert_eq!(day.poll("12:04:00"), "miss 1 a/reference by running");
    assert_eq!(
        day.finish("a/reference", "12:04:30"),
        "start a/reference of 12:04:00"
    );
    assert_eq!(day.finish("a/reference", "12:04:50"), "");
}

#[test]
fn a_lane_holds_one_run_and_the_next_one_starts_when_it_ends() {
    let mut day = Day::new(
        "12:00:00",
        9,
        &[
            ("a/reference", "gpu0", HOURLY),
            ("b/reference", "gpu0", HOURLY),
            ("c/reference", "gpu1", HOURLY),
        ],
    );
    assert_eq!(
        day.poll("13:00:00"),
        "start a/reference of 13:00:00, start c/reference of 13:00:00"
    );
    assert_eq!(day.agenda.next_wake(), Some(at("14:00:00")));
    day.end("a/reference", "13:04:00");
    // What a finished run frees is to be given away at once.
    assert_eq!(day.agenda.next_wake(), Some(at("13:00:00")));
    assert_eq!(day.poll("13:05:00"), "start b/reference of 13:00:00");
    assert_eq!(day.poll("14:00:00"), "");
    assert_eq!(
        day.poll("15:00:00"),
        "miss 1 a/reference by lane, miss 1 b/reference by running, miss 1 c/reference by running"
    );
    // The one that has waited longer goes first, though all have a slot of 15:00 by now.
    assert_eq!(
        day.finish("b/reference", "15:01:00"),
        "start a/reference of 15:00:00"
    );
}

#[test]
fn the_cap_counts_bursts_but_no_light_probes() {
    let mut day = Day::new(
        "12:59:30",
        1,
        &[
            ("a/reference", "gpu0", HOURLY),
            ("b/reference", "gpu1", HOURLY),
            ("c/canary", "gpu2", MINUTELY),
        ],
    );
    assert_eq!(
        day.poll("13:00:00"),
        "start c/canary of 13:00:00, start a/reference of 13:00:00"
    );
    assert_eq!(day.finish("c/canary", "13:00:01"), "");
    // A long burst of another lane does not starve the canary.
    assert_eq!(day.poll("13:01:00"), "start c/canary of 13:01:00");
    assert_eq!(day.finish("c/canary", "13:01:01"), "");
    assert_eq!(
        day.finish("a/reference", "13:01:30"),
        "start b/reference of 13:00:00"
    );
}

#[test]
fn a_canary_never_runs_inside_a_burst_of_its_lane() {
    let mut day = Day::new(
        "12:59:30",
        1,
        &[
            ("a/reference", "gpu0", HOURLY),
            ("a/canary", "gpu0", MINUTELY),
            ("b/canary", "gpu0", MINUTELY),
        ],
    );
    assert_eq!(day.poll("13:00:00"), "start a/canary of 13:00:00");
    assert_eq!(
        day.finish("a/canary", "13:00:01"),
        "start b/canary of 13:00:00"
    );
    assert_eq!(
        day.finish("b/canary", "13:00:02"),
        "start a/reference of 13:00:00"
    );
    assert_eq!(day.poll("13:01:00"), "");
    assert_eq!(
        day.poll("13:02:00"),
        "miss 1 a/canary by deployment, miss 1 b/canary by lane"
    );
    assert_eq!(
        day.finish("a/reference", "13:02:10"),
        "start a/canary of 13:02:00"
    );
}

#[test]
fn who_let_slots_go_keeps_the_place_in_the_queue() {
    let mut day = Day::new(
        "12:59:30",
        1,
        &[
            ("a/reference", "gpu0", "0 13 * * *"),
            ("b/reference", "gpu1", "*/2 * * * *"),
            ("c/reference", "gpu2", "3 * * * *"),
        ],
    );
    assert_eq!(day.poll("13:00:00"), "start a/reference of 13:00:00");
    assert_eq!(day.poll("13:02:00"), "miss 1 b/reference by cap");
    assert_eq!(day.poll("13:03:00"), "");
    assert_eq!(day.poll("13:04:00"), "miss 1 b/reference by cap");
    assert_eq!(
        day.finish("a/reference", "13:05:00"),
        "start b/reference of 13:04:00"
    );
}

#[test]
fn a_light_probe_overtakes_a_waiting_burst_only_once() {
    // Two canaries that take half a minute each would fill the lane for ever.
    let mut day = Day::new(
        "12:59:30",
        1,
        &[
            ("a/reference", "gpu0", HOURLY),
            ("b/canary", "gpu0", MINUTELY),
            ("c/canary", "gpu0", MINUTELY),
        ],
    );
    assert_eq!(day.poll("13:00:00"), "start b/canary of 13:00:00");
    assert_eq!(
        day.finish("b/canary", "13:00:40"),
        "start c/canary of 13:00:00"
    );
    assert_eq!(day.poll("13:01:00"), "");
    assert_eq!(
        day.finish("c/canary", "13:01:20"),
        "start a/reference of 13:00:00"
    );
    assert_eq!(
        day.finish("a/reference", "13:01:50"),
        "start b/canary of 13:01:00"
    );
}

#[test]
fn a_canary_goes_on_while_the_burst_of_its_lane_waits_for_the_cap() {
    let mut day = Day::new(
        "12:59:30",
        1,
        &[
            ("a/reference", "gpu0", HOURLY),
            ("b/reference", "gpu1", HOURLY),
            ("b/canary", "gpu1", MINUTELY),
        ],
    );
    assert_eq!(
        day.poll("13:00:00"),
        "start b/canary of 13:00:00, start a/reference of 13:00:00"
    );
    for minute in ["13:01:00", "13:02:00", "13:03:00"] {
        day.end("b/canary", minute);
        let started = format!("start b/canary of {minute}");
        assert_eq!(day.poll(minute), started);
    }
    assert_eq!(day.finish("b/canary", "13:03:01"), "");
    assert_eq!(
        day.finish("a/reference", "13:03:02"),
        "start b/reference of 13:00:00"
    );
}

#[test]
fn after_a_sleep_one_run_starts_and_the_slots_slept_through_are_counted() {
    let mut day = Day::new("12:00:00", 1, &[("a/reference", "gpu0", MINUTELY)]);
    assert_eq!(day.poll("12:01:00"), "start a/reference of 12:01:00");
    assert_eq!(day.finish("a/reference", "12:01:30"), "");
    assert_eq!(
        day.poll("13:30:20"),
        "miss 88 a/reference by suspended, start a/reference of 13:30:00"
    );
    assert_eq!(day.agenda.next_wake(), Some(at("13:31:00")));
}

#[test]
fn a_clock_set_back_neither_stalls_a_probe_nor_makes_it_fire_twice() {
    for (set_to, next) in [
        // A correction by a little: the slot that has run does not run again.
        ("13:59:58", "15:00:00"),
        // By many intervals: the wait for the next slot stays as long as it was.
        ("03:00:01", "04:00:00"),
        ("03:20:01", "05:00:00"),
    ] {
        let mut day = Day::new("13:30:00", 1, &[("a/reference", "gpu0", HOURLY)]);
        assert_eq!(day.poll("14:00:00"), "start a/reference of 14:00:00");
        assert_eq!(day.finish("a/reference", "14:00:01"), "");
        assert_eq!(day.poll(set_to), "", "{set_to}");
        assert_eq!(day.agenda.next_wake(), Some(at(next)), "{set_to}");
        assert_eq!(day.poll(next), format!("start a/reference of {next}"));
    }
}

#[test]
fn slots_in_a_blackout_are_skipped_and_so_is_a_wait_that_ends_in_one() {
    let night = Blackout::parse("", "22:00", "24:00", TimeZone::UTC).unwrap();
    let entries = vec![
        resting_probe("a/reference", "gpu0", "30 * * * *", vec![night]),
        probe("b/reference", "gpu0", "29 21 * * *"),
    ];
    let agenda = Agenda::new(entries, 1, Budget::default(), at("21:00:00"));
    let names = vec!["a/reference", "b/reference"];
    let mut day = Day { names, agenda };
    assert_eq!(day.poll("21:29:00"), "start b/reference of 21:29:00");
    assert_eq!(day.poll("21:30:00"), "");
    assert_eq!(
        day.finish("b/reference", "22:05:00"),
        "skip a/reference by blackout"
    );
    let next = day.agenda.next_run(day.key("a/reference")).unwrap();
    assert_eq!(next.to_string(), "2026-03-03T00:30:00Z");
    assert_eq!(day.poll("22:30:00"), "skip a/reference by blackout");
}

#[test]
fn an_empty_agenda_sleeps_for_ever() {
    let mut agenda = Agenda::new(Vec::new(), 1, Budget::default(), at("12:00:00"));
    assert_eq!(agenda.next_wake(), None);
    assert_eq!(agenda.poll(at("13:00:00")), []);
}

#[test]
fn a_run_that_is_asked_for_starts_as_soon_as_nothing_is_in_its_way() {
    let mut day = Day::new(
        "11:30:00",
        1,
        &[
            ("a/burst", "one", "0 * * * *"),
            ("b/burst", "one", "30 12 * * *"),
        ],
    );
    let (a, b) = (day.key("a/burst"), day.key("b/burst"));
    assert!(day.agenda.request(a, at("11:40:00")));
    assert_eq!(day.agenda.next_wake(), Some(at("11:30:00")), "at once");
    assert_eq!(day.poll("11:40:00"), "start a/burst of 11:40:00");
    assert!(!day.agenda.request(a, at("11:40:01")), "it goes already");
    assert!(day.agenda.request(b, at("11:40:02")));
    assert_eq!(day.poll("11:40:02"), "", "its lane is taken");
    day.agenda.finished(a, None, at("11:41:00"));
    assert_eq!(day.poll("11:41:00"), "start b/burst of 11:40:02");
    day.agenda.finished(b, None, at("11:42:00"));
    assert_eq!(
        day.poll("12:00:00"),
        "start a/burst of 12:00:00",
        "the plan is as before"
    );
}
