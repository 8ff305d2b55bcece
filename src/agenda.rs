//! Which probe starts now: the one place that knows what runs, what waits and what was missed.
//!
//! A state machine over times that it is handed. A slot that has come ends in exactly one of three ways: its
//! run starts, it is missed for a reason, or it is skipped on purpose. A probe that cannot start at once
//! waits until its next slot at most, so nothing piles up behind a slow deployment.
//!
//! Who waits is served in this order. Light probes come first, since they hold a lane for a moment only and
//! take no place under the cap. Bursts follow, the one that has waited longest before the others, even if it
//! had to let a slot go meanwhile. Last come the light probes that have already run while a burst of their
//! lane waited: each may overtake a burst once, so that a burst gets its turn however many light ones there are.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, ToSpan};

use crate::closed_set::closed_set;
use crate::deployment::{DeploymentName, Lane};
use crate::schedule::Schedule;

/// What the agenda knows of one probe.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Whom it probes: never with two runs at once.
    pub deployment: DeploymentName,
    /// What it occupies while it runs: a lane holds one run at a time.
    pub lane: Lane,
    /// Whether its runs are light: they take no place under the cap and go before bursts.
    pub light: bool,
    /// When it is due.
    pub schedule: Schedule,
}

/// A probe, by its place in the list that the agenda was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeKey(pub usize);

/// What became of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its run starts now, and occupies what it needs until [`Agenda::finished`].
    Start {
        /// Whose run starts.
        probe: ProbeKey,
        /// When it was due: now or earlier.
        slot: Timestamp,
    },
    /// It came to no run, against the plan.
    Missed {
        /// Whose slots they were.
        probe: ProbeKey,
        /// What held them up.
        reason: MissedReason,
        /// How many: more than one only when no one asked for longer than an interval.
        count: u64,
    },
    /// It came to no run, as planned.
    Skipped {
        /// Whose slot it was.
        probe: ProbeKey,
        /// Why there is to be no run.
        reason: SkippedReason,
    },
}

closed_set! {
    /// Why a slot came to no run, against the plan.
    MissedReason:
    Running "running" "The probe's own last run was still going.",
    Deployment "deployment" "Another run of the same deployment was going.",
    Lane "lane" "A run of another deployment held the lane.",
    Cap "cap" "As many bursts as are allowed at once were in flight.",
    Suspended "suspended" "The prober was not awake for it: suspended, or its clock was set forward.",
}

closed_set! {
    /// Why a slot came to no run, as planned.
    SkippedReason:
    Blackout "blackout" "It lay in a blackout, or had to wait into one.",
}

/// The probes of a configuration with all that is due, waiting and running.
#[derive(Clone, Debug)]
pub struct Agenda {
    probes: Vec<Probe>,
    /// The next slot of each probe.
    due: BTreeSet<(Timestamp, usize)>,
    /// The slots that have come and not yet started, at most one of each probe.
    waiting: BTreeMap<usize, Waiting>,
    busy_lanes: Vec<bool>,
    busy_deployments: Vec<bool>,
    bursts_in_flight: usize,
    max_concurrent_runs: usize,
    /// The time of the last poll.
    seen: Timestamp,
    /// Whether a run has ended since.
    freed: bool,
}

/// One probe and where it stands.
#[derive(Clone, Debug)]
struct Probe {
    schedule: Schedule,
    light: bool,
    lane: usize,
    deployment: usize,
    next: Option<Timestamp>,
    running: bool,
    last_start: Option<Timestamp>,
}

/// A slot that has come and not yet started.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    slot: Timestamp,
    /// The first slot of this wait: earlier than `slot` if the probe had to let one go.
    since: Timestamp,
    held_by: MissedReason,
}

impl Agenda {
    /// An agenda on which each probe's first slot lies after `now`. Of the probes that are not light, at most
    /// `max_concurrent_runs` run at once, and at least one.
    pub fn new(entries: Vec<Entry>, max_concurrent_runs: usize, now: Timestamp) -> Self {
        let (mut lanes, mut deployments) = (BTreeMap::new(), BTreeMap::new());
        let mut probes = Vec::with_capacity(entries.len());
        let mut due = BTreeSet::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let (lane, deployment) = (lanes.len(), deployments.len());
            let next = entry.schedule.first_after(now);
            due.extend(next.map(|slot| (slot, index)));
            probes.push(Probe {
                schedule: entry.schedule,
                light: entry.light,
                lane: *lanes.entry(entry.lane).or_insert(lane),
                deployment: *deployments.entry(entry.deployment).or_insert(deployment),
                next,
                running: false,
                last_start: None,
            });
        }
        Self {
            probes,
            due,
            waiting: BTreeMap::new(),
            busy_lanes: vec![false; lanes.len()],
            busy_deployments: vec![false; deployments.len()],
            bursts_in_flight: 0,
            max_concurrent_runs: max_concurrent_runs.max(1),
            seen: now,
            freed: false,
        }
    }

    /// What happens at `now`. To be asked at [`Self::next_wake`], and at any other time without harm.
    pub fn poll(&mut self, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        self.follow_clock(now);
        self.take_due(now, &mut events);
        self.start_waiting(now, &mut events);
        self.freed = false;
        events
    }

    /// Says that a run has ended; what waited for it can start at the next poll, which is due at once.
    pub fn finished(&mut self, probe: ProbeKey) {
        let probe = &mut self.probes[probe.0];
        if !std::mem::take(&mut probe.running) {
            return;
        }
        self.busy_lanes[probe.lane] = false;
        self.busy_deployments[probe.deployment] = false;
        self.bursts_in_flight -= usize::from(!probe.light);
        self.freed = true;
    }

    /// When to poll next; `None` when no slot ever comes again and nothing waits for a place.
    pub fn next_wake(&self) -> Option<Timestamp> {
        if self.freed && !self.waiting.is_empty() {
            return Some(self.seen);
        }
        self.due.first().map(|(slot, _)| *slot)
    }

    /// The slot of the probe's next run as far as it is known: of the one that waits, or else of the first one
    /// outside its blackouts.
    pub fn next_run(&self, probe: ProbeKey) -> Option<Timestamp> {
        if let Some(waiting) = self.waiting.get(&probe.0) {
            return Some(waiting.slot);
        }
        let probe = &self.probes[probe.0];
        let next = probe.next?;
        if probe.schedule.in_blackout(next) {
            probe.schedule.next_run_after(next)
        } else {
            Some(next)
        }
    }

    /// Whether a run of the probe is going.
    pub fn is_running(&self, probe: ProbeKey) -> bool {
        self.probes[probe.0].running
    }

    /// Keeps the waits as long as they were when the clock was set back, up to the next slot after them:
    /// nothing stalls until the old time comes round again, and nothing fires at once.
    fn follow_clock(&mut self, now: Timestamp) {
        let set_back = self.seen.duration_since(now);
        self.seen = now;
        if !set_back.is_positive() {
            return;
        }
        self.due.clear();
        for (index, probe) in self.probes.iter_mut().enumerate() {
            probe.next = probe.next.and_then(|next| {
                let same_wait = next.checked_sub(set_back).ok()?;
                probe
                    .schedule
                    .next_after(same_wait.checked_sub(1.nanosecond()).ok()?)
            });
            self.due.extend(probe.next.map(|slot| (slot, index)));
            probe.last_start = probe.last_start.map(|start| start.min(now));
        }
        for waiting in self.waiting.values_mut() {
            waiting.slot = waiting.slot.min(now);
            waiting.since = waiting.since.min(now);
        }
    }

    /// Takes in the slots that have come: of each probe the latest one waits, and the others are missed.
    fn take_due(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        while let Some(&(slot, index)) = self.due.first()
            && slot <= now
        {
            self.due.pop_first();
            let (key, probe) = (ProbeKey(index), &mut self.probes[index]);
            let given_up = self.waiting.remove(&index);
            if let Some(Waiting { held_by, .. }) = given_up {
                events.push(Event::Missed {
                    probe: key,
                    reason: held_by,
                    count: 1,
                });
            }
            let later = probe.schedule.passed(slot, now);
            if let Some(later) = later {
                let reason = MissedReason::Suspended;
                events.push(Event::Missed {
                    probe: key,
                    reason,
                    count: later.count,
                });
            }
            let slot = later.map_or(slot, |later| later.last);
            if probe.schedule.in_blackout(slot) {
                let reason = SkippedReason::Blackout;
                events.push(Event::Skipped { probe: key, reason });
            } else {
                let waiting = Waiting {
                    slot,
                    since: given_up.map_or(slot, |earlier| earlier.since),
                    held_by: MissedReason::Suspended,
                };
                self.waiting.insert(index, waiting);
            }
            probe.next = probe.schedule.next_after(now);
            self.due.extend(probe.next.map(|next| (next, index)));
        }
    }

    /// Starts what can start, in the order of the module's rule, and notes what holds the others.
    fn start_waiting(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        for index in self.in_order() {
            if let Some(reason) = self.held_by(index) {
                self.waiting
                    .entry(index)
                    .and_modify(|waiting| waiting.held_by = reason);
                continue;
            }
            let Some(Waiting { slot, .. }) = self.waiting.remove(&index) else {
                continue;
            };
            let (key, probe) = (ProbeKey(index), &mut self.probes[index]);
            if probe.schedule.in_blackout(now) {
                let reason = SkippedReason::Blackout;
                events.push(Event::Skipped { probe: key, reason });
                continue;
            }
            probe.running = true;
            probe.last_start = Some(now);
            self.busy_lanes[probe.lane] = true;
            self.busy_deployments[probe.deployment] = true;
            self.bursts_in_flight += usize::from(!probe.light);
            events.push(Event::Start { probe: key, slot });
        }
    }

    /// The probes that wait, in the order in which they are served.
    fn in_order(&self) -> Vec<usize> {
        let mut oldest_burst = BTreeMap::new();
        for (&index, waiting) in &self.waiting {
            let probe = &self.probes[index];
            if !probe.light {
                let oldest = oldest_burst.entry(probe.lane).or_insert(waiting.since);
                *oldest = waiting.since.min(*oldest);
            }
        }
        let turn = |probe: &Probe| {
            let overtaken = probe.last_start.zip(oldest_burst.get(&probe.lane));
            match overtaken {
                _ if !probe.light => Turn::Burst,
                Some((last_start, burst_since)) if last_start >= *burst_since => {
                    Turn::LightAfterBurst
                }
                _ => Turn::Light,
            }
        };
        let mut order: Vec<(Turn, Timestamp, usize)> = self
            .waiting
            .iter()
            .map(|(&index, waiting)| (turn(&self.probes[index]), waiting.since, index))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, _, index)| index).collect()
    }

    /// What keeps a probe from starting.
    fn held_by(&self, index: usize) -> Option<MissedReason> {
        let probe = &self.probes[index];
        if probe.running {
            Some(MissedReason::Running)
        } else if self.busy_deployments[probe.deployment] {
            Some(MissedReason::Deployment)
        } else if self.busy_lanes[probe.lane] {
            Some(MissedReason::Lane)
        } else if !probe.light && self.bursts_in_flight >= self.max_concurrent_runs {
            Some(MissedReason::Cap)
        } else {
            None
        }
    }
}

/// Who is served first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Light,
    Burst,
    /// A light probe that has run since a burst of its lane began to wait.
    LightAfterBurst,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::tz::TimeZone;

    use super::*;
    use crate::schedule::{Blackout, Cadence};

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
                agenda: Agenda::new(entries.collect(), cap, at(begin)),
            }
        }

        fn key(&self, name: &str) -> ProbeKey {
            ProbeKey(self.names.iter().position(|n| *n == name).unwrap())
        }

        fn poll(&mut self, time: &str) -> String {
            let events = self.agenda.poll(at(time));
            let told = events.into_iter().map(|event| match event {
                Event::Start { probe, slot } => {
                    let due = slot.strftime("%H:%M:%S");
                    format!("start {} of {due}", self.names[probe.0])
                }
                Event::Missed {
                    probe,
                    reason,
                    count,
                } => {
                    format!("miss {count} {} by {}", self.names[probe.0], reason.label())
                }
                Event::Skipped { probe, reason } => {
                    format!("skip {} by {}", self.names[probe.0], reason.label())
                }
            });
            told.collect::<Vec<_>>().join(", ")
        }

        fn finish(&mut self, name: &str, time: &str) -> String {
            self.agenda.finished(self.key(name));
            self.poll(time)
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
        day.agenda.finished(day.key("a/reference"));
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
            day.agenda.finished(day.key("b/canary"));
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
        let agenda = Agenda::new(entries, 1, at("21:00:00"));
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
        let mut agenda = Agenda::new(Vec::new(), 1, at("12:00:00"));
        assert_eq!(agenda.next_wake(), None);
        assert_eq!(agenda.poll(at("13:00:00")), []);
    }
}
